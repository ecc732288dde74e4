// Request targets: the authority and the path that routing sees and that is forwarded are one and the same.
#pragma once

#include <cstddef>
#include <string_view>

namespace dragoman {

/// Three switches, each for itself.
struct PathRules {
  bool normalize = true;
  bool encoded_slashes = true;  // %2f and %5c may be there, and stay as they are
  bool backslashes = false;     // '\\' may be there
};

/// Looks at the path part of `target` ("/path?query"); the query is not touched. Returns the text that is routed and forwarded,
/// a prefix of the same memory; empty when the target is refused (`why` then says so). Idempotent. Normalising (RFC 3986 6.2.2):
///  - percent-encoded unreserved characters (letters, digits, - . _ ~) are decoded; other escapes stay as they are
///  - runs of slashes become one; "." and ".." segments are resolved
///  - refused: '%' without two hex digits, %00, ".." above the root, and the dot segments that some servers resolve and others
///    don't: with a parameter ("..;x"), or between slashes of which one is encoded or a backslash ("..%2f")
std::string_view settle_target(char* target, size_t n, const PathRules& rules, const char** why);

/// Whether `text` is a plausible host[:port]: a reg-name, IPv4 or bracketed IPv6 literal of allowed characters, no
/// userinfo, and digits only as the port.
bool valid_authority(std::string_view text);
/// Same host and same port, a missing port being the scheme's default.
bool same_authority(std::string_view a, std::string_view b, std::string_view scheme);

}  // namespace dragoman
