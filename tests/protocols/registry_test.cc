// The built-in protocols keep the contract, and configuration knows of them what they are.
#include <gtest/gtest.h>

#include "config/protocols.h"
#include "protocols/either_codec.h"
#include "protocols/framed.h"

namespace dragoman {
namespace {

TEST(Registry, TablesKeepTheContract) {
  for (const Protocol& p : protocols()) {
    if (!p.table) continue;
    auto checked = check_codec(*p.table);
    EXPECT_TRUE(checked.has_value()) << (checked.has_value() ? "" : checked.error());
    EXPECT_EQ(find_protocol(p.name), &p) << "two of one name";
  }
}

TEST(Registry, ConfigurationKnowsThem) {
  for (const Protocol& p : protocols()) {
    const config::Protocol* known = config::find_protocol(p.name);
    ASSERT_NE(known, nullptr) << p.name;
    EXPECT_EQ(known->http, p.is_http) << p.name;
    EXPECT_EQ(known->framed, p.table != nullptr) << p.name;
    EXPECT_EQ(known->heartbeats, p.has_heartbeat) << p.name;
    if (p.table) {
      EXPECT_EQ(known->goaway, p.has_goaway) << p.name;
      EXPECT_EQ(known->shared, p.multiplexed) << p.name;
      EXPECT_EQ(known->only_bound, p.only_bound) << p.name;
      EXPECT_EQ(known->edits, (p.table->abilities & DRAGOMAN_CAN_EDIT) != 0) << p.name;
      EXPECT_EQ(known->service, !(p.table->lacks & DRAGOMAN_WANT_SERVICE)) << p.name;
      EXPECT_EQ(known->method, !(p.table->lacks & DRAGOMAN_WANT_METHOD)) << p.name;
      EXPECT_EQ(known->headers, !(p.table->lacks & DRAGOMAN_WANT_HEADERS)) << p.name;
    }
    EXPECT_TRUE(known->routes) << p.name;
  }
  for (const config::Protocol& known : config::kProtocols)
    if (config::is_linked(known) && !config::is_relayed(known.name)) {
      EXPECT_NE(find_protocol(known.name), nullptr) << known.name;
    }
}

/// No two take the same first bytes for theirs, so that a port can tell them apart.
TEST(Registry, EveryFramedProtocolRefusesHttp) {
  for (const Protocol& p : protocols()) {
    if (!p.table) continue;
    std::vector<uint64_t> memory(p.table->conn_state_size / 8 + 2);
    dragoman_frame f{};
    f.size = sizeof f;
    std::string_view get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    int verdict = p.table->probe(p.table->context, memory.data(), reinterpret_cast<const uint8_t*>(get.data()),
                                 get.size(), &f);
    EXPECT_TRUE(verdict != DRAGOMAN_FRAME && verdict != DRAGOMAN_NEED) << p.name;
  }
}

TEST(Registry, WhatTheHandshakeAgreedOnHolds) {
  struct Row {
    const char* protocol;
    const char* alpn;
    const char* agreed;
  };
  for (const Row& row :
       {Row{"http", "h2", "http2"}, Row{"http", "http/1.1", "http1"}, Row{"http", "http/1.0", "http1"},
        Row{"http", "", "http"}, Row{"http", "other", "http"}, Row{"http1", "h2", "http1"},
        Row{"http2", "http/1.1", "http2"}})
    EXPECT_EQ(agreed_protocol(*find_protocol(row.protocol), row.alpn).name, row.agreed)
        << row.protocol << " " << row.alpn;
}

}  // namespace
}  // namespace dragoman
