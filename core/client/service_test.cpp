#include "core/client/service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/client/fake_backend.hpp"
#include "core/volume/check.hpp"

namespace sd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t mb = 1u << 20;

class ServiceTest : public ::testing::Test {
 protected:
  explicit ServiceTest(std::size_t memory = Service::max_open_bytes) : service(pool, memory) {}
  void SetUp() override { service.open(1); }
  void TearDown() override {
    service.check_invariants();
    service.on_closed(1, backend, effects);
    service.on_closed(2, backend, effects);
  }

  // As many bytes as the session takes, at most `step` at a time. Returns how many it took.
  std::size_t send(std::string_view bytes, StreamId stream = 1, std::size_t step = SIZE_MAX) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const auto buffer = service.receive_buffer(stream);
      if (buffer.empty()) break;
      const std::size_t n = std::min({buffer.size(), bytes.size() - sent, step});
      std::memcpy(buffer.data(), bytes.data() + sent, n);
      service.on_received(0, stream, n, backend, effects);
      service.check_invariants();
      sent += n;
    }
    return sent;
  }

  std::string sent_back(StreamId stream = 1) {
    std::string out;
    OutQueue& queue = *service.output(stream);
    queue.peek(SIZE_MAX, [&](std::span<const std::byte> bytes) {
      out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    });
    queue.consume(queue.size());
    return out;
  }

  std::vector<SdResponse> responses(StreamId stream = 1) {
    const std::string bytes = sent_back(stream);
    std::vector<SdResponse> result;
    std::string_view rest = bytes;
    while (!rest.empty()) {
      BigEndianReader in(rest);
      const auto size = in.u32();
      auto response = decode_response(rest.substr(4, size));
      EXPECT_TRUE(response);
      if (!response) break;
      result.push_back(std::move(*response));
      rest.remove_prefix(4 + size);
    }
    return result;
  }

  ResponseResult ask(const SdRequest& request, std::uint8_t version = own_version, std::string_view data = {}) {
    const std::string bytes = frame(encode_request({version, 0, ++id}, request, data));
    EXPECT_EQ(send(bytes), bytes.size());
    while (!backend.proposed.empty() || !backend.requested.empty()) backend.work(service, effects);
    service.check_invariants();
    auto answers = responses();
    EXPECT_EQ(answers.size(), 1u);
    if (answers.empty()) return Error{};
    EXPECT_EQ(answers[0].id, id);
    EXPECT_EQ(answers[0].proto_ver, version);
    return answers[0].result;
  }
  SdError error_of(const SdRequest& request, std::uint8_t version = own_version, std::string_view data = {}) {
    const auto result = ask(request, version, data);
    if (const auto* failure = std::get_if<Failure>(&result)) {
      EXPECT_EQ(version, own_version);
      EXPECT_FALSE(failure->message.empty());
      return failure->error;
    }
    if (const auto* error = std::get_if<Error>(&result)) {
      EXPECT_EQ(version, reference_version);
      return error->error;
    }
    ADD_FAILURE() << "no error";
    return SdError::count_;
  }
  std::string data_of(const SdRequest& request, std::uint8_t version = own_version) {
    const auto result = ask(request, version);
    const auto* data = std::get_if<Data>(&result);
    EXPECT_TRUE(data) << result.index();
    return data ? data->bytes : std::string();
  }

  void format(std::uint32_t nodes = 3) {
    for (std::uint32_t i = 1; i <= nodes; ++i) backend.join(i, i);
    ASSERT_EQ(ask(MakeFs{static_cast<std::uint8_t>(std::min(nodes, 3u)), 0, 0, "plain"}, reference_version),
              ResponseResult(Success{}));
  }
  Vid create(const std::string& name, std::uint64_t size) {
    const auto result = ask(VdiCreate{name, size, 0});
    const auto* vdi = std::get_if<VdiId>(&result);
    EXPECT_TRUE(vdi);
    return vdi ? vdi->vdi_id : 0;
  }

  BufferPool pool;
  FakeBackend backend{pool};
  Service service;
  ServiceEffects effects;
  std::uint32_t id = 0;
};

// What was answered by another node a moment ago is known here, or is found out first.
TEST_F(ServiceTest, ARequestThatNamesADiskWaitsUntilTheNodeKnowsWhatThereIs) {
  format();
  backend.current = false;
  const auto request = frame(encode_request({own_version, 0, 7}, GetVdiInfo{"a", "", 0}));
  send(request);
  EXPECT_TRUE(service.waits());
  EXPECT_TRUE(service.receive_buffer(1).empty());
  EXPECT_THAT(responses(), IsEmpty());
  backend.apply(cluster::CreateVdi{"a", mb, 0});
  service.look_again(milliseconds(1), effects);
  EXPECT_THAT(responses(), IsEmpty());
  backend.current = true;
  effects = {};
  service.look_again(milliseconds(1), effects);
  EXPECT_FALSE(service.waits());
  EXPECT_THAT(effects.resume, ElementsAre(1));
  const auto answers = responses();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<VdiId>(answers[0].result));
}

TEST_F(ServiceTest, ANodeThatCannotFindOutListsWhatItKnowsAndChangesNothing) {
  format();
  create("a", mb);
  backend.current = false;
  const auto ask_late = [&](const SdRequest& request) {
    const auto bytes = frame(encode_request({own_version, 0, 7}, request));
    send(bytes);
    service.look_again(Service::doubt_patience, effects);
    EXPECT_TRUE(backend.proposed.empty());
    const auto answers = responses();
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? ResponseResult{} : answers[0].result;
  };
  EXPECT_TRUE(std::holds_alternative<Data>(ask_late(VdiList{})));
  EXPECT_TRUE(std::holds_alternative<Failure>(ask_late(VdiDelete{"a"})));
  EXPECT_TRUE(std::holds_alternative<Failure>(ask_late(VdiCreate{"b", mb, 0})));
  EXPECT_FALSE(service.waits());
}

