// The client protocol (port 7000): what travels in a frame, as values, and the codec between the two. Pure.
//
// A frame is a 4-byte big-endian length and a body. A request's body is RequestHeader, a u32 variant number, the
// variant's fields; a response's is SdResponse; all in bincode (see bincode.hpp). Variants 0-67 are those of
// sheepdog-rs v0.10.0, so its clients work; those from 1000 up are this project's own, and their senders say proto_ver
// 0x10 in the header (and may be answered with Failure).
//
// The data of a write is always the last field. It is kept out of the head, so that a receiver can put it into buffers
// of its own.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/ids.hpp"
#include "core/base/limits.hpp"
#include "core/base/payload.hpp"
#include "core/base/status.hpp"
#include "core/client/bincode.hpp"
#include "core/volume/check.hpp"

namespace sd::client {

inline constexpr std::uint8_t reference_version = 0x02;  // of the reference's clients
inline constexpr std::uint8_t own_version = 0x10;        // of this project's
inline constexpr std::uint32_t first_own_variant = 1000;
inline constexpr std::size_t max_plain_body = 16u << 10;  // of a request without data: two strings and some numbers
inline constexpr std::size_t max_io = limits::max_nbd_payload;  // bytes that one VdiRead or VdiWrite moves at most
inline constexpr std::size_t max_listed_vdis = 4096;            // per answer to VdiList
// in MakeFs::flags, own version only: format again, which drops every VDI
inline constexpr std::uint16_t format_force = 0x8000;

static_assert(max_plain_body > 2 * bincode::max_string + 64);
static_assert(max_io + max_plain_body < limits::max_client_frame);

enum class SdError : std::uint32_t {
  unknown,
  no_obj,
  eio,
  vdi_exist,
  invalid_parms,
  system_error,
  vdi_locked,
  no_vdi,
  no_base_vdi,
  vdi_read,
  vdi_write,
  base_vdi_read,
  base_vdi_write,
  no_tag,
  startup,
  vdi_not_locked,
  shutdown,
  no_mem,
  full_vdi,
  ver_mismatch,
  no_space,
  wait_for_format,
  wait_for_join,
  join_failed,
  halt,
  read_only,
  incomplete,
  collecting_cinfo,
  inode_invalidated,
  old_node_ver,
  new_node_ver,
  not_formatted,
  invalid_ctime,
  invalid_epoch,
  network_error,
  no_cache,
  buffer_small,
  force_recover,
  no_store,
  no_support,
  node_in_recovery,
  killed,
  oid_exist,
  again,
  stale_obj,
  cluster_error,
  vdi_not_empty,
  not_found,
  count_
};
std::string_view to_string(SdError error);  // a lowercase phrase
SdError to_error(Status status);            // status is not ok

struct RequestHeader {
  std::uint8_t proto_ver = own_version;
  std::uint32_t epoch = 0;
  std::uint32_t id = 0;
  static void fields(auto& s, auto&& f) { f(s.proto_ver, s.epoch, s.id); }
  friend bool operator==(const RequestHeader&, const RequestHeader&) = default;
};
inline constexpr std::size_t header_size = 9;
inline constexpr std::size_t min_body = header_size + 4;

// --- Requests

template <std::uint32_t Number>
struct Plain {
  static constexpr std::uint32_t number = Number;
  static void fields(auto&, auto&&) {}
};

struct CreateAndWriteObj {
  static constexpr std::uint32_t number = 0;
  std::uint64_t oid = 0, cow_oid = 0;
  std::uint8_t copies = 0, copy_policy = 0;
  std::uint32_t offset = 0;
  Payload data;
  static void fields(auto& s, auto&& f) { f(s.oid, s.cow_oid, s.copies, s.copy_policy, s.offset); }
};
struct ReadObj {
  static constexpr std::uint32_t number = 1;
  std::uint64_t oid = 0;
  std::uint32_t offset = 0, length = 0;  // length 0: to the end of the object
  static void fields(auto& s, auto&& f) { f(s.oid, s.offset, s.length); }
};
struct WriteObj {
  static constexpr std::uint32_t number = 2;
  std::uint64_t oid = 0;
  std::uint32_t offset = 0;
  Payload data;
  static void fields(auto& s, auto&& f) { f(s.oid, s.offset); }
};
struct RemoveObj {
  static constexpr std::uint32_t number = 3;
  std::uint64_t oid = 0;
  static void fields(auto& s, auto&& f) { f(s.oid); }
};
struct DiscardObj {
  static constexpr std::uint32_t number = 4;
  std::uint64_t oid = 0;
  std::uint32_t offset = 0, length = 0;
  static void fields(auto& s, auto&& f) { f(s.oid, s.offset, s.length); }
};
struct NewVdi {
  static constexpr std::uint32_t number = 5;
  std::string name;
  std::uint64_t vdi_size = 0;
  std::uint32_t base_vid = 0;
  std::uint8_t copies = 0, copy_policy = 0, store_policy = 0;
  std::uint32_t snap_id = 0, vdi_type = 0;
  static void fields(auto& s, auto&& f) {
    f(s.name, s.vdi_size, s.base_vid, s.copies, s.copy_policy, s.store_policy, s.snap_id, s.vdi_type);
  }
};
struct LockVdi {
  static constexpr std::uint32_t number = 6;
  std::string name;
  std::uint32_t lock_type = 0;  // 0 exclusive, else shared
  static void fields(auto& s, auto&& f) { f(s.name, s.lock_type); }
};
struct ReleaseVdi {
  static constexpr std::uint32_t number = 7;
  std::string name;
  static void fields(auto& s, auto&& f) { f(s.name); }
};
struct GetVdiInfo {
  static constexpr std::uint32_t number = 8;
  std::string name, tag;
  std::uint32_t snap_id = 0;
  static void fields(auto& s, auto&& f) { f(s.name, s.tag, s.snap_id); }
};
using ReadVdis = Plain<9>;
struct FlushVdi {
  static constexpr std::uint32_t number = 10;
  std::uint32_t vid = 0;
  static void fields(auto& s, auto&& f) { f(s.vid); }
};
struct DelVdi {
  static constexpr std::uint32_t number = 11;
  std::string name;
  std::uint32_t snap_id = 0;
  static void fields(auto& s, auto&& f) { f(s.name, s.snap_id); }
};
using GetNodeList = Plain<12>;
struct MakeFs {
  static constexpr std::uint32_t number = 13;
  std::uint8_t copies = 0, copy_policy = 0;
  std::uint16_t flags = 0;
  std::string store;
  static void fields(auto& s, auto&& f) { f(s.copies, s.copy_policy, s.flags, s.store); }
};
using ShutdownCluster = Plain<14>;
using StatSheep = Plain<15>;
using StatCluster = Plain<16>;
using GetStoreList = Plain<17>;
struct Snapshot {
  static constexpr std::uint32_t number = 18;
  std::string name, tag;
  static void fields(auto& s, auto&& f) { f(s.name, s.tag); }
};
using Cleanup = Plain<19>;
using KillNode = Plain<20>;
using GetClusterInfo = Plain<21>;
struct AlterClusterCopy {
  static constexpr std::uint32_t number = 22;
  std::uint8_t copies = 0, copy_policy = 0;
  static void fields(auto& s, auto&& f) { f(s.copies, s.copy_policy); }
};
struct AlterVdiCopy {
  static constexpr std::uint32_t number = 23;
  std::uint32_t vid = 0;
  std::uint8_t copies = 0, copy_policy = 0;
  static void fields(auto& s, auto&& f) { f(s.vid, s.copies, s.copy_policy); }
};
using EnableRecover = Plain<35>;
using DisableRecover = Plain<36>;
struct CompleteRecovery {
  static constexpr std::uint32_t number = 37;
  std::uint32_t epoch = 0;
  static void fields(auto& s, auto&& f) { f(s.epoch); }
};
using GetRecovery = Plain<38>;
struct SetRecovery {
  static constexpr std::uint32_t number = 39;
  std::uint32_t max_exec_count = 0;
  std::uint64_t queue_work_interval = 0;
  bool throttling = false;
  static void fields(auto& s, auto&& f) { f(s.max_exec_count, s.queue_work_interval, s.throttling); }
};
struct FlushDelCache {
  static constexpr std::uint32_t number = 40;
  std::uint32_t vid = 0;
  static void fields(auto& s, auto&& f) { f(s.vid); }
};
struct DeleteCache {
  static constexpr std::uint32_t number = 41;
  std::uint32_t vid = 0;
  static void fields(auto& s, auto&& f) { f(s.vid); }
};
using GetCacheInfo = Plain<42>;
using CachePurge = Plain<43>;
using MdInfo = Plain<44>;
struct MdPlug {
  static constexpr std::uint32_t number = 45;
  std::string path;
  static void fields(auto& s, auto&& f) { f(s.path); }
};
struct MdUnplug {
  static constexpr std::uint32_t number = 46;
  std::string path;
  static void fields(auto& s, auto&& f) { f(s.path); }
};
using Reweight = Plain<47>;
using GetLogLevel = Plain<48>;
struct SetLogLevel {
  static constexpr std::uint32_t number = 49;
  std::uint32_t level = 0;
  static void fields(auto& s, auto&& f) { f(s.level); }
};
using Stat = Plain<50>;

using ClusterStatus = Plain<1000>;  // -> Data(ClusterReport)
struct VdiList {                    // -> Data(VdiPage)
  static constexpr std::uint32_t number = 1001;
  std::uint32_t first_vid = 0;  // only VDIs from this number on
  std::string name;             // only this one, unless empty
  static void fields(auto& s, auto&& f) { f(s.first_vid, s.name); }
};
struct VdiRead {  // -> Data(the bytes)
  static constexpr std::uint32_t number = 1002;
  std::string name;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  static void fields(auto& s, auto&& f) { f(s.name, s.offset, s.length); }
};
struct VdiWrite {  // -> Success
  static constexpr std::uint32_t number = 1003;
  std::string name;
  std::uint64_t offset = 0;
  bool fua = false;  // durable before the answer
  Payload data;
  static void fields(auto& s, auto&& f) { f(s.name, s.offset, s.fua); }
};
struct VdiFlush {  // -> Success
  static constexpr std::uint32_t number = 1004;
  std::string name;
  static void fields(auto& s, auto&& f) { f(s.name); }
};
using NodeDetail = Plain<1005>;    // -> Data(NodeReport)
using ClusterCheck = Plain<1006>;  // -> Data(CheckReport)
struct VdiCreate {                 // -> Vdi
  static constexpr std::uint32_t number = 1007;
  std::string name;
  std::uint64_t size = 0;
  std::uint8_t copies = 0;  // 0: the cluster's
  static void fields(auto& s, auto&& f) { f(s.name, s.size, s.copies); }
};
struct VdiDelete {  // -> Success
  static constexpr std::uint32_t number = 1008;
  std::string name;
  static void fields(auto& s, auto&& f) { f(s.name); }
};
struct VdiDiscard {  // -> Success; the range reads as zeros afterwards
  static constexpr std::uint32_t number = 1009;
  std::string name;
  std::uint64_t offset = 0, length = 0;
  static void fields(auto& s, auto&& f) { f(s.name, s.offset, s.length); }
};
// -> Success; it only grows, and connections that are open keep the size they were told
struct VdiResize {
  static constexpr std::uint32_t number = 1010;
  std::string name;
  std::uint64_t size = 0;
  static void fields(auto& s, auto&& f) { f(s.name, s.size); }
};

struct NodeDrain {  // -> Success
  static constexpr std::uint32_t number = 1020;
  std::uint64_t id = 0;
  bool on = false;
  static void fields(auto& s, auto&& f) { f(s.id, s.on); }
};
struct GraceTime {  // -> Success
  static constexpr std::uint32_t number = 1021;
  std::uint32_t milliseconds = 0;
  static void fields(auto& s, auto&& f) { f(s.milliseconds); }
};
struct RecoverForce {  // -> Success
  static constexpr std::uint32_t number = 1022;
  // the majority of the voters is lost too: this node alone goes on, under a new cluster log
  bool new_configuration = false;
  static void fields(auto& s, auto&& f) { f(s.new_configuration); }
};
using NodeRecovery = Plain<1030>;  // -> Data(RecoveryReport)
struct SetThrottle {               // -> Success; of every node
  static constexpr std::uint32_t number = 1031;
  std::uint64_t busy = 0, idle = 0;  // bytes per second while clients work, and while they do not; 0: no limit
  static void fields(auto& s, auto&& f) { f(s.busy, s.idle); }
};
// -> Data(VdiCheckReport): reads every copy, repairs what is wrong, and says from where to go on
struct VdiCheck {
  static constexpr std::uint32_t number = 1040;
  std::string name;
  std::uint64_t first = 0;  // data object to begin with
  static void fields(auto& s, auto&& f) { f(s.name, s.first); }
};

// A variant that this daemon does not take from clients: internal ones of the reference, and unknown ones. Its fields
// were not read.
struct Unsupported {
  static constexpr std::uint32_t number = UINT32_MAX;
  std::uint32_t variant = 0;
  static void fields(auto&, auto&&) {}
};

using SdRequest =
    std::variant<Unsupported, CreateAndWriteObj, ReadObj, WriteObj, RemoveObj, DiscardObj, NewVdi, LockVdi, ReleaseVdi,
                 GetVdiInfo, ReadVdis, FlushVdi, DelVdi, GetNodeList, MakeFs, ShutdownCluster, StatSheep, StatCluster,
                 GetStoreList, Snapshot, Cleanup, KillNode, GetClusterInfo, AlterClusterCopy, AlterVdiCopy,
                 EnableRecover, DisableRecover, CompleteRecovery, GetRecovery, SetRecovery, FlushDelCache, DeleteCache,
                 GetCacheInfo, CachePurge, MdInfo, MdPlug, MdUnplug, Reweight, GetLogLevel, SetLogLevel, Stat,
                 ClusterStatus, VdiList, VdiRead, VdiWrite, VdiFlush, NodeDetail, ClusterCheck, VdiCreate, VdiDelete,
                 VdiDiscard, VdiResize, NodeDrain, GraceTime, RecoverForce, NodeRecovery, SetThrottle, VdiCheck>;

template <typename T>
inline constexpr bool carries_data = requires(T& request) { request.data; };

// The body of a request (without the frame's length). The data of a write is its payload followed by `data`.
std::string encode_request(const RequestHeader& header, const SdRequest& request, std::string_view data = {});
// Four bytes of length, then the body.
std::string frame(std::string_view body);

// What the first bytes of a request's body tell about how to receive the rest.
struct HeadPlan {
  enum class Kind : std::uint8_t {
    need,         // look again when `size` bytes are there
    whole,        // no data: the head is the whole body
    data,         // the head is `size` bytes, all that follows is data
    unsupported,  // skip the rest and answer no_support
    malformed,    // skip the rest and answer invalid_parms
  } kind = Kind::need;
  std::size_t size = 0;  // of the head, at most max_plain_body
};
// `so_far` holds at least min_body bytes of a body of `body_size` bytes.
HeadPlan plan_head(std::span<const std::byte> so_far, std::size_t body_size);

struct DecodedRequest {
  RequestHeader header;
  SdRequest request;
};
// `head` is what plan_head asked for; `data` what followed it. Nothing if malformed.
std::optional<DecodedRequest> decode_request(std::span<const std::byte> head, Payload data = {});
// The header alone; `head` holds at least header_size bytes.
RequestHeader decode_header(std::span<const std::byte> head);

// --- Responses

struct DiskInfo {
  std::uint64_t disk_id = 0, disk_space = 0;
  static void fields(auto& s, auto&& f) { f(s.disk_id, s.disk_space); }
  friend bool operator==(const DiskInfo&, const DiskInfo&) = default;
};
struct SdNode {
  Endpoint address;  // with no separate address for data
  std::uint16_t nr_vnodes = 0;
  std::uint32_t zone = 0;
  std::uint64_t space = 0;
  std::vector<DiskInfo> disks;
  friend bool operator==(const SdNode&, const SdNode&) = default;
};

struct Success {
  friend bool operator==(const Success&, const Success&) = default;
};
struct Data {
  std::string bytes;
  friend bool operator==(const Data&, const Data&) = default;
};
struct Error {
  SdError error = SdError::unknown;
  friend bool operator==(const Error&, const Error&) = default;
};
struct Obj {
  std::uint8_t copies = 0;
  std::uint64_t offset = 0;
  static void fields(auto& s, auto&& f) { f(s.copies, s.offset); }
  friend bool operator==(const Obj&, const Obj&) = default;
};
struct VdiId {
  std::uint32_t vdi_id = 0, attr_id = 0;
  std::uint8_t copies = 0;
  static void fields(auto& s, auto&& f) { f(s.vdi_id, s.attr_id, s.copies); }
  friend bool operator==(const VdiId&, const VdiId&) = default;
};
struct NodeInfo {
  std::uint32_t nr_nodes = 0;
  std::uint64_t store_size = 0, store_free = 0;
  static void fields(auto& s, auto&& f) { f(s.nr_nodes, s.store_size, s.store_free); }
  friend bool operator==(const NodeInfo&, const NodeInfo&) = default;
};
struct Hash {
  std::array<std::uint8_t, 20> digest{};
  friend bool operator==(const Hash&, const Hash&) = default;
};
struct NodeList {
  std::vector<SdNode> nodes;
  friend bool operator==(const NodeList&, const NodeList&) = default;
};
// Own version only (variant 1000): an error with words for the person who reads it.
struct Failure {
  SdError error = SdError::unknown;
  std::string message;
  static void fields(auto& s, auto&& f) { f(s.error, s.message); }
  friend bool operator==(const Failure&, const Failure&) = default;
};
using ResponseResult = std::variant<Success, Data, Error, Obj, VdiId, NodeInfo, Hash, NodeList, Failure>;
inline constexpr std::uint32_t failure_variant = 1000;

struct SdResponse {
  std::uint8_t proto_ver = own_version;
  std::uint32_t epoch = 0;
  std::uint32_t id = 0;
  ResponseResult result;
};

std::string encode_response(const SdResponse& response);  // the body
// The body up to and without the bytes of a Data result of `size` bytes, for a sender that has them in slices.
std::string encode_data_head(std::uint8_t proto_ver, std::uint32_t epoch, std::uint32_t id, std::uint64_t size);
std::optional<SdResponse> decode_response(std::string_view body);

// --- What Data holds for the reference's variants

// StatCluster, ClusterInfo.
struct ReferenceClusterInfo {
  enum class State : std::uint32_t { ok, wait_for_format, wait_for_join, shutdown, killed, count_ };
  std::uint8_t proto_ver = 0x09;
  bool disable_recovery = false;
  std::uint32_t epoch = 0;
  std::uint64_t ctime = 0;  // not kept here: 0
  std::uint16_t flags = 0;
  std::uint8_t nr_copies = 0, copy_policy = 0;
  State status = State::ok;
  std::string default_store;
  std::vector<SdNode> nodes;
};
std::string encode(const ReferenceClusterInfo& info);
std::optional<ReferenceClusterInfo> decode_cluster_info(std::string_view bytes);

// ReadObj of an inode. Every entry of the map names the VDI itself: unwritten objects read as zeros.
struct ReferenceInode {
  struct Gref {
    std::uint32_t generation = 0, count = 0;
    static void fields(auto& s, auto&& f) { f(s.generation, s.count); }
  };
  std::string name, tag;
  std::uint64_t create_time = 0, snap_ctime = 0, vm_clock_nsec = 0, vdi_size = 0, vm_state_size = 0;
  std::uint8_t copy_policy = 0, store_policy = 0, nr_copies = 0, block_size_shift = 22;
  std::uint32_t snap_id = 1, vdi_id = 0, parent_vdi_id = 0, btree_counter = 0;
  std::uint64_t mapped = 0;  // entries of data_vdi_id, each holding vdi_id; followed by an empty gref
};
inline constexpr std::uint64_t max_inline_objects = 1u << 20;  // the reference's inode maps no more
std::string encode(const ReferenceInode& inode);

// ReadVdis: one bit for each of 2^24 vids, vid v in byte v / 8 under the mask 1 << v % 8. The reference's daemon fills
// its bitmap from the other end of each byte, but its clients (and the original C sheepdog) read it this way.
std::string vdi_bitmap(std::span<const Vid> in_use);

// --- What Data holds for this project's variants

struct NodeEntry {
  std::uint64_t id = 0, incarnation = 0;
  std::string address;  // of the client port
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;  // 0: a gateway
  bool up = false, leader = false;
  bool placed = false;                     // its share of the data is kept for it, also while it is down
  bool draining = false, drained = false;  // its data is to move away; all of it is elsewhere
  bool witness = false, voter = false;     // votes and does nothing else; has a vote in the cluster log
  bool awaited = false;                    // it is down, and may hold what no other node has
  static void fields(auto& s, auto&& f) {
    f(s.id, s.incarnation, s.address, s.zone, s.vnodes, s.up, s.leader, s.placed, s.draining, s.drained, s.witness,
      s.voter, s.awaited);
  }
};
struct ClusterReport {
  bool formatted = false, shut_down = false;
  std::uint64_t uuid = 0;
  std::uint8_t copies = 0;
  std::uint32_t epoch = 0, clean_epoch = 0;  // equal: every object is redundant
  std::uint64_t vdis = 0, vdi_bytes = 0;
  std::uint64_t node = 0, leader = 0, term = 0;  // who answers; 0: no leader known
  bool serving = false;
  std::string trouble;  // why the answering node does not serve
  std::vector<NodeEntry> nodes;
  std::uint32_t grace_ms = 0;  // how long a node that is down keeps its share of the data
  // addresses: voters, if there is no leader; else nodes that may hold what no other has
  std::vector<std::string> waits_for;
  static void fields(auto& s, auto&& f) {
    f(s.formatted, s.shut_down, s.uuid, s.copies, s.epoch, s.clean_epoch, s.vdis, s.vdi_bytes, s.node, s.leader, s.term,
      s.serving, s.trouble, s.nodes, s.grace_ms, s.waits_for);
  }
};
struct VdiEntry {
  std::uint32_t vid = 0;
  std::string name;
  std::uint64_t size = 0;
  std::uint8_t copies = 0;
  std::uint64_t owner = 0;    // node id; 0: not in use
  std::string owner_address;  // empty if nobody or unknown
  bool deleting = false;
  static void fields(auto& s, auto&& f) { f(s.vid, s.name, s.size, s.copies, s.owner, s.owner_address, s.deleting); }
};
struct VdiPage {
  std::vector<VdiEntry> vdis;  // by vid
  std::uint32_t next_vid = 0;  // ask again from here; 0: that was all
  static void fields(auto& s, auto&& f) { f(s.vdis, s.next_vid); }
};
struct NodeReport {
  std::uint64_t id = 0, incarnation = 0;
  std::string address;
  std::uint32_t zone = 0;
  std::uint16_t vnodes = 0;
  bool open = false, member = false, has_lease = false, serving = false, leader = false;
  std::uint64_t leader_id = 0, term = 0, commit_index = 0, applied_index = 0, last_index = 0;
  std::uint32_t epoch = 0;
  std::uint64_t objects = 0, journal_used = 0, dirty_bytes = 0, space_free = 0, space_total = 0;
  std::uint32_t nbd_connections = 0, client_connections = 0, peer_links = 0;
  std::uint64_t reads = 0, writes = 0, flushes = 0, read_bytes = 0, write_bytes = 0, buffers = 0;
  std::string trouble;
  bool witness = false, voter = false;
  std::vector<std::string> waits_for;  // as in ClusterReport
  static void fields(auto& s, auto&& f) {
    f(s.id, s.incarnation, s.address, s.zone, s.vnodes, s.open, s.member, s.has_lease, s.serving, s.leader, s.leader_id,
      s.term, s.commit_index, s.applied_index, s.last_index, s.epoch, s.objects, s.journal_used, s.dirty_bytes,
      s.space_free, s.space_total, s.nbd_connections, s.client_connections, s.peer_links, s.reads, s.writes, s.flushes,
      s.read_bytes, s.write_bytes, s.buffers, s.trouble, s.witness, s.voter, s.waits_for);
  }
};
struct RecoveryReport {  // see RecoveryStatus
  std::uint64_t id = 0;
  std::uint32_t epoch = 0, clean_epoch = 0;
  bool enabled = true, sweeping = false, collected = false, busy = false;
  std::uint64_t found = 0, open = 0, at = 0, end = 0;
  std::uint64_t pulls = 0, pulled_objects = 0, pulled_bytes = 0, repaired_blocks = 0, lost_blocks = 0;
  std::uint64_t removed = 0, leftovers = 0, orphans = 0, kept = 0;
  std::uint64_t scrub_passes = 0, scrubbed_objects = 0, scrubbed_bytes = 0, scrub_left = 0, unreadable_objects = 0;
  std::uint64_t rate_busy = 0, rate_idle = 0;
  static void fields(auto& s, auto&& f) {
    f(s.id, s.epoch, s.clean_epoch, s.enabled, s.sweeping, s.collected, s.busy, s.found, s.open, s.at, s.end, s.pulls,
      s.pulled_objects, s.pulled_bytes, s.repaired_blocks, s.lost_blocks, s.removed, s.leftovers, s.orphans, s.kept,
      s.scrub_passes, s.scrubbed_objects, s.scrubbed_bytes, s.scrub_left, s.unreadable_objects, s.rate_busy,
      s.rate_idle);
  }
};
struct VdiCheckReport : CheckCounts {    // of one step
  std::uint64_t next = 0, end = 0;       // data objects: go on from here, up to there
  void add(const VdiCheckReport& step);  // the one that follows
  bool gets_on_from(std::uint64_t first) const { return next > first || next >= end; }
  // nothing that was met is still as it should not be
  bool good() const { return lost == 0 && absent == 0 && unchecked == 0; }
  static void fields(auto& s, auto&& f) {
    f(s.next, s.end);
    CheckCounts::fields(s, f);
  }
};
enum class Severity : std::uint32_t { note, warning, error, count_ };
struct Finding {
  Severity severity = Severity::note;
  std::string text;  // what is wrong and what to do
  static void fields(auto& s, auto&& f) { f(s.severity, s.text); }
};
struct CheckReport {
  std::vector<Finding> findings;  // the worst first; none: all is well
  static void fields(auto& s, auto&& f) { f(s.findings); }
};

}  // namespace sd::client
