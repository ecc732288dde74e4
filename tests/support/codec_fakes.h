// Fakes around one ConnectionCodec: a byte sink that keeps what was written, sinks that record messages and
// check the order of the calls, and an owner that answers ConnectionEvents. For tests of codecs without
// sockets or an engine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/exchange.h"

namespace dragoman::testing {

inline std::string to_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class FakeByteSink final : public ByteSink {
 public:
  /// Everything written since the last call.
  std::string take() {
    collect();
    std::string text = peek();
    out.clear();
    dirty_ = false;
    return text;
  }
  std::string peek() const {
    std::string text(out.size(), '\0');
    out.copy_to(reinterpret_cast<uint8_t*>(text.data()));
    return text;
  }
  int dirty_calls = 0;

 protected:
  void on_dirty() override { ++dirty_calls; }
};

/// Records one direction of one exchange; fails the test when the calls come in a wrong order.
class FakeMessageSink final : public MessageSink {
 public:
  Exchange* exchange = nullptr;  // the exchange this sink listens to; null once released
  Head* head = nullptr;          // last head; valid until the exchange is released
  int heads = 0;                 // interim ones included
  std::string body;
  std::vector<std::pair<std::string, std::string>> trailers;
  bool ended = false;
  bool was_reset = false;
  Reason reset_reason = Reason::kNone;
  std::vector<bool> blocked;
  // Optional extra behaviour, run after recording.
  std::function<void(Head&, bool end)> then_head;
  std::function<void(std::string_view chunk, bool end)> then_body;
  std::function<void(HeaderList&)> then_trailers;
  std::function<void(Reason)> then_reset;
  std::function<void(bool)> then_blocked;

  void release() {
    Exchange* x = exchange;
    exchange = nullptr;
    head = nullptr;
    if (x) x->release();
  }

  void on_head(Head& h, bool end) override {
    check_open("on_head");
    EXPECT_TRUE(body.empty()) << "on_head after on_body";
    head = &h;
    ++heads;
    ended = end;
    if (then_head) then_head(h, end);
  }
  void on_body(std::span<const uint8_t> chunk, bool end) override {
    check_open("on_body");
    EXPECT_GT(heads, 0) << "on_body before on_head";
    body += to_text(chunk);
    ended = end;
    if (then_body) then_body(to_text(chunk), end);
  }
  void on_trailers(HeaderList& list) override {
    check_open("on_trailers");
    for (const Header& t : list) trailers.emplace_back(t.name, t.value);
    ended = true;
    if (then_trailers) then_trailers(list);
  }
  void on_reset(Reason reason) override {
    EXPECT_FALSE(was_reset) << "second on_reset";
    was_reset = true;
    reset_reason = reason;
    if (then_reset) then_reset(reason);
  }
  void on_write_blocked(bool b) override {
    blocked.push_back(b);
    if (then_blocked) then_blocked(b);
  }

 private:
  void check_open(const char* what) {
    EXPECT_FALSE(ended) << what << " after the end";
    EXPECT_FALSE(was_reset) << what << " after on_reset";
  }
};

/// The owner of a connection. Gives every exchange the peer opens a FakeMessageSink, in `accepted`.
class FakeEvents final : public ConnectionEvents {
 public:
  std::vector<std::unique_ptr<FakeMessageSink>> accepted;
  bool refuse = false;                                  // answer null to on_exchange
  std::function<void(FakeMessageSink&)> then_exchange;  // e.g. to set the sink's hooks
  std::function<MessageSink*(Exchange&)> take_exchange;  // in place of all that
  int goaways = 0;
  int broken = 0;
  Reason broken_reason = Reason::kNone;
  std::string broken_detail;
  int finished = 0;
  int spent = 0;
  std::vector<Reason> refused;
  int capacity_calls = 0;
  bool paused = false;
  int pauses = 0;
  uint64_t events[kCodecEventCount] = {};
  uint64_t now = 1'000'000;
  std::function<void()> then_goaway;
  std::function<void()> then_broken;
  std::function<void()> then_capacity;

  uint64_t count(CodecEvent event) const { return events[static_cast<size_t>(event)]; }

  MessageSink* on_exchange(Exchange& exchange) override {
    if (take_exchange) return take_exchange(exchange);
    if (refuse) return nullptr;
    accepted.push_back(std::make_unique<FakeMessageSink>());
    accepted.back()->exchange = &exchange;
    if (then_exchange) then_exchange(*accepted.back());
    return accepted.back().get();
  }
  void on_goaway() override {
    ++goaways;
    if (then_goaway) then_goaway();
  }
  void on_broken(Reason reason, std::string_view detail) override {
    EXPECT_EQ(broken, 0) << "second on_broken";
    ++broken;
    broken_reason = reason;
    broken_detail = detail;
    if (then_broken) then_broken();
  }
  void on_finished() override { ++finished; }
  void on_spent() override { ++spent; }
  void on_refused(Reason reason, std::string_view) override { refused.push_back(reason); }
  void on_capacity() override {
    ++capacity_calls;
    if (then_capacity) then_capacity();
  }
  void pause_reading() override {
    paused = true;
    ++pauses;
  }
  void resume_reading() override { paused = false; }
  void on_event(CodecEvent event) override { ++events[static_cast<size_t>(event)]; }
  uint64_t now_ms() const override { return now; }
};

/// One codec with its fakes. `create` gets the sink and the events, e.g. a lambda calling make_..._codec.
class FakeConnection {
 public:
  FakeByteSink sink;
  FakeEvents events;
  std::unique_ptr<ConnectionCodec> codec;

  template <class Create>
  explicit FakeConnection(Create&& create)
      : codec(create(static_cast<ByteSink&>(sink), static_cast<ConnectionEvents&>(events))) {}
  ~FakeConnection() {
    for (auto& s : events.accepted) s->release();
  }

  /// Hands `bytes` to the codec as one read.
  void feed(std::string_view bytes) {
    if (capacity_ < bytes.size()) {
      capacity_ = bytes.size();
      buffer_.reset(new uint8_t[headroom_ + capacity_]);
    }
    // At the very end of the buffer, so that sanitizers notice reading past it.
    uint8_t* data = buffer_.get() + headroom_ + capacity_ - bytes.size();
    if (bytes.empty()) return;
    std::memcpy(data, bytes.data(), bytes.size());
    codec->on_data(data, bytes.size());
    // What was handed over is valid during the call only.
    std::memset(data, 0xdd, bytes.size());
  }
  /// Hands `bytes` over in pieces of `step` bytes.
  void feed_in_steps(std::string_view bytes, size_t step) {
    for (size_t i = 0; i < bytes.size(); i += step) feed(bytes.substr(i, step));
  }
  /// The i-th exchange the peer opened.
  FakeMessageSink& at(size_t i) { return *events.accepted.at(i); }
  size_t accepted() const { return events.accepted.size(); }

 protected:
  size_t headroom_ = ConnectionCodec::kHeadroom;

 private:
  std::unique_ptr<uint8_t[]> buffer_;
  size_t capacity_ = 0;
};

}  // namespace dragoman::testing