// It may ask another node, which carries it out; then what it asked for here would happen a second time, and late.
TEST_F(ServiceTest, WhatAClientThatIsGoneAskedForIsNotRepeated) {
  format();
  send(frame(encode_request({own_version, 0, 7}, VdiCreate{"a", mb, 0})));
  ASSERT_EQ(backend.proposed.size(), 1u);
  service.on_closed(1, backend, effects);
  EXPECT_TRUE(backend.proposed.empty());
}

TEST_F(ServiceTest, AClientMayLeaveWhileTheNodeFindsOut) {
  format();
  backend.current = false;
  const auto request = frame(encode_request({own_version, 0, 7}, VdiList{}));
  send(request);
  service.on_closed(1, backend, effects);
  EXPECT_FALSE(service.waits());
  service.check_invariants();
}

TEST_F(ServiceTest, NothingButQueriesAndFormatWorksBeforeTheFormat) {
  backend.join(1, 1);
  EXPECT_EQ(error_of(ReadVdis{}, reference_version), SdError::wait_for_format);
  EXPECT_EQ(error_of(VdiCreate{"a", mb, 0}), SdError::wait_for_format);
  EXPECT_EQ(error_of(VdiRead{"a", 0, 1}), SdError::wait_for_format);
  const auto info = decode_cluster_info(data_of(StatCluster{}, reference_version));
  ASSERT_TRUE(info);
  EXPECT_EQ(info->status, ReferenceClusterInfo::State::wait_for_format);
  EXPECT_EQ(ask(MakeFs{1, 0, 0, ""}), ResponseResult(Success{}));
  EXPECT_EQ(decode_cluster_info(data_of(StatCluster{}, reference_version))->status, ReferenceClusterInfo::State::ok);
}

// A node that was part of a formatted cluster, and has met no other since it started.
TEST_F(ServiceTest, ANodeWithoutALeaderSaysNeitherThatThereIsNoFormatNorThatThereAreNoDisks) {
  backend.status_.leader_id = 0;
  EXPECT_EQ(error_of(VdiCreate{"a", mb, 0}), SdError::again);
  EXPECT_EQ(error_of(VdiList{}), SdError::again);
  const auto report = bincode::from_bytes<CheckReport>(data_of(ClusterCheck{}));
  ASSERT_TRUE(report);
  for (const Finding& finding : report->findings)
    EXPECT_EQ(finding.text.find("format"), std::string::npos) << finding.text;
  EXPECT_FALSE(report->findings.empty());
}

TEST_F(ServiceTest, FormatRefusesWhatTheNodesCannotHold) {
  EXPECT_EQ(error_of(MakeFs{1, 0, 0, ""}), SdError::halt);
  backend.join(1, 7);
  backend.join(2, 7);
  EXPECT_EQ(error_of(MakeFs{2, 0, 0, ""}), SdError::halt);
  EXPECT_EQ(error_of(MakeFs{1, 0x21, 0, ""}), SdError::no_support);
  EXPECT_EQ(error_of(MakeFs{1, 0, 1, ""}), SdError::no_support);
  EXPECT_EQ(error_of(MakeFs{1, 0, 0, "tree"}), SdError::no_store);
  EXPECT_FALSE(backend.state().formatted);
}

TEST_F(ServiceTest, FormattingAgainNeedsForceAndAClientThatKnowsOfIt) {
  format();
  create("a", mb);
  EXPECT_EQ(error_of(MakeFs{1, 0, 0, ""}), SdError::invalid_parms);
  EXPECT_EQ(error_of(MakeFs{1, 0, format_force, ""}, reference_version), SdError::invalid_parms);
  EXPECT_EQ(ask(MakeFs{1, 0, format_force, ""}), ResponseResult(Success{}));
  EXPECT_EQ(error_of(VdiRead{"a", 0, 1}), SdError::no_vdi);
}

TEST_F(ServiceTest, DisksAreCreatedFoundAndDeleted) {
  format();
  NewVdi request;
  request.name = "disk";
  request.vdi_size = 20 * mb;
  request.copies = 2;
  const auto created = ask(request, reference_version);
  ASSERT_TRUE(std::holds_alternative<VdiId>(created));
  const VdiId vdi = std::get<VdiId>(created);
  EXPECT_EQ(vdi.copies, 2);
  EXPECT_EQ(vdi.vdi_id, first_vid_for("disk"));
  EXPECT_EQ(error_of(request, reference_version), SdError::vdi_exist);
  EXPECT_EQ(ask(GetVdiInfo{"disk", "", 0}, reference_version), ResponseResult(vdi));
  EXPECT_EQ(error_of(GetVdiInfo{"disk", "tag", 0}, reference_version), SdError::no_tag);
  EXPECT_EQ(data_of(ReadVdis{}, reference_version), vdi_bitmap(std::vector<Vid>{vdi.vdi_id}));
  EXPECT_EQ(error_of(DelVdi{"disk", 5}, reference_version), SdError::no_tag);
  EXPECT_EQ(ask(DelVdi{"disk", 0}, reference_version), ResponseResult(Success{}));
  EXPECT_EQ(error_of(GetVdiInfo{"disk", "", 0}, reference_version), SdError::no_vdi);
  EXPECT_EQ(data_of(ReadVdis{}, reference_version), vdi_bitmap({}));
}

