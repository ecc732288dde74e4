// Several protocols on one port, through the real server.
#include <unistd.h>

#include "protocols/catalog.h"
#include "proxy/server/checks.h"
#include "tests/support/bolt_frames.h"
#include "tests/tls/tls_fixture.h"

namespace dragoman::testing {
namespace {

using namespace std::string_literals;

class DetectServer : public TlsServerTest {
 protected:
  /// HTTP/1 and Bolt on one port; `more` is added to the listener.
  TestServer& serve(const std::string& more, TestServer::Options options = {}) {
    return start(yaml(more), std::move(options));
  }
  std::string yaml(const std::string& more) {
    return fill_in(R"(
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    protocols:
      - {protocol: http1, routes: web}
      - {protocol: bolt, cluster: bolt}
    $MORE
routes:
  - {name: web, routes: [{direct_response: {status: 200, body: hello}}]}
clusters:
  - {name: bolt, endpoints: ['$BOLT']}
  - {name: raw, endpoints: ['$RAW']}
)",
                   {{"MORE", more}, {"BOLT", bolt.address()}, {"RAW", raw.address()}});
  }
  ::testing::AssertionResult detected(double times, std::string_view protocol) {
    const std::string label = "protocol=\"" + std::string(protocol) + "\"";
    return server().becomes(times, "dragoman_detect_connections_total", {"listener=\"in\"", label});
  }
  void http(TestSocket s, size_t piece = 1000) {
    s.send_in_pieces("GET /x HTTP/1.1\r\nhost: a\r\n\r\n", piece);
    EXPECT_EQ(s.read_response().body, "hello");
  }
  void call(TestSocket s, size_t piece = 1000) {
    s.send_in_pieces(BoltFrame::request(7, "ping").bytes(), piece);
    const std::string answer = s.read_bolt();
    EXPECT_NE(answer.find("ping"), std::string::npos);
  }

  ScriptedBackend bolt{scripts::bolt()};
  ScriptedBackend raw{scripts::echo()};
};

const std::string kRelay = "on_unknown: tcp\n    cluster: raw";

TEST_F(DetectServer, EachProtocolFindsItsOwn) {
  serve("detect: {timeout: 5s}");
  http(connect());
  call(connect());
  http(connect(), 1);
  call(connect(), 1);
  EXPECT_TRUE(detected(2, "http1"));
  EXPECT_TRUE(detected(2, "bolt"));
  EXPECT_TRUE(detected(0, "unknown"));
  EXPECT_EQ(server().metric("dragoman_requests_total", {"protocol=\"http1\"", "outcome=\"ok\""}), 2);
  EXPECT_EQ(server().metric("dragoman_requests_total", {"protocol=\"bolt\"", "outcome=\"ok\""}), 2);
  EXPECT_EQ(server().metric("dragoman_detect_duration_seconds_count", {"listener=\"in\""}), 4);
  EXPECT_EQ(server().metric("dragoman_listener_connections_total", {"listener=\"in\""}), 4);
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_active", {"listener=\"in\""}));
}

TEST_F(DetectServer, UnknownBytesAreRefused) {
  serve("detect: {timeout: 5s}");
  for (const std::string& bytes : {"\x07garbage"s, "SSH-2.0-x\r\n"s, "*1\r\n$4\r\nPING\r\n"s}) {
    TestSocket s = connect();
    s.send(bytes);
    EXPECT_TRUE(s.closed_by_peer());
  }
  EXPECT_TRUE(detected(3, "unknown"));
  EXPECT_EQ(server().metric("dragoman_listener_protocol_errors_total", {"unknown_protocol"}), 3);
}

