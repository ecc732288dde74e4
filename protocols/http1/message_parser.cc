#include "protocols/http1/message_parser.h"

#include <llhttp/llhttp.h>

#include <climits>
#include <cstring>

#include "protocols/http/rules.h"
#include "protocols/http/target.h"

namespace dragoman::http1 {
namespace {

constexpr uint32_t kConnectionNamesMax = 32;
constexpr const char* kVersions = "only HTTP/1.0 and HTTP/1.1 are served here";

bool blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view text) {
  if (text.empty() || (!blank(text.front()) && !blank(text.back()))) return text;
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Calls f(token) for each non-empty element of a comma-separated list.
template <class F>
void for_each_token(std::string_view list, F&& f) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view token = trim(list.substr(0, comma));
    if (!token.empty()) f(token);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// End-to-end fields that a Connection header can't take away from those who rely on them further on.
bool protected_field(std::string_view name) {
  switch (header_id(name)) {
    case HeaderId::kHost:
    case HeaderId::kAuthorization:
    case HeaderId::kCookie:
    case HeaderId::kXRequestId:
      return true;
    default:
      break;
  }
  for (std::string_view kept : {"traceparent", "tracestate", "forwarded", "set-cookie"})
    if (equals_ignore_case(name, kept)) return true;
  return starts_with_ignore_case(name, "x-forwarded-") || starts_with_ignore_case(name, "content-");
}

// One run of llhttp over one block. Every view points into the block.
struct Parse {
  explicit Parse(HeaderList& list) : fields(list) {}

  HeaderList& fields;
  bool trailers = false;
  Refusal refusal;
  std::string_view method;
  std::string_view target;
  std::string_view version;
  std::string_view reason_phrase;
  std::string_view name;
  std::string_view value;

  std::string_view host;
  std::string_view upgrade;
  std::string_view upgrade_list;  // the whole field
  std::string_view transfer_encoding;
  uint32_t hosts = 0;
  uint32_t lengths = 0;
  uint32_t transfer_encodings = 0;
  uint32_t dropped_trailers = 0;
  uint32_t connection_names = 0;  // beyond the well-known ones; kept in `fields` as kConnection until the end
  bool close = false;
  bool keep_alive = false;
  bool connection_upgrade = false;
  bool te_trailers = false;
  bool expect_continue = false;
  bool expect_other = false;
  bool h2c = false;
  bool connection_settings = false;
  uint32_t http2_settings_count = 0;
  std::string_view http2_settings;

  bool refuse(Reason reason, uint16_t status, const char* text) {
    if (!refusal) refusal = {reason, status, text};
    return false;
  }
  bool malformed(const char* text) { return refuse(Reason::kMalformed, 0, text); }

  bool connection(std::string_view list) {
    for_each_token(list, [this](std::string_view token) {
      if (equals_ignore_case(token, "close")) {
        close = true;
      } else if (equals_ignore_case(token, "keep-alive")) {
        keep_alive = true;
      } else if (equals_ignore_case(token, "upgrade")) {
        connection_upgrade = true;
      } else if (equals_ignore_case(token, "http2-settings")) {
        connection_settings = true;  // the field itself is never passed on
      } else if (!equals_ignore_case(token, "connection") && !protected_field(token) &&
                 ++connection_names <= kConnectionNamesMax) {
        fields.push("connection", token, HeaderId::kConnection);
      }
    });
    return connection_names <= kConnectionNamesMax || malformed("too many names in Connection");
  }

  // A field is complete; false stops the parser.
  bool field() {
    if (name.empty()) return malformed("empty field name");
    value = trim(value);
    HeaderId id = header_id(name);
    if (trailers) {
      if (forbidden_trailer(name, id))
        ++dropped_trailers;
      else
        fields.push(name, value, id);
      return true;
    }
    switch (id) {
      case HeaderId::kHost:
        host = value;
        return ++hosts == 1 || malformed("more than one Host");
      case HeaderId::kConnection:
        return connection(value);
      case HeaderId::kContentLength:
        ++lengths;  // llhttp has checked the digits and refused a second one
        return true;
      case HeaderId::kTransferEncoding:
        transfer_encoding = value;
        return ++transfer_encodings == 1 || malformed("more than one Transfer-Encoding");
      case HeaderId::kTe:
        for_each_token(value, [this](std::string_view t) { te_trailers |= equals_ignore_case(t, "trailers"); });
        return true;
      case HeaderId::kUpgrade:
        upgrade_list = value;
        for_each_token(value, [this](std::string_view t) {
          if (upgrade.empty() || equals_ignore_case(t, "websocket")) upgrade = t;
          h2c |= equals_ignore_case(t, "h2c");
        });
        return true;
      case HeaderId::kExpect:
        (equals_ignore_case(value, "100-continue") ? expect_continue : expect_other) = true;
        return true;
      case HeaderId::kHttp2Settings:
        http2_settings = value;
        ++http2_settings_count;
        return true;
      case HeaderId::kKeepAlive:
      case HeaderId::kProxyConnection: return true;
      default:
        fields.push(name, value, id);
        return true;
    }
  }

  // Takes out what Connection named.
  void strip_connection_names() {
    if (!connection_names) return;
    for (size_t i = 0; i < fields.size();) {
      if (fields[i].id != HeaderId::kConnection) {
        ++i;
        continue;
      }
      std::string_view named = fields[i].value;
      fields[i] = {};  // `i` itself goes with the next remove
      fields.remove(std::string_view{});
      fields.remove(named);
      i = 0;
    }
  }
};

Parse& self(llhttp_t* p) { return *static_cast<Parse*>(p->data); }

// llhttp hands over a span of a contiguous block in one piece; anything else would be a misunderstanding.
int keep(llhttp_t* p, std::string_view Parse::* member, const char* at, size_t n) {
  std::string_view& view = self(p).*member;
  if (!view.empty()) {
    if (view.data() + view.size() != at) {
      self(p).malformed("field in several pieces");
      return HPE_USER;
    }
    view = {view.data(), view.size() + n};
    return 0;
  }
  view = {at, n};
  return 0;
}

int on_value_complete(llhttp_t* p) {
  Parse& parse = self(p);
  bool ok = parse.field();
  parse.name = parse.value = {};
  return ok ? 0 : -1;
}

llhttp_settings_t make_settings() {
  llhttp_settings_t s;
  llhttp_settings_init(&s);
  s.on_method = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::method, at, n); };
  s.on_url = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::target, at, n); };
  s.on_version = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::version, at, n); };
  s.on_status = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::reason_phrase, at, n); };
  s.on_header_field = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::name, at, n); };
  s.on_header_value = [](llhttp_t* p, const char* at, size_t n) { return keep(p, &Parse::value, at, n); };
  s.on_header_value_complete = on_value_complete;
  // Always stops here: framing is decided below, bodies are not llhttp's.
  s.on_headers_complete = [](llhttp_t*) -> int { return HPE_PAUSED; };
  return s;
}
const llhttp_settings_t kSettings = make_settings();

