// An OutQueue behaves as a plain string of bytes, whatever the order of appending, peeking and consuming, and leaks no
// block.
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>
#include <rapidcheck/state.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/out_queue.hpp"

namespace {

struct Model {
  std::string waiting;
};

struct System {
  sd::BufferPool pool;
  sd::OutQueue queue{pool};
  // What an earlier peek saw, with the bytes it must still have.
  std::vector<std::pair<sd::Slice, std::string>> in_flight;
};

using Command = rc::state::Command<Model, System>;

std::string contents(const sd::OutQueue& queue) {
  std::string out;
  queue.peek(SIZE_MAX, [&](std::span<const std::byte> s) {
    RC_ASSERT(!s.empty());
    out.append(reinterpret_cast<const char*>(s.data()), s.size());
  });
  return out;
}

std::string some_bytes(std::size_t size, unsigned salt) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + salt);
  return bytes;
}

// Mostly headers of ordinary size, sometimes around the size of a gathering block.
std::string drawn_bytes() {
  const auto large = *rc::gen::weightedElement<bool>({{9, false}, {1, true}});
  const auto size = *(large ? rc::gen::inRange<std::size_t>(4000, 9000) : rc::gen::inRange<std::size_t>(0, 100));
  const auto salt = *rc::gen::arbitrary<unsigned>();
  return some_bytes(size, salt);
}

void check_same(const Model& expected, const System& system) {
  RC_ASSERT(system.queue.size() == expected.waiting.size());
  RC_ASSERT(system.queue.empty() == expected.waiting.empty());
  RC_ASSERT(contents(system.queue) == expected.waiting);
  for (const auto& [slice, bytes] : system.in_flight) RC_ASSERT(slice.text() == bytes);
}

struct AppendCopy : Command {
  std::string bytes = drawn_bytes();
  void apply(Model& model) const override { model.waiting += bytes; }
  void run(const Model& before, System& system) const override {
    system.queue.append_copy(bytes);
    check_same(nextState(before), system);
  }
  void show(std::ostream& os) const override { os << "append_copy " << bytes.size(); }
};

struct AppendSlice : Command {
  std::string bytes = drawn_bytes();
  void apply(Model& model) const override { model.waiting += bytes; }
  void run(const Model& before, System& system) const override {
    system.queue.append(system.pool.copy_of(bytes));
    check_same(nextState(before), system);
  }
  void show(std::ostream& os) const override { os << "append " << bytes.size(); }
};

struct Peek : Command {
  std::size_t max = *rc::gen::inRange<std::size_t>(0, 5);
  void run(const Model&, System& system) const override {
    std::vector<sd::Slice> slices;
    const std::size_t count = system.queue.peek_slices(max, slices);
    RC_ASSERT(count == slices.size());
    RC_ASSERT(slices.size() <= max);
    for (auto& slice : slices) system.in_flight.emplace_back(slice, std::string(slice.text()));
  }
  void show(std::ostream& os) const override { os << "peek " << max; }
};

struct Consume : Command {
  unsigned permille = *rc::gen::inRange<unsigned>(0, 1001);
  std::size_t amount(const Model& model) const { return model.waiting.size() * permille / 1000; }
  void apply(Model& model) const override { model.waiting.erase(0, amount(model)); }
  void run(const Model& before, System& system) const override {
    system.queue.consume(amount(before));
    check_same(nextState(before), system);
    system.in_flight.clear();
  }
  void show(std::ostream& os) const override { os << "consume " << permille << "/1000"; }
};

struct MoveFront : Command {
  unsigned permille = *rc::gen::inRange<unsigned>(0, 1001);
  std::size_t amount(const Model& model) const { return model.waiting.size() * permille / 1000; }
  void apply(Model& model) const override { model.waiting.erase(0, amount(model)); }
  void run(const Model& before, System& system) const override {
    sd::OutQueue other(system.pool);
    other.append_copy("x");
    system.queue.move_front(amount(before), other);
    RC_ASSERT(contents(other) == "x" + before.waiting.substr(0, amount(before)));
    other.append_copy("y");
    RC_ASSERT(other.size() == amount(before) + 2);
    check_same(nextState(before), system);
  }
  void show(std::ostream& os) const override { os << "move_front " << permille << "/1000"; }
};

struct Clear : Command {
  void apply(Model& model) const override { model.waiting.clear(); }
  void run(const Model& before, System& system) const override {
    system.queue.clear();
    check_same(nextState(before), system);
  }
  void show(std::ostream& os) const override { os << "clear"; }
};

}  // namespace

RC_GTEST_PROP(OutQueueProperties, IsAStringOfBytes, ()) {
  System system;
  rc::state::check(Model{}, system,
                   rc::state::gen::execOneOfWithArgs<AppendCopy, AppendCopy, AppendSlice, Peek, Consume, Consume,
                                                     MoveFront, Clear>());
  system.in_flight.clear();
  system.queue.clear();
  RC_ASSERT(system.pool.outstanding() == 0u);
}