TEST_F(ServiceTest, BadNamesAndSizesAreRefused) {
  format();
  for (const std::string& name :
       {std::string(), std::string(256, 'a'), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f"),
        std::string("a@b"), std::string("\xc2\x9b"), std::string("a\xe2\x80\xae")})
    EXPECT_EQ(error_of(VdiCreate{name, mb, 0}), SdError::invalid_parms) << name;
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, mb + 1, limits::max_vdi_size + 512, UINT64_MAX})
    EXPECT_EQ(error_of(VdiCreate{"a", size, 0}), SdError::invalid_parms) << size;
  EXPECT_EQ(error_of(VdiCreate{"a", mb, 32}), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiCreate{"a", mb, 4}), SdError::halt);
  EXPECT_TRUE(backend.state().vdis.empty());
  create(std::string(255, 'a'), limits::max_vdi_size);
}

TEST_F(ServiceTest, ClientsOfTheReferenceThatAlwaysAskForThreeCopiesGetWhatThereIs) {
  format(1);
  NewVdi request;
  request.name = "disk";
  request.vdi_size = mb;
  request.copies = 3;
  const auto created = ask(request, reference_version);
  ASSERT_TRUE(std::holds_alternative<VdiId>(created));
  EXPECT_EQ(std::get<VdiId>(created).copies, 1);
}

TEST_F(ServiceTest, WhatIsWrittenByNameIsReadBack) {
  format();
  create("a", 8 * mb);
  EXPECT_EQ(ask(VdiWrite{"a", 4 * mb - 2, true, {}}, own_version, "abcd"), ResponseResult(Success{}));
  EXPECT_EQ(backend.done.back().kind, IoRequest::Kind::write);
  EXPECT_TRUE(backend.done.back().fua);
  EXPECT_EQ(data_of(VdiRead{"a", 4 * mb - 3, 6}), std::string("\0abcd\0", 6));
  EXPECT_EQ(ask(VdiFlush{"a"}), ResponseResult(Success{}));
  EXPECT_EQ(backend.done.back().kind, IoRequest::Kind::flush);
  EXPECT_EQ(error_of(VdiRead{"a", 8 * mb, 1}), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiRead{"a", UINT64_MAX, 2}), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiRead{"a", 0, UINT32_MAX}), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiWrite{"a", 8 * mb - 1, false, {}}, own_version, "xy"), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiWrite{"b", 0, false, {}}, own_version, "xy"), SdError::no_vdi);
  EXPECT_EQ(data_of(VdiRead{"a", 8 * mb, 0}), "");
}

TEST_F(ServiceTest, ObjectsAreWindowsOnTheDisk) {
  format();
  const Vid vid = create("a", 6 * mb);
  const auto object = [&](std::uint32_t index) { return Oid::data(vid, index).value; };
  EXPECT_EQ(ask(WriteObj{object(1), 10, {}}, reference_version, "xyz"), ResponseResult(Obj{3, 10}));
  EXPECT_EQ(data_of(VdiRead{"a", 4 * mb + 10, 3}), "xyz");
  CreateAndWriteObj create_and_write;
  create_and_write.oid = object(0);
  EXPECT_EQ(ask(create_and_write, reference_version, "q"), ResponseResult(Obj{3, 0}));
  EXPECT_EQ(data_of(ReadObj{object(1), 9, 4}, reference_version), std::string("\0xyz", 4));
  EXPECT_EQ(data_of(ReadObj{object(1), 0, 0}, reference_version).size(), 4 * mb) << "also behind the end of the disk";
  EXPECT_EQ(data_of(ReadObj{object(1), 3 * mb, 16}, reference_version), std::string(16, '\0'));
  EXPECT_EQ(error_of(ReadObj{object(2), 0, 1}, reference_version), SdError::no_obj);
  EXPECT_EQ(error_of(ReadObj{object(0), 4 * mb, 1}, reference_version), SdError::invalid_parms);
  EXPECT_EQ(error_of(WriteObj{object(0), 4 * mb - 1, {}}, reference_version, "xy"), SdError::invalid_parms);
  EXPECT_EQ(error_of(WriteObj{object(1), 2 * mb - 1, {}}, reference_version, "xy"), SdError::invalid_parms);
  EXPECT_EQ(error_of(ReadObj{Oid::data(vid + 1, 0).value, 0, 1}, reference_version), SdError::no_vdi);
  EXPECT_EQ(ask(DiscardObj{object(1), 11, 1}, reference_version), ResponseResult(Obj{3, 11}));
  EXPECT_EQ(data_of(ReadObj{object(1), 10, 3}, reference_version), std::string("x\0z", 3));
  EXPECT_EQ(ask(RemoveObj{object(1)}, reference_version), ResponseResult(Success{}));
  EXPECT_EQ(backend.done.back().length, 2 * mb);
  EXPECT_EQ(data_of(ReadObj{object(1), 10, 3}, reference_version), std::string(3, '\0'));
  create_and_write.cow_oid = 1;
  EXPECT_EQ(error_of(create_and_write, reference_version, "q"), SdError::no_support);
}

TEST_F(ServiceTest, InodesAreMadeFromTheState) {
  format();
  const Vid vid = create("a", 6 * mb);
  ReferenceInode inode;
  inode.name = "a";
  inode.vdi_size = 6 * mb;
  inode.nr_copies = 3;
  inode.vdi_id = vid;
  inode.mapped = 2;
  EXPECT_EQ(data_of(ReadObj{Oid::inode(vid).value, 0, 0}, reference_version), encode(inode));
  EXPECT_EQ(data_of(ReadObj{Oid::inode(vid).value, 8, 1}, reference_version), "a");
  EXPECT_EQ(error_of(WriteObj{Oid::inode(vid).value, 0, {}}, reference_version, "x"), SdError::read_only);
  EXPECT_EQ(error_of(ReadObj{Oid::vmstate_bit, 0, 1}, reference_version), SdError::no_obj);
}

