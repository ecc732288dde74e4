// TLS, both sides, on a wire that anybody may write to: before, during and after the handshake. Whatever comes, what a side
// reads is a beginning of what the other one wrote, from the peer that its certificates say, and nothing is left over.
//
// Input: one byte of options, then records `u8 action, ...`; see run().
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/rand.h>

#include <memory>
#include <string>
#include <utility>

#include "proxy/tls/transport.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/tls/certificates.h"

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;

/// The same numbers in every run, so that a run can be repeated.
uint64_t random_state = 1;
int fill_random(unsigned char* out, int n) {
  for (int i = 0; i < n; ++i) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    out[i] = static_cast<unsigned char>(random_state >> 56);
  }
  return 1;
}
void forget_random() {
  static RAND_METHOD method = {nullptr, fill_random, nullptr, nullptr, fill_random, nullptr};
  static const int set = RAND_set_rand_method(&method);
  REQUIRE(set == 1);
  random_state = 1;
}

/// What the sides of all runs may be.
struct Identities {
  testing::TestCa ca;
  testing::PemFolder folder;
  std::shared_ptr<TlsIdentity> servers[4], clients[4];

  Identities() {
    const std::string trust = folder.write("ca.pem", ca.pem());
    auto pair = [&](const std::string& name, const testing::CertificateOptions& options) {
      const testing::Issued issued = ca.issue(options);
      return config::Certificate{.pos = {},
                                 .chain = folder.write(name + ".pem", issued.chain),
                                 .key = folder.write(name + ".key", issued.key)};
    };
    const config::Certificate server = pair("server", {.dns = {"server.example"}});
    const config::Certificate good = pair("good", {.uris = {"spiffe://td/ns/good/sa/client"}});
    const config::Certificate other = pair("other", {.uris = {"spiffe://td/ns/other/sa/client"}});
    for (int i = 0; i < 4; ++i) {  // bit 0: TLS 1.2, bit 1: with certificates on both sides
      config::ListenerTls listener;
      listener.certificates.push_back(server);
      if (i & 1) listener.max_version = config::TlsVersion::k12;
      if (i & 2) {
        listener.client_certificate = config::ClientCertificate::kRequire;
        listener.ca = trust;
        listener.peer_names = {"spiffe://td/ns/good/*"};
      }
      auto made = TlsIdentity::server(listener, {"h2", "http/1.1"}, "fuzz", 1);
      REQUIRE(made.has_value());
      servers[i] = *made;
      config::ClusterTls cluster;  // bit 0: without a protocol, bit 1: the wrong certificate
      cluster.ca = trust;
      cluster.certificate = i & 2 ? other : good;
      auto client = TlsIdentity::client(
          cluster, i & 1 ? std::vector<std::string>{} : std::vector<std::string>{"http/1.1"},
          "server.example", 1);
      REQUIRE(client.has_value());
      clients[i] = *client;
    }
  }
};

/// The transport that TLS stands on.
class Wire final : public Transport {
 public:
  TransportEvents* events = nullptr;
  uint8_t paused = 0;
  bool over = false;

  void pause_read(PauseReason reason) override { paused |= reason; }
  void resume_read(PauseReason reason) override { paused &= static_cast<uint8_t>(~reason); }
  void finish() override {}
  void close(bool) override { over = true; }
  void close_after_flush(uint64_t) override { over = true; }
  bool closed() const override { return over; }
  bool unread() const override { return false; }
  void set_events(TransportEvents& to) override { events = &to; }
  const Address& peer() const override { return address_; }
  const Address& local() const override { return address_; }
  void set_ends(const Address& peer, const Address&) override { address_ = peer; }
  bool listens() const { return !over && !paused && events; }
  void deliver(std::string bytes) {
    if (listens() && !bytes.empty()) events->on_data(reinterpret_cast<uint8_t*>(bytes.data()), bytes.size());
  }
  std::string take() {
    std::string bytes(out.size(), '\0');
    out.copy_to(reinterpret_cast<uint8_t*>(bytes.data()));
    out.clear();
    dirty_ = false;
    return bytes;
  }

 private:
  void on_dirty() override {}
  Address address_;
};

struct Side final : TransportEvents {
  Wire* wire = nullptr;
  std::unique_ptr<TlsTransport> tls;
  Side* other = nullptr;
  std::string travelling;  // ciphertext on its way to the other side
  std::string sent, seen;
  bool ready = false, eof = false, closed = false, ended = false;

  void start(Loop& loop, TlsContextRef context) {
    auto inner = std::make_unique<Wire>();
    wire = inner.get();
    tls = TlsTransport::accept(loop, std::move(inner), *this, std::move(context));
    tls->wrote();  // a client's hello
  }
  bool open() const { return !closed && !ended; }
  void collect() { travelling += wire->take(); }

