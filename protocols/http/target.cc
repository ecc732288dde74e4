#include "protocols/http/target.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "protocols/head.h"

namespace dragoman {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool alnum(char c) {
  char l = static_cast<char>(c | 0x20);
  return (c >= '0' && c <= '9') || (l >= 'a' && l <= 'z');
}

bool unreserved(char c) { return alnum(c) || c == '-' || c == '.' || c == '_' || c == '~'; }

// True when settle_target would change or refuse nothing: no escape, backslash, double slash or dot segment.
bool plain(const char* path, size_t n) {
  char previous = '/';
  for (size_t i = 1; i < n; ++i) {
    char c = path[i];
    if (c == '%' || c == '\\') return false;
    if (previous == '/' && (c == '/' || c == '.')) return false;
    previous = c;
  }
  return true;
}

// The length of a slash by another spelling at `text`'s front ("%2f", "%5c", "\\"), else 0.
size_t other_slash(std::string_view text) {
  if (text.empty()) return 0;
  if (text[0] == '\\') return 1;
  if (text.size() < 3 || text[0] != '%') return 0;
  const int byte = hex(text[1]) * 16 + hex(text[2]);
  return byte == '/' || byte == '\\' ? 3 : 0;
}

// Why the path is refused whether it is normalised or not, or null.
const char* refused_bytes(std::string_view path, const PathRules& rules) {
  if (rules.encoded_slashes && rules.backslashes) return nullptr;
  for (size_t i = 0; i < path.size(); ++i) {
    switch (other_slash(path.substr(i))) {
      case 1:
        if (!rules.backslashes) return "backslash in the path";
        break;
      case 3:
        if (!rules.encoded_slashes) return "encoded slash or backslash in the path";
        break;
      default: break;
    }
  }
  return nullptr;
}

// Whether `segment` has a ".." for those who take other spellings of a slash for one.
bool hides_dots(std::string_view segment) {
  size_t start = 0;
  bool other = false;
  for (size_t i = 0; i <= segment.size(); ++i) {
    const size_t slash = other_slash(segment.substr(i));
    other |= slash != 0;
    if (i < segment.size() && !slash) continue;
    std::string_view piece = segment.substr(start, i - start);
    if (other && (piece == ".." || piece.starts_with("..;"))) return true;
    start = i + std::max<size_t>(slash, 1);
  }
  return false;
}

// Decodes unreserved escapes in place; the new length, or 0 with `why`.
size_t decode(char* path, size_t n, const char** why) {
  size_t out = 0;
  for (size_t i = 0; i < n; ++i) {
    char c = path[i];
    if (c != '%') {
      path[out++] = c;
      continue;
    }
    int high = i + 2 < n ? hex(path[i + 1]) : -1;
    int low = i + 2 < n ? hex(path[i + 2]) : -1;
    if (high < 0 || low < 0) {
      *why = "bad percent-encoding in the path";
      return 0;
    }
    auto byte = static_cast<char>(high * 16 + low);
    if (byte == 0) {
      *why = "%00 in the path";
      return 0;
    }
    if (unreserved(byte)) {
      path[out++] = byte;
    } else {
      path[out++] = '%';
      path[out++] = path[i + 1];
      path[out++] = path[i + 2];
    }
    i += 2;
  }
  return out;
}

// Merges slashes and resolves dot segments in place; the new length, or 0 with `why`.
size_t resolve(char* path, size_t n, const char** why) {
  size_t out = 1;  // path[0] is '/', path[out - 1] always ends with the last kept segment's slash here
  size_t i = 1;
  while (i < n) {
    const void* slash = std::memchr(path + i, '/', n - i);
    size_t end = slash ? static_cast<size_t>(static_cast<const char*>(slash) - path) : n;
    std::string_view segment(path + i, end - i);
    i = end + 1;
    size_t dots = segment.find_first_not_of('.');
    if (dots == std::string_view::npos) dots = segment.size();
    bool special = (dots == 1 || dots == 2) && (dots == segment.size() || segment[dots] == ';');
    if (segment.empty() || (special && segment == ".")) continue;
    if (hides_dots(segment)) {
      *why = "dot segment beside an encoded slash or a backslash in the path";
      return 0;
    }
    if (special && segment.size() > dots) {
      *why = "dot segment with a parameter in the path";
      return 0;
    }
    if (special) {
      if (out == 1) {
        *why = "path goes above the root";
        return 0;
      }
      --out;
      while (path[out - 1] != '/') --out;
      continue;
    }
    std::memmove(path + out, segment.data(), segment.size());
    out += segment.size();
    if (slash) path[out++] = '/';
  }
  return out;
}

struct Authority {
  std::string_view host;
  std::string_view port;
};

Authority split_authority(std::string_view text) {
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || (!text.empty() && text.front() == '[' && text.find(']') > colon)) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace

std::string_view settle_target(char* target, size_t n, const PathRules& rules, const char** why) {
  const void* mark = std::memchr(target, '?', n);
  size_t path_len = mark ? static_cast<size_t>(static_cast<const char*>(mark) - target) : n;
  if (plain(target, path_len)) return {target, n};
  if (const char* refused = refused_bytes({target, path_len}, rules)) {
    *why = refused;
    return {};
  }
  if (!rules.normalize) return {target, n};
  size_t out = decode(target, path_len, why);
  if (out) out = resolve(target, out, why);
  if (!out) return {};
  std::memmove(target + out, target + path_len, n - path_len);
  return {target, out + (n - path_len)};
}

bool valid_authority(std::string_view text) {
  auto [host, port] = split_authority(text);
  if (host.empty() || port.size() > 5) return false;
  for (char c : port)
    if (c < '0' || c > '9') return false;
  if (host.front() == '[') {
    if (host.size() < 4 || host.back() != ']') return false;
    for (char c : host.substr(1, host.size() - 2))
      if (hex(c) < 0 && c != ':' && c != '.') return false;
    return true;
  }
  struct Table {
    bool ok[256] = {};
    constexpr Table() {
      for (int c = '0'; c <= '9'; ++c) ok[c] = true;
      for (int c = 'a'; c <= 'z'; ++c) ok[c] = ok[c - 32] = true;
      for (char c : std::string_view("-._~%!$&'()*+;=")) ok[static_cast<uint8_t>(c)] = true;
    }
  };
  static constexpr Table kHost;
  for (char c : host)
    if (!kHost.ok[static_cast<uint8_t>(c)]) return false;
  return true;
}

bool same_authority(std::string_view a, std::string_view b, std::string_view scheme) {
  auto x = split_authority(a);
  auto y = split_authority(b);
  std::string_view usual = scheme == "https" ? "443" : "80";
  if (x.port.empty()) x.port = usual;
  if (y.port.empty()) y.port = usual;
  return x.port == y.port && equals_ignore_case(x.host, y.host);
}

}  // namespace dragoman
