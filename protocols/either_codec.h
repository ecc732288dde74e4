// HTTP/1 and HTTP/2 on one port: a server codec that begins undecided and becomes one of the two by the client's first bytes.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "protocols/exchange.h"

namespace dragoman {

enum class HttpVersion : uint8_t { kUndecided, kHttp1, kHttp2 };

/// What the first bytes of a connection are. HTTP/2: its preface (RFC 9113 3.4), anything that begins with the preface's first line, and a
/// line with neither a target nor a version of HTTP/1; HTTP/2 ends what is no preface by GOAWAY. All else is left to HTTP/1.
HttpVersion http_version_of(std::span<const uint8_t> first);

/// What a listener for either version speaks on a connection whose handshake agreed on `alpn`: that, whatever the first bytes are (as
/// Envoy and nginx have it). Without one, or for other protocols, `protocol` itself.
const Protocol& agreed_protocol(const Protocol& protocol, std::string_view alpn);

/// Server role. With options.http1.allow_h2c it also takes a connection from HTTP/1 to HTTP/2 by Upgrade: h2c.
std::unique_ptr<ConnectionCodec> make_either_codec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);
/// HTTP/1 that may be upgraded, without the choice by preface.
std::unique_ptr<ConnectionCodec> make_http1_or_h2c_codec(ByteSink& out, ConnectionEvents& events,
                                                         const CodecOptions& options);

}  // namespace dragoman
