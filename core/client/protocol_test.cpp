#include "core/client/protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace sd::client {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out.push_back(static_cast<char>(value));
  return out;
}

std::span<const std::byte> view(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// Decodes a whole body as a session would: the head as planned, the rest as data.
std::optional<DecodedRequest> decode_whole(std::string_view body, BufferPool& pool) {
  if (body.size() < min_body) return std::nullopt;
  std::size_t have = min_body;
  while (true) {
    const HeadPlan plan = plan_head(view(body.substr(0, have)), body.size());
    switch (plan.kind) {
      case HeadPlan::Kind::need:
        if (plan.size <= have || plan.size > body.size()) {
          ADD_FAILURE() << "asks for " << plan.size << " bytes with " << have << " of " << body.size() << " there";
          return std::nullopt;
        }
        have = plan.size;
        break;
      case HeadPlan::Kind::whole: return decode_request(view(body));
      case HeadPlan::Kind::data: {
        Payload data;
        if (plan.size < body.size()) data.push_back(pool.copy_of(body.substr(plan.size)));
        return decode_request(view(body.substr(0, plan.size)), std::move(data));
      }
      case HeadPlan::Kind::unsupported: return decode_request(view(body.substr(0, have)));
      case HeadPlan::Kind::malformed: return std::nullopt;
    }
  }
}

// A value for every field, none of them its default.
struct Fill {
  std::uint64_t next = 3;
  void operator()(bool& v) { v = true; }
  template <WireInteger T>
  void operator()(T& v) {
    v = static_cast<T>(next += 0x0101010101010107ull);
  }
  void operator()(std::string& v) { v = "näme" + std::to_string(next += 1); }
};

template <std::size_t I = 0>
void for_each_request(BufferPool& pool, auto&& f) {
  if constexpr (I < std::variant_size_v<SdRequest>) {
    using T = std::variant_alternative_t<I, SdRequest>;
    T request{};
    Fill fill;
    T::fields(request, [&](auto&... field) { (fill(field), ...); });
    if constexpr (carries_data<T>) request.data = {pool.copy_of("some "), pool.copy_of("data")};
    if constexpr (!std::is_same_v<T, Unsupported>) f(SdRequest(std::move(request)));
    for_each_request<I + 1>(pool, f);
  }
}

TEST(ClientProtocol, RequestsHaveTheReferencesBytes) {
  const RequestHeader header{0x02, 7, 0x01020304};
  const std::string start = bytes({2, 7, 0, 0, 0, 4, 3, 2, 1});
  EXPECT_EQ(encode_request(header, ReadVdis{}), start + bytes({9, 0, 0, 0}));
  EXPECT_EQ(encode_request(header, ReadObj{0x80000000000000aaull, 0x100, 0x200}),
            start + bytes({1, 0, 0, 0, 0xaa, 0, 0, 0, 0, 0, 0, 0x80, 0, 1, 0, 0, 0, 2, 0, 0}));
  NewVdi create;
  create.name = "ab";
  create.vdi_size = 1ull << 32;
  create.base_vid = 1;
  create.copies = 3;
  create.copy_policy = 4;
  create.store_policy = 5;
  create.snap_id = 6;
  create.vdi_type = 7;
  EXPECT_EQ(encode_request(header, create), start + bytes({5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 0, 0, 0, 0, 1,
                                                           0, 0, 0, 1, 0, 0, 0, 3, 4, 5, 6, 0, 0,   0,   7, 0, 0, 0}));
  EXPECT_EQ(encode_request(header, WriteObj{0x1100000002ull, 9, {}}, "xyz"),
            start + bytes({2, 0, 0, 0, 2, 0, 0, 0, 0x11, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 'x', 'y', 'z'}));
  EXPECT_EQ(encode_request(header, SetRecovery{1, 2, true}),
            start + bytes({39, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(encode_request(header, MakeFs{2, 0, 0x0102, "p"}),
            start + bytes({13, 0, 0, 0, 2, 0, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 'p'}));
}

TEST(ClientProtocol, ResponsesHaveTheReferencesBytes) {
  const auto body = [](ResponseResult result) { return encode_response({0x02, 7, 8, std::move(result)}); };
  const std::string start = bytes({2, 7, 0, 0, 0, 8, 0, 0, 0});
  EXPECT_EQ(body(Success{}), start + bytes({0, 0, 0, 0}));
  EXPECT_EQ(body(Data{"hi"}), start + bytes({1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'h', 'i'}));
  EXPECT_EQ(encode_data_head(0x02, 7, 8, 2) + "hi", body(Data{"hi"}));
  EXPECT_EQ(body(Error{SdError::no_vdi}), start + bytes({2, 0, 0, 0, 7, 0, 0, 0}));
  EXPECT_EQ(body(Obj{3, 0x10}), start + bytes({3, 0, 0, 0, 3, 0x10, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(body(VdiId{0xab, 0, 2}), start + bytes({4, 0, 0, 0, 0xab, 0, 0, 0, 0, 0, 0, 0, 2}));
  EXPECT_EQ(body(NodeInfo{1, 2, 3}),
            start + bytes({5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}));
  const SdNode node{Endpoint::v4(10, 0, 0, 1, 7000), 128, 5, 6, {}};
  EXPECT_EQ(body(NodeList{{node}}),
            start + bytes({7, 0,   0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 0x58, 0x1b, 0, 0,
                           0, 128, 0, 5, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0,    0,    0}));
}

TEST(ClientProtocol, ErrorNumbersAreTheReferences) {
  EXPECT_EQ(static_cast<int>(SdError::eio), 2);
  EXPECT_EQ(static_cast<int>(SdError::shutdown), 16);
  EXPECT_EQ(static_cast<int>(SdError::no_space), 20);
  EXPECT_EQ(static_cast<int>(SdError::halt), 24);
  EXPECT_EQ(static_cast<int>(SdError::not_formatted), 31);
  EXPECT_EQ(static_cast<int>(SdError::no_support), 39);
  EXPECT_EQ(static_cast<int>(SdError::again), 43);
  EXPECT_EQ(static_cast<int>(SdError::not_found), 47);
}

TEST(ClientProtocol, EveryRequestComesBackAsItWas) {
  BufferPool pool;
  std::size_t count = 0;
  for_each_request(pool, [&](const SdRequest& request) {
    ++count;
    const std::string body = encode_request({own_version, 1, 2}, request);
    const auto decoded = decode_whole(body, pool);
    ASSERT_TRUE(decoded) << request.index();
    EXPECT_EQ(decoded->header, (RequestHeader{own_version, 1, 2}));
    EXPECT_EQ(decoded->request.index(), request.index());
    EXPECT_EQ(encode_request(decoded->header, decoded->request), body);
  });
  EXPECT_EQ(count, std::variant_size_v<SdRequest> - 1);
}

TEST(ClientProtocol, NoRequestSurvivesBeingCutOrExtended) {
  BufferPool pool;
  for_each_request(pool, [&](const SdRequest& request) {
    const std::string body = encode_request({own_version, 1, 2}, request);
    for (std::size_t size = min_body; size < body.size(); ++size)
      EXPECT_FALSE(decode_whole(body.substr(0, size), pool)) << request.index();
    EXPECT_FALSE(decode_whole(body + '\0', pool)) << request.index();
  });
}

TEST(ClientProtocol, UnknownAndInternalVariantsAreToldApartFromMalformedOnes) {
  BufferPool pool;
  for (const std::uint32_t number : {24u, 34u, 51u, 67u, 68u, 999u, 1019u, UINT32_MAX}) {
    std::string body = bytes({2, 0, 0, 0, 0, 0, 0, 0, 0});
    Writer(body).u32(number);
    const auto decoded = decode_whole(body + "whatever follows", pool);
    ASSERT_TRUE(decoded) << number;
    ASSERT_TRUE(std::holds_alternative<Unsupported>(decoded->request)) << number;
    EXPECT_EQ(std::get<Unsupported>(decoded->request).variant, number);
  }
}

TEST(ClientProtocol, StringsMustBeText) {
  for (const auto* good : {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x91"})
    EXPECT_TRUE(bincode::valid_utf8(good)) << good;
  for (const auto* bad :
       {"\xff", "\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x90"})
    EXPECT_FALSE(bincode::valid_utf8(bad)) << bad;
  BufferPool pool;
  EXPECT_FALSE(decode_whole(encode_request({}, ReleaseVdi{"\xff"}), pool));
  EXPECT_FALSE(decode_whole(encode_request({}, ReleaseVdi{std::string(bincode::max_string + 1, 'a')}), pool));
}

TEST(ClientProtocol, EveryResponseComesBackAsItWasAndNoneWhenCut) {
  Hash hash;
  hash.digest.fill(9);
  SdNode six;
  six.address.address.fill(0x20);
  six.address.port = 1;
  six.disks = {{1, 2}, {3, 4}};
  const std::vector<ResponseResult> results = {Success{},
                                               Data{"abc"},
                                               Error{SdError::again},
                                               Obj{1, 2},
                                               VdiId{1, 2, 3},
                                               NodeInfo{1, 2, 3},
                                               hash,
                                               NodeList{{{Endpoint::v4(1, 2, 3, 4, 5), 6, 7, 8, {}}, six}},
                                               Failure{SdError::eio, "why"}};
  for (const auto& result : results) {
    const std::string body = encode_response({own_version, 3, 4, result});
    const auto decoded = decode_response(body);
    ASSERT_TRUE(decoded) << result.index();
    EXPECT_EQ(decoded->result, result);
    EXPECT_EQ(decoded->epoch, 3u);
    EXPECT_EQ(decoded->id, 4u);
    for (std::size_t size = 0; size < body.size(); ++size)
      EXPECT_FALSE(decode_response(body.substr(0, size))) << result.index();
    EXPECT_FALSE(decode_response(body + '\0')) << result.index();
  }
}

TEST(ClientProtocol, ClaimsBeyondTheBytesThatAreThereFail) {
  std::string body = bytes({2, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0});
  Writer(body).u64(UINT64_MAX);
  EXPECT_FALSE(decode_response(body));
  body[9] = 1;
  EXPECT_FALSE(decode_response(body));
}

TEST(ClientProtocol, AnInodeHasTheReferencesLayout) {
  ReferenceInode inode;
  inode.name = "d";
  inode.vdi_size = 5;
  inode.nr_copies = 2;
  inode.vdi_id = 0xab;
  inode.mapped = 2;
  std::string expected = bytes({1, 0, 0, 0, 0, 0, 0, 0, 'd'}) + std::string(8, '\0') + std::string(24, '\0') +
                         bytes({5, 0, 0, 0, 0, 0, 0, 0}) + std::string(8, '\0') +
                         bytes({0, 0, 2, 22, 1, 0, 0, 0, 0xab, 0, 0, 0}) + std::string(8, '\0') +
                         bytes({2, 0, 0, 0, 0, 0, 0, 0, 0xab, 0, 0, 0, 0xab, 0, 0, 0}) + std::string(8, '\0');
  EXPECT_EQ(encode(inode), expected);
}

TEST(ClientProtocol, TheBitmapNumbersBitsFromTheLowEnd) {
  const std::vector<Vid> in_use = {0, 9, max_vid};
  const std::string bits = vdi_bitmap(in_use);
  ASSERT_EQ(bits.size(), (1u << 24) / 8);
  EXPECT_EQ(bits[0], 1);
  EXPECT_EQ(bits[1], 2);
  EXPECT_EQ(static_cast<std::uint8_t>(bits.back()), 0x80);
}

TEST(ClientProtocol, ClusterInfoComesBackAsItWas) {
  ReferenceClusterInfo info;
  info.epoch = 4;
  info.status = ReferenceClusterInfo::State::shutdown;
  info.default_store = "plain";
  info.nodes = {{Endpoint::v4(1, 2, 3, 4, 5), 6, 7, 8, {}}};
  const std::string coded = encode(info);
  EXPECT_EQ(coded.substr(0, 24), bytes({9, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0}));
  const auto decoded = decode_cluster_info(coded);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode(*decoded), coded);
  EXPECT_FALSE(decode_cluster_info(coded.substr(0, coded.size() - 1)));
}

TEST(ClientProtocol, ReportsComeBackAsTheyWere) {
  VdiPage page{{{1, "n", 2, 3, 4, "a", true}, {5, "", 0, 0, 0, "", false}}, 9};
  const auto page_back = bincode::from_bytes<VdiPage>(bincode::to_bytes(page));
  ASSERT_TRUE(page_back);
  EXPECT_EQ(bincode::to_bytes(*page_back), bincode::to_bytes(page));
  CheckReport check{{{Severity::error, "bad"}}};
  const auto check_back = bincode::from_bytes<CheckReport>(bincode::to_bytes(check));
  ASSERT_TRUE(check_back);
  EXPECT_EQ(check_back->findings.at(0).severity, Severity::error);
  std::string wrong = bincode::to_bytes(check);
  wrong[8] = 3;  // no such severity
  EXPECT_FALSE(bincode::from_bytes<CheckReport>(wrong));
}

}  // namespace
}  // namespace sd::client
