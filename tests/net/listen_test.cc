// Sockets that listen: unix ones and their files, both families on one port.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "proxy/net/listen.h"

namespace dragoman {
namespace {

int connect_to(const Address& to) {
  sockaddr_storage at;
  const socklen_t length = to.fill(at);
  const int fd = ::socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), length) == 0) return fd;
  close_fd(fd);
  return -1;
}

bool reaches(const Address& to) {
  const int fd = connect_to(to);
  close_fd(fd);
  return fd >= 0;
}

class UnixSocket : public ::testing::Test {
 protected:
  UnixSocket() {
    char name[] = "/tmp/dragoman-net-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/socket";
    address_ = *Address::parse("unix:" + path_);
  }
  ~UnixSocket() override { std::filesystem::remove_all(folder_); }
  Result<std::shared_ptr<UnixListener>> open(uint32_t mode = 0, bool take_over = false) {
    return UnixListener::open(address_, 16, mode, take_over);
  }
  mode_t mode() const {
    struct stat file {};
    return ::lstat(path_.c_str(), &file) == 0 ? file.st_mode & 07777 : 0;
  }

  std::string folder_, path_;
  Address address_;
};

TEST_F(UnixSocket, ListensAndIsGoneAtTheEnd) {
  auto listener = open(0660);
  ASSERT_TRUE(listener) << listener.error();
  EXPECT_EQ(mode(), 0660u);
  EXPECT_TRUE(reaches(address_));
  EXPECT_TRUE((*listener)->adjust(32, 0600));
  EXPECT_EQ(mode(), 0600u);
  listener->reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocket, DuplicatesShareWhatComes) {
  auto listener = open();
  ASSERT_TRUE(listener) << listener.error();
  const int one = (*listener)->duplicate(), two = (*listener)->duplicate();
  const int client = connect_to(address_);
  const int accepted = ::accept4(one, nullptr, nullptr, SOCK_CLOEXEC);
  EXPECT_GE(accepted, 0);
  EXPECT_LT(::accept4(two, nullptr, nullptr, SOCK_CLOEXEC), 0);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(peer_address(accepted).to_string(), "unix:");
  EXPECT_EQ(peer_address(client), address_);
  for (int fd : {one, two, client, accepted}) close_fd(fd);
}

TEST_F(UnixSocket, WhereAProcessListensIsRefused) {
  auto first = open();
  ASSERT_TRUE(first) << first.error();
  auto second = open();
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find("in use"), std::string::npos) << second.error();
  EXPECT_NE(second.error().find(path_), std::string::npos);
  EXPECT_TRUE(reaches(address_)) << "the first one's file is untouched";

  auto third = open(0, true);
  ASSERT_TRUE(third) << third.error();
  first->reset();
  EXPECT_TRUE(reaches(address_)) << "the file is the third one's now";
}

TEST_F(UnixSocket, AFullBacklogIsAProcessThatListens) {
  auto first = UnixListener::open(address_, 1, 0, false);
  ASSERT_TRUE(first) << first.error();
  std::vector<int> queue;
  for (int i = 0; i < 2; ++i) queue.push_back(connect_to(address_));
  EXPECT_FALSE(open());
  for (int fd : queue) close_fd(fd);
}

TEST_F(UnixSocket, ALeftOverFileIsReplaced) {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage at;
  const socklen_t length = address_.fill(at);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&at), length), 0);
  close_fd(dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  auto listener = open();
  ASSERT_TRUE(listener) << listener.error();
  EXPECT_TRUE(reaches(address_));
}

TEST_F(UnixSocket, WhatIsNoSocketStays) {
  std::ofstream(path_) << "precious";
  auto listener = open(0, true);
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().find("no socket"), std::string::npos) << listener.error();
  std::string text;
  std::ifstream(path_) >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(UnixSocket, AFolderThatIsMissingIsToldOf) {
  address_ = *Address::parse("unix:" + folder_ + "/none/socket");
  auto listener = open();
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().find("No such file"), std::string::npos) << listener.error();
}

TEST_F(UnixSocket, AModeThatCannotBeSetIsToldOf) {
  auto listener = open();
  ASSERT_TRUE(listener);
  std::filesystem::remove(path_);
  EXPECT_FALSE((*listener)->adjust(16, 0600));
}

TEST_F(UnixSocket, AbstractNamesHaveNoFile) {
  address_ = *Address::parse("unix:@dragoman-net-test-" + std::to_string(::getpid()));
  auto first = open(0600);
  ASSERT_TRUE(first) << first.error();
  EXPECT_TRUE(reaches(address_));
  auto second = open();
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find("in use"), std::string::npos) << second.error();
  first->reset();
  EXPECT_FALSE(reaches(address_));
}

bool has_ipv6() {
  auto fd = listen_socket(*Address::parse("[::1]:0"), 1, false);
  if (fd) close_fd(*fd);
  return fd.has_value();
}

TEST(BothFamilies, OnOnePortUnlessIpv6Only) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  for (const bool only : {false, true}) {
    SCOPED_TRACE(only);
    Address any = *Address::parse("[::]:0");
    any.ipv6_only = only;
    auto fd = listen_socket(any, 16, false);
    ASSERT_TRUE(fd) << fd.error();
    const std::string port = std::to_string(bound_address(*fd).port());
    EXPECT_TRUE(reaches(*Address::parse("[::1]:" + port)));
    close_fd(::accept4(*fd, nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_EQ(reaches(*Address::parse("127.0.0.1:" + port)), !only);
    if (!only) {
      const int accepted = ::accept4(*fd, nullptr, nullptr, SOCK_CLOEXEC);
      EXPECT_EQ(peer_address(accepted).host(), "127.0.0.1");
      EXPECT_EQ(bound_address(accepted).to_string(), "127.0.0.1:" + port);
      close_fd(accepted);
      auto second = listen_socket(*Address::parse("0.0.0.0:" + port), 16, false);
      EXPECT_FALSE(second) << "the port is taken";
      if (second) close_fd(*second);
    }
    close_fd(*fd);
  }
}

}  // namespace
}  // namespace dragoman
