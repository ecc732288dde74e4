// Parses one complete block of lines (as LineScanner found it) with llhttp, and applies what llhttp leaves open.
// Pure functions over memory that belongs to the head's arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocols/exchange.h"
#include "protocols/head.h"

namespace dragoman::http1 {

/// Why a message was refused. `text` is a literal for the error reply and the log.
struct Refusal {
  Reason reason = Reason::kNone;
  uint16_t status = 0;  // of the reply; 0 = the reason's
  const char* text = "";
  explicit operator bool() const { return reason != Reason::kNone; }
};

/// What the head says about the message and the connection.
struct Framing {
  bool chunked = false;     // else Head::content_length, -1 = none given
  bool keep_alive = false;  // the sender is willing
  bool head_method = false; // request: HEAD
  bool h2c = false;         // request: asks to go on in HTTP/2, and nothing stands against it
  std::string_view http2_settings;  // request: the field of that upgrade
};

/// `block` is the request head with its empty line, in writable memory that lives as long as `head`. Fills the head:
/// end-to-end fields in wire order; everything hop by hop is taken out and expressed by the head's own members.
Refusal parse_request(char* block, size_t n, const Http1Options& options, Head& head, Framing& framing);

/// The same for a response. `to_head`: it answers a HEAD request.
Refusal parse_response(char* block, size_t n, bool to_head, Head& head, Framing& framing);

/// Parses the trailer lines and the empty line after a last chunk. Fields that must not come in trailers (forbidden_trailer())
/// are left out, `dropped` says how many; Content-Length and Transfer-Encoding are among them.
Refusal parse_trailers(char* block, size_t n, HeaderList& trailers, uint32_t& dropped);

}  // namespace dragoman::http1
