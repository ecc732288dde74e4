#include "proxy/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace dragoman {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dragoman-file-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string path(const std::string& name) const { return folder / name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }
  static std::string refusal(const std::string& of, size_t bytes_max = 100) {
    const auto text = read_file(of, bytes_max);
    return text ? "was read" : text.error();
  }

  std::filesystem::path folder;
};

TEST_F(FileTest, WholeFilesAreRead) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{300'000}}) {
    const std::string text(size, 'x');
    const auto got = read_file(write("file", text), 300'000);
    ASSERT_TRUE(got) << got.error();
    EXPECT_EQ(*got, text);
  }
  std::filesystem::create_symlink("file", path("link"));
  EXPECT_TRUE(read_file(path("link"), 300'000));
  const auto status = read_file("/proc/self/status", 1 << 20);  // says that it is empty
  ASSERT_TRUE(status);
  EXPECT_NE(status->find("VmRSS"), std::string::npos);
}

TEST_F(FileTest, WhatIsNoFileIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(refusal(path("fifo")), "is a FIFO, not a file");
  EXPECT_EQ(refusal(folder), "is a folder, not a file");
  EXPECT_EQ(refusal("/dev/zero"), "is a device, not a file");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(refusal(path("socket")), "is a socket, not a file");
  ::close(fd);
  EXPECT_EQ(refusal(path("none")), "can't be opened: No such file or directory");
  std::filesystem::create_symlink("nowhere", path("dangling"));
  EXPECT_EQ(refusal(path("dangling")), "can't be opened: No such file or directory");
  std::filesystem::create_symlink("loop", path("loop"));
  EXPECT_EQ(refusal(path("loop")), "can't be opened: Too many levels of symbolic links");
}

TEST_F(FileTest, SizesAreBounded) {
  EXPECT_EQ(refusal(write("exact", std::string(100, 'x'))), "was read");
  EXPECT_EQ(refusal(write("more", std::string(2049, 'x')), 2048), "is larger than 2KiB");
  EXPECT_EQ(refusal(write("sparse", ""), 1 << 20), "was read");
  ASSERT_EQ(::truncate(path("sparse").c_str(), off_t{1} << 40), 0);
  EXPECT_EQ(refusal(path("sparse"), 1 << 20), "is larger than 1MiB");
}

TEST_F(FileTest, StampsTellStatesApart) {
  EXPECT_FALSE(FileStamp::of(path("file")).exists);
  write("file", "one");
  const FileStamp one = FileStamp::of(path("file"));
  EXPECT_TRUE(one.exists);
  FileStamp read;
  ASSERT_TRUE(read_file(path("file"), 100, &read));
  EXPECT_EQ(read, one);
  write("other", "one");
  std::filesystem::rename(path("other"), path("file"));
  EXPECT_NE(FileStamp::of(path("file")), one);
  std::filesystem::remove(path("file"));
  EXPECT_EQ(FileStamp::of(path("file")), FileStamp{});
}

TEST_F(FileTest, WritersAreSeen) {
  const std::string file = write("file", "one");
  if (writers_of(file) == Writers::kUnknown) GTEST_SKIP() << "this file system gives no leases";
  EXPECT_EQ(writers_of(file), Writers::kNone);
  const int reader = ::open(file.c_str(), O_RDONLY);
  EXPECT_EQ(writers_of(file), Writers::kNone);
  const int writer = ::open(file.c_str(), O_WRONLY);
  EXPECT_EQ(writers_of(file), Writers::kSome);
  ::close(writer);
  EXPECT_EQ(writers_of(file), Writers::kNone);
  ::close(reader);
  EXPECT_EQ(writers_of(path("none")), Writers::kUnknown);
}

}  // namespace
}  // namespace dragoman
