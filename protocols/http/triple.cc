#include "protocols/http/triple.h"

#include <algorithm>
#include <charconv>

#include "protocols/http/grpc.h"
#include "protocols/http/rules.h"

namespace dragoman::triple {
namespace {

constexpr std::string_view kDefaultVersion = "1.0.0";
constexpr uint8_t kEndFlag = 2;  // of an envelope: not a message but the end

bool is_content_type(std::string_view value) {
  for (std::string_view type :
       {"application/json", "application/proto", "application/connect+json", "application/connect+proto"})
    if (starts_with_ignore_case(value, type) &&
        (value.size() == type.size() || value[type.size()] == ';' || value[type.size()] == ' '))
      return true;
  return false;
}

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$'; }

bool identifier(std::string_view text) {
  return !text.empty() && letter(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

/// Identifiers with dots between, the last with a capital first: "org.acme.Hello".
bool service_name(std::string_view text) {
  const size_t dot = text.rfind('.');
  if (dot == std::string_view::npos || dot + 1 == text.size() || text[dot + 1] < 'A' || text[dot + 1] > 'Z')
    return false;
  while (!text.empty()) {
    const size_t end = std::min(text.find('.'), text.size());
    if (!identifier(text.substr(0, end))) return false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

/// `text` inside a JSON string.
std::string_view escape(std::string_view text, Arena& arena) {
  static constexpr char kHex[] = "0123456789abcdef";
  char* out = arena.allocate_array<char>(text.size() * 6);
  size_t n = 0;
  for (char c : text) {
    if (static_cast<uint8_t>(c) >= 0x20 && c != '"' && c != '\\') {
      out[n++] = c;
      continue;
    }
    for (char e : {'\\', 'u', '0', '0', kHex[static_cast<uint8_t>(c) >> 4], kHex[c & 15]}) out[n++] = e;
  }
  return {out, n};
}

}  // namespace

void split_path(Head& head) {
  const std::string_view path = head.path.substr(0, head.path.find('?'));
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos || slash <= 1) return;
  head.service = path.substr(1, slash - 1);
  head.rpc_method = path.substr(slash + 1);
}

void read_fields(Head& head) {
  if (!head.service.empty()) head.version = kDefaultVersion;
  for (const Header& h : head.headers) {
    switch (h.id) {
      case HeaderId::kTriServiceGroup: head.group = h.value; break;
      case HeaderId::kTriServiceVersion:
        if (!h.value.empty()) head.version = h.value;
        break;
      case HeaderId::kTriServiceTimeout: {
        int64_t ms = 0;
        const char* end = h.value.data() + h.value.size();
        auto [at, error] = std::from_chars(h.value.data(), end, ms);
        if (head.timeout_ms < 0 && error == std::errc() && at == end && h.value[0] != '-')
          head.timeout_ms = std::clamp<int64_t>(ms, 1, grpc::kTimeoutMaxMs);
        break;
      }
      default: break;
    }
  }
}

void read_request(Head& head) {
  if (head.method != "POST") return;
  const Header* type = nullptr;
  bool marked = false;
  for (const Header& h : head.headers) {
    switch (h.id) {
      case HeaderId::kContentType:
        if (!type) type = &h;
        break;
      case HeaderId::kTriServiceGroup:
      case HeaderId::kTriServiceVersion:
      case HeaderId::kTriServiceTimeout:
      case HeaderId::kTriProtocolVersion: marked = true; break;
      default: break;
    }
  }
  if (type && is_content_type(type->value)) {
    split_path(head);
    head.triple =
        head.service.find('/') == std::string_view::npos && !head.rpc_method.empty() &&
        (marked ? !head.service.empty() : service_name(head.service) && identifier(head.rpc_method));
    if (!head.triple) head.service = head.rpc_method = {};
  }
  if (marked || head.triple) read_fields(head);
}

void write_deadline(Head& request) {
  if (request.timeout_ms < 0) return;
  for (Header& h : request.headers) {
    if (h.id != HeaderId::kTriServiceTimeout) continue;
    char text[24];
    char* end = std::to_chars(text, text + sizeof text, request.timeout_ms).ptr;
    h.value = request.arena.copy({text, static_cast<size_t>(end - text)});
  }
}

LocalReply make_reply(const LocalReply& reply, Arena& arena) {
  if (reply.reason == Reason::kDirectResponse || reply.reason == Reason::kRedirect)
    return reply;  // they have a form
  LocalReply json = reply;
  char digits[4];
  char* end = std::to_chars(digits, digits + sizeof digits, reply.grpc_status()).ptr;
  const std::string_view code(digits, static_cast<size_t>(end - digits));
  json.text =
      arena.concat(arena.concat("{\"status\":", code, ",\"message\":\""), escape(reply.text, arena), "\"}");
  json.content_type = "application/json";
  return json;
}

void Envelopes::begin(const Head& answer) {
  const Header* type = answer.headers.find(HeaderId::kContentType);
  on_ = answer.status == 200 && type && starts_with_ignore_case(type->value, "application/connect+");
}

void Envelopes::follow(std::span<const uint8_t> body) {
  while (!body.empty()) {
    if (read_ == 0 && left_ != 0) {
      const size_t n = std::min<size_t>(left_, body.size());
      left_ -= static_cast<uint32_t>(n);
      body = body.subspan(n);
      continue;
    }
    if (read_ == 0)
      ended_ = ended_ || (body[0] & kEndFlag) != 0;
    else
      left_ = left_ << 8 | body[0];
    read_ = read_ == 4 ? 0 : static_cast<uint8_t>(read_ + 1);
    body = body.subspan(1);
  }
}

std::span<const uint8_t> make_end(const LocalReply& reply, Arena& arena) {
  const std::string_view json = make_reply(reply, arena).text;
  const size_t n = std::string_view("{\"error\":}").size() + json.size();
  const char head[5] = {kEndFlag, static_cast<char>(n >> 24), static_cast<char>(n >> 16),
                        static_cast<char>(n >> 8), static_cast<char>(n)};
  const std::string_view end = arena.concat({head, sizeof head}, arena.concat("{\"error\":", json, "}"));
  return {reinterpret_cast<const uint8_t*>(end.data()), end.size()};
}

}  // namespace dragoman::triple
