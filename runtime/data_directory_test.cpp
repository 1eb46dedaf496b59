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

  static void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

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

TEST_F(DataDirectories, AreNotTakenFromOthers) {
  std::filesystem::create_directories(path_ + "/lost+found");
  put(path_ + "/.keep", "");
  EXPECT_TRUE(open(path_)) << "what is everywhere is nobody's";
  std::filesystem::remove(path_ + "/lock");
  put(path_ + "/photo.jpg", "x");
  put(path_ + "/letter", "x");
  const auto refused = open(path_);
  EXPECT_FALSE(std::filesystem::exists(path_ + "/lock")) << "it is left as it was";
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find("letter"), std::string::npos) << refused.error();
  put(path_ + "/node", "identity");
  EXPECT_TRUE(open(path_)) << "in a node's own directory its operator may keep what he likes";
}

TEST_F(DataDirectories, MayHoldTheLogOfTheStart) {
  std::filesystem::create_directory(path_);
  const auto log = Log::open(Log::Level::info, path_ + "/sheep.log");
  ASSERT_TRUE(log) << log.error();
  EXPECT_TRUE(open(path_));
}

TEST_F(DataDirectories, MayHoldTheMountPointOfTheJournal) {
  std::filesystem::create_directories(path_ + "/fast");
  EXPECT_FALSE(open(path_));
  EXPECT_TRUE(open(path_, path_ + "/fast/journal"));
}

TEST_F(DataDirectories, GetNoNewIdentityOverTheDataOfAnother) {
  ASSERT_TRUE(open(path_));
  const std::string journal = path_ + "/journal";
  EXPECT_TRUE(check_identity(path_, journal)) << "a new one";
  for (const std::string& file : {path_ + "/obj/0000000000000001", path_ + "/meta/0000000000000001",
                                  path_ + "/raft/log.1", journal + "/journal"}) {
    put(file, "data");
    const auto refused = check_identity(path_, journal);
    ASSERT_FALSE(refused) << file;
    EXPECT_NE(refused.error().find(path_ + "/node"), std::string::npos) << refused.error();
    put(path_ + "/node", std::string(8192, '\0'));
    EXPECT_FALSE(check_identity(path_, journal)) << "a blank identity is none";
    put(path_ + "/node", "identity");
    EXPECT_TRUE(check_identity(path_, journal));
    std::filesystem::remove(path_ + "/node");
    std::filesystem::remove(file);
  }
}

TEST_F(DataDirectories, AreNotMadeWhereThereMustBeOne) {
  EXPECT_FALSE(check_existing(path_, "")) << "an empty mount point";
  EXPECT_FALSE(std::filesystem::exists(path_)) << "nothing is made";
  ASSERT_TRUE(open(path_));
  EXPECT_FALSE(check_existing(path_, ""));
  put(path_ + "/node", "identity");
  const auto refused = check_existing(path_, base_ + "/j");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find(base_ + "/j holds no journal"), std::string::npos) << refused.error();
  put(path_ + "/journal/journal", "data");
  EXPECT_TRUE(check_existing(path_, ""));
}

}  // namespace
}  // namespace sd::runtime