Refusal refusal_of(const llhttp_t& parser, const Parse& parse) {
  if (parse.refusal) return parse.refusal;
  switch (llhttp_get_errno(&parser)) {
    case HPE_INVALID_VERSION:
    case HPE_PAUSED_H2_UPGRADE:
      return {Reason::kVersionUnsupported, 0, kVersions};
    case HPE_OK:
      return {Reason::kMalformed, 0, "incomplete head"};
    default:
      break;
  }
  const char* why = llhttp_get_error_reason(&parser);
  return {Reason::kMalformed, 0, why && *why ? why : "malformed head"};
}

// A TAB around a value is as good as a space (RFC 9110 5.5); llhttp does not know it before every number.
void spaces_for_tabs(char* block, size_t n) {
  char* const end = block + n;
  for (char* line = block;
       (line = static_cast<char*>(std::memchr(line, '\n', static_cast<size_t>(end - line)))) != nullptr;) {
    if (++line == end) return;
    auto* stop = static_cast<char*>(std::memchr(line, '\r', static_cast<size_t>(end - line)));
    auto* colon = static_cast<char*>(std::memchr(line, ':', static_cast<size_t>(end - line)));
    if (!stop || !colon || colon > stop) continue;
    for (char* p = colon + 1; p < stop && (*p == '\t' || *p == ' '); ++p) *p = ' ';
    for (char* p = stop; --p > colon && (*p == '\t' || *p == ' ');) *p = ' ';
  }
}

