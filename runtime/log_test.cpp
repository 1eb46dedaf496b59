#include "runtime/log.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace sd::runtime {
namespace {

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class LogFile : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sd-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/sheep.log";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_, path_;
};

TEST_F(LogFile, IsAppendedTo) {
  Log::open(Log::Level::info, path_)->info("one");
  const auto log = Log::open(Log::Level::warning, path_);
  ASSERT_TRUE(log) << log.error();
  log->info("less than asked for");
  log->warning("two");
  const std::string text = text_of(path_);
  EXPECT_NE(text.find("info    one\n"), text.npos) << text;
  EXPECT_NE(text.find("warning two\n"), text.npos) << text;
  EXPECT_EQ(text.find("less"), text.npos) << text;
}

TEST_F(LogFile, GoesOnInANewOneOfItsNameWhenOpenedAnew) {
  const auto log = Log::open(Log::Level::info, path_);
  ASSERT_TRUE(log) << log.error();
  log->info("before");
  std::filesystem::rename(path_, path_ + ".1");
  log->info("between");
  ASSERT_TRUE(log->reopen());
  log->info("after");
  EXPECT_NE(text_of(path_ + ".1").find("between"), std::string::npos);
  EXPECT_EQ(text_of(path_).find("between"), std::string::npos);
  EXPECT_NE(text_of(path_).find("after"), std::string::npos);
}

TEST_F(LogFile, GoesOnInTheOldOneIfThereCanBeNoNewOne) {
  const auto log = Log::open(Log::Level::info, path_);
  ASSERT_TRUE(log) << log.error();
  std::filesystem::rename(path_, path_ + ".1");
  std::filesystem::create_directory(path_);
  const auto opened = log->reopen();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().find(path_), std::string::npos) << opened.error();
  log->info("after");
  EXPECT_NE(text_of(path_ + ".1").find("after"), std::string::npos);
}

TEST_F(LogFile, LeavesOutWhatComesTooOftenAndSaysSo) {
  const auto log = Log::open(Log::Level::debug, path_);
  ASSERT_TRUE(log) << log.error();
  const Log copy = *log;
  for (int i = 0; i < 1000; ++i) (i % 2 ? copy : *log).warning("rubbish");
  for (int i = 0; i < 20; ++i) log->debug("asked for");
  log->tell_left_out(true);
  const std::string text = text_of(path_);
  EXPECT_NE(text.find("warning 999 more like this were left out in 10 s: rubbish\n"), text.npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 22) << text;
}

TEST(Log, CannotBeOpenedWhereThereIsNoFile) { EXPECT_FALSE(Log::open(Log::Level::info, "/dev/null/x")); }

}  // namespace
}  // namespace sd::runtime
