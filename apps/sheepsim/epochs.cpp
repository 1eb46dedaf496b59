#include "epochs.hpp"

#include <fmt/format.h>

#include <chrono>

#include "core/cluster/placement.hpp"

namespace sd::sim {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint16_t vnodes = 128;  // what a node has unless told otherwise
constexpr std::size_t changes = 8;     // of which the mean is printed
constexpr std::size_t pile = 64;       // epochs that are not clean yet, after a bad day
constexpr std::uint32_t objects = 100'000;

// The control plane of one node, without its messages.
class Cluster {
 public:
  explicit Cluster(std::uint32_t members) {
    for (std::uint32_t i = 1; i <= members; ++i) join(i, 1);
    apply(cluster::Format{1, 3, false});
    clean();
  }

  void join(NodeId id, Incarnation incarnation) {
    cluster::Member member;
    member.id = id;
    member.incarnation = incarnation;
    member.zone = static_cast<std::uint32_t>(id);
    member.vnodes = vnodes;
    member.up = true;
    apply(cluster::Join{member, incarnation - 1});
  }
  void remove(NodeId id, Incarnation incarnation) { apply(cluster::Remove{id, incarnation, false}); }
  void clean() { apply(cluster::MarkClean{state.epoch()}); }
  std::size_t bytes() const {
    std::string text;
    state.encode(text);
    return text.size();
  }

  cluster::State state;
  cluster::Placement placement;

 private:
  void apply(cluster::CommandBody body) {
    if (state.apply(++index_, {1, 1, 0, std::move(body)}).status != Status::ok) fmt::print("a change was refused\n");
    placement.follow(state);
  }
  std::uint64_t index_ = 0;
};

template <typename F>
double microseconds_of(std::size_t times, F&& f) {
  const auto start = Clock::now();
  for (std::size_t i = 0; i < times; ++i) f(i);
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count() / static_cast<double>(times);
}

void measure(std::uint32_t members) {
  Cluster c(members);
  const double restart = microseconds_of(changes,
                                         [&](std::size_t i) {
                                           c.remove(2, 1 + i);
                                           c.join(2, 2 + i);
                                         }) /
                         2;
  c.clean();
  const double joined = microseconds_of(changes, [&](std::size_t i) { c.join(1000 + i, 1); });
  c.clean();
  std::size_t found = 0;
  const double locate = microseconds_of(objects, [&](std::size_t i) {
    found += c.placement.acting(Oid::data(7, static_cast<std::uint32_t>(i)), 3).size();
  });
  if (found != 3 * objects) fmt::print("an object has too few members\n");
  const std::size_t bytes = c.bytes();
  for (std::size_t i = 0; i < pile / 2; ++i) {
    c.remove(3, 1 + i);
    c.join(3, 2 + i);
  }
  const double piled = microseconds_of(changes, [&](std::size_t i) { c.join(2000 + i, 1); });
  fmt::print("| {:>7} | {:>18.0f} | {:>15.0f} | {:>34.0f} | {:>22.0f} | {:>12.1f} | {:>17.1f} |\n", members, restart,
             joined, piled, 1000 * locate, static_cast<double>(bytes) / 1024, static_cast<double>(c.bytes()) / 1024);
}

}  // namespace

int measure_epochs() {
  fmt::print(
      "| members | down or back, us | a new member, us | a new member, {} epochs unclean, us | members of an object, "
      "ns | state, KB | {} epochs more, KB |\n",
      pile, pile);
  fmt::print(
      "|--------:|-----------------:|-----------------:|-----------------------------------:|-------------------------:"
      "|----------:|------------------:|\n");
  for (const std::uint32_t members : {10u, 50u, 200u}) measure(members);
  return 0;
}

}  // namespace sd::sim