TEST_F(ServiceTest, LocksExcludeUntilReleased) {
  format();
  create("a", mb);
  EXPECT_TRUE(std::holds_alternative<VdiId>(ask(LockVdi{"a", 0}, reference_version)));
  EXPECT_EQ(error_of(LockVdi{"a", 0}, reference_version), SdError::vdi_locked);
  EXPECT_EQ(error_of(LockVdi{"a", 1}, reference_version), SdError::vdi_locked);
  EXPECT_EQ(ask(ReleaseVdi{"a"}, reference_version), ResponseResult(Success{}));
  EXPECT_TRUE(std::holds_alternative<VdiId>(ask(LockVdi{"a", 1}, reference_version)));
  EXPECT_TRUE(std::holds_alternative<VdiId>(ask(LockVdi{"a", 1}, reference_version)));
  EXPECT_EQ(ask(VdiDelete{"a"}), ResponseResult(Success{}));
  create("a", mb);
  EXPECT_TRUE(std::holds_alternative<VdiId>(ask(LockVdi{"a", 0}, reference_version))) << "a new disk is not locked";
}

TEST_F(ServiceTest, AVdiOnlyGrows) {
  format();
  const Vid vid = create("a", 4 * mb);
  EXPECT_EQ(error_of(VdiRead{"a", 4 * mb, 512}), SdError::invalid_parms);
  EXPECT_EQ(ask(VdiResize{"a", 6 * mb}), ResponseResult(Success{}));
  EXPECT_EQ(backend.state().find(vid)->size, 6 * mb);
  EXPECT_TRUE(std::holds_alternative<Data>(ask(VdiRead{"a", 4 * mb, 512})));
  EXPECT_EQ(ask(VdiResize{"a", 6 * mb}), ResponseResult(Success{})) << "asked for again, it is done";
  for (const std::uint64_t size : {std::uint64_t{0}, 4 * mb, 6 * mb + 1, limits::max_vdi_size + 512})
    EXPECT_EQ(error_of(VdiResize{"a", size}), SdError::invalid_parms) << size;
  EXPECT_EQ(error_of(VdiResize{"b", 8 * mb}), SdError::no_vdi);
  EXPECT_EQ(backend.state().find(vid)->size, 6 * mb);
}

TEST_F(ServiceTest, ALongDiscardIsDoneInStepsAndAnsweredOnce) {
  format();
  create("a", 200 * mb);
  EXPECT_EQ(ask(VdiDiscard{"a", mb, 150 * mb}), ResponseResult(Success{}));
  ASSERT_EQ(backend.done.size(), 3u);
  std::uint64_t next = mb;
  for (const IoRequest& step : backend.done) {
    EXPECT_EQ(step.kind, IoRequest::Kind::zero);
    EXPECT_EQ(step.offset, next);
    next += step.length;
  }
  EXPECT_EQ(next, 151 * mb);
}

TEST_F(ServiceTest, FailuresOfTheBackendReachTheClient) {
  format();
  const Vid vid = create("a", mb);
  backend.refuse_with = Status::unavailable;
  backend.status_.serving = false;
  backend.status_.trouble = "no lease";
  const auto result = ask(VdiRead{"a", 0, 512});
  ASSERT_TRUE(std::holds_alternative<Failure>(result));
  EXPECT_EQ(std::get<Failure>(result).error, SdError::again);
  EXPECT_THAT(std::get<Failure>(result).message, HasSubstr("no lease"));
  backend.refuse_with = Status::no_space;
  EXPECT_EQ(error_of(WriteObj{Oid::data(vid, 0).value, 0, {}}, reference_version, "x"), SdError::no_space);
  backend.refuse_with = Status::unavailable;
  EXPECT_EQ(error_of(VdiDelete{"a"}), SdError::again);
  backend.busy = true;
  EXPECT_EQ(error_of(VdiDelete{"a"}), SdError::again);
  EXPECT_EQ(error_of(VdiRead{"a", 0, 512}), SdError::again);
}

TEST_F(ServiceTest, AShutClusterAnswersQueriesOnly) {
  format();
  create("a", mb);
  EXPECT_EQ(ask(ShutdownCluster{}, reference_version), ResponseResult(Success{}));
  EXPECT_EQ(error_of(VdiRead{"a", 0, 512}), SdError::shutdown);
  EXPECT_EQ(error_of(VdiCreate{"b", mb, 0}), SdError::shutdown);
  const auto report = bincode::from_bytes<ClusterReport>(data_of(ClusterStatus{}));
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->shut_down);
}

TEST_F(ServiceTest, OwnRequestsNeedTheOwnVersion) {
  EXPECT_EQ(error_of(ClusterStatus{}, reference_version), SdError::no_support);
  const std::string bytes = frame(encode_request({own_version + 1, 0, 1}, StatSheep{}));
  send(bytes);
  const auto answers = responses();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(std::get<Failure>(answers[0].result).error, SdError::ver_mismatch);
}