  void on_ready() override {
    REQUIRE(!ready && open());
    ready = true;
    REQUIRE(tls->tls());
  }
  void on_data(uint8_t* data, size_t n) override {
    REQUIRE(ready && open() && !eof && n > 0 && wire->paused == 0);
    seen.append(reinterpret_cast<const char*>(data), n);
    REQUIRE(other->sent.starts_with(seen));
  }
  void on_eof() override {
    REQUIRE(ready && open() && !eof);
    eof = true;
  }
  void on_closed(Reason reason) override {
    REQUIRE(open() && reason != Reason::kNone);
    closed = true;
  }
  void on_write_blocked(bool) override { REQUIRE(open()); }
};

void run(Input& in) {
  static Identities identities;
  static Loop loop;
  const uint8_t bits = in.u8();
  Side server, client;
  server.other = &client;
  client.other = &server;
  server.start(loop, identities.servers[bits & 3]->current(0));
  client.start(loop, identities.clients[bits >> 2 & 3]->current(0));
  auto carry = [](Side& from, size_t n, size_t step) {
    from.collect();
    n = std::min(n, from.travelling.size());
    for (size_t at = 0; at < n && from.other->wire->listens(); at += step) {
      std::string piece = from.travelling.substr(0, std::min(step, n - at));
      from.travelling.erase(0, piece.size());
      from.other->wire->deliver(std::move(piece));
    }
  };
  for (int steps = 0; in.more() && steps < 200; ++steps) {
    const uint8_t action = in.u8();
    Side& side = action & 128 ? client : server;
    switch (action % 16) {
      case 0:  // any bytes
        side.wire->deliver(std::string(in.bytes(in.u8())));
        break;
      case 1: {  // any record
        std::string record{static_cast<char>(20 + in.u8() % 5), 3, 3};
        const std::string_view body = in.bytes(in.u16() % 1024);
        record += static_cast<char>(body.size() >> 8);
        record += static_cast<char>(body.size());
        side.wire->deliver(record.append(body));
        break;
      }
      case 2: {  // any message of the handshake, in one record
        const uint8_t type = in.u8();
        const std::string_view body = in.bytes(in.u16() % 1024);
        const size_t n = body.size() + 4;
        std::string record{22, 3, 3, static_cast<char>(n >> 8), static_cast<char>(n), static_cast<char>(type),
                           0};
        record += static_cast<char>(body.size() >> 8);
        record += static_cast<char>(body.size());
        side.wire->deliver(record.append(body));
        break;
      }
      case 3: carry(side, SIZE_MAX, SIZE_MAX); break;
      case 4: carry(side, SIZE_MAX, 1 + in.u8()); break;
      case 5: carry(side, in.u16(), SIZE_MAX); break;
      case 6:  // one byte is changed on the way
      case 7:  // some are lost, or come twice
        side.collect();
        if (size_t at = in.u16(), n = in.u8(); at < side.travelling.size()) {
          if (action % 16 == 6)
            side.travelling[at] = static_cast<char>(side.travelling[at] ^ (n | 1));
          else if (n & 1)
            side.travelling.erase(at, n);
          else
            side.travelling.insert(at, side.travelling.substr(at, n));
        }
        break;
      case 8:
      case 9: {
        std::string text(in.u16() * (action & 16 ? 8u : 1u), static_cast<char>('a' + steps % 26));
        if (!side.open() || side.ended) break;
        if (action & 32) side.tls->write(text);
        if (!(action & 32) && text.size() > 16)
          side.tls->write(text.substr(0, 16)), side.tls->write(text.substr(16));
        if (action & 32 || text.size() > 16) side.sent += text;
        break;
      }
      case 10:
        if (!side.open()) break;
        if (in.u8() & 1)
          side.tls->pause_read(kPauseCodec);
        else
          side.tls->resume_read(kPauseCodec);
        break;
      case 11:
        if (side.open()) side.tls->finish();
        break;
      case 12:
        if (side.wire->listens()) side.wire->events->on_eof();
        break;
      case 13:
        if (!side.open()) break;
        side.ended = true;
        if (in.u8() & 1)
          side.tls->close(false);
        else
          side.tls->close_after_flush(0);
        break;
      case 14:
        if (side.wire->listens()) {
          Wire& wire = *side.wire;
          wire.over = true;
          wire.events->on_closed(Reason::kDownstreamReset);
        }
        break;
      case 15: loop.turn(false); break;
    }
    loop.turn(false);
  }
  if (server.ready) {
    const TlsInfo* info = server.tls->tls();
    REQUIRE(info && info->peer == (bits & 2 ? "spiffe://td/ns/good/sa/client" : ""));
    REQUIRE(!(bits & 2) || !(bits & 8));  // the wrong certificate
    REQUIRE(info->sni == "server.example");
  }
  if (client.ready) REQUIRE(client.tls->tls()->alpn == (bits & 4 ? "" : "http/1.1"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  forget_random();
  const size_t chunks = live_chunks();
  Input in(data, size);
  run(in);
  REQUIRE(live_chunks() == chunks);
  return 0;
}
