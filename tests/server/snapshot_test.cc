// What did not change is the same object in the next snapshot.
#include "proxy/server/snapshot.h"

#include <gtest/gtest.h>

#include "config/load.h"

namespace dragoman::testing {
namespace {

const char kConfig[] = R"(
listeners:
- {name: web, address: '127.0.0.1:1', protocol: http1, routes: a}
- {name: api, address: '127.0.0.1:2', protocol: http1, routes: b}
- {name: one, address: '127.0.0.1:3', protocol: bolt, cluster: c}
- {name: any, address: '127.0.0.1:4', protocol: auto, protocols: [{protocol: http1, routes: a}, {protocol: bolt, cluster: c}]}
routes:
- name: a
  routes: [{match: {prefix: /}, cluster: h}]
- name: b
  routes: [{match: {path: /x}, cluster: h}, {match: {prefix: /}, cluster: i}]
clusters:
- {name: h, protocol: http1, endpoints: ['127.0.0.1:9']}
- {name: i, protocol: http1, endpoints: [{address: '127.0.0.1:8', weight: 2}], pool: {idle_timeout: 5s}}
- {name: c, protocol: bolt, endpoints: ['127.0.0.1:7']}
)";

std::shared_ptr<const Snapshot> build(
    std::string text, const Snapshot* previous,
    std::initializer_list<std::pair<std::string, std::string>> changes = {}) {
  for (const auto& [from, to] : changes) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
  }
  config::LoadResult loaded = config::load_string(text, "test");
  EXPECT_TRUE(loaded.ok()) << config::render_text(loaded.diagnostics, loaded.source);
  if (!loaded.ok()) return nullptr;
  auto built = build_snapshot(*loaded.config, previous, 2);
  EXPECT_TRUE(built);
  return built ? *built : nullptr;
}

/// Names of what is another object.
std::string changed(const Snapshot& a, const Snapshot& b) {
  std::string names;
  const auto add = [&](bool same, const std::string& name) {
    if (!same) names += (names.empty() ? "" : " ") + name;
  };
  for (size_t i = 0; i < a.listeners.size(); ++i)
    add(a.listeners[i] == b.listeners[i], a.listeners[i]->settings.name);
  for (const char* table : {"a", "b"})
    add(a.tables.at(table) == b.tables.at(table), std::string("table-") + table);
  for (size_t i = 0; i < a.clusters.size(); ++i)
    add(a.clusters[i] == b.clusters[i], a.clusters[i]->settings.name);
  return names;
}

TEST(Snapshot, OnlyWhatChangedIsMadeAnew) {
  const auto first = build(kConfig, nullptr);
  ASSERT_TRUE(first);
  struct Case {
    std::pair<std::string, std::string> change;
    std::string changed;
  };
  for (const Case& c : {
           Case{{"cluster: i}]", "cluster: h}]"}, "api table-b"},
           Case{{"routes: [{match: {prefix: /}, cluster: h}]", "routes: [{match: {prefix: /y}, cluster: h}]"},
                "web any table-a"},
           Case{{"weight: 2", "weight: 3"}, ""},
           Case{{"endpoints: ['127.0.0.1:9']", "endpoints: ['127.0.0.1:9', '127.0.0.1:10']"}, ""},
           Case{{"idle_timeout: 5s", "idle_timeout: 6s"}, "i"},
           Case{{"address: '127.0.0.1:1', protocol: http1,",
                 "address: '127.0.0.1:1', protocol: http1, backlog: 99,"},
                "web"},
           Case{{"'127.0.0.1:3', protocol: bolt,", "'127.0.0.1:3', protocol: bolt, timeout: 1s,"}, "one"},
           Case{{"clusters:\n", "drain: {deadline: 7s}\nclusters:\n"}, "web api one any"},
       }) {
    const auto next = build(kConfig, first.get(), {c.change});
    ASSERT_TRUE(next) << c.change.second;
    EXPECT_EQ(changed(*first, *next), c.changed) << c.change.second;
    EXPECT_EQ(next->generation, first->generation + 1);
  }
  EXPECT_EQ(first->listeners[0]->routes, first->tables.at("a")) << "one table, however many listeners use it";
  EXPECT_EQ(first->listeners[3]->detect->specs[0]->routes, first->tables.at("a"));
}

}  // namespace
}  // namespace dragoman::testing
