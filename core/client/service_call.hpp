// One request at work: what each variant means. Part of Service, kept apart from its bookkeeping.
#pragma once
#include "core/client/service.hpp"

namespace sd::client {

struct Service::Call {
  // a long discard is done in steps, so that nothing waits long behind it
  static constexpr std::uint64_t zero_step = 64u << 20;

  Service& service;
  Backend& backend;
  ServiceEffects& effects;
  Session& session;
  StreamId stream;
  Session::Slot slot;
  RequestHeader header;

  void run(Session::Request& request);

  // The reference's variants.
  void on(Unsupported& request);
  void on(CreateAndWriteObj& request);
  void on(ReadObj& request);
  void on(WriteObj& request);
  void on(RemoveObj& request);
  void on(DiscardObj& request);
  void on(NewVdi& request);
  void on(LockVdi& request);
  void on(ReleaseVdi& request);
  void on(GetVdiInfo& request);
  void on(ReadVdis& request);
  void on(FlushVdi& request);
  void on(DelVdi& request);
  void on(GetNodeList& request);
  void on(MakeFs& request);
  void on(ShutdownCluster& request);
  void on(StatSheep& request);
  void on(StatCluster& request);
  void on(GetStoreList& request);
  void on(Snapshot& request);
  void on(Cleanup& request);
  void on(KillNode& request);
  void on(GetClusterInfo& request);
  void on(AlterClusterCopy& request);
  void on(AlterVdiCopy& request);
  void on(EnableRecover& request);
  void on(DisableRecover& request);
  void on(CompleteRecovery& request);
  void on(GetRecovery& request);
  void on(SetRecovery& request);
  void on(FlushDelCache& request);
  void on(DeleteCache& request);
  void on(GetCacheInfo& request);
  void on(CachePurge& request);
  void on(MdInfo& request);
  void on(MdPlug& request);
  void on(MdUnplug& request);
  void on(Reweight& request);
  void on(GetLogLevel& request);
  void on(SetLogLevel& request);
  void on(Stat& request);
  // This project's.
  void on(ClusterStatus& request);
  void on(VdiList& request);
  void on(VdiRead& request);
  void on(VdiWrite& request);
  void on(VdiFlush& request);
  void on(NodeDetail& request);
  void on(ClusterCheck& request);
  void on(VdiCreate& request);
  void on(VdiDelete& request);
  void on(VdiDiscard& request);
  void on(VdiResize& request);
  void on(NodeDrain& request);
  void on(GraceTime& request);
  void on(RecoverForce& request);
  void on(NodeRecovery& request);
  void on(SetThrottle& request);
  void on(VdiCheck& request);
  void switch_recovery(bool enabled);
  void set_throttle(cluster::RecoveryRates rates);

  void done(const ResponseResult& result) { service.answer(stream, slot, result, effects); }
  void fail(SdError error, const std::string& message) { service.fail(stream, slot, error, message, effects); }
  void unsupported(const char* what);
  bool own() const { return header.proto_ver >= own_version; }

  // These answer with an error and say false or nullptr.
  bool usable();  // formatted and not shut down
  const cluster::Vdi* live(Vid vid);
  const cluster::Vdi* live(const std::string& name);
  bool named_well(const std::string& name);
  bool sized_well(std::uint64_t size);
  bool in_range(const cluster::Vdi& vdi, std::uint64_t offset, std::uint64_t length);
  bool live_version(const std::string& tag, std::uint32_t snap_id);  // not a snapshot

  void propose(cluster::CommandBody body, Waiting waiting);
  void io(IoRequest request, Waiting waiting);
  void write_object(std::uint64_t oid, std::uint32_t offset, Payload data);
  void zero_object(std::uint64_t oid, std::uint32_t offset, std::uint32_t length, Waiting waiting);
  void read_inode(Oid oid, std::uint32_t offset, std::uint32_t length);
  void create(const std::string& name, std::uint64_t size, std::uint8_t copies);
  void remove(const std::string& name);
};

}  // namespace sd::client
