#include "protocols/http/grpc.h"

#include <algorithm>
#include <charconv>

#include "protocols/http/rules.h"
#include "protocols/http/triple.h"

namespace dragoman::grpc {
namespace {

bool parse_digits(std::string_view text, size_t digits_max, int64_t& value) {
  if (text.empty() || text.size() > digits_max || text[0] == '-') return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

constexpr std::string_view kRetryPushback = "grpc-retry-pushback-ms";
constexpr int64_t kDigitsMax = 99'999'999;  // what 8 digits can say

}  // namespace

bool is_content_type(std::string_view value) {
  if (!starts_with_ignore_case(value, kContentType)) return false;
  return value.size() == kContentType.size() || value[kContentType.size()] == '+' || value[kContentType.size()] == ';';
}

int64_t parse_timeout(std::string_view value) {
  int64_t n = 0;
  if (value.empty() || !parse_digits(value.substr(0, value.size() - 1), 8, n)) return -1;
  switch (value.back()) {
    case 'H': n *= 3'600'000; break;
    case 'M': n *= 60'000; break;
    case 'S': n *= 1000; break;
    case 'm': break;
    case 'u': n = (n + 999) / 1000; break;
    case 'n': n = (n + 999'999) / 1'000'000; break;
    default: return -1;
  }
  return std::clamp<int64_t>(n, 1, kTimeoutMaxMs);
}

std::string_view write_timeout(int64_t ms, Arena& arena) {
  char text[24];
  int64_t n = std::clamp<int64_t>(ms, 0, kTimeoutMaxMs);
  char unit = 'm';
  if (n > kDigitsMax) {  // a year is few enough seconds
    n = (n + 999) / 1000;
    unit = 'S';
  }
  char* end = std::to_chars(text, text + sizeof text, n).ptr;
  *end++ = unit;
  return arena.copy({text, static_cast<size_t>(end - text)});
}

int32_t parse_status(std::string_view value) {
  int64_t n = 0;
  return parse_digits(value, 2, n) && n <= 16 ? static_cast<int32_t>(n) : 2;
}

Outcome outcome_of_status(int32_t status) {
  switch (status) {
    case 0: return Outcome::kOk;
    case 2: return Outcome::kUnknown;  // what applications return for errors of their own
    case 4: return Outcome::kTimeout;
    case 7:
    case 16: return Outcome::kDenied;
    case 8: return Outcome::kRateLimited;
    case 13:
    case 15: return Outcome::kServerError;
    case 14: return Outcome::kUnavailable;
    default: return Outcome::kClientError;
  }
}

std::string_view encode_message(std::string_view text, Arena& arena) {
  auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '%'; };
  if (std::all_of(text.begin(), text.end(), plain)) return text;
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.allocate_array<char>(text.size() * 3);
  size_t n = 0;
  for (char c : text) {
    if (plain(c)) {
      out[n++] = c;
      continue;
    }
    out[n++] = '%';
    out[n++] = kHex[static_cast<uint8_t>(c) >> 4];
    out[n++] = kHex[static_cast<uint8_t>(c) & 15];
  }
  return {out, n};
}

void read_request(Head& head) {
  const Header* type = head.headers.find(HeaderId::kContentType);
  head.grpc = type && is_content_type(type->value);
  if (!head.grpc) return triple::read_request(head);
  if (const Header* h = head.headers.find(HeaderId::kGrpcTimeout)) head.timeout_ms = parse_timeout(h->value);
  triple::split_path(head);
  triple::read_fields(head);
}

void write_deadline(Head& request) {
  if (request.timeout_ms < 0) return;
  for (Header& h : request.headers)
    if (h.id == HeaderId::kGrpcTimeout && request.grpc && parse_timeout(h.value) >= 0)
      h.value = write_timeout(request.timeout_ms, request.arena);
  triple::write_deadline(request);
}

void read_result(Head& answer, const HeaderList& trailers) {
  const Header* status = trailers.find(HeaderId::kGrpcStatus);
  if (!status) status = answer.headers.find(HeaderId::kGrpcStatus);
  if (!status && answer.status != 200) return;  // something else answered, in HTTP's words
  answer.rpc_status = status ? parse_status(status->value) : 2;
  answer.outcome = outcome_of_status(answer.rpc_status);
  if (answer.rpc_status == 0) return;
  const Header* pushback = trailers.find(kRetryPushback);
  if (!pushback) pushback = answer.headers.find(kRetryPushback);
  int64_t ms = 0;
  if (pushback) answer.repeat_after_ms = parse_digits(pushback->value, 8, ms) ? ms : Head::kNoRepeat;
}

}  // namespace dragoman::grpc
