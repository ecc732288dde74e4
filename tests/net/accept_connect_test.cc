#include <netinet/tcp.h>
#include <sys/resource.h>

#include <vector>

#include "proxy/net/listen.h"
#include "tests/net/net_fixture.h"

namespace dragoman {
namespace {

struct Listener final : AcceptEvents {
  void on_accept(int fd, const Address& peer) override {
    fds.push_back(fd);
    peers.push_back(peer);
    if (then_accept) then_accept();
  }
  void on_accept_failed(int error) override {
    errors.push_back(error);
    if (then_failed) then_failed();
  }
  ~Listener() {
    for (int fd : fds) close_fd(fd);
  }
  std::vector<int> fds;
  std::vector<Address> peers;
  std::vector<int> errors;
  std::function<void()> then_accept, then_failed;
};

struct Caller final : ConnectEvents {
  void on_connected(int fd) override {
    connected = fd;
    if (then) then();
  }
  void on_connect_failed(Reason why, int e) override {
    reason = why;
    error = e;
    if (then) then();
  }
  ~Caller() { close_fd(connected); }
  bool done() const { return connected >= 0 || error; }
  int connected = -1;
  Reason reason = Reason::kNone;
  int error = 0;
  std::function<void()> then;
};

class AcceptTest : public NetTest {
 protected:
  void SetUp() override {
    auto fd = listen_socket(*Address::parse("127.0.0.1:0"), 128, false);
    ASSERT_TRUE(fd);
    address = bound_address(*fd);
    listen_fd = *fd;
  }
  void TearDown() override {
    acceptor.reset();
    close_fd(std::exchange(listen_fd, -1));
    for (int fd : clients) close_fd(fd);
    NetTest::TearDown();
  }
  void accept(int per_turn = 16) {
    acceptor = Acceptor::create(*loop, std::exchange(listen_fd, -1), listener, per_turn);
  }
  void dial(int n) {
    for (int i = 0; i < n; ++i) {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      ASSERT_EQ(::connect(fd, &address.storage.sa, address.length), 0);
      clients.push_back(fd);
    }
  }

