// What the fuzz targets of HTTP codecs share: fakes that trap when a codec breaks the contract of exchange.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "protocols/exchange.h"
#include "tests/fuzz/fuzz_support.h"

namespace dragoman::fuzz {

/// One direction of one exchange.
struct End : MessageSink {
  Exchange* exchange = nullptr;
  Head* head = nullptr;
  bool final_head = false, ended = false, was_reset = false;
  std::string body, trailers;
  std::function<void(Head&, bool)> then_head = [](Head&, bool) {};
  std::function<void(std::span<const uint8_t>, bool)> then_body = [](std::span<const uint8_t>, bool) {};
  std::function<void(HeaderList&)> then_trailers = [](HeaderList&) {};
  std::function<void(Reason)> then_reset = [](Reason) {};

  bool open() const { return exchange && !ended && !was_reset; }
  void on_head(Head& h, bool end) override {
    REQUIRE(open() && !final_head && h.is_http);
    final_head = h.is_request || h.status >= 200 || h.status == 101;
    REQUIRE(final_head || !end);
    head = &h;
    ended = end;
    then_head(h, end);
  }
  void on_body(std::span<const uint8_t> chunk, bool end) override {
    REQUIRE(open() && final_head);
    ended = end;
    body.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
    then_body(chunk, end);
  }
  void on_trailers(HeaderList& list) override {
    REQUIRE(open() && final_head && !list.empty());
    ended = true;
    for (const Header& t : list) trailers.append("\n").append(t.name).append(": ").append(t.value);
    then_trailers(list);
  }
  void on_reset(Reason reason) override {
    REQUIRE(!was_reset && exchange && reason != Reason::kNone);
    was_reset = true;
    then_reset(reason);
  }
  void on_write_blocked(bool) override { REQUIRE(exchange && !was_reset); }
  void release() {
    if (Exchange* x = std::exchange(exchange, nullptr)) {
      head = nullptr;
      x->release();
    }
  }
};

using Create = std::unique_ptr<ConnectionCodec> (*)(const Protocol&, Role, ByteSink&, ConnectionEvents&, const CodecOptions&);

class Connection : public ConnectionEvents {
 public:
  Sink sink;
  std::unique_ptr<ConnectionCodec> codec;
  std::function<MessageSink*(Exchange&)> accept = [](Exchange&) { return nullptr; };
  bool broken = false, finished = false;
  Reason reason = Reason::kNone;
  uint64_t now = 1;

  Connection(Create create, Role role, const CodecOptions& options) { codec = create(Protocol{}, role, sink, *this, options); }
  void feed(std::string_view bytes) {
    if (bytes.empty()) return;
    // At the very end of the memory, so that reading past it is noticed.
    auto memory = std::make_unique_for_overwrite<uint8_t[]>(bytes.size());
    std::memcpy(memory.get(), bytes.data(), bytes.size());
    codec->on_data(memory.get(), bytes.size());
  }
  bool over() const { return broken || finished; }

  MessageSink* on_exchange(Exchange& x) override {
    REQUIRE(!over());
    return accept(x);
  }
  void on_goaway() override { REQUIRE(!over()); }
  void on_broken(Reason why, std::string_view detail) override {
    REQUIRE(!over() && why != Reason::kNone && !detail.empty());
    broken = true;
    reason = why;
  }
  void on_finished() override {
    REQUIRE(!over());
    finished = true;
  }
  void on_capacity() override { REQUIRE(!over()); }
  void pause_reading() override { REQUIRE(!over()); }
  void resume_reading() override { REQUIRE(!over()); }
  void on_event(CodecEvent) override {}
  void on_refused(Reason why, std::string_view detail) override {
    REQUIRE(!over() && why != Reason::kNone && !detail.empty());
  }
  uint64_t now_ms() const override { return now; }
};

}  // namespace dragoman::fuzz
