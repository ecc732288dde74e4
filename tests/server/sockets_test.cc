// Where listeners and endpoints can be: unix sockets, both families on one port, zones; who gets a connection.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "proxy/net/listen.h"
#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

TestSocket connect_to(const std::string& address) {
  sockaddr_storage at;
  const socklen_t length = Address::parse(address)->fill(at);
  const int fd = ::socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), length) == 0) return TestSocket(fd);
  ::close(fd);
  return {};
}

ino_t inode(const std::string& path) {
  struct stat file {};
  return ::lstat(path.c_str(), &file) == 0 ? file.st_ino : 0;
}

std::string error_of_start(const std::string& yaml) {
  ::testing::internal::CaptureStderr();
  TestServer server(yaml);
  const bool serving = server.serving();
  server.stop();
  const std::string errors = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(serving, errors.empty()) << errors;
  return errors;
}

class Sockets : public ServerTest {
 protected:
  TempDir dir_;
  ScriptedBackend http_{
      scripts::http([](const HttpMessage& m) { return http_ok("for " + m.header("x-forwarded-for")); })};
  ScriptedBackend bolt_{scripts::bolt()};

  TestServer& serve(const std::string& yaml, int workers = 2) {
    TestServer::Options options;
    options.file = dir_.file("dragoman.yaml");
    options.workers = workers;
    return start(yaml, options);
  }
  std::string path() const { return dir_.file("socket"); }

  /// What `protocol` answers to a request; "" when nothing.
  std::string ask(TestSocket& s, std::string_view protocol) {
    if (protocol == "bolt") {
      s.send(BoltFrame::request(1, "hello").bytes());
      const std::string frame = s.read_bolt();
      return frame.ends_with("hello") ? "hello" : frame;
    }
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    return s.read_response().body;
  }
};

TEST_F(Sockets, UnixSocketsOnBothSidesInEveryProtocol) {
  for (const std::string protocol : {"http1", "tcp", "bolt"}) {
    for (const std::string& address :
         {"unix:" + path(), "unix:@dragoman-test-" + std::to_string(::getpid())}) {
      SCOPED_TRACE(protocol + " " + address);
      start(
          fill_in("listeners:\n"
                  "  - {name: in, address: '127.0.0.1:0', protocol: $P, cluster: mid}\n"
                  "  - {name: mid, address: '$UNIX', protocol: $P, cluster: back}\n"
                  "clusters:\n"
                  "  - {name: mid, endpoints: ['$UNIX'], health_check: {interval: 100ms}}\n"
                  "  - {name: back, endpoints: ['$BACK']}\n",
                  {{"P", protocol},
                   {"UNIX", address},
                   {"BACK", protocol == "bolt" ? bolt_.address() : http_.address()}}));
      ASSERT_TRUE(server().serving());
      ASSERT_TRUE(eventually([&] { return server().admin("GET", "/ready").status == 200; }))
          << "the health check";
      TestSocket s = connect();
      // Who came over the unix socket has no address to be forwarded for.
      EXPECT_EQ(ask(s, protocol), protocol == "bolt"    ? "hello"
                                  : protocol == "http1" ? "for 127.0.0.1"
                                                        : "for -");
      TestSocket direct = connect_to(address);
      EXPECT_EQ(ask(direct, protocol), protocol == "bolt" ? "hello" : "for -");
      const std::string listeners = server().admin("GET", "/listeners").body;
      EXPECT_NE(listeners.find("mid::" + address + "\n"), std::string::npos) << listeners;
      stop();
      EXPECT_EQ(inode(path()), 0u) << "the file is gone";
    }
  }
}

TEST_F(Sockets, AUnixSocketThatNobodyListensOnIsAFailedConnect) {
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
              "clusters: [{name: c, endpoints: ['unix:$PATH'], retry: {attempts: 0}}]\n",
              {{"PATH", path()}}));
  TestSocket s = connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().status, 503);
  EXPECT_GE(server().metric("dragoman_cluster_connect_failures_total"), 1);
}

