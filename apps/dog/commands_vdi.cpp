#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/dog/commands.hpp"
#include "apps/dog/progress.hpp"
#include "apps/dog/table.hpp"
#include "core/client/printable_text.hpp"
#include "core/client/size_text.hpp"

namespace sd::dog {

namespace {

using nlohmann::json;

struct Arguments {
  std::string name;
  std::string size;
  std::string offset;
  std::string length;
  unsigned copies = 0;
};

std::uint64_t size_argument(const std::string& text, const char* what) {
  const auto size = client::parse_size(text);
  if (!size)
    throw CommandError(
        exit_code::usage,
        fmt::format("'{}' is no {}: write a number of bytes, or one with K, M, G, T or P, as in 20G", text, what));
  return *size;
}

json as_json(const client::VdiEntry& vdi) {
  return {
      {"name", vdi.name}, {"vid", vdi.vid}, {"size", vdi.size}, {"copies", vdi.copies}, {"owner", vdi.owner_address}};
}

void create(const Options& options, Client& client, const Arguments& arguments) {
  const std::uint64_t size = size_argument(arguments.size, "size");
  const auto result = client.call(client::VdiCreate{arguments.name, size, static_cast<std::uint8_t>(arguments.copies)});
  const auto* vdi = std::get_if<client::VdiId>(&result);
  if (!vdi) throw CommandError(exit_code::system, "the answer makes no sense; does the sheep run another version?");
  if (options.json)
    fmt::print("{}\n",
               json({{"name", arguments.name}, {"vid", vdi->vdi_id}, {"size", size}, {"copies", vdi->copies}}).dump(2));
  else
    fmt::print("Created VDI '{}': number {:06x}, {}, {}.\n", arguments.name, vdi->vdi_id, client::format_size(size),
               counted(vdi->copies, "copy", "copies"));
}

void remove(const Options& options, Client& client, const Arguments& arguments) {
  client.call(client::VdiDelete{arguments.name});
  if (options.json)
    fmt::print("{}\n", json({{"name", arguments.name}, {"deleted", true}}).dump(2));
  else
    fmt::print("Deleted VDI '{}'.\n", arguments.name);
}

void resize(const Options& options, Client& client, const Arguments& arguments) {
  const std::uint64_t size = size_argument(arguments.size, "size");
  client.call(client::VdiResize{arguments.name, size});
  if (options.json)
    fmt::print("{}\n", json({{"name", arguments.name}, {"size", size}}).dump(2));
  else
    fmt::print("VDI '{}' holds {} now. Whoever uses it sees that after connecting anew.\n", arguments.name,
               client::format_size(size));
}

void list(const Options& options, Client& client) {
  const auto vdis = all_vdis(client);
  if (options.json) {
    json out = json::array();
    for (const auto& vdi : vdis) out.push_back(as_json(vdi));
    fmt::print("{}\n", out.dump(2));
    return;
  }
  if (vdis.empty()) {
    fmt::print("There are no VDIs. Create one: dog vdi create NAME SIZE\n");
    return;
  }
  using Align = Table::Align;
  Table table({{"NAME"}, {"SIZE", Align::right}, {"COPIES", Align::right}, {"NUMBER"}, {"SERVED BY"}});
  for (const auto& vdi : vdis)
    table.add({{vdi.name},
               {client::format_size(vdi.size)},
               {std::to_string(vdi.copies)},
               {fmt::format("{:06x}", vdi.vid)},
               {vdi.owner_address.empty() ? "-" : vdi.owner_address}});
  fmt::print("{}", table.text());
}

void info(const Options& options, Client& client, const Arguments& arguments) {
  const auto vdi = find_vdi(client, arguments.name);
  if (options.json) {
    fmt::print("{}\n", as_json(vdi).dump(2));
    return;
  }
  fmt::print("Name:      {}\nNumber:    {:06x}\nSize:      {} ({} bytes)\nCopies:    {}\nServed by: {}\n",
             client::printable(vdi.name), vdi.vid, client::format_size(vdi.size), vdi.size, vdi.copies,
             vdi.owner_address.empty() ? "nobody yet" : client::printable(vdi.owner_address));
}

// The range that OFFSET and LENGTH name; without LENGTH to the end of the VDI.
struct Range {
  std::uint64_t begin = 0, end = 0;
};
Range range_of(const client::VdiEntry& vdi, const Arguments& arguments) {
  Range range{0, vdi.size};
  if (!arguments.offset.empty()) range.begin = size_argument(arguments.offset, "offset");
  if (range.begin > vdi.size)
    throw CommandError(exit_code::usage, fmt::format("the offset lies behind the VDI, which holds {} bytes", vdi.size));
  if (!arguments.length.empty()) {
    const std::uint64_t length = size_argument(arguments.length, "length");
    if (length > vdi.size - range.begin)
      throw CommandError(exit_code::usage,
                         fmt::format("the range ends behind the VDI, which holds {} bytes", vdi.size));
    range.end = range.begin + length;
  }
  return range;
}

// How much to move in one request: to the next border of an object, so that each request is for one object.
std::uint64_t step(std::uint64_t at, std::uint64_t end) {
  return std::min(end - at, limits::object_size - at % limits::object_size);
}

void write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw CommandError(exit_code::system, fmt::format("cannot write to standard output: {}", std::strerror(errno)));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

// Fills the buffer as far as standard input goes; returns how many bytes came.
std::size_t read_all(char* to, std::size_t size) {
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n = ::read(STDIN_FILENO, to + have, size - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw CommandError(exit_code::system, fmt::format("cannot read standard input: {}", std::strerror(errno)));
    if (n == 0) break;
    have += static_cast<std::size_t>(n);
  }
  return have;
}

void read(Client& client, const Arguments& arguments) {
  if (isatty(STDOUT_FILENO) == 1)
    throw CommandError(exit_code::usage,
                       "a terminal is no place for a disk's bytes; send them to a file or a program: > FILE");
  const Range range = range_of(find_vdi(client, arguments.name), arguments);
  Progress progress("Reading", range.end - range.begin);
  for (std::uint64_t at = range.begin; at < range.end;) {
    const std::uint64_t size = step(at, range.end);
    const std::string bytes =
        client.bytes(client.call_until_done(client::VdiRead{arguments.name, at, static_cast<std::uint32_t>(size)}));
    if (bytes.size() != size) throw CommandError(exit_code::system, "the sheep sent fewer bytes than were asked for");
    write_all(bytes);
    at += size;
    progress.add(size);
  }
}

void write(const Options& options, Client& client, const Arguments& arguments) {
  const Range range = range_of(find_vdi(client, arguments.name), arguments);
  const bool counted_length = !arguments.length.empty();
  std::uint64_t total = counted_length ? range.end - range.begin : 0;
  struct stat file{};
  if (total == 0 && fstat(STDIN_FILENO, &file) == 0 && S_ISREG(file.st_mode))
    total = static_cast<std::uint64_t>(file.st_size);

  std::vector<char> buffer(limits::object_size);
  std::uint64_t at = range.begin;
  bool ended = false;
  {
    Progress progress("Writing", total);
    while (at < range.end && !ended) {
      const std::uint64_t wanted = step(at, range.end);
      const std::size_t have = read_all(buffer.data(), static_cast<std::size_t>(wanted));
      ended = have < wanted;
      if (have == 0) break;
      client.call_until_done(client::VdiWrite{arguments.name, at, false, {}}, {buffer.data(), have});
      at += have;
      progress.add(have);
    }
  }
  client.call_until_done(client::VdiFlush{arguments.name});
  if (ended && counted_length)
    throw CommandError(exit_code::failed, fmt::format("standard input ended after {} bytes, of {}; those were written",
                                                      at - range.begin, range.end - range.begin));
  if (!counted_length && !ended && read_all(buffer.data(), 1) > 0)
    throw CommandError(
        exit_code::full,
        fmt::format("standard input holds more than fits; the first {} bytes were written", at - range.begin));
  if (options.json)
    fmt::print("{}\n",
               json({{"name", arguments.name}, {"offset", range.begin}, {"written", at - range.begin}}).dump(2));
}

}  // namespace

client::VdiEntry find_vdi(Client& client, const std::string& name) {
  if (name.empty()) throw CommandError(exit_code::usage, "a VDI needs a name");
  const auto page = client.report<client::VdiPage>(client::VdiList{0, name});
  if (page.vdis.empty())
    throw CommandError(exit_code::missing,
                       fmt::format("no VDI is called '{}'; `dog vdi list` shows those there are", name));
  return page.vdis.front();
}

std::vector<client::VdiEntry> all_vdis(Client& client) {
  std::vector<client::VdiEntry> vdis;
  for (std::uint32_t next = 0;;) {
    auto page = client.report<client::VdiPage>(client::VdiList{next, {}});
    std::ranges::copy_if(page.vdis, std::back_inserter(vdis), [](const auto& vdi) { return !vdi.deleting; });
    if (page.next_vid <= next) break;
    next = page.next_vid;
  }
  std::ranges::sort(vdis, {}, &client::VdiEntry::name);
  return vdis;
}

void add_vdi_commands(CLI::App& app, const Options& options, Client& client) {
  auto* vdi = app.add_subcommand("vdi", "Virtual disks")->require_subcommand(1);
  // Shared by all subcommands: only one of them runs.
  auto arguments = std::make_shared<Arguments>();
  const auto command = [&](const char* name, const char* what) {
    auto* sub = vdi->add_subcommand(name, what);
    sub->add_option("name", arguments->name, "Name of the VDI")->required()->type_name("NAME");
    return sub;
  };
  const auto range = [&](CLI::App* sub) {
    sub->add_option("offset", arguments->offset, "Where to begin; default 0. Takes the suffixes of a size")
        ->type_name("OFFSET");
    sub->add_option("length", arguments->length, "How many bytes; default: to the end")->type_name("LENGTH");
  };

  auto* create_command = command("create", "Create a VDI");
  create_command->footer(
      examples({{"dog vdi create disk 20G", "takes no space until it is written; then: qemu ... nbd://HOST:10809/disk"},
                {"dog vdi create scratch 1T -c 1", "one copy of each object: lost with its node"}}));
  create_command->add_option("size", arguments->size, "In bytes, or with K, M, G, T or P: 20G")
      ->required()
      ->type_name("SIZE");
  create_command->add_option("-c,--copies", arguments->copies, "Copies of every object; default: the cluster's")
      ->check(CLI::Range(1u, static_cast<unsigned>(limits::max_copies)))
      ->type_name("N");
  create_command->callback([&options, &client, arguments] { create(options, client, *arguments); });

  auto* resize_command = command("resize", "Make a VDI larger");
  resize_command->footer(
      examples({{"dog vdi resize disk 40G", "the new space reads as zeros; clients see it after connecting anew"}}));
  resize_command->add_option("size", arguments->size, "In bytes, or with K, M, G, T or P; not below the present size")
      ->required()
      ->type_name("SIZE");
  resize_command->callback([&options, &client, arguments] { resize(options, client, *arguments); });

  auto* delete_command = command("delete", "Delete a VDI and all its data");
  delete_command->footer(examples({{"dog vdi delete disk", "without asking; its space is free soon after"}}));
  delete_command->callback([&options, &client, arguments] { remove(options, client, *arguments); });
  auto* list_command = vdi->add_subcommand("list", "List all VDIs");
  list_command->footer(examples({{"dog vdi list", "names, sizes, copies, and which node serves each"},
                                 {"dog --json vdi list | jq -r '.[].name'", "the names alone"}}));
  list_command->callback([&options, &client] { list(options, client); });
  auto* info_command = command("info", "Show one VDI");
  info_command->footer(examples({{"dog vdi info disk", "its size, copies, and which node serves it"}}));
  info_command->callback([&options, &client, arguments] { info(options, client, *arguments); });

  auto* read_command = command("read", "Copy bytes of a VDI to standard output");
  read_command->footer(examples(
      {{"dog vdi read disk > disk.raw", "all of it"}, {"dog vdi read disk 1G 64M > part.raw", "64 MB, from 1 GB on"}}));
  range(read_command);
  read_command->callback([&client, arguments] { read(client, *arguments); });
  auto* write_command = command("write", "Copy standard input into a VDI; returns when the bytes are safe on disk");
  write_command->footer(examples(
      {{"dog vdi write disk < disk.raw", "from the beginning"}, {"dog vdi write disk 1G < part.raw", "from 1 GB on"}}));
  range(write_command);
  write_command->callback([&options, &client, arguments] { write(options, client, *arguments); });
}

}  // namespace sd::dog