TEST_F(ServiceTest, WhatIsMissingIsRefusedNotIgnored) {
  format();
  const std::vector<SdRequest> missing = {
      Snapshot{"a", "t"}, KillNode{}, AlterClusterCopy{2, 0}, AlterVdiCopy{1, 2, 0}, MdPlug{"/x"},
      MdUnplug{"/x"},     Reweight{}, SetLogLevel{7},         Unsupported{24},       Unsupported{65}};
  for (const auto& request : missing)
    EXPECT_EQ(error_of(request, reference_version), SdError::no_support) << request.index();
}

TEST_F(ServiceTest, QueriesOfTheReferenceAreAnswered) {
  format();
  backend.apply(cluster::Remove{3, 1, false});
  EXPECT_EQ(ask(StatSheep{}, reference_version), ResponseResult(NodeInfo{2, 1000, 600}));
  EXPECT_EQ(ask(Stat{}, reference_version), ResponseResult(NodeInfo{2, 1000, 600}));
  const auto nodes = ask(GetNodeList{}, reference_version);
  ASSERT_TRUE(std::holds_alternative<NodeList>(nodes));
  ASSERT_EQ(std::get<NodeList>(nodes).nodes.size(), 2u);
  EXPECT_EQ(std::get<NodeList>(nodes).nodes[1].address, Endpoint::v4(10, 0, 0, 2, 7000));
  EXPECT_EQ(bincode::from_bytes<std::vector<std::string>>(data_of(GetStoreList{}, reference_version)),
            std::vector<std::string>{"plain"});
  EXPECT_EQ(bincode::from_bytes<std::uint32_t>(data_of(GetRecovery{}, reference_version)), backend.state().epoch());
  EXPECT_EQ(data_of(GetCacheInfo{}, reference_version), "");
  for (const SdRequest& request : {SdRequest(EnableRecover{}), SdRequest(FlushDelCache{1}), SdRequest(DeleteCache{1}),
                                   SdRequest(CachePurge{}), SdRequest(Cleanup{})})
    EXPECT_EQ(ask(request, reference_version), ResponseResult(Success{}));
}

TEST_F(ServiceTest, ACheckGoesToTheOwnerInStepsAndItsCountsComeBack) {
  format();
  const Vid vid = create("v", 10 * limits::object_size);
  const auto untouched = bincode::from_bytes<VdiCheckReport>(data_of(VdiCheck{"v", 0}));
  ASSERT_TRUE(untouched);
  EXPECT_EQ(untouched->next, 10u) << "nobody ever served it";
  EXPECT_TRUE(backend.done.empty());

  backend.apply(cluster::TakeOwnership{vid, 1, 1, 0});
  CheckAnswer answer;
  answer.next = 7;
  answer.counts.copies = 12;
  answer.counts.lost = 2;
  backend.check_answer = encode(answer);
  const auto report = bincode::from_bytes<VdiCheckReport>(data_of(VdiCheck{"v", 4}));
  ASSERT_TRUE(report);
  EXPECT_EQ(report->next, 7u);
  EXPECT_EQ(report->end, 10u);
  EXPECT_EQ(report->copies, 12u);
  EXPECT_EQ(report->lost, 2u);
  ASSERT_EQ(backend.done.size(), 1u);
  EXPECT_EQ(backend.done[0].kind, IoRequest::Kind::check);
  EXPECT_EQ(backend.done[0].offset, 4u * limits::object_size);
  EXPECT_EQ(backend.done[0].length, 6u) << "objects, up to the end of the disk";

  backend.check_answer = "short";
  EXPECT_EQ(error_of(VdiCheck{"v", 0}), SdError::system_error);
  EXPECT_EQ(error_of(VdiCheck{"v", 11}), SdError::invalid_parms);
  EXPECT_EQ(error_of(VdiCheck{"other", 0}), SdError::no_vdi);
}

TEST_F(ServiceTest, RecoveryIsSwitchedAndThrottledForAll) {
  format();
  EXPECT_EQ(ask(DisableRecover{}, reference_version), ResponseResult(Success{}));
  EXPECT_TRUE(backend.state().recovery_off);
  EXPECT_EQ(ask(EnableRecover{}), ResponseResult(Success{}));
  EXPECT_FALSE(backend.state().recovery_off);
  EXPECT_EQ(ask(SetThrottle{5, 7}), ResponseResult(Success{}));
  EXPECT_EQ(backend.state().recovery_rates, (cluster::RecoveryRates{5, 7}));
  EXPECT_EQ(ask(SetRecovery{2, 500, true}, reference_version), ResponseResult(Success{}));
  EXPECT_EQ(backend.state().recovery_rates.busy, 16u << 20) << "two objects in half a second";
  EXPECT_EQ(ask(SetRecovery{2, 500, false}, reference_version), ResponseResult(Success{}));
  EXPECT_EQ(backend.state().recovery_rates.busy, 0u);
}

TEST_F(ServiceTest, ListsComeInPages) {
  format();
  for (std::uint32_t i = 0; i < max_listed_vdis + 2; ++i)
    ASSERT_EQ(backend.apply(cluster::CreateVdi{"v" + std::to_string(i), mb, 0}).status, Status::ok);
  const auto first = bincode::from_bytes<VdiPage>(data_of(VdiList{}));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->vdis.size(), max_listed_vdis);
  ASSERT_NE(first->next_vid, 0u);
  const auto second = bincode::from_bytes<VdiPage>(data_of(VdiList{first->next_vid, ""}));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->vdis.size(), 2u);
  EXPECT_EQ(second->next_vid, 0u);
  const auto one = bincode::from_bytes<VdiPage>(data_of(VdiList{0, "v7"}));
  ASSERT_TRUE(one);
  ASSERT_EQ(one->vdis.size(), 1u);
  EXPECT_EQ(one->vdis[0].name, "v7");
}