TEST_F(Sockets, AUnixSocketHasTheModeThatIsWritten) {
  start(fill_in(
      "admin: {address: 'unix:$ADMIN', socket_mode: '0600'}\n"
      "listeners: [{name: in, address: 'unix:$PATH', socket_mode: '0660', protocol: http1, cluster: c}]\n"
      "clusters: [{name: c, endpoints: ['$BACK']}]\n",
      {{"PATH", path()}, {"ADMIN", dir_.file("admin")}, {"BACK", http_.address()}}));
  ASSERT_TRUE(server().serving());
  struct stat file {};
  ASSERT_EQ(::lstat(path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0660u);
  ASSERT_EQ(::lstat(dir_.file("admin").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
  TestSocket admin = connect_to("unix:" + dir_.file("admin"));
  admin.send("GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(admin.read_response().status, 200);
  stop();
  EXPECT_EQ(inode(dir_.file("admin")), 0u);
}

TEST_F(Sockets, AUnixSocketOfAnotherProcessIsRefusedAndALeftOverOneReplaced) {
  const std::string yaml = fill_in(
      "listeners: [{name: in, address: 'unix:$PATH', protocol: http1, cluster: c}]\n"
      "clusters: [{name: c, endpoints: ['$BACK']}]\n",
      {{"PATH", path()}, {"BACK", http_.address()}});
  {
    auto other = UnixListener::open(*Address::parse("unix:" + path()), 8, 0, false);
    ASSERT_TRUE(other);
    const std::string errors = error_of_start(yaml);
    EXPECT_NE(errors.find("listeners: in: can't listen on unix:" + path() + ": address in use"),
              std::string::npos)
        << errors;
    EXPECT_NE(errors.find("--share-ports"), std::string::npos) << errors;
    EXPECT_NE(inode(path()), 0u);
  }
  const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_storage at;
  const socklen_t length = Address::parse("unix:" + path())->fill(at);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&at), length), 0);
  ::close(dead);
  start(yaml);
  ASSERT_TRUE(server().serving());
  TestSocket s = connect_to("unix:" + path());
  EXPECT_EQ(ask(s, "http1"), "for -");
}

TEST_F(Sockets, ReloadsKeepAUnixSocketWhateverElseChanges) {
  const auto yaml = [&](const std::string& listener, const std::string& extra = "") {
    return fill_in(
        "listeners:\n"
        "  - {$LISTENER}\n"
        "  - {name: other, address: '127.0.0.1:0', protocol: http1, cluster: http}\n"
        "$EXTRA"
        "clusters:\n"
        "  - {name: http, protocol: http1, endpoints: ['$HTTP']}\n"
        "  - {name: raw, protocol: tcp, endpoints: ['$HTTP']}\n",
        {{"LISTENER", fill_in(listener, {{"PATH", "unix:" + path()}})},
         {"EXTRA", extra},
         {"HTTP", http_.address()}});
  };
  const auto reload = [&](const std::string& text, int status) {
    server().write_file(text);
    const HttpMessage answer = server().admin("POST", "/reload");
    EXPECT_EQ(answer.status, status) << answer.body;
    return answer.body;
  };
  const auto serves = [&] {
    TestSocket s = connect_to("unix:" + path());
    return ask(s, "http1");
  };
  serve(yaml("name: in, address: '$PATH', protocol: http1, cluster: http"));
  const ino_t first = inode(path());
  ASSERT_NE(first, 0u);
  TestSocket early = connect_to("unix:" + path());
  EXPECT_EQ(ask(early, "http1"), "for -");

  reload(yaml("name: in, address: '$PATH', protocol: http1, cluster: http, idle_timeout: 1m"), 200);
  reload(yaml("name: in, address: '$PATH', protocol: tcp, cluster: raw"), 200);
  EXPECT_EQ(serves(), "for -");
  reload(
      yaml("name: renamed, address: '$PATH', protocol: tcp, cluster: raw, backlog: 9, socket_mode: '0600'"),
      200);
  EXPECT_EQ(serves(), "for -");
  EXPECT_EQ(inode(path()), first);

  // Refused whole: the one that stays is still reached, the new one leaves nothing.
  const std::string refused =
      reload(yaml("name: renamed, address: '$PATH', protocol: http1, cluster: http",
                  "  - {name: new, address: 'unix:" + dir_.file("new") +
                      "', protocol: http1, cluster: http}\n"
                      "  - {name: bad, address: 'unix:" +
                      dir_.file("none/socket") + "', protocol: http1, cluster: http}\n"),
             400);
  EXPECT_NE(refused.find("No such file"), std::string::npos) << refused;
  EXPECT_EQ(inode(dir_.file("new")), 0u);
  EXPECT_EQ(inode(path()), first);
  EXPECT_EQ(serves(), "for -");

  reload(yaml("name: gone, address: '127.0.0.1:0', protocol: http1, cluster: http"), 200);
  EXPECT_EQ(inode(path()), 0u) << "what nobody accepts on has no file";
  early.close();
}

TEST_F(Sockets, LoopsOverUnixSocketsAreRefused) {
  const std::string errors =
      error_of_start(fill_in("listeners: [{name: in, address: 'unix:$PATH', protocol: http1, cluster: c}]\n"
                             "clusters: [{name: c, endpoints: ['unix:$PATH']}]\n",
                             {{"PATH", path()}}));
  EXPECT_NE(errors.find("a loop: listener in is here"), std::string::npos) << errors;
}

TEST_F(Sockets, ALoopOverAnotherNameOfAUnixSocketIsRefusedWhenConnecting) {
  ASSERT_EQ(::symlink(path().c_str(), dir_.file("link").c_str()), 0);
  start(
      fill_in("listeners: [{name: in, address: 'unix:$PATH', protocol: http1, cluster: c}]\n"
              "clusters: [{name: c, endpoints: ['unix:$LINK'], retry: {attempts: 0}}]\n",
              {{"PATH", path()}, {"LINK", dir_.file("link")}}));
  TestSocket s = connect_to("unix:" + path());
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().status, 503);
  EXPECT_LE(server().metric("dragoman_listener_connections_total"), 5);
}

