// The capability matrix: a configuration that asks for what a codec can't do is refused, with the place.
#include <gtest/gtest.h>

#include "config/load.h"
#include "protocols/catalog.h"

namespace dragoman {
namespace {

/// All faults, one a line, of a configuration in which codec `poor` has no ability at all.
std::string faults(const std::string& yaml) {
  config::CodecLoader loader = [](const config::Codec& codec, const std::string& file) {
    config::DeclaredCodec declared;
    config::Protocol facts{};
    facts.framed = facts.routes = true;
    facts.shared = facts.edits = facts.service = facts.method = facts.headers = codec.name == "rich";
    facts.heartbeats = facts.goaway = codec.name == "rich";
    facts.only_bound = codec.name == "lonely";
    declared.protocol = facts;
    return declared;
  };
  auto result = config::load_string("codecs: [{name: poor, path: ./poor.so}, {name: rich, path: /a/rich.so}, "
                                    "{name: lonely, path: l.so}]\n" +
                                        yaml,
                                    "/etc/dragoman/d.yaml", config::process_environment(), loader);
  std::string text;
  for (const auto& d : result.diagnostics)
    text += d.file + ":" + std::to_string(d.line) + ":" + std::to_string(d.column) + ": " + d.path + ": " +
        d.message + "\n";
  return text;
}

const char* const kAsksForAll = R"(listeners:
  - name: in
    address: 127.0.0.1:8080
    protocol: $
    routes: all
    rpc: {goaway: true}
    filters: [{type: headers, request: {set: {a: b}}}]
routes:
  - name: all
    routes:
      - match: {service: s, method: m, headers: [{name: h, exact: v}]}
        cluster: api
        request_headers: {set: {a: b}}
        response_headers: {remove: [c]}
clusters:
  - name: api
    endpoints: [127.0.0.1:9000]
    pool: {mode: multiplex, heartbeat_interval: 5s}
    health_check: {type: heartbeat}
)";

std::string with(std::string yaml, const std::string& protocol) {
  return yaml.replace(yaml.find('$'), 1, protocol);
}

TEST(Abilities, AreThereForACodecThatHasThem) { EXPECT_EQ(faults(with(kAsksForAll, "rich")), ""); }

TEST(Abilities, ThatAreMissingAreRefusedWithThePlace) {
  EXPECT_EQ(faults(with(kAsksForAll, "poor")),
            "/etc/dragoman/d.yaml:7:19: listeners[0].rpc.goaway: poor has no way to announce the end of a connection\n"
            "/etc/dragoman/d.yaml:8:15: listeners[0].filters[0]: protocol poor can't change headers\n"
            "/etc/dragoman/d.yaml:12:26: routes[0].routes[0].match.service: protocol poor has no services to route by\n"
            "/etc/dragoman/d.yaml:12:37: routes[0].routes[0].match.method: protocol poor has no methods to route by\n"
            "/etc/dragoman/d.yaml:12:49: routes[0].routes[0].match.headers: protocol poor has no headers to route by\n"
            "/etc/dragoman/d.yaml:14:26: routes[0].routes[0].request_headers: protocol poor can't change headers\n"
            "/etc/dragoman/d.yaml:15:27: routes[0].routes[0].response_headers: protocol poor can't change headers\n"
            "/etc/dragoman/d.yaml:19:18: clusters[0].pool.mode: protocol poor can't tell the answers on a shared "
            "connection apart; use auto\n"
            "/etc/dragoman/d.yaml:19:49: clusters[0].pool.heartbeat_interval: protocol poor has no heartbeats\n"
            "/etc/dragoman/d.yaml:20:26: clusters[0].health_check.type: poor has no heartbeats; use type tcp\n");
}

TEST(Abilities, OfProtocolsThatAreOnlyBound) {
  EXPECT_EQ(faults("listeners: [{name: in, address: 127.0.0.1:8080, protocol: lonely, cluster: api}]\n"
                   "clusters: [{name: api, endpoints: [127.0.0.1:9000], pool: {mode: ping_pong}}]\n"),
            "/etc/dragoman/d.yaml:3:66: clusters[0].pool.mode: protocol lonely needs a connection for each client; use "
            "auto or bound\n");
}

TEST(Abilities, CodecsThatDoNotLoadAreReportedOnceAtTheirEntry) {
  std::string unknown = faults("listeners: [{name: in, address: 127.0.0.1:8080, protocol: por, cluster: api}]\n"
                               "clusters: [{name: api, endpoints: [127.0.0.1:9000]}]\n");
  EXPECT_NE(unknown.find("/etc/dragoman/d.yaml:2:59: listeners[0].protocol: unknown value \"por\"; did you mean "
                         "\"poor\"? allowed: http1, "),
            std::string::npos)
      << unknown;
  auto loader = [](const config::Codec&, const std::string& file) {
    config::DeclaredCodec declared;
    declared.faults = {{.message = file + " is broken"}, {.message = "no such key", .file = "b.yaml",
                                                          .line = 3, .column = 9}};
    return declared;
  };
  auto result = config::load_string("codecs: [{name: b, path: lib/b.so}]\n"
                                    "listeners: [{name: in, address: 127.0.0.1:8080, protocol: b, cluster: api}]\n"
                                    "clusters: [{name: api, endpoints: [127.0.0.1:9000]}]\n",
                                    "conf/d.yaml", config::process_environment(), loader);
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(config::render_text(result.diagnostics, result.source),
            "conf/d.yaml:1:26: error: codecs[0].path: conf/lib/b.so is broken\n"
            "  codecs: [{name: b, path: lib/b.so}]\n"
            "                           ^\n"
            "b.yaml:3:9: error: no such key\n");
}

TEST(Abilities, OfBuiltInCodecsAreThoseOfTheirTables) {
  size_t framed = 0;
  for (const Protocol& p : protocols()) {
    if (!p.table) continue;
    ++framed;
    const config::Protocol* row = config::find_protocol(p.name);
    ASSERT_NE(row, nullptr) << p.name << " has no row in config/protocols.h";
    config::Protocol facts = protocol_facts(*p.table);
    EXPECT_TRUE(row->framed && row->routes && !row->http) << p.name;
    EXPECT_EQ(row->heartbeats, facts.heartbeats) << p.name;
    EXPECT_EQ(row->goaway, facts.goaway) << p.name;
    EXPECT_EQ(row->shared, facts.shared) << p.name;
    EXPECT_EQ(row->edits, facts.edits) << p.name;
    EXPECT_EQ(row->service, facts.service) << p.name;
    EXPECT_EQ(row->method, facts.method) << p.name;
    EXPECT_EQ(row->headers, facts.headers) << p.name;
    EXPECT_EQ(row->only_bound, facts.only_bound) << p.name;
    EXPECT_TRUE(std::ranges::equal(
        row->attributes, facts.attributes, {}, [](const char* s) { return std::string_view(s); },
        [](const char* s) { return std::string_view(s); }))
        << p.name;
  }
  for (const config::Protocol& row : config::kProtocols) {
    if (row.framed && config::is_linked(row)) {
      EXPECT_NE(find_protocol(row.name), nullptr) << row.name;
    }
  }
  EXPECT_GE(framed, 1u);
}

}  // namespace
}  // namespace dragoman
