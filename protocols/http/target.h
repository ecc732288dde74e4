// Request targets: the authority and the path that routing sees and that is forwarded are one and the same.
#pragma once

#include <cstddef>
#include <string_view>

namespace dragoman {

/// Normalises the path part of `target` ("/path?query") in place and returns the new text, a prefix of the same memory;
/// empty when the target is refused (`why` then says so). The query is not touched. Idempotent. Rules (RFC 3986 6.2.2):
///  - percent-encoded unreserved characters (letters, digits, - . _ ~) are decoded; other escapes stay as they are
///  - runs of slashes become one; "." and ".." segments are resolved
///  - refused: '%' without two hex digits, %00, encoded slash and backslash (%2f, %5c), a raw backslash, ".." above the
///    root, and the dot segments with a parameter ("..;x") that some servers resolve and others don't
std::string_view normalize_target(char* target, size_t n, const char** why);

/// Whether `text` is a plausible host[:port]: a reg-name, IPv4 or bracketed IPv6 literal of allowed characters, no
/// userinfo, and digits only as the port.
bool valid_authority(std::string_view text);
/// Same host and same port, a missing port being the scheme's default.
bool same_authority(std::string_view a, std::string_view b, std::string_view scheme);

}  // namespace dragoman