// --- families, zones ------------------------------------------------------------------------------------------------------

bool has_ipv6() {
  auto fd = listen_socket(*Address::parse("[::1]:0"), 1, false);
  if (fd) close_fd(*fd);
  return fd.has_value();
}

TEST_F(Sockets, BothFamiliesOnOnePort) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  for (const bool only : {false, true}) {
    SCOPED_TRACE(only);
    start(
        fill_in("listeners: [{name: in, address: '[::]:0', ipv6_only: $ONLY, protocol: http1, cluster: c}]\n"
                "clusters: [{name: c, endpoints: ['$BACK']}]\n",
                {{"ONLY", only ? "true" : "false"}, {"BACK", http_.address()}}));
    ASSERT_TRUE(server().serving());
    const std::string port = std::to_string(server().port("in"));
    TestSocket v6 = connect_to("[::1]:" + port);
    EXPECT_EQ(ask(v6, "http1"), "for ::1");
    TestSocket v4 = connect_to("127.0.0.1:" + port);
    EXPECT_EQ(v4.connected(), !only);
    if (v4.connected()) {
      EXPECT_EQ(ask(v4, "http1"), "for 127.0.0.1");
    }
  }
}

TEST_F(Sockets, ALoopOverTheOtherFamilyIsRefused) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  const auto yaml = [](const std::string& to, const char* only) {
    return fill_in(
        "listeners: [{name: in, address: '[::]:$PORT', ipv6_only: $ONLY, protocol: http1, cluster: c}]\n"
        "clusters: [{name: c, endpoints: ['$TO:$PORT']}]\n",
        {{"TO", to}, {"ONLY", only}, {"PORT", "47113"}});
  };
  EXPECT_NE(error_of_start(yaml("127.0.0.1", "false")).find("a loop"), std::string::npos);
  EXPECT_NE(error_of_start(yaml("[::ffff:127.0.0.1]", "false")).find("a loop"), std::string::npos);
  EXPECT_NE(error_of_start(yaml("[::1]", "true")).find("a loop"), std::string::npos);
}

