#include "protocols/http/rules.h"

#include <cstring>

#include "proxy/base/words.h"

namespace dragoman {
namespace {

constexpr uint64_t any_less(uint64_t x, uint64_t n) { return (x - kByteOnes * n) & ~x & kByteHighs; }

// Whether `test` holds for any byte of `text`, which it sees in words.
template <class Test>
bool any_word(std::string_view text, Test test) {
  const char* p = text.data();
  size_t n = text.size();
  if (n < 8) return test(load_short_word(p, n, 'x'));
  for (size_t at = 0; at + 8 < n; at += 8)
    if (test(load_word(p + at))) return true;
  return test(load_word(p + n - 8));
}

}  // namespace

// No control characters but TAB: nothing that could end a line.
bool clean_value(std::string_view text) {
  if (!any_word(text, [](uint64_t w) { return any_less(w, 0x20) != 0; })) return true;
  for (char c : text)
    if (static_cast<uint8_t>(c) < 0x20 && c != '\t') return false;
  return true;
}

// A field name, method, target or host: no space, control character or colon-like surprise at a token's end.
bool clean_token(std::string_view text) {
  return !text.empty() && !any_word(text, [](uint64_t w) { return any_less(w, 0x21) != 0; });
}

bool clean_name(std::string_view text) {
  return !text.empty() && !any_word(text, [](uint64_t w) {
    return (any_less(w, 0x21) | any_less(w ^ (kByteOnes * ':'), 1) | (w & kByteHighs)) != 0;
  });
}

bool underscored(std::string_view name) {
  return any_word(name, [](uint64_t w) { return any_less(w ^ (kByteOnes * '_'), 1) != 0; });
}

bool token_char(char c) {
  struct Table {
    bool ok[256] = {};
    constexpr Table() {
      for (int a = '0'; a <= '9'; ++a) ok[a] = true;
      for (int a = 'a'; a <= 'z'; ++a) ok[a] = ok[a - 32] = true;
      for (char a : std::string_view("!#$%&'*+-.^_`|~")) ok[static_cast<uint8_t>(a)] = true;
    }
  };
  static constexpr Table kTable;
  return kTable.ok[static_cast<uint8_t>(c)];
}

bool starts_with_ignore_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && equals_ignore_case(text.substr(0, prefix.size()), prefix);
}

bool forbidden_trailer(std::string_view name, HeaderId id) {
  switch (id) {
    case HeaderId::kOther:
    case HeaderId::kDate:
    case HeaderId::kServer:
    case HeaderId::kGrpcStatus:
      break;
    default:
      return true;
  }
  for (std::string_view prefix : {"content-", "x-forwarded-", "if-", "proxy-", "sec-"})
    if (starts_with_ignore_case(name, prefix)) return true;
  for (std::string_view other : {"set-cookie", "cache-control", "max-forwards", "range", "www-authenticate", "age", "vary",
                                 "expires", "pragma", "retry-after", "warning", "traceparent", "tracestate", "forwarded"})
    if (equals_ignore_case(name, other)) return true;
  return false;
}

Outcome outcome_of_status(uint32_t status) {
  if (status < 400) return Outcome::kOk;
  switch (status) {
    case 408: return Outcome::kTimeout;
    case 429: return Outcome::kRateLimited;
    case 503: return Outcome::kOverloaded;
    case 504: return Outcome::kTimeout;
    default: return status < 500 ? Outcome::kClientError : Outcome::kServerError;
  }
}

std::string_view status_phrase(uint32_t status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 499: return "Client Closed Request";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 508: return "Loop Detected";
    default: return {};
  }
}

}  // namespace dragoman