bool parse_block(llhttp_t& parser, Parse& parse, llhttp_type_t type, char* block, size_t n) {
  if (std::memchr(block, '\t', n)) spaces_for_tabs(block, n);
  llhttp_init(&parser, type, &kSettings);
  parser.data = &parse;
  if (llhttp_execute(&parser, block, n) == HPE_PAUSED && llhttp_get_error_pos(&parser) == block + n && !parse.refusal)
    return true;
  parse.refusal = refusal_of(parser, parse);
  return false;
}

// Body length by RFC 9112 6.3, stricter: nothing ambiguous is let through.
bool decide_framing(const llhttp_t& parser, Parse& parse, bool http10, bool bodiless, Head& head,
                    Framing& out) {
  if (bodiless && parse.transfer_encodings) {
    // Nothing follows, whatever it says: the answer to HEAD, 204, 304 (RFC 9112 6.3).
    if (parse.lengths == 1 && parser.content_length <= INT64_MAX &&
        equals_ignore_case(parse.transfer_encoding, "identity"))
      head.content_length = static_cast<int64_t>(parser.content_length);
  } else if (parse.transfer_encodings) {
    if (parse.lengths) return parse.malformed("both Transfer-Encoding and Content-Length");
    if (http10) return parse.malformed("Transfer-Encoding in an HTTP/1.0 message");
    if (!equals_ignore_case(parse.transfer_encoding, "chunked")) {
      std::string_view last;
      for_each_token(parse.transfer_encoding, [&last](std::string_view t) { last = t; });
      if (equals_ignore_case(last, "chunked"))
        return parse.refuse(Reason::kUnsupported, 0, "transfer codings other than chunked are not supported");
      return parse.malformed("Transfer-Encoding does not end with chunked");
    }
    out.chunked = true;
  } else if (parse.lengths) {
    if (!(parser.flags & F_CONTENT_LENGTH) || parse.lengths != 1 || parser.content_length > INT64_MAX)
      return parse.malformed("bad Content-Length");
    head.content_length = static_cast<int64_t>(parser.content_length);
  }
  out.keep_alive = !parse.close && (!http10 || parse.keep_alive);
  return true;
}

// The token before the first space when it could be a method.
bool starts_with_method(std::string_view block) {
  size_t n = 0;
  while (n < block.size() && token_char(block[n])) ++n;
  return n > 0 && n < block.size() && block[n] == ' ';
}

