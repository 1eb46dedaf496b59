#include "runtime/data_directory.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace sd::runtime {
namespace {

using std::chrono::milliseconds, std::chrono::seconds;

class DataDirectories : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/var/tmp/sd-dir-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    base_ = name;
    path_ = base_ + "/a";
  }
  void TearDown() override { std::filesystem::remove_all(base_); }

  // Without patience.
  static auto open(const std::string& path, const std::string& journal = "") {
    return DataDirectory::open(path, journal, Log::none(), milliseconds(0));
  }
  static std::string text_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string base_, path_;
};

TEST_F(DataDirectories, HaveOneUserAtATimeAndNameIt) {
  const std::string journal = base_ + "/j";
  {
    auto first = open(path_, journal);
    ASSERT_TRUE(first) << first.error();
    auto second = open(path_);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().find(std::to_string(::getpid())), std::string::npos) << second.error();
    EXPECT_FALSE(open(base_ + "/b", journal)) << "two nodes must not share a journal";
  }
  EXPECT_TRUE(open(path_, journal));
  EXPECT_FALSE(open(base_ + "/missing/c"));
}

TEST_F(DataDirectories, AreWaitedForWhileTheirLastUserEnds) {
  const auto log = Log::open(Log::Level::info, base_ + "/log");
  ASSERT_TRUE(log) << log.error();
  auto first = std::make_unique<std::expected<DataDirectory, std::string>>(open(path_));
  ASSERT_TRUE(*first) << first->error();
  std::thread last_user([&] {
    while (text_of(base_ + "/log").empty()) std::this_thread::sleep_for(milliseconds(1));
    first.reset();
  });
  const auto second = DataDirectory::open(path_, "", *log, seconds(60));
  last_user.join();
  EXPECT_TRUE(second) << second.error();
  const std::string text = text_of(base_ + "/log");
  EXPECT_NE(text.find("in use by process " + std::to_string(::getpid())), text.npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

}  // namespace
}  // namespace sd::runtime
