// HTTP/2 codecs with fakes at the ends, and a wire between a client and a server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "protocols/http2/http2_codec.h"
#include "tests/support/codec_fakes.h"

namespace dragoman::testing {

class Http2Connection : public FakeConnection {
 public:
  explicit Http2Connection(Role role, const CodecOptions& options = {})
      : FakeConnection([&](ByteSink& out, ConnectionEvents& ev) {
          Protocol protocol;
          return make_http2_codec(protocol, role, out, ev, options);
        }) {}
};

inline std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// One request made by a client codec, and what came back.
struct Call {
  Head head;
  FakeMessageSink answer;
  Exchange* exchange = nullptr;

  Call(std::string_view method, std::string_view path) {
    head.is_http = true;
    head.method = method;
    head.path = path;
    head.authority = "example.com";
    head.scheme = "http";
  }
  ~Call() {
    if (answer.exchange) answer.release();
  }
  bool open(ConnectionCodec& codec) {
    exchange = answer.exchange = codec.open(answer);
    return exchange != nullptr;
  }
};

/// A client and a server codec whose bytes go straight to each other, in pieces of `step` bytes.
class Http2Pair {
 public:
  explicit Http2Pair(const CodecOptions& client_options = {}, const CodecOptions& server_options = {}, size_t step = 1 << 20)
      : client(Role::kClient, client_options), server(Role::kServer, server_options), step_(step) {
    pump();
  }

  /// Carries bytes until nobody has any.
  void pump() {
    for (int quiet = 0; quiet < 2;) {
      std::string up = client.sink.take();
      if (!up.empty()) server.feed_in_steps(up, step_);
      std::string down = server.sink.take();
      if (!down.empty()) client.feed_in_steps(down, step_);
      quiet = up.empty() && down.empty() ? quiet + 1 : 0;
    }
  }
  Reason start(Call& call, bool end) {
    if (!call.open(*client.codec)) return Reason::kPendingOverflow;
    Reason reason = call.exchange->send_head(call.head, end);
    pump();
    return reason;
  }
  /// Answers the i-th request with a head.
  void answer(size_t i, uint32_t status, bool end, Head& head) {
    head.is_http = true;
    head.is_request = false;
    head.status = status;
    EXPECT_EQ(server.at(i).exchange->send_head(head, end), Reason::kNone);
    pump();
  }

  Http2Connection client;
  Http2Connection server;

 private:
  size_t step_;
};

}  // namespace dragoman::testing
