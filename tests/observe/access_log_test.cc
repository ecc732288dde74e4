#include "proxy/observe/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "tests/observe/temp_dir.h"

namespace dragoman {
namespace {

using test::read_lines;
using test::TempDir;

AccessLogFormat format_of(std::string_view line_template) {
  return *AccessLogFormat::compile(AccessLogKind::kText, line_template);
}

class AccessLogTest : public testing::Test {
 protected:
  std::unique_ptr<AccessLogWriter> open(std::string_view line_template, int shards = 1,
                                        size_t queue_bytes = 1 << 16) {
    auto writer = AccessLogWriter::open(format_of(line_template),
                                        {.path = path_, .queue_bytes = queue_bytes, .shards = shards});
    EXPECT_TRUE(writer.has_value()) << (writer ? "" : writer.error());
    return std::move(*writer);
  }
  TempDir dir_;
  std::string path_ = dir_.file("access.log");
};

TEST_F(AccessLogTest, FlushWaitsForWhatWasQueued) {
  auto writer = open("%PATH%");
  AccessRecord record;
  for (int round = 1; round <= 5; ++round) {
    const std::string path = "/" + std::to_string(round);
    record.path = path;
    writer->shard(0).write(record);
    writer->flush();
    const auto lines = read_lines(path_);
    ASSERT_EQ(lines.size(), static_cast<size_t>(round));
    EXPECT_EQ(lines.back(), path);
  }
  EXPECT_EQ(writer->lines(), 5u);
  EXPECT_EQ(writer->dropped(), 0u);
}

TEST_F(AccessLogTest, ALineComesWithoutFlush) {
  auto writer = open("%PATH%");
  AccessRecord record;
  record.path = "/x";
  writer->flush();  // the thread has nothing to do and goes to sleep
  writer->shard(0).write(record);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (read_lines(path_).empty() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(read_lines(path_), std::vector<std::string>{"/x"});
}

TEST_F(AccessLogTest, ShutdownWritesWhatIsQueued) {
  auto writer = open("%ATTEMPTS%");
  AccessRecord record;
  for (uint32_t i = 0; i < 500; ++i) {
    record.attempts = i;
    writer->shard(0).write(record);
  }
  writer.reset();
  const auto lines = read_lines(path_);
  ASSERT_EQ(lines.size(), 500u);
  for (uint32_t i = 0; i < 500; ++i) EXPECT_EQ(lines[i], std::to_string(i));
}

// Several workers, rings far smaller than what goes through them: every line arrives whole and in its
// worker's order, and each one that is missing was counted.
TEST_F(AccessLogTest, ThreadsNeverTearLines) {
  constexpr int kShards = 4;
  constexpr uint32_t kLines = 20000;
  auto writer = open("%ROUTE% %ATTEMPTS% %PATH% end", kShards, 1);
  std::vector<std::thread> threads;
  for (int shard = 0; shard < kShards; ++shard) {
    threads.emplace_back([&writer, shard] {
      const std::string route = "w" + std::to_string(shard);
      const std::string path(1500, static_cast<char>('a' + shard));
      AccessRecord record;
      record.route = route;
      for (uint32_t i = 0; i < kLines; ++i) {
        record.attempts = i;
        record.path = std::string_view(path).substr(0, (i * 37) % 1500 + 1);
        writer->shard(shard).write(record);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const uint64_t queued = writer->lines(), dropped = writer->dropped();
  writer.reset();
  EXPECT_EQ(queued + dropped, uint64_t{kShards} * kLines);
  const auto lines = read_lines(path_);
  EXPECT_EQ(lines.size(), queued);
  EXPECT_GT(queued, 0u);
  std::map<char, int64_t> last;
  for (const std::string& line : lines) {
    ASSERT_GT(line.size(), 8u) << line;
    const char shard = line[1];
    const size_t space = line.find(' ', 3);
    const int64_t i = std::stoll(line.substr(3, space - 3));
    const std::string expected =
        std::string(static_cast<size_t>(i * 37 % 1500 + 1), static_cast<char>('a' + (shard - '0')));
    ASSERT_EQ(line, std::string("w") + shard + " " + std::to_string(i) + " " + expected + " end");
    ASSERT_GT(i, last.count(shard) ? last[shard] : -1);
    last[shard] = i;
  }
}

// Nobody reads the FIFO: lines are dropped and counted, the worker is not held up, closing gives up after its
// second.
TEST_F(AccessLogTest, AStuckReaderCostsLinesNotTime) {
  const int reader = test::make_stuck_fifo(path_);
  ASSERT_GE(reader, 0);
  auto writer = open("%PATH%", 1, 1);
  const std::string path(1000, 'x');
  AccessRecord record;
  record.path = path;
  const auto before = std::chrono::steady_clock::now();
  for (int i = 0; i < 2000; ++i) writer->shard(0).write(record);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(1));
  EXPECT_GT(writer->lines(), 0u);
  EXPECT_LE(writer->lines(), 16u) << "no more than the ring holds";
  EXPECT_EQ(writer->lines() + writer->dropped(), 2000u);
  writer.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  close(reader);
}

TEST_F(AccessLogTest, ASlowReaderGetsWholeLines) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  const int reader = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  fcntl(reader, F_SETFL, 0);
  auto writer = open("%PATH% end", 1, 1 << 20);
  std::string got;
  std::thread slow([&] {
    char piece[777];
    for (ssize_t n; (n = read(reader, piece, sizeof piece)) > 0;) got.append(piece, static_cast<size_t>(n));
  });
  const std::string path(900, 'x');
  AccessRecord record;
  record.path = path;
  for (int i = 0; i < 500; ++i) writer->shard(0).write(record);
  writer->flush();
  writer.reset();
  slow.join();
  close(reader);
  std::string expected;
  for (int i = 0; i < 500; ++i) expected += path + " end\n";
  EXPECT_TRUE(got == expected);
}

TEST_F(AccessLogTest, AFullDiskIsCounted) {
  path_ = "/dev/full";
  auto writer = open("%PATH%");
  AccessRecord record;
  record.path = "/x";
  for (int i = 0; i < 10; ++i) writer->shard(0).write(record);
  writer->flush();
  EXPECT_EQ(writer->failed(), 10u);
  EXPECT_EQ(writer->dropped(), 0u);
}

TEST_F(AccessLogTest, ReopenAfterRotation) {
  auto writer = open("%PATH%");
  AccessRecord record;
  record.path = "/before";
  writer->shard(0).write(record);
  writer->flush();
  std::filesystem::rename(path_, path_ + ".1");
  ASSERT_TRUE(writer->reopen().has_value());
  record.path = "/after";
  writer->shard(0).write(record);
  writer->flush();
  EXPECT_EQ(read_lines(path_ + ".1"), std::vector<std::string>{"/before"});
  EXPECT_EQ(read_lines(path_), std::vector<std::string>{"/after"});
}

TEST_F(AccessLogTest, FailedReopenKeepsTheOldFile) {
  const std::string folder = dir_.file("folder");
  std::filesystem::create_directory(folder);
  path_ = folder + "/log";
  auto writer = open("%PATH%");
  std::filesystem::rename(folder, folder + ".moved");
  EXPECT_FALSE(writer->reopen().has_value());
  AccessRecord record;
  record.path = "/still";
  writer->shard(0).write(record);
  writer->flush();
  EXPECT_EQ(read_lines(folder + ".moved/log"), std::vector<std::string>{"/still"});
}

TEST_F(AccessLogTest, CannotOpen) {
  for (const std::string& path : {dir_.file("no/such"), dir_.file("")}) {
    auto writer = AccessLogWriter::open(format_of("%PATH%"), {.path = path});
    ASSERT_FALSE(writer.has_value()) << path;
    EXPECT_EQ(writer.error().find("can't open " + path + ": "), 0u) << writer.error();
  }
}

TEST_F(AccessLogTest, AFifoWithoutReaderIsAnErrorNotAWait) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(AccessLogWriter::open(format_of("%PATH%"), {.path = path_}).has_value());
}

TEST_F(AccessLogTest, TheFileIsAppendedTo) {
  AccessRecord record;
  record.path = "/x";
  for (int i = 0; i < 2; ++i) open("%PATH%")->shard(0).write(record);
  EXPECT_EQ(read_lines(path_).size(), 2u);
}

}  // namespace
}  // namespace dragoman
