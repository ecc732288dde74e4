// Each allocation of a request fails once, and everything from it on fails once: its client is told or loses its connection, nothing
// leaks, and the next request is served, on connections that have been there all the time.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "proxy/base/kept_memory.h"
#include "tests/http2/frames.h"
#include "tests/stream/engine_harness.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/failing_allocation.h"
#include "tests/support/scripted_backend.h"

namespace dragoman::testing {
namespace {

/// What became of one request.
enum class Fate { kServed, kRefused, kClosed, kLost };

struct Wire {
  std::string name;
  ScriptedBackend::Script backend;
  /// Sends one request on a connection and waits for what becomes of it. `n`: how many were sent on it before.
  std::function<Fate(TestSocket&, uint32_t n)> call;
};

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

Wire wire_of(const std::string& name) {
  if (name == "http1") return {name, scripts::http(std::string(40'000, 'x')), call_http1};
  if (name == "http2") return {name, http2_backend, call_http2};
  return {name, scripts::bolt(), call_bolt};
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
  constexpr size_t kAllocationsMax = 2000;
  const Sweep& sweep = GetParam();
  const Wire wire = wire_of(sweep.protocol);
  ScriptedBackend backend(wire.backend);
  config::Cluster settings;
  settings.connect_backoff_ms = 0;  // a connect that fails here is one of those that are meant to
  if (sweep.new_backend) settings.pool.requests_per_connection_max = 1;
  EngineHarness engine(wire.name, {backend.address()}, {}, settings);
  TestSocket bystander = engine.connect();
  uint32_t served = 0;
  ASSERT_EQ(wire.call(bystander, served++), Fate::kServed);

  int refused = 0, closed = 0;
  size_t nth = 1;
  for (;; ++nth) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    ASSERT_LT(nth, kAllocationsMax);
    TestSocket client;
    if (!sweep.new_client) {
      client = engine.connect();
      ASSERT_EQ(wire.call(client, 0), Fate::kServed);
    }
    engine.run([&] {
      while (spare_memory_bytes() != 0) trim_spare_memory();  // else most of what is needed is there
      fail_allocation(nth, sweep.for_good);
    });
    if (sweep.new_client) client = engine.connect();
    const Fate fate = wire.call(client, sweep.new_client ? 0 : 1);
    client.close();
    const bool failed = failed_allocations() != 0;
    let_allocations_be();
    ASSERT_NE(fate, Fate::kLost);
    refused += fate == Fate::kRefused ? 1 : 0;
    closed += fate == Fate::kClosed ? 1 : 0;
    ASSERT_EQ(wire.call(bystander, served++), Fate::kServed);
    if (!failed) break;
  }
  EXPECT_GT(refused + closed, 0);
  RecordProperty("allocations", static_cast<int>(nth));
  std::printf("%zu allocations: %d requests refused, %d connections closed\n", nth - 1, refused, closed);
}

std::vector<Sweep> sweeps() {
  std::vector<Sweep> all;
  for (const char* protocol : {"http1", "http2", "bolt"})
    for (const bool for_good : {false, true})
      for (const bool new_client : {false, true})
        for (const bool new_backend : {false, true})
          all.push_back({protocol, for_good, new_client, new_backend});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Protocols, MemoryFailure, ::testing::ValuesIn(sweeps()), name_of);

}  // namespace
}  // namespace dragoman::testing
