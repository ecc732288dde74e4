#include <array>
#include <cstring>
#include <span>

#include "proxy/base/suggest.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/log_text.h"

namespace dragoman {

const std::string_view kDefaultAccessLogTemplate =
    "[%START%] \"%METHOD% %PATH% %PROTOCOL%\" %STATUS% %FLAGS% %OUTCOME% %BYTES_IN% %BYTES_OUT% "
    "%DURATION_MS% %UPSTREAM_DURATION_MS% %ATTEMPTS% \"%PEER%\" \"%X_FORWARDED_FOR%\" \"%USER_AGENT%\" "
    "\"%REQUEST_ID%\" \"%AUTHORITY%\" \"%SERVICE%\" %LISTENER% %ROUTE% %CLUSTER% \"%ENDPOINT%\"";

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
  kFieldCount,
  kFieldNone = kFieldCount,
};

enum class Shape : uint8_t { kTime, kNumber, kMillis, kString, kName, kBool, kStatus };

struct FieldRow {
  std::string_view name;      // in templates
  std::string_view json_key;  // empty: not in JSON lines
  Shape shape;
  std::string_view AccessRecord::*text = nullptr;  // kString
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
}};

constexpr size_t kFieldsMax = 64;  // in one template
constexpr size_t kTemplateBytesMax = 4096;
constexpr size_t kShortBytesMax = 40;  // a time, a number, one of our own names

constexpr size_t kValueTotalMax = AccessLogFormat::kValueBytesMax + log_text::kCut.size();

size_t bytes_max(const FieldRow& row) {
  return row.shape == Shape::kString || row.shape == Shape::kStatus ? kValueTotalMax : kShortBytesMax;
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
  if (field == kOutcome) return outcome_name(record.outcome);
  const ReasonRow& row = reason_row(record.reason);
  return field == kReason ? row.label : row.flag;
}

/// Zero means "there was none" for these; text lines say "-".
bool absent_when_zero(uint8_t field) {
  return field == kStatus || field == kUpstreamDurationUs || field == kUpstreamDurationMs;
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
  for (const FieldRow& row : kFields) names.push_back(row.name);
  return names;
}

void AccessLogFormat::finish(std::string_view literal) {
  add(literal, kFieldNone);
  literals_.append(kLiteralStep, ' ');
  line_bytes_max_ += kLiteralStep;
}

void AccessLogFormat::add(std::string_view literal, uint8_t field) {
  ops_.push_back({field, static_cast<uint32_t>(literals_.size()), static_cast<uint32_t>(literal.size())});
  literals_ += literal;
  line_bytes_max_ += literal.size();
  if (field != kFieldNone) line_bytes_max_ += bytes_max(kFields[field]);
}

Result<AccessLogFormat> AccessLogFormat::compile(AccessLogKind kind, std::string_view line_template) {
  AccessLogFormat format;
  format.kind_ = kind;
  std::string literal;
  if (kind == AccessLogKind::kJson) {
    if (!line_template.empty()) return wrong("a JSON log takes none");
    for (uint8_t field = 0; field < kFieldCount; ++field) {
      const FieldRow& row = kFields[field];
      if (row.json_key.empty()) continue;
      literal.append(format.ops_.empty() ? "{\"" : ",\"").append(row.json_key).append("\":");
      format.add(literal, field);
      literal.clear();
    }
    format.finish("}\n");
    return format;
  }

  std::string_view rest = line_template.empty() ? kDefaultAccessLogTemplate : line_template;
  const std::string_view whole = rest;
  if (whole.size() > kTemplateBytesMax) {
    return wrong("longer than " + std::to_string(kTemplateBytesMax) + " bytes");
  }
  while (!rest.empty()) {
    const std::string column = "column " + std::to_string(rest.data() - whole.data() + 1);
    const char c = rest[0];
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) return wrong("control character at " + column);
    if (c != '%') {
      literal += c;
      rest.remove_prefix(1);
      continue;
    }
    const size_t end = rest.find('%', 1);
    if (end == std::string_view::npos)
      return wrong("% without its end at " + column + "; %% is a percent sign");
    const std::string_view name = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (name.empty()) {
      literal += '%';
      continue;
    }
    uint8_t field = 0;
    while (field < kFieldCount && kFields[field].name != name) ++field;
    if (field == kFieldCount) {
      std::string what = "unknown field %" + std::string(name) + "% at " + column;
      const std::string_view guess = nearest(name, access_log_fields());
      if (!guess.empty()) what += "; did you mean %" + std::string(guess) + "%?";
      return wrong(std::move(what));
    }
    if (format.ops_.size() == kFieldsMax) return wrong("more than " + std::to_string(kFieldsMax) + " fields");
    format.add(literal, field);
    literal.clear();
  }
  literal += '\n';
  format.finish(literal);
  return format;
}

char* AccessLogFormat::append(const AccessRecord& record, char* out, SecondCache& second_cache) const {
  using log_text::append_number;
  const bool json = kind_ == AccessLogKind::kJson;
  for (const Op& op : ops_) {
    out = append_literal(literals_.data() + op.offset, op.length, out);
    if (op.field == kFieldNone) break;
    const FieldRow& row = kFields[op.field];
    Shape shape = row.shape;
    if (shape == Shape::kStatus) shape = record.status_text.empty() ? Shape::kNumber : Shape::kString;
    switch (shape) {
      case Shape::kStatus:
      case Shape::kString: {
        const std::string_view value = record.*row.text;
        if (json) {
          *out++ = '"';
          out = log_text::append_json(value, kValueBytesMax - 2, out);
          *out++ = '"';
        } else if (value.empty()) {
          *out++ = '-';
        } else {
          out = log_text::append_text(value, kValueBytesMax, out);
        }
        break;
      }
      case Shape::kNumber:
      case Shape::kMillis: {
        const uint64_t value = number_of(record, op.field);
        if (!json && value == 0 && absent_when_zero(op.field)) {
          *out++ = '-';
        } else {
          if (op.field == kStatus && record.status < 0) *out++ = '-';
          out = row.shape == Shape::kMillis ? append_millis(value, out) : append_number(value, out);
        }
        break;
      }
      case Shape::kTime:
        if (json) *out++ = '"';
        out = append_start(record.start_us, second_cache, out);
        if (json) *out++ = '"';
        break;
      case Shape::kName:
        if (json) *out++ = '"';
        out = log_text::append(name_of(record, op.field), out);
        if (json) *out++ = '"';
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
