#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <span>

#include "protocols/head.h"
#include "proxy/base/suggest.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/log_text.h"

namespace dragoman {

const std::string_view kDefaultAccessLogTemplate =
    "[%START%] \"%METHOD% %PATH% %PROTOCOL%\" %STATUS% %FLAGS% %OUTCOME% %BYTES_IN% %BYTES_OUT% "
    "%DURATION_MS% %UPSTREAM_DURATION_MS% %ATTEMPTS% \"%PEER%\" \"%X_FORWARDED_FOR%\" \"%USER_AGENT%\" "
    "\"%REQUEST_ID%\" \"%AUTHORITY%\" \"%SERVICE%\" %LISTENER% %ROUTE% %CLUSTER% \"%ENDPOINT%\"";

const std::string_view kEnvoyAccessLogTemplate =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %HTTP_PROTOCOL%\" %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %UPSTREAM_SERVICE_TIME% "
    "\"%REQ(X-FORWARDED-FOR)%\" "
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

const std::string_view kIstioAccessLogTemplate =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %HTTP_PROTOCOL%\" %RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%UPSTREAM_SERVICE_TIME% "
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" "
    "\"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% "
    "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%";

std::string_view envoy_flag(Reason reason) {
  switch (reason) {
    case Reason::kConnectTimeout:
    case Reason::kTlsHandshakeTimeout:
    case Reason::kTlsHandshakeClosed: return "UF";
    case Reason::kUpstreamTruncated: return "UC";
    case Reason::kUpstreamRefused:
    case Reason::kUpstreamCancelled: return "UR";
    case Reason::kUpstreamTooLarge: return "UPE";
    case Reason::kUpstreamIdleTimeout:
    case Reason::kCallerTimeout:
    case Reason::kTryTimeout:
    case Reason::kUpstreamWriteStall: return "UT";
    case Reason::kOwnResources:
    case Reason::kRequestOverflow:
    case Reason::kConnectionOverflow:
    case Reason::kRetryOverflow:  // URX says that the attempts were used up
    case Reason::kTriesOverflow:
    case Reason::kBoundElsewhere: return "UO";
    case Reason::kLoopDetected: return "NR";  // no way that ends
    case Reason::kStreamsOverflow:
    case Reason::kHeartbeatFlood:
    case Reason::kAbuse: return "OM";
    case Reason::kDownstreamTruncated:
    case Reason::kHeadTimeout:
    case Reason::kBodyTimeout:
    case Reason::kFrameTimeout:
    case Reason::kWriteStall:
    case Reason::kProxyTimeout:
    case Reason::kIdleTimeout: return "DC";
    case Reason::kUnsupported:
    case Reason::kVersionUnsupported:
    case Reason::kChecksum:
    case Reason::kUnknownProtocol:
    case Reason::kProxyHeader:
    case Reason::kHeadTooLarge:
    case Reason::kTooManyHeaders:
    case Reason::kUriTooLong:
    case Reason::kBodyTooLarge:
    case Reason::kFrameTooLarge: return "DPE";
    case Reason::kHeartbeatLost: return "UC";
    case Reason::kProxyUntrusted:
    case Reason::kDenied: return "UAEX";
    case Reason::kDirectResponse:
    case Reason::kRedirect: return "-";
    case Reason::kDraining:
    case Reason::kEditFailed:
    case Reason::kInternal: return "LR";
    default:  // those that have Envoy's flags, and the other failures of TLS
      return is_tls_reason(reason) ? "UF" : reason_row(reason).flag;
  }
}

namespace {

enum FieldId : uint8_t {
  kStart,
  kDurationUs,
  kDurationMs,
  kUpstreamDurationUs,
  kUpstreamDurationMs,
  kListener,
  kRoute,
  kCluster,
  kEndpoint,
  kProtocol,
  kPeer,
  kPeerIdentity,
  kMethod,
  kPath,
  kAuthority,
  kService,
  kUserAgent,
  kRequestId,
  kXForwardedFor,
  kStatus,
  kOutcome,
  kReason,
  kFlags,
  kBytesIn,
  kBytesOut,
  kAttempts,
  kOneWay,
  kScheme,
  kRpcMethod,
  kGroup,
  kVersion,
  kSni,
  kRpcId,
  kHttpProtocol,
  kResponseCode,
  kResponseFlags,
  kResponseCodeDetails,
  kTransportFailure,
  kDuration,
  kUpstreamServiceTime,
  kPeerReason,
  kUnknown,
  kHeader,  // %REQ()%, %RESP()%
  kFieldCount,
  kFieldNone = kFieldCount,
};

enum class Shape : uint8_t {
  kTime,
  kNumber,
  kMillis,
  kString,
  kName,
  kBool,
  kStatus,
  kAttribute,
  kId,
  kProtocol,
  kHeader
};

struct FieldRow {
  std::string_view name;      // in templates
  std::string_view json_key;  // empty: not in JSON lines
  Shape shape;
  std::string_view AccessRecord::*text = nullptr;  // kString
  std::string_view Head::*attribute = nullptr;     // kAttribute
};

using R = AccessRecord;
constexpr std::array<FieldRow, kFieldCount> kFields = {{
    {"START", "start", Shape::kTime},
    {"DURATION_US", "duration_us", Shape::kNumber},
    {"DURATION_MS", "", Shape::kMillis},
    {"UPSTREAM_DURATION_US", "upstream_duration_us", Shape::kNumber},
    {"UPSTREAM_DURATION_MS", "", Shape::kMillis},
    {"LISTENER", "listener", Shape::kString, &R::listener},
    {"ROUTE", "route", Shape::kString, &R::route},
    {"CLUSTER", "cluster", Shape::kString, &R::cluster},
    {"ENDPOINT", "endpoint", Shape::kString, &R::endpoint},
    {"PROTOCOL", "protocol", Shape::kString, &R::protocol},
    {"PEER", "peer", Shape::kString, &R::peer},
    {"PEER_IDENTITY", "peer_identity", Shape::kString, &R::peer_identity},
    {"METHOD", "method", Shape::kString, &R::method},
    {"PATH", "path", Shape::kString, &R::path},
    {"AUTHORITY", "authority", Shape::kString, &R::authority},
    {"SERVICE", "service", Shape::kString, &R::service},
    {"USER_AGENT", "user_agent", Shape::kString, &R::user_agent},
    {"REQUEST_ID", "request_id", Shape::kString, &R::request_id},
    {"X_FORWARDED_FOR", "x_forwarded_for", Shape::kString, &R::x_forwarded_for},
    {"STATUS", "status", Shape::kStatus, &R::status_text},
    {"OUTCOME", "outcome", Shape::kName},
    {"REASON", "reason", Shape::kName},
    {"FLAGS", "flags", Shape::kName},
    {"BYTES_IN", "bytes_in", Shape::kNumber},
    {"BYTES_OUT", "bytes_out", Shape::kNumber},
    {"ATTEMPTS", "attempts", Shape::kNumber},
    {"ONE_WAY", "one_way", Shape::kBool},
    {"SCHEME", "", Shape::kAttribute, nullptr, &Head::scheme},
    {"RPC_METHOD", "", Shape::kAttribute, nullptr, &Head::rpc_method},
    {"GROUP", "", Shape::kAttribute, nullptr, &Head::group},
    {"VERSION", "", Shape::kAttribute, nullptr, &Head::version},
    {"REQUESTED_SERVER_NAME", "", Shape::kAttribute, nullptr, &Head::sni},
    {"RPC_ID", "", Shape::kId},
    {"HTTP_PROTOCOL", "", Shape::kProtocol, &R::protocol},
    {"RESPONSE_CODE", "", Shape::kStatus, &R::status_text},
    {"RESPONSE_FLAGS", "", Shape::kName},
    {"RESPONSE_CODE_DETAILS", "", Shape::kName},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", "", Shape::kName},
    {"DURATION", "", Shape::kNumber},
    {"UPSTREAM_SERVICE_TIME", "", Shape::kNumber},
    {"PEER_REASON", "", Shape::kName},
    {"", "", Shape::kName},
    {"", "", Shape::kHeader},
}};

/// Envoy's names for fields that are there already, and for what is not known here.
struct Alias {
  std::string_view name;
  FieldId field;
};
constexpr Alias kAliases[] = {
    {"START_TIME", kStart},
    {"NATIVE_STATUS", kStatus},
    {"BYTES_RECEIVED", kBytesIn},
    {"BYTES_SENT", kBytesOut},
    {"UPSTREAM_HOST", kEndpoint},
    {"UPSTREAM_CLUSTER", kCluster},
    {"ROUTE_NAME", kRoute},
    {"DOWNSTREAM_REMOTE_ADDRESS", kPeer},
    {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", kPeer},
    {"UPSTREAM_LOCAL_ADDRESS", kUnknown},
    {"DOWNSTREAM_LOCAL_ADDRESS", kUnknown},
    {"CONNECTION_TERMINATION_DETAILS", kUnknown},
};

/// kFieldCount when there is none.
uint8_t find_field(std::string_view name) {
  for (const Alias& alias : kAliases)
    if (alias.name == name) return alias.field;
  uint8_t field = 0;
  while (field < kFieldCount && (kFields[field].name.empty() || kFields[field].name != name)) ++field;
  return field;
}

constexpr size_t kFieldsMax = 64;  // in one template
constexpr size_t kTemplateBytesMax = 4096;
constexpr size_t kShortBytesMax = 40;  // a time, a number, one of our own names
constexpr size_t kIdShownMax = 32;     // bytes of an id that is no number
constexpr size_t kIdBytesMax = 2 * kIdShownMax + 2;

constexpr size_t kValueTotalMax = AccessLogFormat::kValueBytesMax + log_text::kCut.size();

size_t bytes_max(const FieldRow& row) {
  switch (row.shape) {
    case Shape::kString:
    case Shape::kStatus:
    case Shape::kAttribute:
    case Shape::kProtocol:
    case Shape::kHeader: return kValueTotalMax;
    case Shape::kId: return kIdBytesMax;
    default: return kShortBytesMax;
  }
}

/// Literals are copied in steps of a fixed size; both ends have room for that.
constexpr size_t kLiteralStep = 16;

char* append_literal(const char* literal, size_t length, char* out) {
  for (size_t i = 0; i < length; i += kLiteralStep) std::memcpy(out + i, literal + i, kLiteralStep);
  return out + length;
}

uint64_t number_of(const AccessRecord& record, uint8_t field) {
  switch (field) {
    case kDurationUs:
    case kDurationMs:
      return record.duration_us;
    case kUpstreamDurationUs:
    case kUpstreamDurationMs:
      return record.upstream_duration_us;
    case kDuration: return record.duration_us / 1000;
    case kUpstreamServiceTime: return record.upstream_duration_us / 1000;
    case kResponseCode:
      if (record.response && record.response->is_http) return record.response->status;
      if (record.request && record.request->is_http && record.request->grpc)
        return 200;  // its status is in the trailers
      [[fallthrough]];
    case kStatus: return static_cast<uint64_t>(record.status < 0 ? -int64_t{record.status} : record.status);
    case kBytesIn:
      return record.bytes_in;
    case kBytesOut:
      return record.bytes_out;
    case kAttempts:
      return record.attempts;
    default:
      return 0;
  }
}

std::string_view name_of(const AccessRecord& record, uint8_t field) {
  switch (field) {
    case kOutcome: return outcome_name(record.outcome);
    case kResponseFlags: return envoy_flag(record.reason);
    case kTransportFailure: return is_tls_reason(record.reason) ? reason_row(record.reason).label : "-";
    case kPeerReason: return record.peer_reason.empty() ? "-" : record.peer_reason;
    case kUnknown: return "-";
    case kResponseCodeDetails:
      if (record.reason == Reason::kNone || record.reason == Reason::kUpstreamStatus)
        return record.cluster.empty() ? "-" : "via_upstream";
      if (record.reason == Reason::kNoRoute) return "route_not_found";  // as Envoy has it
      break;
    default: break;
  }
  const ReasonRow& row = reason_row(record.reason);
  return field == kFlags ? row.flag : row.label;
}

/// Zero means "there was none" for these; text lines say "-".
bool absent_when_zero(uint8_t field) {
  return field == kStatus || field == kUpstreamDurationUs || field == kUpstreamDurationMs;
}

bool has_service_time(const AccessRecord& record) { return record.upstream_duration_us != 0; }

/// Whether the number of the line is one of HTTP, not the protocol's own.
bool is_http_code(const AccessRecord& record, uint8_t field) {
  return field == kResponseCode &&
         ((record.response && record.response->is_http) || (record.request && record.request->is_http));
}

/// The id of a request on its connection, as the client wrote it: a number, or bytes in hexadecimal digits.
char* append_id(const Head* head, bool json, bool inside, char* out) {
  using log_text::append;
  if (!head || head->frame.id_type == DRAGOMAN_ID_NONE ||
      (head->frame.id_type != DRAGOMAN_ID_CODED && head->frame.id_len == 0))
    return append(!json ? "-" : inside ? "" : "\"\"", out);
  const dragoman_frame& f = head->frame;
  if (f.id_type == DRAGOMAN_ID_CODED) return log_text::append_number(f.id, out);
  const auto& wire = head->wire;
  if (f.id_offset > wire.size() || f.id_len > wire.size() - f.id_offset)
    return append(json && !inside ? "\"\"" : "-", out);
  const std::span<const uint8_t> bytes = wire.subspan(f.id_offset, f.id_len);
  if (f.id_type == DRAGOMAN_ID_BYTES || bytes.size() > sizeof(uint64_t)) {
    if (json && !inside) *out++ = '"';
    for (uint8_t byte : bytes.first(std::min(bytes.size(), kIdShownMax))) {
      *out++ = "0123456789abcdef"[byte >> 4];
      *out++ = "0123456789abcdef"[byte & 15];
    }
    if (json && !inside) *out++ = '"';
    return out;
  }
  uint64_t id = 0;
  for (size_t i = 0; i < bytes.size(); ++i)
    id = id << 8 | bytes[f.id_type == DRAGOMAN_ID_BE ? i : bytes.size() - 1 - i];
  return log_text::append_number(id, out);
}

std::string_view http_version_name(LoggedHttp version) {
  switch (version) {
    case LoggedHttp::k10: return "HTTP/1.0";
    case LoggedHttp::k11: return "HTTP/1.1";
    case LoggedHttp::k2: return "HTTP/2";
    case LoggedHttp::kNone: break;
  }
  return {};
}

bool is_header_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
         c == '.';
}

char* append_start(int64_t start_us, AccessLogFormat::SecondCache& cache, char* out) {
  int64_t second = start_us / 1000000;
  int64_t fraction = start_us % 1000000;
  if (fraction < 0) fraction += 1000000, --second;
  if (cache.second != second) {
    cache.second = second;
    log_text::append_second(second, cache.text);
  }
  out = log_text::append({cache.text, log_text::kSecondBytes}, out);
  *out++ = '.';
  out = log_text::append_padded(static_cast<uint64_t>(fraction) / 1000, 3, out);
  *out++ = 'Z';
  return out;
}

char* append_millis(uint64_t us, char* out) {
  out = log_text::append_number(us / 1000, out);
  *out++ = '.';
  return log_text::append_padded(us % 1000, 3, out);
}

Unexpected<std::string> wrong(std::string what) { return {"access log template: " + std::move(what)}; }

}  // namespace

std::vector<std::string_view> access_log_fields() {
  std::vector<std::string_view> names;
  for (const FieldRow& row : kFields)
    if (!row.name.empty()) names.push_back(row.name);
  return names;
}

void AccessLogFormat::finish(std::string_view literal) {
  add(literal, kFieldNone);
  literals_.append(kLiteralStep, ' ');
  line_bytes_max_ += kLiteralStep;
}

AccessLogFormat::Op& AccessLogFormat::add(std::string_view literal, uint8_t field) {
  ops_.push_back({.field = field,
                  .offset = static_cast<uint32_t>(literals_.size()),
                  .length = static_cast<uint32_t>(literal.size())});
  literals_ += literal;
  line_bytes_max_ += literal.size();
  if (field != kFieldNone) line_bytes_max_ += bytes_max(kFields[field]);
  return ops_.back();
}

Result<AccessLogFormat::HeaderField> AccessLogFormat::parse_header(std::string_view operation,
                                                                   std::string_view where) const {
  const auto fail = [&](const char* what) {
    return wrong(std::string(what) + " in %" + std::string(operation) + "%" + std::string(where));
  };
  const bool response = operation.starts_with("RESP");
  HeaderField field;
  const size_t end = operation.find(')');
  if (end == std::string_view::npos) return fail("no )");
  std::string_view names = operation.substr(operation.find('(') + 1);
  names = names.substr(0, names.find(')'));
  if (std::string_view length = operation.substr(end + 1); !length.empty()) {
    size_t bytes = 0;
    const char* last = length.data() + length.size();
    if (length[0] != ':' || std::from_chars(length.data() + 1, last, bytes).ptr != last || bytes == 0)
      return fail("no length behind )");
    field.bytes_max = std::min(bytes, kValueBytesMax);
  }
  const size_t question = names.find('?');
  const auto read = [&](std::string_view name, HeaderName& into) {
    into.pseudo = name.starts_with(':');
    if (into.pseudo) name.remove_prefix(1);
    into.name = name;
    if (into.pseudo)
      for (char& c : into.name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    into.id = header_id(name);
    static constexpr std::string_view kPseudo[] = {"method", "path", "authority", "scheme"};
    if (into.pseudo &&
        (response || std::find(std::begin(kPseudo), std::end(kPseudo), into.name) == std::end(kPseudo)))
      return false;
    return !name.empty() && std::all_of(name.begin(), name.end(), is_header_char);
  };
  if (!read(names.substr(0, question), field.first)) return fail("no name of a header");
  if (question != std::string_view::npos && !read(names.substr(question + 1), field.other))
    return fail("no name of a header");
  return field;
}

Result<void> AccessLogFormat::parse(std::string_view rest, std::string& literal, bool inside) {
  const std::string_view whole = rest;
  if (whole.size() > kTemplateBytesMax)
    return wrong("longer than " + std::to_string(kTemplateBytesMax) + " bytes");
  while (!rest.empty()) {
    const std::string where = " at column " + std::to_string(rest.data() - whole.data() + 1);
    const char c = rest[0];
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return wrong("control character" + where);
    if (c != '%') {
      if (inside && (c == '"' || c == '\\')) literal += '\\';
      literal += c;
      rest.remove_prefix(1);
      continue;
    }
    const size_t end = rest.find('%', 1);
    if (end == std::string_view::npos) return wrong("% without its end" + where + "; %% is a percent sign");
    const std::string_view name = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (name.empty()) {
      literal += '%';
      continue;
    }
    if (ops_.size() >= kFieldsMax) return wrong("more than " + std::to_string(kFieldsMax) + " fields");
    if (name.starts_with("REQ(") || name.starts_with("RESP(")) {
      auto header = parse_header(name, where);
      if (!header) return unexpected(std::move(header.error()));
      const bool response = name.starts_with("RESP(");
      (response ? wants_response_headers_ : wants_request_headers_) = true;
      headers_.push_back(std::move(*header));
      Op& op = add(literal, kHeader);
      op.header = static_cast<uint16_t>(headers_.size() - 1);
      op.response = response;
      op.inside = inside;
      literal.clear();
      continue;
    }
    const uint8_t field = find_field(name);
    if (field == kFieldCount) {
      std::string what = "unknown field %" + std::string(name) + "%" + where;
      std::vector<std::string_view> names = access_log_fields();
      for (const Alias& alias : kAliases) names.push_back(alias.name);
      const std::string_view guess = nearest(name, names);
      if (!guess.empty()) what += "; did you mean %" + std::string(guess) + "%?";
      return wrong(std::move(what));
    }
    add(literal, field).inside = inside;
    literal.clear();
  }
  return {};
}

Result<AccessLogFormat> AccessLogFormat::compile(AccessLogKind kind, std::string_view line_template,
                                                 const Members& members) {
  AccessLogFormat format;
  format.kind_ = kind;
  const bool json = kind == AccessLogKind::kJson;
  std::string literal;
  if (json) {
    if (!line_template.empty()) return wrong("a JSON log takes none");
    for (uint8_t field = 0; field < kFieldCount; ++field) {
      const FieldRow& row = kFields[field];
      if (row.json_key.empty()) continue;
      literal.append(format.ops_.empty() ? "{\"" : ",\"").append(row.json_key).append("\":");
      format.add(literal, field);
      literal.clear();
    }
  } else {
    auto parsed =
        format.parse(line_template.empty() ? kDefaultAccessLogTemplate : line_template, literal, false);
    if (!parsed) return unexpected(std::move(parsed.error()));
  }
  for (const auto& [key, value] : members) {
    const bool known =
        std::any_of(kFields.begin(), kFields.end(),
                    [name = std::string_view(key)](const FieldRow& row) { return row.json_key == name; });
    if (json && known) return wrong("\"" + key + "\" is a member of every line");
    if (key.empty() || !std::all_of(key.begin(), key.end(), is_header_char))
      return wrong("\"" + key + "\" is no name of a field");
    // One field and nothing else: a number stays one.
    const bool alone = value.size() > 2 && value[0] == '%' && value.find('%', 1) == value.size() - 1;
    const uint8_t field =
        alone ? find_field(std::string_view(value).substr(1, value.size() - 2)) : uint8_t{kFieldCount};
    const bool bare = json && field < kFieldCount;
    literal += json ? ",\"" + key + (bare ? "\":" : "\":\"") : " " + key + "=\"";
    auto parsed = format.parse(value, literal, json && !bare);
    if (!parsed) return unexpected(key + ": " + parsed.error());
    if (!bare) literal += '"';
  }
  literal += json ? "}\n" : "\n";
  format.finish(literal);
  return format;
}

std::string_view AccessLogFormat::header_value(const HeaderName& name, const AccessRecord& record,
                                               bool response) {
  const Head* head = response ? record.response : record.request;
  if (name.pseudo) {
    switch (name.name[0]) {
      case 'm': return record.method;
      case 'p': return record.path;
      case 'a': return record.authority;
      default: return head ? head->scheme : std::string_view{};
    }
  }
  if (!head) return {};
  const Header* found = name.id != HeaderId::kOther ? head->headers.find(name.id)
                                                    : head->headers.find(std::string_view(name.name));
  return found ? found->value : std::string_view{};
}

std::string_view AccessLogFormat::header_value(const Op& op, const AccessRecord& record) const {
  const HeaderField& field = headers_[op.header];
  std::string_view value = header_value(field.first, record, op.response);
  if (value.empty() && !field.other.name.empty()) value = header_value(field.other, record, op.response);
  return value.substr(0, field.bytes_max);
}

char* AccessLogFormat::append(const AccessRecord& record, char* out, SecondCache& second_cache) const {
  using log_text::append_number;
  const bool json = kind_ == AccessLogKind::kJson;
  for (const Op& op : ops_) {
    out = append_literal(literals_.data() + op.offset, op.length, out);
    if (op.field == kFieldNone) break;
    const FieldRow& row = kFields[op.field];
    const bool quoted = json && !op.inside;
    Shape shape = row.shape;
    if (shape == Shape::kStatus)
      shape = record.status_text.empty() || is_http_code(record, op.field) ? Shape::kNumber : Shape::kString;
    switch (shape) {
      case Shape::kStatus:
      case Shape::kAttribute:
      case Shape::kProtocol:
      case Shape::kHeader:
      case Shape::kString: {
        std::string_view value;
        if (shape == Shape::kHeader)
          value = header_value(op, record);
        else if (shape == Shape::kAttribute)
          value = record.request ? record.request->*row.attribute : std::string_view{};
        else if (shape == Shape::kProtocol && record.http_version != LoggedHttp::kNone)
          value = http_version_name(record.http_version);
        else
          value = record.*row.text;
        if (quoted) *out++ = '"';
        if (json)
          out = log_text::append_json(value, kValueBytesMax - 2, out);
        else if (value.empty())
          *out++ = '-';
        else
          out = log_text::append_text(value, kValueBytesMax, out);
        if (quoted) *out++ = '"';
        break;
      }
      case Shape::kId: out = append_id(record.request, json, op.inside, out); break;
      case Shape::kNumber:
      case Shape::kMillis: {
        const uint64_t value = number_of(record, op.field);
        if (!json && ((value == 0 && absent_when_zero(op.field)) ||
                      (op.field == kUpstreamServiceTime && !has_service_time(record)))) {
          *out++ = '-';
        } else {
          if ((op.field == kStatus || (op.field == kResponseCode && !is_http_code(record, op.field))) &&
              record.status < 0)
            *out++ = '-';
          out = row.shape == Shape::kMillis ? append_millis(value, out) : append_number(value, out);
        }
        break;
      }
      case Shape::kTime:
        if (quoted) *out++ = '"';
        out = append_start(record.start_us, second_cache, out);
        if (quoted) *out++ = '"';
        break;
      case Shape::kName:
        if (quoted) *out++ = '"';
        out = log_text::append(name_of(record, op.field), out);
        if (quoted) *out++ = '"';
        break;
      case Shape::kBool:
        out = log_text::append(record.one_way ? "true" : "false", out);
        break;
    }
  }
  return out;
}

std::string AccessLogFormat::line(const AccessRecord& record) const {
  std::string text(line_bytes_max_, '\0');
  SecondCache cache;
  text.resize(static_cast<size_t>(append(record, text.data(), cache) - text.data()));
  return text;
}

}  // namespace dragoman