TEST_F(Sockets, ZonesAreLookedUp) {
  if (!has_ipv6()) GTEST_SKIP() << "no IPv6 here";
  const std::string errors = error_of_start(
      "listeners: [{name: in, address: '[fe80::1%nowhere0]:0', protocol: http1, cluster: c}]\n"
      "clusters: [{name: c, endpoints: ['127.0.0.1:9']}]\n");
  EXPECT_NE(errors.find("this host has no interface nowhere0"), std::string::npos) << errors;
  EXPECT_NE(errors.find("listeners[0].address"), std::string::npos) << errors;

  start(
      "listeners:\n"
      "  - {name: in, address: '[::1%lo]:0', protocol: http1, cluster: c}\n"
      "clusters: [{name: c, endpoints: ['[fe80::1%nowhere0]:80'], retry: {attempts: 0}}]\n");
  ASSERT_TRUE(server().serving());
  const std::string listeners = server().admin("GET", "/listeners").body;
  EXPECT_TRUE(listeners.starts_with("in::[::1%lo]:")) << listeners;
  EXPECT_NE(server().admin("GET", "/clusters").body.find("[fe80::1%nowhere0]:80"), std::string::npos);
  TestSocket s = connect_to("[::1]:" + std::to_string(server().port("in")));
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().status, 503);
  EXPECT_GE(server().metric("dragoman_cluster_connect_failures_total"), 1);
}

// --- who gets a connection --------------------------------------------------------------------------------------------------

TEST_F(Sockets, ExactBalanceSpreadsFewConnections) {
  constexpr int kWorkers = 4;
  for (const std::string& address : {std::string("127.0.0.1:0"), "unix:" + path()}) {
    SCOPED_TRACE(address);
    const std::string yaml = fill_in(
        "listeners: [{name: in, address: '$AT', connection_balance: exact, protocol: http1, routes: r}]\n"
        "routes: [{name: r, routes: [{match: {prefix: /}, direct_response: {body: hello}}]}]\n",
        {{"AT", address}});
    serve(yaml, kWorkers);
    ASSERT_TRUE(server().serving());
    std::vector<TestSocket> clients;
    const auto add = [&](int n) {
      for (int i = 0; i < n; ++i) {
        clients.push_back(address.starts_with("unix:") ? connect_to(address) : connect());
        EXPECT_EQ(ask(clients.back(), "http1"), "hello");
      }
    };
    const auto each_has = [&](double n) {
      for (int w = 0; w < kWorkers; ++w)
        EXPECT_TRUE(server().becomes(n, "dragoman_worker_connections_active",
                                     {"worker=\"" + std::to_string(w) + "\""}))
            << w;
    };
    add(8);
    each_has(2);
    // Those that leave make room, wherever it was.
    clients.erase(clients.begin(), clients.begin() + 4);
    ASSERT_TRUE(server().becomes(4, "dragoman_worker_connections_active"));
    add(4);
    each_has(2);
    ASSERT_EQ(server().admin("POST", "/reload").status, 200);
    add(4);
    each_has(3);
    clients.clear();
    each_has(0);
  }
}

TEST_F(Sockets, ExactBalanceCountsThoseThatAreSentAway) {
  serve(
      "listeners: [{name: in, address: '127.0.0.1:0', connection_balance: exact, connections_max: 2, "
      "protocol: http1, routes: r}]\n"
      "routes: [{name: r, routes: [{match: {prefix: /}, direct_response: {body: hello}}]}]\n",
      2);
  TestSocket one = connect(), two = connect();
  EXPECT_EQ(ask(one, "http1"), "hello");
  EXPECT_EQ(ask(two, "http1"), "hello");
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(connect().closed_by_peer());
  for (const char* worker : {"worker=\"0\"", "worker=\"1\""})
    EXPECT_TRUE(server().becomes(1, "dragoman_worker_connections_active", {worker}));
}

}  // namespace
}  // namespace dragoman::testing
