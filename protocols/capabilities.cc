#include "protocols/capabilities.h"

#include <algorithm>
#include <array>
#include <vector>

#include "config/protocols.h"
#include "protocols/plugin.h"

namespace dragoman {
namespace {

constexpr std::array kColumns = {"protocol",   "kind", "shared",  "bound only", "heartbeat",
                                 "goaway",     "edit", "service", "method",     "headers",
                                 "attributes", "id",   "detect",  "timeout"};

const char* yes(bool can) { return can ? "yes" : "-"; }

/// Where no `timeout` is written.
std::string timeout(const Protocol& p) {
  const config::Protocol* facts = config::find_protocol(p.name);
  return std::to_string(config::default_timeout_ms(facts, p.only_bound) / 1000) + " s";
}

std::vector<std::string> row(const Protocol& p) {
  if (!p.table)
    return {std::string(p.name),
            "stream",
            yes(p.multiplexed),
            "-",
            yes(p.has_heartbeat),
            yes(p.has_goaway),
            "yes",
            "-",
            "yes",
            "yes",
            "-",
            "-",
            "-",
            timeout(p)};
  const dragoman_codec& t = *p.table;
  auto can = [&](uint64_t ability) { return yes((t.abilities & ability) != 0); };
  auto has = [&](uint32_t want) { return yes((t.lacks & want) == 0); };
  std::string attributes;
  for (uint32_t i = 0; i < t.attribute_count; ++i)
    attributes += (attributes.empty() ? "" : ", ") + std::string(t.attributes[i]);
  std::string id = t.id_len > 0 ? std::to_string(t.id_len * 8) + " bit" : t.set_id ? "text" : "-";
  return {std::string(p.name),
          "framed",
          can(DRAGOMAN_CAN_MULTIPLEX),
          can(DRAGOMAN_ONLY_BOUND),
          can(DRAGOMAN_CAN_HEARTBEAT),
          can(DRAGOMAN_CAN_GOAWAY),
          can(DRAGOMAN_CAN_EDIT),
          has(DRAGOMAN_WANT_SERVICE),
          has(DRAGOMAN_WANT_METHOD),
          has(DRAGOMAN_WANT_HEADERS),
          attributes.empty() ? "-" : attributes,
          id,
          std::to_string(t.detect_bytes_max),
          timeout(p)};
}

constexpr const char* kPage = R"(# What each protocol can do

A configuration that asks for an ability a protocol has not is refused, with the place. This page is made by
`dragoman codec list --markdown`.

- **kind**: `stream` and `framed` are requests that are routed one by one; `relayed` is bytes that go to one cluster as they
  come; `observed` is the same with metrics of what they say.
- **shared**: many clients' requests on few connections (`pool.mode: multiplex`); else one request at a time on each
  (`ping_pong`), or one connection for each client (`bound`; `bound only`: nothing else works).
- **heartbeat**: `pool.heartbeat_interval`, `health_check.type: heartbeat`; heartbeats of peers are answered.
- **goaway**: says that a connection ends when it drains (`rpc.goaway`).
- **edit**: headers can be set, added and removed.
- **service, method, headers**: what routes can ask for. **attributes**: what the codec tells beyond them,
    as headers; they can't be edited.
- **id**: what tells answers apart. **detect**: bytes that tell the protocol from others.
- **timeout**: of a request whose caller gives no deadline, where no `timeout` is written. gRPC calls have none and end by
    `idle_timeout`.

)";

}  // namespace

std::string capability_matrix(std::span<const Protocol> protocols, bool markdown) {
  std::vector<std::vector<std::string>> rows = {{kColumns.begin(), kColumns.end()}};
  for (const Protocol& p : protocols) rows.push_back(row(p));
  for (const config::Protocol& p : config::kProtocols) {
    if (!config::is_relayed(p.name)) continue;
    rows.emplace_back(kColumns.size(), "-");
    rows.back()[0] = p.name;
    rows.back()[1] = config::is_observed(p.name) ? "observed" : "relayed";
  }
  std::vector<size_t> widths(kColumns.size());
  for (const auto& r : rows)
    for (size_t i = 0; i < r.size(); ++i) widths[i] = std::max(widths[i], r[i].size());
  std::string out = markdown ? kPage : "";
  for (size_t n = 0; n < rows.size(); ++n) {
    std::string line = markdown ? "|" : "";
    for (size_t i = 0; i < rows[n].size(); ++i) {
      std::string cell = rows[n][i];
      if (i + 1 < rows[n].size() || markdown) cell.resize(widths[i], ' ');
      line += markdown ? " " + cell + " |" : (i > 0 ? "  " : "") + cell;
    }
    out += line + "\n";
    if (n > 0 || !markdown) continue;
    out += "|";
    for (size_t width : widths) out += " " + std::string(width, '-') + " |";
    out += "\n";
  }
  return out;
}

}  // namespace dragoman
