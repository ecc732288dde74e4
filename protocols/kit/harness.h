// The host around a codec in both roles, with nothing at the ends: bytes in, bytes out, exchanges in between.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "protocols/exchange.h"
#include "protocols/framed.h"

namespace dragoman::kit {

class Side;

/// One direction of one exchange, as it came.
class Sink final : public MessageSink {
 public:
  Exchange* exchange = nullptr;
  Head* head = nullptr;
  std::string body;
  bool ended = false;
  bool was_reset = false;
  Sink* other = nullptr;  // gets everything as well: the other half of a hop
  bool forwarding = false;

  void release();
  /// "request id=... service ... body ... ended", for comparing two runs.
  std::string text() const;

  void on_head(Head& h, bool end) override;
  void on_body(std::span<const uint8_t> chunk, bool end) override;
  void on_trailers(HeaderList&) override {}
  void on_reset(Reason reason) override;
  void on_write_blocked(bool) override {}
};

class Side final : private ByteSink, private ConnectionEvents {
 public:
  Side(const dragoman_codec& table, Role role, PoolMode mode, uint32_t variant = 0);
  ~Side();

  void feed(const std::string& bytes);
  void end() { codec->on_eof(); }
  /// Everything written since the last call.
  std::string take();
  /// All that came of it: exchanges in order, bytes written, events, and how it broke.
  std::string transcript();
  uint64_t count(CodecEvent event) const { return events_[static_cast<size_t>(event)]; }
  bool broken() const { return broken_; }
  /// The table said what can't be true.
  bool lied() const { return broken_ && reason_ == Reason::kInternal; }
  const std::string& detail() const { return detail_; }

  std::unique_ptr<ConnectionCodec> codec;
  std::vector<std::unique_ptr<Sink>> accepted;
  Side* hop_to = nullptr;  // requests are sent on there, answers come back

 private:
  void on_dirty() override {}
  MessageSink* on_exchange(Exchange& exchange) override;
  void on_goaway() override { ++goaways_; }
  void on_broken(Reason reason, std::string_view detail) override;
  void on_finished() override {}
  void on_capacity() override {}
  void pause_reading() override {}
  void resume_reading() override {}
  void on_event(CodecEvent event) override { ++events_[static_cast<size_t>(event)]; }
  uint64_t now_ms() const override { return 1'000'000; }

  std::unique_ptr<uint8_t[]> buffer_;
  size_t capacity_ = 0;
  std::vector<std::unique_ptr<Sink>> answers_;
  uint64_t events_[kCodecEventCount] = {};
  int goaways_ = 0;
  bool broken_ = false;
  Reason reason_ = Reason::kNone;
  std::string detail_;
};

}  // namespace dragoman::kit