  Address address;
  int listen_fd = -1;
  Listener listener;
  std::unique_ptr<Acceptor> acceptor;
  std::vector<int> clients;
};

TEST_F(AcceptTest, AcceptsNonBlockingWithThePeersAddress) {
  accept();
  dial(1);
  EXPECT_TRUE(run_until([&] { return listener.fds.size() == 1; }));
  EXPECT_EQ(listener.peers[0], bound_address(clients[0]));
  EXPECT_TRUE(::fcntl(listener.fds[0], F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(listener.fds[0], F_GETFD) & FD_CLOEXEC);
  int keep_alive = 0;
  socklen_t length = sizeof(keep_alive);
  ::getsockopt(listener.fds[0], SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &length);
  EXPECT_EQ(keep_alive, 1);
  EXPECT_EQ(loop->stats().accepts, 1u);
}

TEST_F(AcceptTest, AtMostSoManyPerTurn) {
  dial(10);
  accept(4);
  turns(1);
  EXPECT_EQ(listener.fds.size(), 4u);
  turns(1);
  EXPECT_EQ(listener.fds.size(), 8u);
  turns(1);
  EXPECT_EQ(listener.fds.size(), 10u);
}

TEST_F(AcceptTest, PauseAndResume) {
  accept();
  acceptor->pause();
  dial(2);
  turns(3);
  EXPECT_EQ(listener.fds.size(), 0u);
  acceptor->resume();
  EXPECT_TRUE(run_until([&] { return listener.fds.size() == 2; }));
}

TEST_F(AcceptTest, PausingInsideOnAcceptHolds) {
  accept(1);
  dial(3);
  listener.then_accept = [&] { acceptor->pause(); };
  turns(5);
  EXPECT_EQ(listener.fds.size(), 1u);
}

TEST_F(AcceptTest, DrainTakesWhatIsQueuedThenRefuses) {
  accept(1);
  acceptor->pause();
  dial(7);
  acceptor->drain_and_close();
  EXPECT_EQ(listener.fds.size(), 7u);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_NE(::connect(fd, &address.storage.sa, address.length), 0);
  close_fd(fd);
  acceptor->resume();
  acceptor->drain_and_close();
  turns(2);
  EXPECT_EQ(loop->live_handles(), 0u);
}

TEST_F(AcceptTest, DestroyingTheAcceptorInItsCallback) {
  accept();
  dial(3);
  listener.then_accept = [&] { acceptor.reset(); };
  turns(3);
  EXPECT_EQ(listener.fds.size(), 1u);
  EXPECT_EQ(loop->live_handles(), 0u);
}

TEST_F(AcceptTest, SurvivesRunningOutOfDescriptors) {
  accept();
  dial(1);
  EXPECT_TRUE(run_until(
      [&] { return listener.fds.size() == 1; }));  // (and the sanitizer has seen all types: it needs fds)
  dial(2);
  rlimit old;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit tight = old;
  tight.rlim_cur = 3;  // everything open stays open; nothing new opens
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const bool failed = run_until([&] { return !listener.errors.empty(); });
  const uint64_t before = loop->stats().turns;
  run_until([] { return false; }, 40);
  const uint64_t spun = loop->stats().turns - before;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_TRUE(failed);
  EXPECT_EQ(listener.errors[0], EMFILE);
  EXPECT_LE(spun, 10u) << "the loop spins on a connection it can't take";
  EXPECT_TRUE(run_until([&] { return listener.fds.size() == 3; }));
}

// What is kept back lets so many connections in when the process has no descriptor left, and comes back with theirs.
TEST_F(AcceptTest, ReservedDescriptorsLetConnectionsIn) {
  accept();
  acceptor->reserve(2);
  dial(1);
  EXPECT_TRUE(run_until([&] { return listener.fds.size() == 1; }));
  rlimit old;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  // As many as are open: a closed one can be had again, and no more. The holes below are filled first.
  std::vector<int> filled;
  for (int fd; (fd = ::fcntl(listener.fds[0], F_DUPFD_CLOEXEC, 0)) >= 0 && filled.size() < 64;)
    filled.push_back(fd);
  dial(4);
  const int top = ::fcntl(listener.fds[0], F_DUPFD_CLOEXEC, 0);
  ASSERT_GE(top, 0);
  rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(top);
  close_fd(top);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const bool failed = run_until([&] { return !listener.errors.empty(); });
  const size_t let_in = listener.fds.size() - 1;
  for (int i = 0; i < 2; ++i) close_fd(std::exchange(listener.fds[static_cast<size_t>(i) + 1], -1));
  const bool again = run_until([&] { return listener.fds.size() == 5; });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  for (int fd : filled) close_fd(fd);
  EXPECT_TRUE(failed);
  EXPECT_EQ(let_in, 2u);
  EXPECT_TRUE(again);
}

TEST_F(AcceptTest, DestroyingTheAcceptorInOnAcceptFailed) {
  accept();
  dial(1);
  EXPECT_TRUE(run_until([&] { return listener.fds.size() == 1; }));
  dial(1);
  rlimit old;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit tight = old;
  tight.rlim_cur = 3;
  listener.then_failed = [&] { acceptor.reset(); };
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const bool failed = run_until([&] { return !listener.errors.empty(); });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_TRUE(failed);
  EXPECT_EQ(acceptor, nullptr);
}

TEST(ListenSocket, TellsWhatFailedAndWhere) {
  auto first = listen_socket(*Address::parse("127.0.0.1:0"), 8, false);
  ASSERT_TRUE(first);
  const Address taken = bound_address(*first);
  auto second = listen_socket(taken, 8, false);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().find(taken.to_string()), std::string::npos) << second.error();
  EXPECT_NE(second.error().find("in use"), std::string::npos) << second.error();
  close_fd(*first);
}

TEST(ListenSocket, ReusePortShares) {
  auto first = listen_socket(*Address::parse("127.0.0.1:0"), 8, true);
  ASSERT_TRUE(first);
  auto second = listen_socket(bound_address(*first), 8, true);
  EXPECT_TRUE(second);
  close_fd(*first);
  if (second) close_fd(*second);
}

TEST(ListenSocket, TheFirstOneIsAlone) {
  auto first = listen_first(*Address::parse("127.0.0.1:0"), 8);
  ASSERT_TRUE(first) << first.error();
  const Address taken = bound_address(*first);
  // A second process, which has no socket of the first one's to share with, and the wildcard address.
  for (const std::string& address : {taken.to_string(), "0.0.0.0:" + std::to_string(taken.port())}) {
    auto other = listen_first(*Address::parse(address), 8);
    ASSERT_FALSE(other) << address;
    EXPECT_NE(other.error().find("in use (another socket listens there"), std::string::npos) << other.error();
  }
  auto second = listen_socket(taken, 8, true);
  EXPECT_TRUE(second) << second.error();
  // Both get connections.
  std::vector<int> clients;
  int got[2] = {};
  for (int i = 0; i < 200 && (got[0] == 0 || got[1] == 0); ++i) {
    clients.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(clients.back(), &taken.storage.sa, taken.length), 0);
    for (int s = 0; s < 2; ++s) {
      const int fd = ::accept(s == 0 ? *first : *second, nullptr, nullptr);
      if (fd < 0) continue;
      ++got[s];
      ::close(fd);
    }
  }
  EXPECT_GT(got[0], 0);
  EXPECT_GT(got[1], 0);
  for (int fd : clients) ::close(fd);
  close_fd(*first);
  if (second) {
    EXPECT_FALSE(listen_first(taken, 8)) << "as long as one of them listens";
    close_fd(*second);
  }
  auto next = listen_first(taken, 8);
  EXPECT_TRUE(next) << next.error();
  if (next) close_fd(*next);
}

TEST(ListenSocket, SixAndFourShareAPortNumber) {
  Address only_six = *Address::parse("[::]:0");
  only_six.ipv6_only = true;
  auto six = listen_socket(only_six, 8, false);
  if (!six) GTEST_SKIP() << "no IPv6 here: " << six.error();
  auto four =
      listen_socket(*Address::parse("0.0.0.0:" + std::to_string(bound_address(*six).port())), 8, false);
  EXPECT_TRUE(four);
  close_fd(*six);
  if (four) close_fd(*four);
}

using ConnectTest = AcceptTest;

TEST_F(ConnectTest, Connects) {
  Caller caller;
  auto connector = Connector::create(*loop, address, 1000, caller);
  EXPECT_FALSE(caller.done()) << "told inside create()";
  EXPECT_TRUE(run_until([&] { return caller.done(); }));
  EXPECT_GE(caller.connected, 0);
  EXPECT_TRUE(::fcntl(caller.connected, F_GETFL) & O_NONBLOCK);
  connector.reset();
  int error = 0;
  socklen_t length = sizeof(error);
  EXPECT_EQ(::getsockopt(caller.connected, SOL_SOCKET, SO_ERROR, &error, &length), 0)
      << "the fd died with the connector";
}

TEST_F(ConnectTest, RefusedIsAFailureNotATimeout) {
  close_fd(std::exchange(listen_fd, -1));
  Caller caller;
  auto connector = Connector::create(*loop, address, 1000, caller);
  EXPECT_FALSE(caller.done()) << "told inside create()";
  EXPECT_TRUE(run_until([&] { return caller.done(); }));
  EXPECT_EQ(caller.reason, Reason::kConnectFailure);
  EXPECT_EQ(caller.error, ECONNREFUSED);
}

TEST_F(ConnectTest, AnImpossibleAddressFailsLaterToo) {
  Address nowhere = *Address::parse("255.255.255.255:9");
  Caller caller;
  auto connector = Connector::create(*loop, nowhere, 1000, caller);
  EXPECT_FALSE(caller.done());
  EXPECT_TRUE(run_until([&] { return caller.done(); }));
  EXPECT_EQ(caller.reason, Reason::kConnectFailure);
  Caller empty_caller;
  auto empty = Connector::create(*loop, Address{}, 1000, empty_caller);
  EXPECT_TRUE(run_until([&] { return empty_caller.done(); }));
  EXPECT_EQ(empty_caller.reason, Reason::kConnectFailure);
}

TEST_F(ConnectTest, TimesOut) {
  // A listener whose queue is full leaves SYNs unanswered.
  auto full = listen_socket(*Address::parse("127.0.0.1:0"), 0, false);
  ASSERT_TRUE(full);
  const Address to = bound_address(*full);
  std::vector<int> fillers;
  for (int i = 0; i < 4; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ::connect(fd, &to.storage.sa, to.length);
    fillers.push_back(fd);
  }
  Caller caller;
  const uint64_t start = Loop::now_ns();
  auto connector = Connector::create(*loop, to, 60, caller);
  EXPECT_TRUE(run_until([&] { return caller.done(); }));
  EXPECT_EQ(caller.reason, Reason::kConnectTimeout);
  EXPECT_EQ(caller.error, ETIMEDOUT);
  EXPECT_GE(Loop::now_ns() - start, 50'000'000u);
  for (int fd : fillers) close_fd(fd);
  close_fd(*full);
}

TEST_F(ConnectTest, DestroyingCancels) {
  Caller caller;
  auto connecting = Connector::create(*loop, address, 1000, caller);
  auto failing = Connector::create(*loop, Address{}, 1000, caller);
  connecting.reset();
  failing.reset();
  turns(5);
  EXPECT_FALSE(caller.done());
  EXPECT_EQ(loop->live_handles(), 0u);
}

TEST_F(ConnectTest, DestroyingInTheCallback) {
  const Address targets[] = {address, *Address::parse("127.0.0.1:1"), Address{}};
  for (const Address& to : targets) {
    Caller caller;
    std::unique_ptr<Connector> connector;
    caller.then = [&] { connector.reset(); };
    connector = Connector::create(*loop, to, 1000, caller);
    EXPECT_TRUE(run_until([&] { return caller.done(); }));
    EXPECT_EQ(connector, nullptr);
  }
}

TEST_F(ConnectTest, RetryingAtOnceForEverDoesNotHoldTheLoop) {
  Caller caller;
  std::unique_ptr<Connector> connector;
  int attempts = 0;
  caller.then = [&] {
    ++attempts;
    connector = Connector::create(*loop, Address{}, 1000, caller);  // fails at once, again
  };
  connector = Connector::create(*loop, Address{}, 1000, caller);
  bool posted = false;
  loop->post([&] { posted = true; });
  EXPECT_TRUE(run_until([&] { return posted && attempts > 50; }));
  EXPECT_FALSE(run_until([] { return false; }, 20)) << "timers don't get through";
}

}  // namespace
}  // namespace dragoman
