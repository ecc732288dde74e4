#include "protocols/http2/fields.h"

#include <charconv>

#include "protocols/http/rules.h"
#include "protocols/http/target.h"
#include "proxy/base/thread_start.h"

namespace dragoman::http2 {
namespace {

std::vector<nghttp2_nv>& thread_list() {
  static thread_local std::vector<nghttp2_nv> list;
  return list;
}
const AtThreadStart at_thread_start{[] { thread_list(); }};

uint8_t* bytes(std::string_view text) {
  return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));  // nghttp2 does not write to it
}

bool parse_length(std::string_view text, int64_t& length) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  return error == std::errc() && end == text.data() + text.size() && text[0] != '-';
}

// As in a request line of HTTP/1 (nghttp2 lets bytes over 0x7f pass).
bool visible_ascii(std::string_view text) {
  for (char c : text)
    if (static_cast<uint8_t>(c) <= 0x20 || static_cast<uint8_t>(c) >= 0x7f) return false;
  return !text.empty();
}

}  // namespace

const char* take_pseudo(std::string_view name, std::string_view value, Head& head,
                        std::string_view& protocol) {
  switch (name.size()) {
    case 5:
      head.path = value;
      return nullptr;
    case 7:
      if (name == ":method") {
        head.method = value;
      } else if (name == ":scheme") {
        head.scheme = value;
      } else {
        head.status = 0;
        for (char c : value) head.status = head.status * 10 + static_cast<uint32_t>(c - '0');
      }
      return nullptr;
    case 9:
      protocol = value;
      return nullptr;
    case 10:
      head.authority = value;
      return nullptr;
    default:
      return "unknown pseudo-header field";
  }
}

const char* take_field(const KnownName& field, std::string_view value, Head& head) {
  const auto& [name, id] = field;
  switch (id) {
    case HeaderId::kHost:
      if (!head.is_request) break;
      if (head.headers.find(HeaderId::kHost)) return "more than one host";
      head.headers.push(name, value, id);  // until finish_request
      return nullptr;
    case HeaderId::kContentLength:
      return parse_length(value, head.content_length) ? nullptr : "bad content-length";
    case HeaderId::kTe:
      head.te_trailers = true;  // nghttp2 lets nothing else pass
      return nullptr;
    case HeaderId::kExpect:
      if (!equals_ignore_case(value, "100-continue")) return "unknown expectation";
      head.expect_continue = true;
      return nullptr;
    default:
      if (connection_field(id)) return nullptr;
      break;
  }
  head.headers.push(name, value, id);
  return nullptr;
}

bool may_be_trailer(const Header& field) {
  if (field.id == HeaderId::kOther)
    return clean_name(field.name) && field.name[0] != ':' && clean_value(field.value);
  return !connection_field(field.id) && clean_value(field.value);
}

Refusal finish_request(Head& head, std::string_view protocol, const Http1Options& options) {
  if (head.method == "CONNECT") {
    if (protocol.empty()) return {Reason::kUnsupported, 0, "CONNECT is not supported"};
    if (!equals_ignore_case(protocol, "websocket"))
      return {Reason::kUnsupported, 0, "only websocket is supported"};
    head.method = "GET";
    head.upgrade = true;
    head.upgrade_token = "websocket";
  }
  if (head.method == "TRACE" && !options.allow_trace)
    return {Reason::kUnsupported, 405, "TRACE is not allowed"};
  if (const Header* host = head.headers.find(HeaderId::kHost)) {
    if (head.authority.empty())
      head.authority = host->value;
    else if (!same_authority(head.authority, host->value, head.scheme))
      return {Reason::kMalformed, 0, "host differs from :authority"};
    head.headers.remove(HeaderId::kHost);
  }
  if (!valid_authority(head.authority)) return {Reason::kMalformed, 0, "bad authority"};
  bool https = equals_ignore_case(head.scheme, "https");
  if (!https && !equals_ignore_case(head.scheme, "http"))
    return {Reason::kMalformed, 0, "scheme is neither http nor https"};
  head.scheme = https ? "https" : "http";
  if (head.path.size() > options.uri_bytes_max) return {Reason::kUriTooLong, 0, "path too long"};
  if (head.path == "*") {
    if (head.method != "OPTIONS") return {Reason::kMalformed, 0, "path * is for OPTIONS only"};
  } else if (!visible_ascii(head.path) || head.path[0] != '/' ||
             head.path.find('#') != std::string_view::npos) {
    return {Reason::kMalformed, 0, "bad path"};
  } else if (head.path.size() > 1) {
    const char* why = "bad path";
    const PathRules rules{options.normalize_path, options.encoded_slashes, options.backslashes};
    // The path is a copy in the head's own arena.
    head.path = settle_target(const_cast<char*>(head.path.data()), head.path.size(), rules, &why);
    if (head.path.empty()) return {Reason::kMalformed, 0, why};
  }
  if (options.body_bytes_max && head.content_length > 0 &&
      static_cast<uint64_t>(head.content_length) > options.body_bytes_max)
    return {Reason::kBodyTooLarge, 0, "body too large"};
  return {};
}

Block::Block() : list_(thread_list()) { list_.clear(); }

void Block::push(std::string_view name, std::string_view value, uint8_t flags) {
  list_.push_back({bytes(name), bytes(value), name.size(), value.size(), flags});
}

void Block::add_field(const Header& field) {
  // Never the same twice: in the table it would push out what repeats.
  const uint8_t flags = field.id == HeaderId::kXRequestId ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
  const std::string_view lasting = lasting_name(field.name, field.id);
  if (lasting.empty())
    push(field.name, field.value, flags);
  else
    push(lasting, field.value, flags | NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

void Block::add_number(std::string_view name, uint64_t value) {
  char* digits = digits_[numbers_++];
  char* end = std::to_chars(digits, digits + sizeof digits_[0], value).ptr;
  add(name, {digits, static_cast<size_t>(end - digits)});
}

bool Block::add_fields(const HeaderList& fields, std::string_view without) {
  for (const Header& h : fields) {
    if (connection_field(h.id) || (!without.empty() && equals_ignore_case(h.name, without))) continue;
    // A name that has an id is one of those we know.
    if (h.id == HeaderId::kOther && (!clean_name(h.name) || h.name[0] == ':')) return false;
    if (!clean_value(h.value)) return false;
    add_field(h);
  }
  return true;
}

}  // namespace dragoman::http2
