// The handshake of WebSocket over HTTP/1 (RFC 6455 4.2.2), for hops where the other side speaks HTTP/2 and has none.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace dragoman {

using WebsocketKey = std::array<char, 24>;
using WebsocketAccept = std::array<char, 28>;

/// A fresh Sec-WebSocket-Key. It proves that the answer belongs to the request; it keeps no secret.
WebsocketKey make_websocket_key();
/// The Sec-WebSocket-Accept that answers `key`.
WebsocketAccept websocket_accept(std::string_view key);

}  // namespace dragoman