TEST_F(DetectServer, UnknownBytesAreRelayedAsTheyCame) {
  serve(kRelay + "\n    detect: {timeout: 5s}");
  std::string bytes = "\x07";
  for (int i = 0; i < 200'000; ++i) bytes += static_cast<char>(i * 2654435761u >> 11);
  TestSocket whole = connect();
  whole.send(bytes);
  EXPECT_TRUE(whole.read(bytes.size()) == bytes);
  // What looked like HTTP for a while.
  TestSocket late = connect();
  late.send_in_pieces("SET key value\r\n", 1);
  EXPECT_EQ(late.read(15), "SET key value\r\n");
  // And all that is there when the client stops sending.
  TestSocket half = connect();
  half.send("SET ");
  half.finish();
  EXPECT_EQ(half.read_to_end(), "SET ");
  EXPECT_TRUE(detected(3, "unknown"));
}

TEST_F(DetectServer, AnUndecidedClientIsNotWaitedForLong) {
  serve(kRelay + "\n    detect: {undecided_timeout: 50ms}");
  TestSocket s = connect();
  s.send("SET ");
  EXPECT_EQ(s.read(4), "SET ");
  EXPECT_TRUE(detected(1, "unknown"));
}

// The rest of a request may be a lost segment: "undecided yet" is not "unknown", whatever unknown bytes get.
TEST_F(DetectServer, PiecesMayComeLate) {
  const struct {
    const char* more;
    const char* what;
  } cases[] = {
      {"detect: {timeout: 20ms}", "defaults"},
      {"detect: {timeout: 20ms, undecided_timeout: 20ms, silence: wait}", "wait"},
      {"detect: {timeout: 20ms, silence: unknown, undecided_timeout: 30s}", "unknown"},
      {"on_unknown: tcp\n    cluster: raw\n    detect: {timeout: 20ms, undecided_timeout: 30s}", "relayed"}};
  const std::string request = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n";
  const std::string frame = BoltFrame::request(7, "ping").bytes();
  for (const auto& [more, what] : cases) {
    SCOPED_TRACE(what);
    serve(more);
    for (size_t cut : {1, 3}) {
      TestSocket web = connect(), rpc = connect();
      web.send(request.substr(0, cut));
      rpc.send(frame.substr(0, cut));
      EXPECT_EQ(web.read_some(100), "");  // five times the timeout
      EXPECT_EQ(rpc.read_some(1), "");
      ASSERT_EQ(web.end(), End::kOpen);
      ASSERT_EQ(rpc.end(), End::kOpen);
      web.send(request.substr(cut));
      EXPECT_EQ(web.read_response().body, "hello");
      rpc.send(frame.substr(cut));
      EXPECT_NE(rpc.read_bolt().find("ping"), std::string::npos);
    }
    EXPECT_TRUE(detected(0, "unknown"));
    EXPECT_TRUE(detected(0, "silent"));
    stop();
  }
}

TEST_F(DetectServer, AnUndecidedClientMayNotTrickleForEver) {
  serve("idle_timeout: 200ms\n    detect: {undecided_timeout: 150ms}");
  TestSocket s = connect();
  for (int i = 0; i < 200 && s.end() == End::kOpen; ++i) {
    s.send("A");
    s.read_some(20);
  }
  EXPECT_NE(s.end(), End::kOpen);
  EXPECT_TRUE(detected(1, "unknown"));
}

TEST_F(DetectServer, NorDoesItSendWithoutEnd) {
  serve(kRelay + "\n    detect: {timeout: 5s, bytes_max: 64}");
  const std::string bytes = "X " + std::string(62, 'a');
  TestSocket s = connect();
  s.send_in_pieces(bytes, 8);
  EXPECT_EQ(s.read(64), bytes);
}

TEST_F(DetectServer, ServersThatSpeakFirstAreReachedAfterSilence) {
  ScriptedBackend greeter([](TestSocket& s) {
    s.send("220 hello\r\n");
    s.wait_end();
  });
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: auto, protocols: [{protocol: http1, routes: web}], on_unknown: tcp, cluster: raw, detect: {timeout: 50ms}}
routes: [{name: web, routes: [{direct_response: {status: 200}}]}]
clusters: [{name: raw, endpoints: ['$BACK']}]
)",
                {{"BACK", greeter.address()}}));
  TestSocket s = connect();
  EXPECT_EQ(s.read(11), "220 hello\r\n");
  EXPECT_TRUE(detected(1, "silent"));
}

