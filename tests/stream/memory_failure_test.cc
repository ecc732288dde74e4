// Each allocation of a request fails once, and everything from it on fails once: its client is told or loses its connection, nothing
// leaks, and the next request is served, on connections that have been there all the time.
#include <gtest/gtest.h>
#include <openssl/crypto.h>

#include <memory>
#include <optional>
#include <string>

#include "protocols/codec_module.h"
#include "protocols/descriptor/descriptor.h"
#include "proxy/base/kept_memory.h"
#include "proxy/tls/identity.h"
#include "tests/http2/frames.h"
#include "tests/stream/engine_harness.h"
#include "tests/support/allocations.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/source_dir.h"
#include "tests/tls/certificates.h"
#include "tests/tls/tls_peer.h"

namespace dragoman::testing {
namespace {

/// OpenSSL's allocations fail as ours do. It takes this only before its first one.
void* ssl_malloc(size_t n, const char*, int) { return allocation_fails() ? nullptr : std::malloc(n); }
void* ssl_realloc(void* p, size_t n, const char*, int) {
  return allocation_fails() ? nullptr : std::realloc(p, n);
}
void ssl_free(void* p, const char*, int) { std::free(p); }
const bool ssl_allocations_fail = CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) == 1;

/// What became of one request.
enum class Fate { kServed, kRefused, kClosed, kLost };

Fate without_answer(TestSocket& s) { return s.end() == End::kOpen ? Fate::kLost : Fate::kClosed; }

std::string long_text() { return std::string(3000, 'x'); }

Fate call_http1(TestSocket& s, uint32_t) {
  s.send("POST /some/path HTTP/1.1\r\nhost: a.example\r\nx-long: " + long_text() +
         "\r\ncontent-length: 40000\r\n\r\n" + std::string(40'000, 'b'));
  const HttpMessage m = s.read_response();
  if (!m.complete) return without_answer(s);
  return m.status == 200 ? Fate::kServed : Fate::kRefused;
}

Fate call_bolt(TestSocket& s, uint32_t n) {
  s.send(BoltFrame::request(n + 1, std::string(40'000, 'b')).bytes());
  const std::string frame = s.read_bolt();
  if (frame.size() < 12) return without_answer(s);
  return frame.substr(10, 2) == be(0, 2) ? Fate::kServed : Fate::kRefused;
}

/// Frames of one peer until the stream `id` ends; answers its SETTINGS.
Fate call_http2(TestSocket& s, uint32_t n) {
  using h2::operator+;
  const uint32_t id = 2 * n + 1;
  std::string out = n == 0 ? h2::hello() + h2::window_update(0, 0x7fff0000 - 65535) : "";
  out += h2::headers(id, h2::post("/some/path") + h2::Fields{{"x-long", long_text()}}, h2::kEndHeaders);
  out += h2::data(id, std::string(10'000, 'b')) + h2::data(id, std::string(10'000, 'b'), h2::kEndStream);
  s.send(out);
  std::string head_block;
  for (;;) {
    const std::string head = s.read(9);
    if (head.size() < 9) return without_answer(s);
    auto u8 = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
    const std::string payload = s.read(size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2));
    if (u8(3) == h2::kSettings && !(u8(4) & h2::kAck)) s.send(h2::frame(h2::kSettings, h2::kAck, 0));
    const uint32_t of = uint32_t{u8(5)} << 24 | uint32_t{u8(6)} << 16 | uint32_t{u8(7)} << 8 | u8(8);
    if (of != id) continue;
    if (u8(3) == h2::kRstStream) return Fate::kRefused;
    if (u8(3) == h2::kHeaders) head_block = payload;
    // ":status: 200" is entry 8 of the static table; the head of an error begins otherwise.
    if (u8(3) <= h2::kHeaders && u8(4) & h2::kEndStream)
      return !head_block.empty() && static_cast<uint8_t>(head_block[0]) == 0x88 ? Fate::kServed
                                                                                : Fate::kRefused;
  }
}

void http2_backend(TestSocket& s) {
  if (!s.send(h2::settings({{3, 1000}}) + h2::window_update(0, 0x7fff0000 - 65535))) return;
  s.read(h2::kPreface.size());
  for (;;) {
    const std::string head = s.read(9);
    if (head.size() < 9) return;
    auto u8 = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
    s.read(size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2));
    const uint32_t id = uint32_t{u8(5)} << 24 | uint32_t{u8(6)} << 16 | uint32_t{u8(7)} << 8 | u8(8);
    std::string out;
    if (u8(3) == h2::kSettings && !(u8(4) & h2::kAck)) out = h2::frame(h2::kSettings, h2::kAck, 0);
    if (u8(3) <= h2::kHeaders && u8(4) & h2::kEndStream)
      out = h2::headers(id, {{":status", "200"}, {"x-answer", long_text()}}, h2::kEndHeaders) +
            h2::data(id, std::string(10'000, 'x'), h2::kEndStream);
    if (!out.empty() && !s.send(out)) return;
  }
}

// --- framed protocols, as much of them as one call needs ---------------------------------------------------------

/// A frame's end, whatever the protocol: where its length is, of four bytes, and what that does not count.
struct Framing {
  size_t head, at, more;
  size_t second_at = 0;  // of another length, of two bytes; 0 = none
};
uint64_t number_at(const std::string& bytes, size_t at, size_t size) {
  uint64_t n = 0;
  for (size_t i = 0; i < size; ++i) n = n << 8 | static_cast<uint8_t>(bytes.at(at + i));
  return n;
}
std::string read_frame(TestSocket& s, const Framing& f) {
  const std::string head = s.read(f.head);
  if (head.size() < f.head) return "";
  const size_t whole =
      number_at(head, f.at, 4) + f.more + (f.second_at ? number_at(head, f.second_at, 2) : 0);
  return head + s.read(whole - f.head);
}

const char kAnswer[] = "it-was-served";
std::string answer_text() { return kAnswer + std::string(10'000, 'x'); }

/// One protocol's frames; `id` is what the answer must have, too.
struct Frames {
  Framing framing;
  std::string (*request)(uint64_t id, const std::string& content);
  std::string (*answer)(uint64_t id);
  uint64_t (*id_of)(const std::string& request);
};

std::string dubbo_text(const std::string& text) {
  return text.size() < 32 ? std::string(1, static_cast<char>(text.size())) + text
                          : "S" + be(text.size(), 2) + text;
}
std::string dubbo_frame(uint8_t flags, uint8_t status, uint64_t id, const std::string& body) {
  return be(0xdabb, 2) + be(flags, 1) + be(status, 1) + be(id, 8) + be(body.size(), 4) + body;
}
constexpr Frames kDubbo = {
    {16, 12, 16},
    [](uint64_t id, const std::string& content) {
      std::string body;
      for (const std::string& text :
           {std::string("2.0.2"), std::string("acme.A"), std::string("0.0.0"), std::string("call"),
            std::string("Ljava/lang/String;"), content.substr(0, 30'000)})
        body += dubbo_text(text);
      return dubbo_frame(0xc2, 0, id, body + "H" + dubbo_text("path") + dubbo_text("acme.A") + "Z");
    },
    [](uint64_t id) { return dubbo_frame(0x02, 20, id, "\x91" + dubbo_text(answer_text())); },
    [](const std::string& frame) { return number_at(frame, 4, 8); }};

std::string thrift_message(uint8_t kind, uint64_t id, const std::string& text) {
  const std::string body = be(0x80010000 | kind, 4) + be(4, 4) + "call" + be(id, 4) + "\x0b" + be(1, 2) +
                           be(text.size(), 4) + text + std::string(1, '\0');
  return be(body.size(), 4) + body;
}
constexpr Frames kThrift = {
    {4, 0, 4},
    [](uint64_t id, const std::string& content) { return thrift_message(1, id, content); },
    [](uint64_t id) { return thrift_message(2, id, answer_text()); },
    [](const std::string& frame) { return number_at(frame, 12 + number_at(frame, 8, 4), 4); }};

std::string tars_int(uint8_t tag, uint64_t value) { return be(tag << 4 | 2, 1) + be(value, 4); }
std::string tars_list(uint8_t tag, const std::string& bytes) {
  return be(tag << 4 | 13, 1) + be(0, 1) + tars_int(0, bytes.size()) + bytes;
}
std::string tars_text(uint8_t tag, const std::string& text) {
  return be(tag << 4 | 6, 1) + be(text.size(), 1) + text;
}
std::string tars_map(uint8_t tag) { return be(tag << 4 | 8, 1) + tars_int(0, 0); }
std::string tars_frame(const std::string& body) { return be(body.size() + 4, 4) + body; }
constexpr Frames kTars = {
    {4, 0, 0},
    [](uint64_t id, const std::string& content) {
      return tars_frame(be(0x11, 1) + be(1, 2) + be(0x20, 1) + be(0, 1) + tars_int(3, 0) + tars_int(4, id) +
                        tars_text(5, "Acme.A.AObj") + tars_text(6, "call") + tars_list(7, content) +
                        tars_int(8, 30'000) + tars_map(9) + tars_map(10));
    },
    [](uint64_t id) {
      return tars_frame(be(0x11, 1) + be(1, 2) + be(0x20, 1) + be(0, 1) + tars_int(3, id) + tars_int(4, 0) +
                        tars_int(5, 0) + tars_list(6, answer_text()) + tars_map(7));
    },
    [](const std::string& frame) {
      uint64_t value = 0;
      for (size_t at = 4, i = 0; i < 4;
           ++i) {  // version, packet type, message type, id: integers of any size
        const uint8_t type = static_cast<uint8_t>(frame.at(at++)) & 15;
        const size_t size = type == 12 ? 0 : size_t{1} << type;
        value = number_at(frame, at, size);
        at += size;
      }
      return value;
    }};

std::string varint(uint64_t n) {
  std::string out;
  for (; n > 0x7f; n >>= 7) out += be((n & 0x7f) | 0x80, 1);
  return out + be(n, 1);
}
std::string brpc_frame(const std::string& meta, const std::string& payload) {
  return "PRPC" + be(meta.size() + payload.size(), 4) + be(meta.size(), 4) + meta + payload;
}
constexpr Frames kBrpc = {
    {12, 4, 12},
    [](uint64_t id, const std::string& content) {
      const std::string call =
          "\x0a\x06"
          "acme.A"
          "\x12\x04"
          "call";
      return brpc_frame("\x0a" + varint(call.size()) + call + "\x20" + varint(id), content);
    },
    [](uint64_t id) { return brpc_frame(std::string("\x12\x02\x08\0\x20", 5) + varint(id), answer_text()); },
    [](const std::string& frame) {
      uint64_t value = 0;
      const size_t end = 12 + number_at(frame, 8, 4);
      for (size_t at = 12; at < end;) {
        const uint8_t tag = static_cast<uint8_t>(frame.at(at++));
        uint64_t n = 0;
        for (unsigned shift = 0;; shift += 7) {
          const auto byte = static_cast<uint8_t>(frame.at(at++));
          n |= uint64_t{byte & 0x7fu} << shift;
          if (!(byte & 0x80)) break;
        }
        if (tag == 0x20) value = n;
        if ((tag & 7) == 2) at += n;
      }
      return value;
    }};

std::string parcel_frame(uint8_t kind, uint64_t id, const std::string& headers, const std::string& body) {
  return "PC\1" + be(kind, 1) + be(id, 4) + be(0, 4) + be(headers.size(), 2) + be(body.size(), 4) + headers +
         body;
}
constexpr Frames kParcel = {{18, 14, 18, 12},
                            [](uint64_t id, const std::string& content) {
                              return parcel_frame(1, id, "service=acme.A\nmethod=call\n", content);
                            },
                            [](uint64_t id) { return parcel_frame(3, id, "", answer_text()); },
                            [](const std::string& frame) { return number_at(frame, 4, 4); }};

// --- clients ------------------------------------------------------------------------------------------------------

/// One client's connection.
struct Client {
  virtual ~Client() = default;
  /// One request, and what becomes of it.
  virtual Fate call() = 0;
  virtual void close() = 0;
};

class PlainClient final : public Client {
 public:
  using Call = std::function<Fate(TestSocket&, uint32_t n)>;
  PlainClient(uint16_t port, Call call) : socket_(TestSocket::connect(port)), call_(std::move(call)) {}
  Fate call() override { return call_(socket_, calls_++); }
  void close() override { socket_.close(); }

 private:
  TestSocket socket_;
  Call call_;
  uint32_t calls_ = 0;  // before this one
};

class TlsClient final : public Client {
 public:
  TlsClient(uint16_t port, const std::string& ca) : port_(port), ca_(ca) {}
  Fate call() override {
    const uint64_t begin = steady_ms();
    if (!peer_) {
      peer_ = std::make_unique<TlsPeer>(TlsPeer::dial(port_), PeerOptions{.ca = ca_});
      if (!peer_->handshake()) return ended(begin);
    }
    const std::string answer = peer_->http("/some/path");
    if (answer.empty()) return ended(begin);
    return answer.starts_with("HTTP/1.1 200") ? Fate::kServed : Fate::kRefused;
  }
  void close() override { peer_ = nullptr; }

 private:
  /// Its reads end with the connection, or at the deadline.
  static Fate ended(uint64_t begin) {
    return steady_ms() - begin < static_cast<uint64_t>(kDeadlineMs) ? Fate::kClosed : Fate::kLost;
  }
  uint16_t port_;
  std::string ca_;
  std::unique_ptr<TlsPeer> peer_;
};

/// A backend, and clients for it.
struct Wire {
  const Protocol* protocol;  // null: bytes are relayed
  ScriptedBackend::Script backend;
  std::function<std::unique_ptr<Client>(uint16_t port)> connect;
  EngineTls tls{};
  std::optional<config::ListenerTls> listener_tls{};
  std::optional<config::ClusterTls> cluster_tls{};
  bool seals_client = false, seals_backend = false;  // what is new begins with a handshake
  std::shared_ptr<const Protocol> described{};
};

std::function<std::unique_ptr<Client>(uint16_t port)> plain(PlainClient::Call call) {
  return [call](uint16_t port) { return std::make_unique<PlainClient>(port, call); };
}

Wire framed(const Protocol* protocol, const Frames& frames) {
  return {protocol,
          [&frames](TestSocket& s) {
            for (;;) {
              const std::string request = read_frame(s, frames.framing);
              if (request.empty() || !s.send(frames.answer(frames.id_of(request)))) return;
            }
          },
          plain([&frames](TestSocket& s, uint32_t n) {
            s.send(frames.request(n + 1, std::string(40'000, 'b')));
            const std::string answer = read_frame(s, frames.framing);
            if (answer.empty()) return without_answer(s);
            return answer.find(kAnswer) != std::string::npos ? Fate::kServed : Fate::kRefused;
          })};
}

Fate call_echo(TestSocket& s, uint32_t) {
  const std::string said(40'000, 'b');
  s.send(said);
  return s.read(said.size()) == said ? Fate::kServed : without_answer(s);
}

/// HTTP/1 with TLS on either side.
Wire sealed(bool downstream, bool upstream) {
  static const TestCa ca;
  static const Issued server = ca.issue({.common_name = "server", .ips = {"127.0.0.1"}});
  const PemFolder folder;  // the identities have read them
  const std::string name = folder.path("server");
  folder.write_pair("server", server);
  Wire wire{find_protocol("http1"), scripts::http(std::string(40'000, 'x')), plain(call_http1)};
  wire.seals_client = downstream;
  wire.seals_backend = upstream;
  if (downstream) {
    config::ListenerTls settings;
    settings.certificates.emplace_back();
    settings.certificates[0].chain = name + ".pem";
    settings.certificates[0].key = name + ".key";
    wire.listener_tls = settings;
    wire.tls.downstream = *TlsIdentity::server(settings, {"http/1.1"}, "in", 1);
    wire.connect = [](uint16_t port) { return std::make_unique<TlsClient>(port, ca.pem()); };
  }
  if (upstream) {
    config::ClusterTls settings;
    settings.ca = folder.write("ca.pem", ca.pem());
    wire.cluster_tls = settings;
    wire.tls.upstream = *TlsIdentity::client(settings, {"http/1.1"}, "", 1);
    wire.backend = [](TestSocket& s) {
      TlsPeer p(::dup(s.fd()), {.server = true, .own = server});
      if (!p.handshake()) return;
      for (;;) {
        const std::string head = p.read_until("\r\n\r\n");
        const size_t length = head.find("content-length: ");
        if (head.empty()) return;
        if (length != std::string::npos) p.read(std::stoul(head.substr(length + 16)));
        if (!p.send(http_ok(std::string(40'000, 'x')))) return;
      }
    };
  }
  return wire;
}

Wire wire_of(const std::string& name) {
  if (name == "http1")
    return {find_protocol(name), scripts::http(std::string(40'000, 'x')), plain(call_http1)};
  if (name == "http2") return {find_protocol(name), http2_backend, plain(call_http2)};
  if (name == "bolt") return {find_protocol(name), scripts::bolt(), plain(call_bolt)};
  if (name == "tcp") return {nullptr, scripts::echo(), plain(call_echo)};
  if (name == "tls_downstream") return sealed(true, false);
  if (name == "tls_upstream") return sealed(false, true);
  if (name == "dubbo") return framed(find_protocol(name), kDubbo);
  if (name == "thrift") return framed(find_protocol(name), kThrift);
  if (name == "tars") return framed(find_protocol(name), kTars);
  if (name == "brpc") return framed(find_protocol(name), kBrpc);
  auto loaded = descriptor::load_file(source_dir() + "/protocols/example/parcel.yaml");
  if (!loaded.descriptor) throw std::runtime_error("parcel.yaml");
  const auto described =
      std::make_shared<const Protocol>(framed_protocol(loaded.descriptor->table(), loaded.descriptor));
  Wire wire = framed(described.get(), kParcel);
  wire.described = described;
  return wire;
}

struct Sweep {
  std::string protocol;
  bool for_good;    // all allocations from the one on, until the request is over
  bool new_client;  // the connection comes while they fail; else it was there before
  bool new_backend;
};

std::string name_of(const ::testing::TestParamInfo<Sweep>& info) {
  const Sweep& s = info.param;
  return s.protocol + (s.for_good ? "_all_from_one_on" : "_one") + (s.new_client ? "_new_client" : "") +
         (s.new_backend ? "_new_backend" : "");
}

class MemoryFailure : public ::testing::TestWithParam<Sweep> {};

TEST_P(MemoryFailure, IsTheEndOfOneConnectionAtMost) {
  constexpr size_t kAllocationsMax = 20'000;
  ASSERT_TRUE(ssl_allocations_fail);
  const Sweep& sweep = GetParam();
  const Wire wire = wire_of(sweep.protocol);
  ScriptedBackend backend(wire.backend);
  config::Cluster settings;
  settings.connect_backoff_ms = 0;  // a connect that fails here is one of those that are meant to
  if (sweep.new_backend) settings.pool.requests_per_connection_max = 1;
  settings.tls = wire.cluster_tls;
  config::Listener listener;
  listener.tls = wire.listener_tls;
  EngineHarness engine(wire.protocol, {backend.address()}, {}, settings, listener, wire.tls);
  const auto bystander = wire.connect(engine.port());
  ASSERT_EQ(bystander->call(), Fate::kServed);

  // A handshake has thousands of allocations, most of them in OpenSSL.
  const size_t step = sweep.new_client && wire.seals_client     ? 5
                      : sweep.new_backend && wire.seals_backend ? 23
                                                                : 1;
  int refused = 0, closed = 0;
  size_t nth = 1;
  for (;; nth += step) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    ASSERT_LT(nth, kAllocationsMax);
    std::unique_ptr<Client> client;
    if (!sweep.new_client) {
      client = wire.connect(engine.port());
      ASSERT_EQ(client->call(), Fate::kServed);
    }
    engine.run([&] {
      while (spare_memory_bytes() != 0) trim_spare_memory();  // else most of what is needed is there
      fail_allocation(nth, sweep.for_good);
    });
    if (sweep.new_client) client = wire.connect(engine.port());
    const Fate fate = client->call();
    client->close();
    const bool failed = failed_allocations() != 0;
    let_allocations_be();
    ASSERT_NE(fate, Fate::kLost);
    refused += fate == Fate::kRefused ? 1 : 0;
    closed += fate == Fate::kClosed ? 1 : 0;
    ASSERT_EQ(bystander->call(), Fate::kServed);
    if (!failed) break;
  }
  EXPECT_GT(refused + closed, 0);
  RecordProperty("allocations", static_cast<int>(nth));
  std::printf("%zu allocations: %d requests refused, %d connections closed\n", nth - 1, refused, closed);
}

std::vector<Sweep> sweeps() {
  std::vector<Sweep> all;
  for (const char* protocol : {"http1", "http2", "bolt", "tcp", "tls_downstream", "tls_upstream", "dubbo",
                               "thrift", "tars", "brpc", "described"})
    for (const bool for_good : {false, true})
      for (const bool new_client : {false, true})
        for (const bool new_backend : {false, true})
          if (protocol != std::string("tcp") ||
              (new_client && !new_backend))  // a relay's connections begin together
            all.push_back({protocol, for_good, new_client, new_backend});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Protocols, MemoryFailure, ::testing::ValuesIn(sweeps()), name_of);

}  // namespace
}  // namespace dragoman::testing
