#include "protocols/bolt/sofa_body.h"

#include <algorithm>

#include "protocols/hessian/hessian.h"

namespace dragoman {
namespace {

using hessian::Reader;
using hessian::Text;

constexpr std::string_view kClass = "com.alipay.sofa.rpc.core.request.SofaRequest";
constexpr std::string_view kTraceMap = "rpc_trace_context";
constexpr std::string_view kTracePrefix = "rpc_trace_context.";
constexpr std::string_view kTraceText = "new_rpc_trace_context";

/// The value of a pair in `k=v&k=v&`.
std::string_view part_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
    if (pair.size() > key.size() && pair.starts_with(key) && pair[key.size()] == '=')
      return pair.substr(key.size() + 1);
  }
  return {};
}

/// The next value's text; empty when it is another kind of value, which is skipped. `ambiguous`: set when readers could take
/// it for another text.
std::string_view text_or_skip(Reader& in, bool* ambiguous = nullptr) {
  Text text;
  if (!in.string(text)) {
    if (in.ok()) in.skip();
    return {};
  }
  if (ambiguous && !text.plain()) *ambiguous = true;
  return text.whole && !text.null ? text.text : std::string_view();
}

/// Calls on_pair(key) before each value of the map that follows, which it has to read. Another kind of value is skipped.
template <class OnPair>
void read_map(Reader& in, OnPair&& on_pair) {
  if (!in.begin_map()) {
    if (in.ok()) in.skip();
    return;
  }
  while (in.ok() && !in.end_map()) {
    const std::string_view key = text_or_skip(in);
    if (in.ok()) on_pair(key);
  }
}

}  // namespace

void SofaContext::see_trace(std::string_view key, std::string_view value) {
  if (key == "sofaTraceId")
    trace_id = value;
  else if (key == "sofaRpcId")
    rpc_id = value;
}

void SofaContext::see_property(std::string_view key, std::string_view value) {
  if (key == "TX_XID" || (key == "tx_xid" && xid.empty())) {
    xid = value;
  } else if (key == kTraceText) {
    trace_id = part_of(value, "tcid");
    rpc_id = part_of(value, "spid");
  }
}

void SofaContext::see_header(std::string_view key, std::string_view value) {
  if (key.starts_with(kTracePrefix))
    see_trace(key.substr(kTracePrefix.size()), value);
  else
    see_property(key, value);
}

void SofaContext::add(const SofaContext& other) {
  if (xid.empty()) xid = other.xid;
  if (trace_id.empty()) {
    trace_id = other.trace_id;
    rpc_id = other.rpc_id;
  }
}

bool SofaBody::read(std::span<const uint8_t> body) {
  *this = {};
  Reader in(body, hessian::Grammar::kDraft);
  // Java and Node have the fields in different orders.
  constexpr int64_t kNone = -1;
  int64_t method_at = kNone, service_at = kNone, properties_at = kNone;
  std::string_view name;
  uint32_t count = 0;
  if (!in.begin_object(name, count, [&](uint32_t i, std::string_view field) {
        auto place = [&](std::string_view name_of, int64_t& at) {
          if (field != name_of) return;
          ambiguous |= at != kNone;
          at = i;
        };
        place("methodName", method_at);
        place("targetServiceUniqueName", service_at);
        place("requestProps", properties_at);
      }))
    return false;
  if (name != kClass) return false;
  const int64_t last = std::max({method_at, service_at, properties_at});
  for (int64_t i = 0; i <= last && in.ok(); ++i) {
    if (i == method_at) {
      method = text_or_skip(in, &ambiguous);
    } else if (i == service_at) {
      service = text_or_skip(in, &ambiguous);
    } else if (i == properties_at) {
      read_map(in, [&](std::string_view key) {
        if (key == kTraceMap)
          read_map(in, [&](std::string_view part) { context.see_trace(part, text_or_skip(in)); });
        else
          context.see_property(key, text_or_skip(in));
      });
    } else {
      in.skip();
    }
  }
  if (!in.ok()) {
    const bool was = ambiguous;
    *this = {};
    ambiguous = was;
    return false;
  }
  bytes = in.position();
  return true;
}

}  // namespace dragoman