// Splits the request target (RFC 9112 3.2) into scheme, authority and path. `target` may be rewritten in place.
bool set_target(Parse& parse, char* target, size_t n, const Http1Options& options, Head& head) {
  std::string_view text(target, n);
  head.scheme = "http";
  head.authority = parse.host;
  bool has_authority = parse.hosts != 0;  // maybe an empty one (RFC 9112 3.2): the client knows none
  if (text.find('#') != std::string_view::npos) return parse.malformed("fragment in the request target");
  if (text.front() != '/' && text != "*") {
    size_t colon = text.find("://");
    std::string_view scheme = text.substr(0, colon);
    bool https = equals_ignore_case(scheme, "https");
    if (colon == std::string_view::npos || !(https || equals_ignore_case(scheme, "http")))
      return parse.malformed("request target is neither a path nor an http URI");
    if (https) head.scheme = "https";
    size_t host_at = colon + 3;
    size_t path_at = std::min(text.find_first_of("/?", host_at), n);
    head.authority = text.substr(host_at, path_at - host_at);
    if (!valid_authority(head.authority)) return parse.malformed("bad host");
    if (has_authority && !same_authority(head.authority, parse.host, head.scheme))
      return parse.malformed("Host differs from the request target");
    if (path_at == n) {
      text = parse.method == "OPTIONS" ? "*" : "/";
    } else if (text[path_at] == '?') {  // put "/" before the query, over the authority's last character
      head.authority = head.arena.copy(head.authority);
      target[path_at - 1] = '/';
      text = {target + path_at - 1, n - path_at + 1};
    } else {
      text.remove_prefix(path_at);
    }
  }
  if (!head.authority.empty() && !valid_authority(head.authority)) return parse.malformed("bad host");
  if (text == "*" && parse.method != "OPTIONS") return parse.malformed("target * is for OPTIONS only");
  if (text.size() > 1) {
    const char* why = "bad path";
    const PathRules rules{options.normalize_path, options.encoded_slashes, options.backslashes};
    text = settle_target(target + (text.data() - target), text.size(), rules, &why);
    if (text.empty()) return parse.malformed(why);
  }
  head.path = text;
  return true;
}

bool finish_request(const llhttp_t& parser, Parse& parse, char* block, const Http1Options& options, Head& head,
                    Framing& framing) {
  // llhttp is lenient about spaces and lets a line without a version pass: exactly "METHOD target HTTP/1.x".
  bool strict_line = parse.method.data() == block && !parse.target.empty() && !parse.version.empty() &&
                     parse.target.data() == block + parse.method.size() + 1 &&
                     parse.version.data() == parse.target.data() + parse.target.size() + 6 &&
                     parse.version.data()[parse.version.size()] == '\r';
  if (!strict_line) return parse.malformed("bad request line");
  if (parse.version != "1.1" && parse.version != "1.0")
    return parse.refuse(Reason::kVersionUnsupported, 0, kVersions);
  head.http10 = parse.version == "1.0";
  framing.head_method = parse.method == "HEAD";
  if (parse.target.size() > options.uri_bytes_max)
    return parse.refuse(Reason::kUriTooLong, 0, "request target too long");
  if (!parse.hosts && !head.http10) return parse.malformed("no Host");
  if (parse.method == "CONNECT") return parse.refuse(Reason::kUnsupported, 0, "CONNECT is not supported");
  if (parse.method == "TRACE" && !options.allow_trace)
    return parse.refuse(Reason::kUnsupported, 405, "TRACE is not allowed");
  if (!decide_framing(parser, parse, head.http10, false, head, framing)) return false;
  // RFC 1945 8.3: a body that only the end of the connection could end is not one we could pass on.
  if (head.http10 && !parse.lengths && (parse.method == "POST" || parse.method == "PUT" || parse.method == "PATCH"))
    return parse.malformed("HTTP/1.0 request body without Content-Length");
  if (parse.expect_other && !head.http10) return parse.refuse(Reason::kUnsupported, 417, "unknown expectation");
  head.method = parse.method;
  if (!set_target(parse, block + (parse.target.data() - block), parse.target.size(), options, head)) return false;
  parse.strip_connection_names();
  head.expect_continue = parse.expect_continue && !head.http10;
  head.te_trailers = parse.te_trailers && !head.http10;
  bool body = framing.chunked || head.content_length > 0;
  head.upgrade = options.allow_websocket && parse.connection_upgrade && !head.http10 && !body &&
                 parse.method == "GET" && equals_ignore_case(parse.upgrade, "websocket");
  if (head.upgrade) head.upgrade_token = "websocket";
  framing.h2c = parse.h2c && !head.upgrade && parse.connection_upgrade && parse.connection_settings &&
                parse.http2_settings_count == 1 && !head.http10 && !body && !framing.chunked;
  framing.http2_settings = parse.http2_settings;
  return true;
}

