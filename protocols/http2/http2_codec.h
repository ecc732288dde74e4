// HTTP/2 on one connection, both roles, over nghttp2 (RFC 9113, 8441, 9218).
//
// nghttp2 owns frames, HPACK, stream states and windows; this codec owns what they mean: heads, bodies, ends,
// resets, and what one connection may cost.
//
// Reading. Heads are copied field by field into their exchange's arena. Body bytes go to the sink as they
// come; window is given back when the sink took them, and withheld, for the stream and the connection, while
// the exchange is paused. So an exchange that nobody drains holds at most its own stream window, and all of
// them at most the connection's window.
//
// Writing. send_*() only notes what is to be sent; frames are built right before the transport flushes
// (ByteSource), as many as the windows and the transport take. Body bytes that can't go yet stay with their
// exchange, whose sink is told when they pass its watermark. An exchange that was released after its last
// byte was noted lives on until that byte is in the output.
//
// Opening. The client role opens nothing before the peer's SETTINGS have come: how many streams it takes and
// whether it does extended CONNECT is then known. capacity() counts streams, not exchanges: a slot is free
// once its stream is closed.
//
// Websocket. An extended CONNECT (RFC 8441) appears as the GET upgrade request it stands for, and the other
// way round; status 200 and 101 are translated likewise, so that either version of HTTP may be on the other
// side.
#pragma once

#include <memory>

#include "protocols/exchange.h"

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http2_codec(const Protocol& protocol, Role role, ByteSink& out,
                                                  ConnectionEvents& events, const CodecOptions& options);

/// A server whose first request came with Upgrade: h2c on HTTP/1, as stream 1 (RFC 7540 3.2); `settings` is
/// its HTTP2-Settings field, `to_head`: the request's method is HEAD. Null when the settings are not valid
/// (then nothing was written). Writes the 101 that must come before the first frame. serve_upgraded() must
/// follow.
std::unique_ptr<ConnectionCodec> make_http2_after_upgrade(ByteSink& out, ConnectionEvents& events,
                                                          const CodecOptions& options,
                                                          std::string_view settings, bool to_head);
/// Serves that request, which is copied. Apart, so that the codec is in its place before anything can happen
/// to it.
void serve_upgraded(ConnectionCodec& http2_server, Head& request);

/// Exchanges on this thread whose memory is in use: zero at the end of a worker's life.
size_t live_http2_exchanges();

}  // namespace dragoman
