// What every version of HTTP has in common: which bytes may be in a field, which fields belong to one connection, what a
// status means.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocols/head.h"

namespace dragoman {

/// No control character but TAB: nothing that could end a line of HTTP/1.
bool clean_value(std::string_view text);
/// A method, target or host: not empty, no space or control character.
bool clean_token(std::string_view text);
/// A field name or a method: like clean_token, without ':' and bytes over 0x7f.
bool clean_name(std::string_view text);
/// A character of a token (RFC 9110 5.6.2).
bool token_char(char c);
bool starts_with_ignore_case(std::string_view text, std::string_view prefix);

/// A field about one connection or about the framing of one message: written anew by each codec, never passed on.
constexpr bool connection_field(HeaderId id) {
  switch (id) {
    case HeaderId::kConnection:
    case HeaderId::kContentLength:
    case HeaderId::kTransferEncoding:
    case HeaderId::kTe:
    case HeaderId::kUpgrade:
    case HeaderId::kKeepAlive:
    case HeaderId::kProxyConnection:
    case HeaderId::kExpect:
    case HeaderId::kHttp2Settings:
    case HeaderId::kHost:
      return true;
    default:
      return false;
  }
}
/// Whether servers that take '_' for '-' (CGI and its descendants) read this field as another one.
bool underscored(std::string_view name);
inline bool underscored(std::string_view name, HeaderId id) {
  return id == HeaderId::kOther && underscored(name);
}
/// RFC 9110 6.5.1: fields for framing, routing, authentication, modifiers and content can't come in trailers.
bool forbidden_trailer(std::string_view name, HeaderId id);

/// Protocol-neutral result of an HTTP status.
Outcome outcome_of_status(uint32_t status);
/// The usual reason phrase, empty for unknown codes.
std::string_view status_phrase(uint32_t status);

}  // namespace dragoman