bool finish_response(const llhttp_t& parser, Parse& parse, const char* block, bool to_head, Head& head,
                     Framing& framing) {
  if (parse.version != "1.1" && parse.version != "1.0")
    return parse.refuse(Reason::kVersionUnsupported, 0, "neither HTTP/1.0 nor HTTP/1.1");
  // "HTTP/1.1 200" and then a space or the end of the line.
  if (parse.version.data() != block + 5 || block[8] != ' ' || (block[12] != ' ' && block[12] != '\r'))
    return parse.malformed("bad status line");
  for (char c : parse.reason_phrase)
    if ((static_cast<uint8_t>(c) < 0x20 && c != '\t') || c == 0x7f) return parse.malformed("control character in the status line");
  head.status = parser.status_code;
  if (head.status < 100 || head.status > 999) return parse.malformed("bad status");
  head.http10 = parse.version == "1.0";
  head.status_text = parse.reason_phrase;
  head.outcome = outcome_of_status(head.status);
  const bool bodiless = to_head || head.status < 200 || head.status == 204 || head.status == 304;
  if (!decide_framing(parser, parse, head.http10, bodiless, head, framing)) return false;
  parse.strip_connection_names();
  bool no_body = head.status < 200 || head.status == 204;
  if (no_body) {
    framing.chunked = false;
    head.content_length = -1;
  } else if (to_head || head.status == 304) {
    framing.chunked = false;  // a Content-Length is the one a GET would have got
  } else if (head.status == 205) {
    if (framing.chunked || head.content_length > 0) return parse.malformed("205 with a body");
    head.content_length = 0;
  }
  if (head.status == 101 && parse.connection_upgrade && !parse.upgrade.empty()) {
    head.upgrade = true;
    head.upgrade_token = parse.upgrade;
  }
  if (head.status == 426) head.upgrade_token = parse.upgrade_list;
  return true;
}

}  // namespace

Refusal parse_request(char* block, size_t n, const Http1Options& options, Head& head, Framing& framing) {
  head.is_http = true;
  head.is_request = true;
  llhttp_t parser;
  Parse parse(head.headers);
  if (!parse_block(parser, parse, HTTP_REQUEST, block, n)) {
    // llhttp knows a fixed list of methods (some of them for other protocols); another one is no fault of the request.
    const llhttp_errno_t error = llhttp_get_errno(&parser);
    const char* why = llhttp_get_error_reason(&parser);
    const bool method = error == HPE_INVALID_METHOD || (why && std::string_view(why).starts_with("Invalid method"));
    if (method && starts_with_method({block, n})) return {Reason::kUnsupported, 0, "unknown method"};
    // It also waits for the rest of an HTTP/2 preface, which has the form of a head.
    if (error == HPE_OK && parse.method == "PRI") return {Reason::kVersionUnsupported, 0, kVersions};
    return parse.refusal;
  }
  finish_request(parser, parse, block, options, head, framing);
  return parse.refusal;
}

Refusal parse_response(char* block, size_t n, bool to_head, Head& head, Framing& framing) {
  head.is_http = true;
  head.is_request = false;
  llhttp_t parser;
  Parse parse(head.headers);
  if (parse_block(parser, parse, HTTP_RESPONSE, block, n))
    finish_response(parser, parse, block, to_head, head, framing);
  return parse.refusal;
}

Refusal parse_trailers(char* block, size_t n, HeaderList& trailers, uint32_t& dropped) {
  // A start line before the trailer lines makes them a head for llhttp; it doesn't have to be in the same memory.
  static constexpr std::string_view kStart = "HTTP/1.1 200 OK\r\n";
  llhttp_t parser;
  Parse parse(trailers);
  parse.trailers = true;
  llhttp_init(&parser, HTTP_RESPONSE, &kSettings);
  parser.data = &parse;
  if (llhttp_execute(&parser, kStart.data(), kStart.size()) != HPE_OK ||
      llhttp_execute(&parser, block, n) != HPE_PAUSED || llhttp_get_error_pos(&parser) != block + n || parse.refusal)
    return refusal_of(parser, parse);
  dropped = parse.dropped_trailers;
  return {};
}

}  // namespace dragoman::http1
