#include "proxy/observe/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/observe/temp_dir.h"

namespace dragoman {
namespace {

using test::read_lines;
using test::TempDir;

class LogTest : public testing::Test {
 protected:
  ~LogTest() override { set_log_level(LogLevel::kInfo); }
  std::unique_ptr<DiagnosticLog> open(LogFormat format = LogFormat::kText) {
    auto log = DiagnosticLog::open({.format = format, .path = path_});
    EXPECT_TRUE(log.has_value());
    return std::move(*log);
  }
  TempDir dir_;
  std::string path_ = dir_.file("log");
};

TEST_F(LogTest, LevelsHaveNames) {
  for (const char* name : {"trace", "debug", "info", "warn", "error", "off"}) {
    ASSERT_TRUE(parse_log_level(name).has_value()) << name;
    EXPECT_EQ(log_level_name(*parse_log_level(name)), name);
  }
  for (const char* name : {"", "INFO", "warning"}) EXPECT_FALSE(parse_log_level(name).has_value()) << name;
}

TEST_F(LogTest, LinesUnderTheLevelAreNotEvenFormatted) {
  auto log = open();
  int evaluated = 0;
  set_log_level(LogLevel::kWarn);
  DRAGOMAN_LOG(kInfo, "test", "n {}", ++evaluated);
  DRAGOMAN_LOG(kWarn, "test", "n {}", ++evaluated);
  set_log_level(LogLevel::kOff);
  DRAGOMAN_LOG(kError, "test", "n {}", ++evaluated);
  log.reset();
  EXPECT_EQ(evaluated, 1);
  const auto lines = read_lines(path_);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("Z warn test: n 1"), std::string::npos) << lines[0];
}

TEST_F(LogTest, TextLine) {
  struct {
    int64_t time_us;
    const char* message;
    const char* line;
  } const cases[] = {
      {0, "hello \"you\"", "1970-01-01T00:00:00.000000Z info net: hello \"you\"\n"},
      {1706745599'000042, "a\nb\rc\x1b[31m",
       "2024-01-31T23:59:59.000042Z info net: a\\x0ab\\x0dc\\x1b[31m\n"},
      {951782400'999999, "back\\slash", "2000-02-29T00:00:00.999999Z info net: back\\\\slash\n"},
      {-1, "\xc3\xa9 \xff \xc2\x9b", "1969-12-31T23:59:59.999999Z info net: \xc3\xa9 \\xff \\xc2\\x9b\n"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(format_log_line(LogFormat::kText, c.time_us, LogLevel::kInfo, "net", c.message), c.line);
  }
}

TEST_F(LogTest, JsonLine) {
  const std::string line = format_log_line(LogFormat::kJson, 1706745599'000042, LogLevel::kError, "net",
                                           "a\n\"b\"\x01 \xff \xc3\xa9");
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  rapidjson::Document document;
  document.Parse(line.c_str());
  ASSERT_FALSE(document.HasParseError()) << line;
  EXPECT_STREQ(document["time"].GetString(), "2024-01-31T23:59:59.000042Z");
  EXPECT_STREQ(document["level"].GetString(), "error");
  EXPECT_STREQ(document["component"].GetString(), "net");
  EXPECT_STREQ(document["message"].GetString(), "a\n\"b\"\x01 \xef\xbf\xbd \xc3\xa9");
}

TEST_F(LogTest, CalendarAgreesWithTheSystem) {
  for (int64_t second = -2208988800; second < 4102444800; second += 86400 * 13 + 12345) {
    const time_t time = second;
    tm parts;
    gmtime_r(&time, &parts);
    char expected[32];
    strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts);
    const std::string line = format_log_line(LogFormat::kText, second * 1000000, LogLevel::kInfo, "c", "m");
    EXPECT_EQ(line.substr(0, 19), expected);
  }
}

TEST_F(LogTest, QueuedLinesAreWrittenAtTheEnd) {
  auto log = open();
  for (int i = 0; i < 1000; ++i) DRAGOMAN_LOG(kInfo, "test", "line {}", i);
  log.reset();
  const auto lines = read_lines(path_);
  ASSERT_EQ(lines.size(), 1000u);
  EXPECT_NE(lines[999].find("test: line 999"), std::string::npos);
  DRAGOMAN_LOG(kTrace, "test", "no sink, under the level: nothing");
}

TEST_F(LogTest, ThreadsDoNotTearLines) {
  auto log = open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 250; ++i) DRAGOMAN_LOG(kInfo, "test", "thread {} line {} {}", t, i, "0123456789");
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(log->dropped(), 0u);
  log.reset();
  const auto lines = read_lines(path_);
  EXPECT_EQ(lines.size(), 1000u);  // fewer than the queue holds
  for (const std::string& line : lines) {
    EXPECT_EQ(line.substr(line.size() - 11), " 0123456789") << line;
    EXPECT_EQ(line.find("info test: thread "), 28u) << line;
  }
}

TEST_F(LogTest, ReopenAfterRotation) {
  auto log = open();
  DRAGOMAN_LOG(kInfo, "test", "before");
  std::filesystem::rename(path_, path_ + ".1");
  ASSERT_TRUE(log->reopen().has_value());
  DRAGOMAN_LOG(kInfo, "test", "after");
  log.reset();
  EXPECT_EQ(read_lines(path_ + ".1").size() + read_lines(path_).size(), 2u);
  ASSERT_FALSE(read_lines(path_).empty());
  EXPECT_NE(read_lines(path_).back().find("after"), std::string::npos);
}

TEST_F(LogTest, CannotOpen) {
  auto log = DiagnosticLog::open({.path = dir_.file("no/such/dir")});
  ASSERT_FALSE(log.has_value());
  EXPECT_NE(log.error().find("No such file or directory"), std::string::npos) << log.error();
  EXPECT_NE(log.error().find("no/such/dir"), std::string::npos) << log.error();
}

// Nobody reads the FIFO: the queue overruns its oldest lines, the caller goes on, closing gives up.
TEST_F(LogTest, AFullQueueLosesLinesNotTime) {
  const std::string fifo = dir_.file("fifo");
  const int reader = test::make_stuck_fifo(fifo);
  ASSERT_GE(reader, 0);
  auto log = DiagnosticLog::open({.path = fifo, .queue_lines = 100});
  ASSERT_TRUE(log.has_value());
  const std::string long_text(2000, 'x');
  for (int i = 0; i < 500; ++i) DRAGOMAN_LOG(kInfo, "test", "{}", long_text);
  EXPECT_GE((*log)->dropped(), 500u - 100 - 1) << "all but the queue and the line being written";
  const auto before = std::chrono::steady_clock::now();
  log->reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(4));
  close(reader);
}

TEST_F(LogTest, LimitedLinesComeOncePerKeyAndSecond) {
  auto log = open();
  const uint64_t suppressed = log_lines_suppressed();
  for (int i = 0; i < 100; ++i) {
    DRAGOMAN_LOG_LIMITED(kWarn, "test", "first-listener", "peer trouble {}", i);
    DRAGOMAN_LOG_LIMITED(kWarn, "test", uint64_t{7}, "other trouble {}", i);
  }
  log.reset();
  const auto lines = read_lines(path_);
  ASSERT_GE(lines.size(), 2u);
  EXPECT_LE(lines.size(), 4u) << "two keys, and the loop may have crossed into a second window";
  EXPECT_EQ(log_lines_suppressed() - suppressed, 200 - lines.size());
}

}  // namespace
}  // namespace dragoman
