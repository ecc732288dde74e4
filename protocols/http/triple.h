// Dubbo's Triple. Its gRPC face is gRPC (grpc.h) with fields of its own. Its HTTP face is a POST of one message, JSON or
// protobuf, to /pkg.Service/method on any version of HTTP; streams of messages come in the envelopes of Connect.
#pragma once

#include <cstdint>
#include <span>

#include "protocols/exchange.h"
#include "protocols/head.h"

namespace dragoman::triple {

/// Fills in service and rpc_method from a path of /service/method.
void split_path(Head& head);
/// Fills in group, version ("1.0.0" is what a call without one means) and, where it came, timeout_ms.
void read_fields(Head& head);

/// Marks `head` when its request is of the HTTP face, and fills in service, rpc_method, group and version: a POST of
/// application/json, application/proto, application/connect+json or +proto to a path of two segments, with a tri- field or to
/// a service that has a name as Java and protobuf give them ("acme.Hello"). tri-service-timeout counts on every POST.
void read_request(Head& head);
/// Writes timeout_ms into the field it came in, if it came.
void write_deadline(Head& request);

/// `reply` as clients of the HTTP face read failures (configured answers stay as they are): under its HTTP status, JSON of gRPC's number and the text. In memory of
/// `arena`.
LocalReply make_reply(const LocalReply& reply, Arena& arena);

/// Where the body of an answer stands that is a stream of messages, each behind a byte of flags and four of length.
class Envelopes {
 public:
  /// `answer`: the head of the answer to a call of the HTTP face. Nothing is followed unless its content type is one of streams.
  void begin(const Head& answer);
  void see(std::span<const uint8_t> body) {
    if (on_ && !body.empty()) follow(body);
  }
  /// Whether make_end() may follow now: between two messages, the end not among those that came.
  bool may_end() const { return on_ && read_ == 0 && left_ == 0 && !ended_; }

 private:
  void follow(std::span<const uint8_t> body);

  bool on_ = false;
  bool ended_ = false;
  uint8_t read_ = 0;   // of the five bytes
  uint32_t left_ = 0;  // of the message; while the five are read, what they say so far
};

/// The end of such a stream with `reply` as its error. In memory of `arena`.
std::span<const uint8_t> make_end(const LocalReply& reply, Arena& arena);

}  // namespace dragoman::triple
