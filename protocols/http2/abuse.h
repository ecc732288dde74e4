// What one peer may do that costs us much and costs it little. Counted for each connection; over a limit it
// ends with ENHANCE_YOUR_CALM.
#pragma once

#include "protocols/exchange.h"
#include "proxy/base/token_bucket.h"

namespace dragoman::http2 {

class Abuse {
 public:
  explicit Abuse(const Http2Options& o)
      : peer_resets_(o.resets_burst, o.resets_per_second),
        own_resets_(o.own_resets_burst, o.own_resets_per_second),
        control_(o.control_burst, o.control_per_second) {}

  /// Each answers whether it may go on.
  /// A request was given up before its answer was complete (rapid reset).
  bool peer_reset(uint64_t now_ms) { return peer_resets_.take(now_ms); }
  /// What the peer sent made us reset a stream (the same work for us, without a reset of its own).
  bool own_reset(uint64_t now_ms) { return own_resets_.take(now_ms); }
  /// A frame that moves no request forward. Those that oblige us to answer or to change every stream weigh
  /// more.
  bool control(uint64_t now_ms, uint32_t weight) { return control_.take(now_ms, weight); }
  /// What we sent pays for the frames that answer it. DATA of `bytes`: window updates, of the stream and of
  /// the connection, by readers who give back little at a time, and a PING with which its receiver measures
  /// the way (gRPC). A head: whatever ends its stream.
  void sent_data(size_t bytes) { control_.give(8 + static_cast<uint32_t>(bytes / 512)); }
  void sent_head() { control_.give(2); }

 private:
  TokenBucket peer_resets_;
  TokenBucket own_resets_;
  TokenBucket control_;
};

}  // namespace dragoman::http2
