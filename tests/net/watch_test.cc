#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "proxy/net/watch.h"
#include "tests/net/net_fixture.h"

namespace dragoman {
namespace {

using SignalTest = NetTest;

TEST_F(SignalTest, CallsForEachDelivery) {
  int calls = 0;
  auto watch = SignalWatch::create(*loop, SIGUSR1, [&] { ++calls; });
  ::raise(SIGUSR1);
  EXPECT_TRUE(run_until([&] { return calls == 1; }));
  ::raise(SIGUSR1);
  EXPECT_TRUE(run_until([&] { return calls == 2; }));
}

TEST_F(SignalTest, DestroyingInTheCallback) {
  std::unique_ptr<SignalWatch> watch;
  int calls = 0;
  watch = SignalWatch::create(*loop, SIGUSR2, [&] {
    ++calls;
    watch.reset();
  });
  ::raise(SIGUSR2);
  EXPECT_TRUE(run_until([&] { return calls == 1; }));
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }));
}

class FileTest : public NetTest {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dragoman-watch-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory = name;
    path = directory / "config.yaml";
    write(path, "one");
  }
  void TearDown() override {
    watch.reset();
    std::filesystem::remove_all(directory);
    NetTest::TearDown();
  }
  static void write(const std::filesystem::path& to, const std::string& text) { std::ofstream(to) << text; }
  void start() {
    watch = FileWatch::create(*loop, path, [this] { ++calls; });
    turns(1);
  }

  std::filesystem::path directory, path;
  std::unique_ptr<FileWatch> watch;
  int calls = 0;
};

TEST_F(FileTest, WritingInPlace) {
  start();
  write(path, "two");
  write(path, "three");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 1500));
  EXPECT_FALSE(run_until([&] { return calls > 1; }, 500)) << "one change, told twice";
  write(path, "four!");
  EXPECT_TRUE(run_until([&] { return calls == 2; }, 1500));
}

TEST_F(FileTest, ReplacedByRename) {
  start();
  write(directory / "new", "two");
  std::filesystem::rename(directory / "new", path);
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 1500));
}

TEST_F(FileTest, SymlinkSwapLikeAConfigMap) {
  // config.yaml -> ..data/config.yaml, ..data -> ..1; an update makes ..2 and renames a new link over ..data.
  std::filesystem::remove(path);
  for (const char* version : {"..1", "..2"}) {
    std::filesystem::create_directory(directory / version);
    write(directory / version / "config.yaml", version);
  }
  std::filesystem::create_symlink("..1", directory / "..data");
  std::filesystem::create_symlink("..data/config.yaml", path);
  start();
  std::filesystem::create_symlink("..2", directory / "..data_tmp");
  std::filesystem::rename(directory / "..data_tmp", directory / "..data");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 1500));
}

TEST_F(FileTest, OtherFilesAndVanishingAreNoChange) {
  start();
  write(directory / "other", "x");
  EXPECT_FALSE(run_until([&] { return calls > 0; }, 350));
  std::filesystem::remove(path);
  EXPECT_FALSE(run_until([&] { return calls > 0; }, 350));
  write(path, "back again");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 1500));
}

TEST_F(FileTest, WhatIsMissingIsToldOnceAndSoIsItsReturn) {
  const auto moved = directory / "moved";
  start();
  std::filesystem::rename(path, moved);
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 6000));
  EXPECT_FALSE(run_until([&] { return calls > 1; }, 500));
  std::filesystem::rename(moved, path);
  EXPECT_TRUE(run_until([&] { return calls == 2; }, 6000));
  // A link whose target goes is as missing.
  std::filesystem::rename(path, moved);
  std::filesystem::create_symlink("moved", path);
  EXPECT_TRUE(run_until([&] { return calls == 3; }, 6000));
  std::filesystem::remove(moved);
  EXPECT_TRUE(run_until([&] { return calls == 4; }, 9000));
}

TEST_F(FileTest, HalfOfAFileIsNotTold) {
  if (writers_of(path) == Writers::kUnknown) GTEST_SKIP() << "this file system doesn't say who writes";
  start();
  std::ofstream writer(path);
  writer << "two, " << std::flush;
  EXPECT_FALSE(run_until([&] { return calls > 0; }, 1500)) << "the writer is at work";
  writer << "whole";
  writer.close();
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 3000));
  EXPECT_FALSE(run_until([&] { return calls > 1; }, 500));
}

TEST_F(FileTest, WhatChangedBeforeTheWatchIsTold) {
  const FileStamp known = FileStamp::of(path);
  write(path, "two, longer");
  watch = watch_file(*loop, path, known, [this] { ++calls; });
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 3000));
}

TEST_F(FileTest, AChangeOfTheModeIsAChange) {
  start();
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 6000));
}

TEST_F(FileTest, TargetsTheDirectoryCannotSeeAreFoundByTheSlowTimer) {
  const auto elsewhere = directory / "elsewhere";
  std::filesystem::create_directory(elsewhere);
  write(elsewhere / "real", "one");
  std::filesystem::remove(path);
  std::filesystem::create_symlink("elsewhere/real", path);
  start();
  write(elsewhere / "real", "two, longer");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 6000));
}

TEST_F(FileTest, AMissingDirectoryIsNoError) {
  path = directory / "later" / "config.yaml";
  start();
  std::filesystem::create_directory(directory / "later");
  write(path, "one");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 6000));
}

TEST_F(FileTest, DestroyingInTheCallback) {
  watch = FileWatch::create(*loop, path, [this] {
    ++calls;
    watch.reset();
  });
  write(path, "two, longer");
  EXPECT_TRUE(run_until([&] { return calls == 1; }, 1500));
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }));
}

}  // namespace
}  // namespace dragoman