TEST_F(ServiceTest, TheCheckFindsWhatIsWrong) {
  format();
  create("a", mb);
  backend.apply(cluster::MarkClean{backend.state().epoch()});
  EXPECT_THAT(check_cluster(backend.state(), backend.status()).findings, IsEmpty());
  backend.apply(cluster::Remove{3, 1, false});
  backend.status_.leader_id = 0;
  backend.status_.serving = false;
  backend.status_.trouble = "no lease";
  backend.status_.full = true;
  std::string all;
  for (const Finding& finding : check_cluster(backend.state(), backend.status()).findings) all += finding.text + "\n";
  for (const auto* part : {"10.0.0.3:7000 is down", "no leader", "no lease", "1 VDIs want more copies",
                           "recovery is under way", "is full"})
    EXPECT_THAT(all, HasSubstr(part));
}

// --- The stream

TEST_F(ServiceTest, BytesMayComeInAnyPieces) {
  format();
  create("a", 8 * mb);
  const std::string data(200'000, 'x');
  const std::string bytes = frame(encode_request({own_version, 0, 1}, VdiWrite{"a", 0, false, {}}, data)) +
                            frame(encode_request({own_version, 0, 2}, VdiFlush{"a"})) +
                            frame(encode_request({own_version, 0, 3}, StatSheep{}));
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{70'001}}) {
    EXPECT_EQ(send(bytes, 1, step), bytes.size());
    ASSERT_EQ(backend.requested.size(), 2u);
    std::string got;
    for (const Slice& slice : backend.requested[0].second.data) got += slice.text();
    EXPECT_EQ(got, data);
    backend.work(service, effects);
    EXPECT_EQ(responses().size(), 3u);
  }
}

TEST_F(ServiceTest, SmallWritesArriveInOneAlignedSlice) {
  format();
  create("a", 8 * mb);
  send(frame(encode_request({own_version, 0, 1}, VdiWrite{"a", 0, false, {}}, std::string(65536, 'x'))));
  ASSERT_EQ(backend.requested.size(), 1u);
  ASSERT_EQ(backend.requested[0].second.data.size(), 1u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(backend.requested[0].second.data[0].data()) % 4096, 0u);
  backend.work(service, effects);
}

TEST_F(ServiceTest, MemoryFollowsTheBytesNotTheClaim) {
  const std::size_t before = pool.outstanding_bytes();
  const std::string bytes = frame(encode_request({own_version, 0, 1}, WriteObj{0, 0, {}}, std::string(32 * mb, 'x')));
  send(std::string_view(bytes).substr(0, 100));
  EXPECT_LE(pool.outstanding_bytes() - before, 64u << 10);
  send(std::string_view(bytes).substr(100, mb));
  EXPECT_LE(pool.outstanding_bytes() - before, 2 * mb + (64u << 10));
}

TEST_F(ServiceTest, MalformedAndUnknownFramesAreAnsweredAndTheNextOneIsUnderstood) {
  std::string unknown = encode_request({reference_version, 0, 1}, Unsupported{25}) + std::string(100'000, 'x');
  std::string malformed = encode_request({reference_version, 0, 2}, ReleaseVdi{"a"}) + "more";
  std::string too_long = encode_request({reference_version, 0, 3}, ReleaseVdi{"a"}) + std::string(100'000, 'x');
  std::string lying = encode_request({reference_version, 0, 4}, WriteObj{1, 0, {}}, "data") + "more";
  std::string good = encode_request({reference_version, 0, 5}, StatSheep{});
  for (const std::size_t step : {std::size_t{1}, std::size_t{1000}, SIZE_MAX}) {
    send(frame(unknown) + frame(malformed) + frame(too_long) + frame(lying) + frame(good), 1, step);
    const auto answers = responses();
    ASSERT_EQ(answers.size(), 5u);
    EXPECT_EQ(answers[0].result, ResponseResult(Error{SdError::no_support}));
    for (int i = 1; i <= 3; ++i)
      EXPECT_EQ(answers[static_cast<std::size_t>(i)].result, ResponseResult(Error{SdError::invalid_parms})) << i;
    for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(answers[i].id, i + 1);
    EXPECT_TRUE(std::holds_alternative<NodeInfo>(answers[4].result));
  }
}

TEST_F(ServiceTest, FramesThatCannotBeRequestsCloseTheConnection) {
  const std::vector<std::string> broken = {std::string(4, '\0'), std::string("\0\0\0\x0c", 4),
                                           std::string("\x04\0\0\x01", 4), "\xff\xff\xff\xff"};
  for (const std::string& bytes : broken) {
    service.open(2);
    effects = {};
    send(bytes, 2);
    EXPECT_THAT(effects.close, ElementsAre(2));
    EXPECT_TRUE(service.receive_buffer(2).empty());
    service.on_closed(2, backend, effects);
  }
}

TEST_F(ServiceTest, RequestsInFlightAreBounded) {
  format();
  create("a", mb);
  std::string bytes;
  for (std::uint32_t i = 0; i < 20; ++i) bytes += frame(encode_request({own_version, 0, i}, VdiRead{"a", 0, 512}));
  const std::size_t each = bytes.size() / 20;
  EXPECT_EQ(send(bytes), 16 * each);
  EXPECT_EQ(backend.requested.size(), 16u);
  effects = {};
  backend.work(service, effects);
  EXPECT_THAT(effects.resume, ElementsAre(1));
  EXPECT_EQ(send(std::string_view(bytes).substr(16 * each)), 4 * each);
  backend.work(service, effects);
  EXPECT_EQ(responses().size(), 20u);
}

TEST_F(ServiceTest, AClientThatDoesNotReadItsAnswersIsNotReadFrom) {
  format();
  create("a", 100 * mb);
  std::size_t taken = 0;
  const std::string bytes = frame(encode_request({own_version, 0, 1}, VdiRead{"a", 0, 32u << 20}));
  for (int i = 0; i < 10; ++i) {
    if (send(bytes) == 0) break;
    ++taken;
    backend.work(service, effects);
  }
  EXPECT_LE(taken, 3u);
  effects = {};
  EXPECT_EQ(responses().size(), taken);
  service.on_drained(1, effects);
  EXPECT_THAT(effects.resume, ElementsAre(1));
  EXPECT_EQ(send(bytes), bytes.size());
  backend.work(service, effects);
}

TEST_F(ServiceTest, ResultsForAClosedStreamGoNowhere) {
  format();
  create("a", mb);
  service.open(2);
  send(frame(encode_request({own_version, 0, 1}, VdiRead{"a", 0, 512})), 2);
  send(frame(encode_request({own_version, 0, 2}, VdiDelete{"a"})), 2);
  service.on_closed(2, backend, effects);
  service.check_invariants();
  service.open(2);  // the number is used again
  effects = {};
  backend.work(service, effects);
  EXPECT_THAT(effects.output, IsEmpty());
  EXPECT_EQ(service.output(2)->size(), 0u);
}

// --- Memory

// Many clients and little memory, driven as the real driver does it: a stream that was once given an empty buffer is
// asked again only after a resume.
class CrowdedServiceTest : public ServiceTest {
 protected:
  static constexpr std::size_t memory = 8 * mb;
  static constexpr std::uint32_t piece = mb;

  struct Client {
    std::string to_send;
    bool takes_answers = true;
    bool asked = true;  // the driver may ask for a buffer
    std::size_t answers = 0;
  };

  CrowdedServiceTest() : ServiceTest(memory) {}
  void SetUp() override {
    ServiceTest::SetUp();
    format();
    create("a", 100 * mb);
  }
  void TearDown() override {
    for (const auto& [stream, client] : clients) service.on_closed(stream, backend, effects);
    backend.work(service, effects);
    ServiceTest::TearDown();
  }

  Client& connect(StreamId stream, const std::string& bytes) {
    service.open(stream);
    Client& client = clients[stream];
    client.to_send = bytes;
    return client;
  }
  static std::string reads(std::uint32_t count, std::uint32_t length = piece) {
    std::string bytes;
    for (std::uint32_t i = 0; i < count; ++i)
      bytes += frame(encode_request({own_version, 0, i}, VdiRead{"a", 0, length}));
    return bytes;
  }
  static std::string writes(std::uint32_t count) {
    std::string bytes;
    for (std::uint32_t i = 0; i < count; ++i)
      bytes += frame(encode_request({own_version, 0, i}, VdiWrite{"a", 0, false, {}}, std::string(piece, 'x')));
    return bytes;
  }
  void close(StreamId stream) {
    service.on_closed(stream, backend, effects);
    clients.erase(stream);
  }

  void receive(StreamId stream, Client& client) {
    while (client.asked && !client.to_send.empty()) {
      const auto buffer = service.receive_buffer(stream);
      if (buffer.empty()) {
        client.asked = false;
        break;
      }
      const std::size_t n = std::min(buffer.size(), client.to_send.size());
      std::memcpy(buffer.data(), client.to_send.data(), n);
      service.on_received(now, stream, n, backend, effects);
      client.to_send.erase(0, n);
    }
  }
  // Performs one round of everything. Returns false if nothing happened.
  bool round() {
    const std::size_t before = happened();
    for (auto& [stream, client] : clients) receive(stream, client);
    backend.work(service, effects);
    most_held = std::max(most_held, pool.outstanding_bytes());
    for (auto& [stream, client] : clients) {
      if (!client.takes_answers || service.output(stream)->empty()) continue;
      client.answers += responses(stream).size();
      service.on_drained(stream, effects);
    }
    service.check_invariants();
    for (const StreamId stream : std::exchange(effects.resume, {}))
      if (clients.contains(stream)) clients[stream].asked = true;
    for (const StreamId stream : std::exchange(effects.close, {})) {
      closed.push_back(stream);
      close(stream);
    }
    return happened() != before;
  }
  std::size_t happened() const {
    std::size_t sum = backend.done.size() + closed.size();
    for (const auto& [stream, client] : clients) sum += client.answers + client.asked - client.to_send.size();
    return sum;
  }
  void run() {
    while (round()) {
    }
  }

  std::map<StreamId, Client> clients;
  std::vector<StreamId> closed;
  std::size_t most_held = 0;
  Time now = seconds(1000);
};

TEST_F(CrowdedServiceTest, EveryClientGetsAllItsAnswersHoweverManyThereAre) {
  for (StreamId stream = 10; stream < 40; ++stream) connect(stream, reads(8));
  run();
  for (const auto& [stream, client] : clients) EXPECT_EQ(client.answers, 8u) << stream;
  EXPECT_LE(most_held, memory + mb);
}

// The first ones have a head start of their share, two answers; the order within a turn is that in which they ask anew.
TEST_F(CrowdedServiceTest, ClientsTakeTurns) {
  for (StreamId stream = 10; stream < 40; ++stream) connect(stream, reads(8));
  do {
    std::size_t least = SIZE_MAX, most = 0;
    for (const auto& [stream, client] : clients) {
      least = std::min(least, client.answers);
      most = std::max(most, client.answers);
    }
    EXPECT_LE(most, least + 4);
  } while (round());
}

TEST_F(CrowdedServiceTest, WritesAndReadsShareTheMemory) {
  for (StreamId stream = 10; stream < 30; ++stream) connect(stream, stream % 2 ? reads(8) : writes(8));
  run();
  for (const auto& [stream, client] : clients) EXPECT_EQ(client.answers, 8u) << stream;
  EXPECT_LE(most_held, memory + mb);
}

TEST_F(CrowdedServiceTest, ALargeRequestIsNotStarvedBySmallOnes) {
  for (StreamId stream = 10; stream < 30; ++stream) connect(stream, reads(16, 256u << 10));
  Client& large = connect(30, reads(1, 6 * mb));
  std::size_t rounds = 0;
  while (large.answers == 0 && round()) ++rounds;
  EXPECT_EQ(large.answers, 1u);
  EXPECT_LE(rounds, 4u);
  run();
  for (StreamId stream = 10; stream < 30; ++stream) EXPECT_EQ(clients[stream].answers, 16u) << stream;
}

TEST_F(CrowdedServiceTest, ClientsThatNeverReadMakeTheProcessHoldNoMoreThanTheBudget) {
  for (StreamId stream = 10; stream < 70; ++stream) connect(stream, reads(16)).takes_answers = false;
  run();
  EXPECT_LE(most_held, memory + mb);
  EXPECT_LE(backend.done.size() * piece, memory);
  // What needs little memory is answered all the same.
  connect(70, frame(encode_request({own_version, 0, 1}, VdiFlush{"a"})) +
                  frame(encode_request({own_version, 0, 2}, VdiList{})) + reads(3, 4096));
  run();
  EXPECT_EQ(clients[70].answers, 5u);
}

TEST_F(CrowdedServiceTest, OneClientThatNeverReadsLeavesThreeQuartersToTheOthers) {
  connect(10, reads(16)).takes_answers = false;
  run();
  EXPECT_EQ(backend.done.size() * piece, memory / 4);
  for (StreamId stream = 11; stream < 20; ++stream) connect(stream, reads(4));
  run();
  for (StreamId stream = 11; stream < 20; ++stream) EXPECT_EQ(clients[stream].answers, 4u) << stream;
}

TEST_F(CrowdedServiceTest, WhoeverClosesFreesItsShareAlsoWhileItWaits) {
  for (StreamId stream = 10; stream < 20; ++stream) connect(stream, reads(4)).takes_answers = false;
  connect(20, reads(4));
  run();
  EXPECT_EQ(clients[20].answers, 0u);
  for (StreamId stream = 14; stream < 20; ++stream) close(stream);  // these wait
  run();
  EXPECT_EQ(clients[20].answers, 0u);
  close(10);  // this one holds
  run();
  EXPECT_EQ(clients[20].answers, 4u);
}

TEST_F(CrowdedServiceTest, WhatIsReadForAClientThatIsGoneCountsUntilItIsThere) {
  for (StreamId stream = 10; stream < 30; ++stream) {
    Client& client = connect(stream, reads(4));
    receive(stream, client);
    close(stream);
  }
  EXPECT_LE(backend.requested.size() * piece, memory);
  Client& waiting = connect(30, reads(4));
  receive(30, waiting);
  EXPECT_LE(backend.requested.size() * piece, memory);
  run();
  EXPECT_EQ(waiting.answers, 4u);
}

TEST_F(CrowdedServiceTest, WhoeverKeepsMemoryFromOthersAndDoesNothingLosesItsConnection) {
  for (StreamId stream = 10; stream < 14; ++stream) connect(stream, reads(4)).takes_answers = false;
  run();
  now += 2 * Service::patience;
  service.on_time(now, effects);
  run();
  EXPECT_THAT(closed, IsEmpty()) << "nobody minds";
  connect(20, reads(4));
  for (Time passed = 0; passed < Service::patience; passed += seconds(1)) {
    run();
    EXPECT_EQ(clients[20].answers, 0u);
    EXPECT_THAT(closed, IsEmpty());
    OutQueue& slow = *service.output(10);
    slow.consume(std::min<std::size_t>(slow.size(), Service::least_progress / 5));
    now += seconds(1);
    service.on_time(now, effects);
  }
  run();
  EXPECT_THAT(closed, ElementsAre(11, 12, 13)) << "the first one is slow, but takes its answers";
  EXPECT_EQ(clients[20].answers, 4u);
}

TEST_F(CrowdedServiceTest, AClientThatWaitsForItselfAloneMayTakeItsTime) {
  connect(10, reads(8)).takes_answers = false;
  run();
  for (int i = 0; i < 100; ++i) {
    now += seconds(1);
    service.on_time(now, effects);
    run();
  }
  EXPECT_THAT(closed, IsEmpty());
  clients[10].takes_answers = true;
  run();
  EXPECT_EQ(clients[10].answers, 8u);
}

TEST_F(CrowdedServiceTest, AWriteThatNeverEndsLosesItsConnectionWhenOthersWait) {
  for (StreamId stream = 10; stream < 14; ++stream) connect(stream, writes(1).substr(0, 1000));
  for (StreamId stream = 14; stream < 18; ++stream) connect(stream, writes(1).substr(0, 1000));
  connect(20, reads(1));
  for (int i = 0; i < 40 && clients[20].answers == 0; ++i) {
    run();
    now += seconds(1);
    service.on_time(now, effects);
  }
  EXPECT_EQ(clients[20].answers, 1u);
  EXPECT_EQ(closed.size(), 8u);
}

}  // namespace
}  // namespace sd::client
