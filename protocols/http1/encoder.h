// Writes HTTP/1.1 messages. Only what these functions decide about framing and the connection goes out: fields of those
// kinds in a head's list are left out, and text that would end a line early refuses the whole head.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "protocols/exchange.h"
#include "protocols/head.h"
#include "proxy/base/buffer.h"

namespace dragoman::http1 {

/// The fields about this connection and this message that a head gets from us.
struct Lines {
  enum class Connection : uint8_t { kNone, kClose, kKeepAlive, kUpgrade };
  Connection connection = Connection::kNone;
  bool chunked = false;
  int64_t content_length = -1;  // -1: none
  bool underscores = true;      // false: fields whose names have one are left out
};

/// Whether a field of the list is underscored().
bool has_underscores(const HeaderList& headers);
/// kNone, or kEditFailed with nothing written.
Reason encode_request_head(const Head& head, const Lines& lines, ByteChain& out);
Reason encode_response_head(const Head& head, const Lines& lines, ByteChain& out);
/// A complete answer; `body` false leaves the text out but says its length (HEAD). Extra headers that can't be encoded
/// are left out.
void encode_reply(uint32_t status, const LocalReply& reply, Lines::Connection connection, bool body, ByteChain& out);

/// One chunk (nothing when empty), and the last chunk if `end`.
void encode_chunk(std::span<const uint8_t> data, bool end, ByteSink& out);
/// The last chunk and the trailer fields that can be encoded; without `underscores`, not those whose names have one.
void encode_trailers(const HeaderList& trailers, bool underscores, ByteChain& out);

}  // namespace dragoman::http1
