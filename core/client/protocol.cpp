#include "core/client/protocol.hpp"

#include <algorithm>
#include <utility>

#include "core/base/assert.hpp"
#include "core/cluster/text.hpp"

namespace sd::client {

namespace bincode {

bool valid_utf8(std::string_view text) { return cluster::valid_utf8(text); }

}  // namespace bincode

std::string_view to_string(SdError error) {
  static constexpr std::string_view names[] = {"unknown error",
                                               "no such object",
                                               "input/output error",
                                               "the VDI exists already",
                                               "invalid parameters",
                                               "system error",
                                               "the VDI is locked",
                                               "no such VDI",
                                               "no such base VDI",
                                               "cannot read the VDI",
                                               "cannot write the VDI",
                                               "cannot read the base VDI",
                                               "cannot write the base VDI",
                                               "no such snapshot tag",
                                               "the daemon is starting",
                                               "the VDI is not locked",
                                               "the cluster is shut down",
                                               "out of memory",
                                               "no VDI number is free",
                                               "protocol versions differ",
                                               "no space left",
                                               "the cluster is not formatted",
                                               "waiting for other nodes to join",
                                               "joining failed",
                                               "halted: too few nodes",
                                               "read-only",
                                               "incomplete",
                                               "collecting cluster information",
                                               "the inode is outdated",
                                               "the epoch is outdated",
                                               "the epoch is ahead",
                                               "not formatted",
                                               "invalid creation time",
                                               "invalid epoch",
                                               "network error",
                                               "not in the cache",
                                               "buffer too small",
                                               "recovery is forced",
                                               "no such store",
                                               "not supported",
                                               "the node is recovering",
                                               "killed",
                                               "the object exists",
                                               "try again",
                                               "the object is outdated",
                                               "cluster error",
                                               "the VDI is not empty",
                                               "not found"};
  static_assert(std::size(names) == static_cast<std::size_t>(SdError::count_));
  const auto index = static_cast<std::size_t>(error);
  return index < std::size(names) ? names[index] : "unknown error";
}

SdError to_error(Status status) {
  switch (status) {
    case Status::ok: break;
    case Status::io_error: return SdError::eio;
    case Status::no_space: return SdError::no_space;
    case Status::not_found: return SdError::no_vdi;
    case Status::exists: return SdError::vdi_exist;
    case Status::invalid: return SdError::invalid_parms;
    case Status::not_formatted: return SdError::wait_for_format;
    case Status::not_enough_nodes: return SdError::halt;
    case Status::stale: return SdError::again;
    case Status::behind: return SdError::again;
    case Status::unavailable: return SdError::again;
    case Status::damaged: return SdError::eio;
    case Status::busy: return SdError::again;
    case Status::shutting_down: return SdError::shutdown;
    case Status::not_supported: return SdError::no_support;
    case Status::read_only: return SdError::read_only;
  }
  return SdError::unknown;
}

// --- Requests

std::string encode_request(const RequestHeader& header, const SdRequest& request, std::string_view data) {
  std::string out;
  Writer writer(out);
  bincode::encode(header, writer);
  std::visit(
      [&]<typename T>(const T& body) {
        if constexpr (std::is_same_v<T, Unsupported>)
          writer.u32(body.variant);
        else
          writer.u32(T::number);
        bincode::encode(body, writer);
        if constexpr (carries_data<const T>) {
          out.reserve(out.size() + 8 + total_size(body.data) + data.size());
          writer.u64(total_size(body.data) + data.size());
          for (const Slice& slice : body.data) writer.bytes(slice.bytes());
          writer.raw(data);
        }
      },
      request);
  return out;
}

std::string frame(std::string_view body) {
  std::string out;
  out.reserve(4 + body.size());
  BigEndianWriter(out).u32(static_cast<std::uint32_t>(body.size()));
  out.append(body);
  return out;
}

namespace {

// Calls f with a value-initialised request of this variant number; false if there is none.
template <typename F, std::size_t... I>
bool with_variant(std::uint32_t number, F&& f, std::index_sequence<I...>) {
  return ((std::variant_alternative_t<I, SdRequest>::number == number &&
           (f(std::variant_alternative_t<I, SdRequest>{}), true)) ||
          ...);
}
template <typename F>
bool with_variant(std::uint32_t number, F&& f) {
  if (number == Unsupported::number) return false;
  return with_variant(number, std::forward<F>(f), std::make_index_sequence<std::variant_size_v<SdRequest>>{});
}

}  // namespace

HeadPlan plan_head(std::span<const std::byte> so_far, std::size_t body_size) {
  using Kind = HeadPlan::Kind;
  SD_ASSERT(so_far.size() >= min_body, "a head is planned when its variant is known");
  Reader in(so_far);
  in.bytes(header_size);
  const std::uint32_t number = in.u32();
  HeadPlan plan;
  const bool known = with_variant(number, [&]<typename T>(T) {
    if constexpr (carries_data<T>) {
      std::size_t name = 0;
      std::size_t size = min_body;
      if constexpr (std::is_same_v<T, VdiWrite>) {
        size += 8;
        if (size > body_size) {
          plan = {Kind::malformed, 0};
          return;
        }
        if (so_far.size() < size) {
          plan = {Kind::need, size};
          return;
        }
        const std::uint64_t claimed = in.u64();
        if (claimed > bincode::max_string) {
          plan = {Kind::malformed, 0};
          return;
        }
        name = static_cast<std::size_t>(claimed);
        size += name + 8 + 1;
      } else if constexpr (std::is_same_v<T, CreateAndWriteObj>) {
        size += 8 + 8 + 1 + 1 + 4;
      } else {
        static_assert(std::is_same_v<T, WriteObj>);
        size += 8 + 4;
      }
      size += 8;  // the length of the data
      if (size > body_size) {
        plan = {Kind::malformed, 0};
        return;
      }
      if (so_far.size() < size) {
        plan = {Kind::need, size};
        return;
      }
      Reader length(so_far.subspan(size - 8, 8));
      if (length.u64() != body_size - size) {
        plan = {Kind::malformed, 0};
        return;
      }
      plan = {Kind::data, size};
    } else {
      if (body_size > max_plain_body)
        plan = {Kind::malformed, 0};
      else
        plan = {so_far.size() < body_size ? Kind::need : Kind::whole, body_size};
    }
  });
  if (!known) return {Kind::unsupported, min_body};
  return plan;
}

RequestHeader decode_header(std::span<const std::byte> head) {
  Reader in(head);
  RequestHeader header;
  bincode::decode(in, header);
  SD_ASSERT(!in.failed(), "a head holds a header");
  return header;
}

std::optional<DecodedRequest> decode_request(std::span<const std::byte> head, Payload data) {
  Reader in(head);
  DecodedRequest result;
  bincode::decode(in, result.header);
  const std::uint32_t number = in.u32();
  if (in.failed()) return std::nullopt;
  const bool known = with_variant(number, [&]<typename T>(T body) {
    bincode::decode(in, body);
    if constexpr (carries_data<T>) {
      if (in.u64() != total_size(data)) in.fail();
      body.data = std::move(data);
    }
    result.request = std::move(body);
  });
  if (!known) {
    result.request = Unsupported{number};
    return result;
  }
  if (!in.complete()) return std::nullopt;
  return result;
}

// --- Responses

namespace {

void encode_node(const SdNode& node, Writer& out) {
  if (node.address.is_v4()) {
    out.u32(0);
    out.bytes(std::as_bytes(std::span(node.address.address)).subspan(12));
  } else {
    out.u32(1);
    out.bytes(std::as_bytes(std::span(node.address.address)));
  }
  out.u16(node.address.port);
  out.u8(0);   // no io_addr
  out.u16(0);  // io_port
  out.u16(node.nr_vnodes);
  out.u32(node.zone);
  out.u64(node.space);
  bincode::encode(node.disks, out);
}

std::array<std::uint8_t, 16> decode_ip(Reader& in) {
  std::array<std::uint8_t, 16> address{};
  const auto kind = in.u32();
  if (kind > 1) in.fail();
  const auto bytes = in.bytes(kind == 0 ? 4 : 16);
  if (bytes.size() == 4) {
    address[10] = address[11] = 0xff;
    std::memcpy(address.data() + 12, bytes.data(), 4);
  } else if (bytes.size() == 16) {
    std::memcpy(address.data(), bytes.data(), 16);
  }
  return address;
}

SdNode decode_node(Reader& in) {
  SdNode node;
  node.address.address = decode_ip(in);
  node.address.port = in.u16();
  if (in.boolean()) decode_ip(in);
  in.u16();
  node.nr_vnodes = in.u16();
  node.zone = in.u32();
  node.space = in.u64();
  bincode::decode(in, node.disks);
  return node;
}

void encode_nodes(const std::vector<SdNode>& nodes, Writer& out) {
  out.u64(nodes.size());
  for (const SdNode& node : nodes) encode_node(node, out);
}

std::vector<SdNode> decode_nodes(Reader& in) {
  std::vector<SdNode> nodes;
  const auto count = in.u64();
  if (count > bincode::max_elements || count > in.remaining()) in.fail();
  for (std::uint64_t i = 0; i < count && !in.failed(); ++i) nodes.push_back(decode_node(in));
  return nodes;
}

void encode_response_start(std::uint8_t proto_ver, std::uint32_t epoch, std::uint32_t id, std::uint32_t variant,
                           Writer& out) {
  out.u8(proto_ver);
  out.u32(epoch);
  out.u32(id);
  out.u32(variant);
}

}  // namespace

std::string encode_data_head(std::uint8_t proto_ver, std::uint32_t epoch, std::uint32_t id, std::uint64_t size) {
  std::string out;
  Writer writer(out);
  encode_response_start(proto_ver, epoch, id, 1, writer);
  writer.u64(size);
  return out;
}

std::string encode_response(const SdResponse& response) {
  std::string out;
  Writer writer(out);
  const auto index = static_cast<std::uint32_t>(response.result.index());
  const bool failure = std::holds_alternative<Failure>(response.result);
  encode_response_start(response.proto_ver, response.epoch, response.id, failure ? failure_variant : index, writer);
  std::visit(
      [&]<typename T>(const T& result) {
        if constexpr (std::is_same_v<T, Data>) {
          writer.u64(result.bytes.size());
          writer.raw(result.bytes);
        } else if constexpr (std::is_same_v<T, Error>) {
          bincode::encode(result.error, writer);
        } else if constexpr (std::is_same_v<T, Hash>) {
          bincode::encode(result.digest, writer);
        } else if constexpr (std::is_same_v<T, NodeList>) {
          encode_nodes(result.nodes, writer);
        } else if constexpr (!std::is_same_v<T, Success>) {
          bincode::encode(result, writer);
        }
      },
      response.result);
  return out;
}

std::optional<SdResponse> decode_response(std::string_view body) {
  Reader in(body);
  SdResponse response;
  response.proto_ver = in.u8();
  response.epoch = in.u32();
  response.id = in.u32();
  const auto decoded = [&]<typename T>(T value) {
    bincode::decode(in, value);
    response.result = std::move(value);
  };
  switch (in.u32()) {
    case 0: response.result = Success{}; break;
    case 1: {
      const auto size = in.u64();
      if (size > in.remaining()) return std::nullopt;
      const auto bytes = in.bytes(static_cast<std::size_t>(size));
      response.result = Data{{reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
      break;
    }
    case 2: {
      Error error;
      bincode::decode(in, error.error);
      response.result = error;
      break;
    }
    case 3: decoded(Obj{}); break;
    case 4: decoded(VdiId{}); break;
    case 5: decoded(NodeInfo{}); break;
    case 6: {
      Hash hash;
      bincode::decode(in, hash.digest);
      response.result = hash;
      break;
    }
    case 7: response.result = NodeList{decode_nodes(in)}; break;
    case failure_variant: decoded(Failure{}); break;
    default: return std::nullopt;
  }
  if (!in.complete()) return std::nullopt;
  return response;
}

// --- Contents of Data

std::string encode(const ReferenceClusterInfo& info) {
  std::string out;
  Writer writer(out);
  writer.u8(info.proto_ver);
  writer.boolean(info.disable_recovery);
  writer.u32(info.epoch);
  writer.u64(info.ctime);
  writer.u16(info.flags);
  writer.u8(info.nr_copies);
  writer.u8(info.copy_policy);
  bincode::encode(info.status, writer);
  bincode::encode(info.default_store, writer);
  encode_nodes(info.nodes, writer);
  return out;
}

std::optional<ReferenceClusterInfo> decode_cluster_info(std::string_view bytes) {
  Reader in(bytes);
  ReferenceClusterInfo info;
  info.proto_ver = in.u8();
  info.disable_recovery = in.boolean();
  info.epoch = in.u32();
  info.ctime = in.u64();
  info.flags = in.u16();
  info.nr_copies = in.u8();
  info.copy_policy = in.u8();
  bincode::decode(in, info.status);
  bincode::decode(in, info.default_store);
  info.nodes = decode_nodes(in);
  if (!in.complete()) return std::nullopt;
  return info;
}

std::string encode(const ReferenceInode& inode) {
  SD_ASSERT(inode.mapped <= max_inline_objects, "an inode maps what the reference's can");
  std::string out;
  Writer writer(out);
  bincode::encode(inode.name, writer);
  bincode::encode(inode.tag, writer);
  for (const std::uint64_t field :
       {inode.create_time, inode.snap_ctime, inode.vm_clock_nsec, inode.vdi_size, inode.vm_state_size})
    writer.u64(field);
  for (const std::uint8_t field : {inode.copy_policy, inode.store_policy, inode.nr_copies, inode.block_size_shift})
    writer.u8(field);
  for (const std::uint32_t field : {inode.snap_id, inode.vdi_id, inode.parent_vdi_id, inode.btree_counter})
    writer.u32(field);
  writer.u64(inode.mapped);
  out.reserve(out.size() + static_cast<std::size_t>(inode.mapped) * 4 + 8);
  for (std::uint64_t i = 0; i < inode.mapped; ++i) writer.u32(inode.vdi_id);
  writer.u64(0);
  return out;
}

std::string vdi_bitmap(std::span<const Vid> in_use) {
  std::string bits((max_vid + 1) / 8, '\0');
  for (const Vid vid : in_use)
    bits[vid / 8] = static_cast<char>(static_cast<std::uint8_t>(bits[vid / 8]) | 1u << vid % 8);
  return bits;
}

void VdiCheckReport::add(const VdiCheckReport& step) {
  *this += step;
  next = step.next;
  end = step.end;
}

}  // namespace sd::client
