// HTTP/1.1 and 1.0 on one connection, both roles (RFC 9110, 9112).
//
// Reading. A head (and the trailers) is collected in its exchange's arena until its last line is there, checked line by
// line, then parsed once by llhttp; bodies stream without being kept. Whatever is ambiguous is refused: server role with
// an error answer and close, client role with kUpstreamProtocolError. Path rules: target.h.
//
// One exchange at a time. Server role: the next request is parsed after the current exchange was answered and
// released; what arrives before waits here while reading is paused. release(), resume_reading() and send_head(101)
// may therefore call on_exchange and the sink before they return. Client role: an answer must leave nothing unread,
// else the connection is not used again.
//
// Connection fields and framing of what we write are always our own choice. The answer to a request whose body has not
// come completely says "connection: close", unless at most 64 KiB of it are still to come: those are read and dropped.
// A message that was begun and can't be finished breaks the connection without a clean end.
//
// Upgrade (websocket only). Request heads come with upgrade = true and end = false. Nothing is read until the answer:
// 101 makes both directions a byte tunnel, starting with what had already arrived, in which an end is a half-close
// (ours is told by on_output_end); any other answer makes it an ordinary request without a body, and no further call
// says so. phase() of a tunnel is kIdle.
#pragma once

#include <memory>

#include "protocols/exchange.h"

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http1_codec(const Protocol& protocol, Role role, ByteSink& out,
                                                  ConnectionEvents& events, const CodecOptions& options);

/// Goes on with a connection in HTTP/2 after Upgrade: h2c (RFC 7540 3.2).
class H2cTaker {
 public:
  /// `request` has no body; `settings` is its HTTP2-Settings field. False: it stays a request of HTTP/1. True: from now on
  /// everything that happens to the connection is the taker's to hear. The HTTP/1 codec is on the stack and must live on.
  virtual bool take_over(Head& request, std::string_view settings) = 0;
  /// Follows once, when the HTTP/1 codec has left the stack, inside whichever of its methods was called: what it had read
  /// beyond the request, and whether the client has ended.
  virtual void go_on(const ByteChain& rest, bool eof) = 0;

 protected:
  ~H2cTaker() = default;
};

/// A server that may hand its connection over.
std::unique_ptr<ConnectionCodec> make_http1_server(ByteSink& out, ConnectionEvents& events,
                                                   const CodecOptions& options, H2cTaker& taker);

/// Exchanges on this thread that were opened and not released: zero at the end of a worker's life.
size_t live_http1_exchanges();

}  // namespace dragoman