TEST_F(DetectServer, SilenceIsRefusedTakenForAProtocolOrWaitedFor) {
  serve("detect: {timeout: 50ms, silence: unknown}");
  EXPECT_TRUE(connect().closed_by_peer());
  EXPECT_TRUE(detected(1, "silent"));

  serve("detect: {timeout: 50ms}");  // pools connect before they send
  TestSocket pooled = connect();
  EXPECT_EQ(pooled.read_some(300), "");
  EXPECT_EQ(pooled.end(), End::kOpen);
  http(std::move(pooled));

  serve("detect: {timeout: 50ms, silence: http1}");
  TestSocket late = connect();
  EXPECT_TRUE(detected(1, "silent"));
  http(std::move(late));

  serve("idle_timeout: 10s\n    detect: {timeout: 50ms, silence: wait}");
  TestSocket waiting = connect();
  EXPECT_EQ(waiting.read_some(300), "");  // longer than the timeout
  EXPECT_EQ(waiting.end(), End::kOpen);
  call(std::move(waiting));

  serve("idle_timeout: 100ms\n    detect: {timeout: 50ms, silence: wait}");
  EXPECT_TRUE(connect().closed_by_peer());
}

TEST_F(DetectServer, InsideTls) {
  serve("tls: {certificates: [" + server_pair + "]}\n    detect: {timeout: 5s}");
  // By ALPN, before a byte was sent.
  TlsPeer alpn(dial(), {.ca = ca.pem(), .alpn = "http/1.1"});
  ASSERT_TRUE(alpn.handshake());
  EXPECT_TRUE(detected(1, "http1"));
  EXPECT_TRUE(alpn.http().ends_with("hello"));
  // By the first bytes inside.
  TlsPeer http(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(http.handshake());
  EXPECT_TRUE(http.http().ends_with("hello"));
  TlsPeer bolt_peer(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(bolt_peer.handshake());
  const std::string request = BoltFrame::request(9, "sealed").bytes();
  for (char byte : request) ASSERT_TRUE(bolt_peer.send({&byte, 1}));
  EXPECT_EQ(bolt_peer.read(20).size(), 20u);
  EXPECT_TRUE(detected(1, "bolt"));
  TlsPeer garbage(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(garbage.handshake());
  garbage.send("\x07garbage");
  EXPECT_EQ(garbage.read_to_end(), "");
  EXPECT_TRUE(detected(1, "unknown"));
  // Without TLS nobody gets in.
  TestSocket plain = connect();
  plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_TRUE(plain.closed_by_peer());
  EXPECT_TRUE(failed("tls_not_tls"));
}

TEST_F(DetectServer, PlainAndSealedEachOfThem) {
  serve("tls: {mode: permissive, certificates: [" + server_pair + "]}\n    " + kRelay + "\n    detect: {timeout: 2s}");
  http(connect());
  call(connect());
  TlsPeer sealed(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(sealed.handshake());
  EXPECT_TRUE(sealed.http().ends_with("hello"));
  TestSocket raw_socket = connect();
  raw_socket.send("\x07raw");
  EXPECT_EQ(raw_socket.read(4), "\x07raw");
  TlsPeer raw_sealed(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(raw_sealed.handshake());
  raw_sealed.send("\x07raw");
  EXPECT_EQ(raw_sealed.read(4), "\x07raw");
  EXPECT_TRUE(detected(2, "http1"));
  EXPECT_TRUE(detected(2, "unknown"));
}

TEST_F(DetectServer, TlsIsPassedOnByServerName) {
  const auto backend = [&](const std::string& name) {
    const Issued own = ca.issue({.common_name = name, .dns = {"x"}});
    return [own](TestSocket& s) {
      TlsPeer p(::dup(s.fd()), {.server = true, .own = own});
      if (!p.handshake()) return;
      p.read(4);
      p.send("pong");
      p.read_to_end();
    };
  };
  ScriptedBackend a(backend("a"));
  ScriptedBackend wild(backend("wild"));
  ScriptedBackend rest(backend("rest"));
  const std::string config = fill_in(R"(
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    detect: {timeout: 5s}
    protocols:
      - {protocol: http1, routes: web}
      - {protocol: tls, sni: [a.example], cluster: a}
      - {protocol: tls, sni: ["*.wild.example"], cluster: wild}
      $REST
routes: [{name: web, routes: [{direct_response: {status: 200, body: hello}}]}]
clusters:
  - {name: a, endpoints: ['$A']}
  - {name: wild, endpoints: ['$WILD']}
  - {name: rest, endpoints: ['$OTHER']}
)",
                                     {{"A", a.address()}, {"WILD", wild.address()}, {"OTHER", rest.address()}});
  start(fill_in(config, {{"REST", "- {protocol: tls, cluster: rest}"}}));
  for (const auto& [sni, name] : {std::pair<std::string, std::string>{"a.example", "a"},
                                  {"A.EXAMPLE", "a"},
                                  {"x.wild.example", "wild"},
                                  {"other.example", "rest"},
                                  {"", "rest"}}) {
    TlsPeer p(dial(), {.ca = ca.pem(), .sni = sni});
    ASSERT_TRUE(p.handshake()) << sni;
    EXPECT_EQ(p.peer_common_name(), name) << sni;
    p.send("ping");
    EXPECT_EQ(p.read(4), "pong");
  }
  http(connect());
  EXPECT_TRUE(detected(5, "tls"));

  start(fill_in(config, {{"REST", ""}}));
  TlsPeer nobody(dial(), {.ca = ca.pem(), .sni = "other.example"});
  EXPECT_FALSE(nobody.handshake());
  EXPECT_TRUE(detected(1, "unknown"));
}

TEST_F(DetectServer, AReloadIsFollowedByOpenConnections) {
  TestServer::Options options;
  options.file = folder.path("dragoman.yaml");
  serve("detect: {timeout: 5s}", options);
  TestSocket s = connect();
  s.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "hello");
  std::string changed = yaml("detect: {timeout: 5s}");
  changed.replace(changed.find("body: hello"), 11, "body: other");
  server().write_file(changed);
  ASSERT_EQ(server().admin("POST", "/reload").status, 200);
  s.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "other");
  // A protocol that is gone: the connection keeps what it had.
  const size_t at = changed.find("      - {protocol: http1, routes: web}\n");
  changed.erase(at, std::string("      - {protocol: http1, routes: web}\n").size());
  server().write_file(changed);
  ASSERT_EQ(server().admin("POST", "/reload").status, 200);
  s.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "other");
}

TEST_F(DetectServer, ADrainServesWhatIsUnderWay) {
  TestServer::Options options;
  options.drain = "{deadline: 5s, idle_grace: 2s}";
  serve("detect: {timeout: 5s}", options);
  TestSocket begun = connect();
  begun.send("GET /x HT");
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_connections_total", {"in"}));
  TestSocket quiet = connect();
  EXPECT_TRUE(server().becomes(2, "dragoman_listener_connections_total", {"in"}));
  server().shutdown();
  begun.send("TP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(begun.read_response().body, "hello");
  http(std::move(quiet));
  EXPECT_TRUE(server().wait_ended());
}

// --- configuration --------------------------------------------------------------------------------------------------

TEST(DetectConfig, ProtocolsThatCannotBeToldApartAreRefusedAtTheirLine) {
  // The same codec under another name claims the same bytes.
  const Protocol* bolt = find_protocol("bolt");
  ASSERT_NE(bolt, nullptr);
  Protocol other = *bolt;
  other.name = "other";
  DeclaredProtocols declared;
  const config::CodecLoader loader = [&](const config::Codec& codec, const std::string&) {
    declared["other"] = std::make_shared<const Protocol>(other);
    return config::DeclaredCodec{.protocol = protocol_facts(*bolt->table)};
  };
  const config::LoadResult result = config::load_string(R"(codecs: [{name: other, path: other.so}]
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    protocols:
      - {protocol: http1, cluster: a}
      - {protocol: bolt, cluster: b}
      - {protocol: other, cluster: c}
clusters:
  - {name: a, endpoints: ['127.0.0.1:1']}
  - {name: b, endpoints: ['127.0.0.1:1']}
  - {name: c, endpoints: ['127.0.0.1:1']}
)",
                                                        "t.yaml", config::process_environment(), loader,
                                                        config_check(declared));
  ASSERT_EQ(result.diagnostics.size(), 1u) << config::render_text(result.diagnostics, result.source);
  const config::Diagnostic& d = result.diagnostics[0];
  EXPECT_EQ(d.line, 9);
  EXPECT_EQ(d.column, 20);
  EXPECT_EQ(d.path, "listeners[0].protocols[2].protocol");
  EXPECT_TRUE(d.message.starts_with("other can't be told from bolt at line 8: both begin with 0")) << d.message;
}

}  // namespace
}  // namespace dragoman::testing
