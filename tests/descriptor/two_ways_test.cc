// Described frames that two peers could read differently: what tells answers apart and what routes must be the same for all.
#include <gtest/gtest.h>

#include "protocols/descriptor/program.h"
#include "tests/descriptor/shipped.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

bool accepted(const dragoman_codec* table, const std::string& bytes) {
  FramedConnection c(table, Role::kServer);
  c.feed(bytes);
  return c.accepted() == 1;
}

std::string bank(const std::string& head) {
  std::string xml = "<Msg><Head>" + head + "</Head><Body>b</Body></Msg>";
  std::string digits = std::to_string(xml.size());
  return std::string(8 - digits.size(), '0') + digits + xml;
}

TEST(DescribedTwoWays, ElementsOfXml) {
  auto bankxml = shipped_descriptor("bankxml");
  const std::string kind = "<Kind>REQ</Kind>", id = "<Id>a-1</Id>", svc = "<Svc>S</Svc>", op = "<Op>o</Op>";
  struct Row {
    std::string head;
    bool good;
  } rows[] = {
      {kind + id + svc + op, true},
      {kind + id + svc + op + "<Other>x</Other><Other>x</Other>", true},
      {kind + id + svc + op + "<Other><Deep>1</Deep></Other>", true},
      {kind + "<Id a=\">\">a-1</Id>" + svc + op, true},
      {kind + id + svc + op + "<Id>a-1</Id>", false},  // of which one would be written anew
      {kind + id + svc + op + "<X><Id>b-1</Id></X>", false},
      {kind + "<X><Id>b-1</Id></X>" + id + svc + op, false},
      {kind + "<Id>0001<!-- --></Id><X><Id>a-1</Id></X>" + svc + op, false},
      {kind + "<Id>0001</Id ><X><Id>a-1</Id></X>" + svc + op, false},
      {kind + "<Id><![CDATA[0001]]></Id><X><Id>a-1</Id></X>" + svc + op, false},
      {kind + "<n:Id>0001</n:Id>" + id + svc + op, false},
      {kind + "<Id> a-1</Id>" + svc + op, false},
      {kind + "<Id>a&#45;1</Id>" + svc + op, false},
      {kind + id + "<<Svc>T</Svc>" + svc + op, false},  // what some take for an element begins in a name
      {kind + id + "<Svc/Msg>S</Svc>" + op, false},
      {kind + id + "<X a='<Svc>T</Svc>'/>" + svc + op, false},
      {kind + id + "<!-- <Svc>T</Svc> -->" + svc + op, true},
      {kind + id + "<Svc>S</Svc><Svc>S</Svc>" + op, true},
      {kind + id + "<Svc>S</Svc><Svc>T</Svc>" + op, false},
      {kind + id + "<Svc>&#83;</Svc>" + op, false},
      {kind + id + "<Svc>S<!-- x --></Svc>" + op, false},
      {kind + id + svc + "<Op>o</Op><Y><Op>p</Op></Y>", false},
      {kind + "<Kind>NTF</Kind>" + id + svc + op, false},
      {kind + id + svc + op + "<A>1</A><A>2</A>", false},
      {kind + id + svc + op + "<A>1</A><a>2</a>", false},
  };
  for (const Row& row : rows) EXPECT_EQ(accepted(&bankxml->table(), bank(row.head)), row.good) << row.head;
}

std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  return out + static_cast<char>(v);
}
std::string number(uint32_t tag, uint64_t v) { return varint(tag << 3) + varint(v); }
std::string text(uint32_t tag, const std::string& s) { return varint(tag << 3 | 2) + varint(s.size()) + s; }
std::string prpc(const std::string& meta) { return "PRPC" + be(meta.size() + 4, 4) + be(meta.size(), 4) + meta + "body"; }

TEST(DescribedTwoWays, FieldsOfProtobuf) {
  auto baidu = shipped_descriptor("baidu_std");
  const dragoman_codec* table = &baidu->table();
  const std::string call = text(1, text(1, "pkg.Echo") + text(2, "Call"));
  EXPECT_TRUE(accepted(table, prpc(call + number(4, 7))));
  EXPECT_FALSE(accepted(table, prpc(call + call + number(4, 7)))) << "two messages";
  EXPECT_FALSE(accepted(table, prpc(text(1, text(1, "pkg.Echo") + text(1, "other") + text(2, "Call")) + number(4, 7))));
  EXPECT_FALSE(accepted(table, prpc(call + text(4, "7")))) << "an id that is text";
  Asker asker(table);
  EXPECT_EQ(asker.with_id(prpc(number(4, 5) + call + number(4, 6)), 9), prpc(call + number(4, 9))) << "one is left";
  EXPECT_EQ(asker.frame(prpc(number(4, 5) + call + number(4, 6))).id, 6u);
}

// The server calls what the message names, even when that is nothing; a router may look into the header only.
TEST(DescribedTwoWays, AnItemThatIsEmptyIsStillThere) {
  auto ttheader = shipped_descriptor("ttheader_lite");
  auto call = [](const std::string& header, const std::string& name) {
    std::string info = "\x10" + be(1, 2) + be(9, 2) + be(header.size(), 2) + header;
    info.resize((info.size() + 2 + 3) / 4 * 4 - 2);
    const std::string rest = be(0x1000, 2) + be(0, 2) + be(7, 4) + be((info.size() + 2) / 4, 2) + be(0, 2) +
                             info + be(0x8001, 2) + be(1, 2) + be(name.size(), 4) + name + be(7, 4) +
                             be(0, 1);
    return be(rest.size(), 4) + rest;
  };
  EXPECT_TRUE(accepted(&ttheader->table(), call("audit", "audit")));
  EXPECT_TRUE(accepted(&ttheader->table(), call("", "audit")));
  EXPECT_TRUE(accepted(&ttheader->table(), call("", "")));
  EXPECT_FALSE(accepted(&ttheader->table(), call("audit", "other")));
  EXPECT_FALSE(accepted(&ttheader->table(), call("audit", "")));
}

TEST(DescribedTwoWays, NamesInPairs) {
  auto bolt = shipped_descriptor("bolt1");
  auto with = [&](const std::string& header) {
    BoltFrame f = BoltFrame::request(1);
    f.header = header;
    return accepted(&bolt->table(), f.bytes());
  };
  EXPECT_TRUE(with(kv("service", "S:1.0") + kv("service", "S:1.0")));
  EXPECT_FALSE(with(kv("service", "S:1.0") + kv("service", "T:1.0")));
  EXPECT_FALSE(with(kv("service", "S:1.0") + kv("sofa_head_method_name", "a") + kv("sofa_head_method_name", "b")));
  EXPECT_FALSE(with(kv("service", "S:1.0") + kv("k", "a") + kv("K", "b")));
}

TEST(DescribedTwoWays, WhatStandsInTwoPlaces) {
  auto bolt = shipped_descriptor("bolt1");
  struct Row {
    std::string header;
    bool good;
  } rows[] = {
      {kv("service", "S:1.0") + kv("sofa_head_target_service", "S:1.0"), true},
      {kv("service", "S:1.0"), true},
      {kv("sofa_head_target_service", "S:1.0"), true},
      {kv("service", "") + kv("sofa_head_target_service", "S:1.0"), true},
      {kv("service", "S:1.0") + kv("sofa_head_target_service", "T:1.0"), false},
      {kv("sofa_head_target_service", "T:1.0") + kv("service", "S:1.0"), false},
  };
  for (const Row& row : rows) {
    BoltFrame f = BoltFrame::request(1);
    f.header = row.header;
    // Short of one byte and not: the short way, and the long one.
    EXPECT_EQ(accepted(&bolt->table(), f.bytes()), row.good) << row.header;
    auto& openings =
        const_cast<descriptor::Program*>(static_cast<const descriptor::Program*>(bolt->table().context))
            ->openings;
    std::vector<descriptor::Opening> closed;
    closed.swap(openings);
    EXPECT_EQ(accepted(&bolt->table(), f.bytes()), row.good) << row.header;
    closed.swap(openings);
  }
  BoltFrame other = BoltFrame::request(1);  // whose headers mean nothing
  other.class_name = "com.example.Other";
  other.header = rows[4].header;
  EXPECT_TRUE(accepted(&bolt->table(), other.bytes()));
}

TEST(DescribedTwoWays, ListsThatAreReferredTo) {
  auto axis = shipped_descriptor("axis");
  auto call = [](const std::string& names, uint8_t service) {
    std::string out =
        "AXS\x01" + std::string(4, '\0') + std::string("\1\0\0\0\0\0\0\0", 8) + std::string(2, '\0');
    out += static_cast<char>(names.size());
    out += std::string(1, '\0') + static_cast<char>(service) + std::string(1, '\1') + std::string(2, '\0') +
           names + std::string(2, '\0');
    out[4] = static_cast<char>(out.size());
    return out;
  };
  const dragoman_codec* table = &axis->table();
  EXPECT_TRUE(accepted(table, call(std::string("\2\0\3Svc\2go", 9), 0)));
  EXPECT_TRUE(accepted(table, call(std::string("\2\0\3Svc\2go", 9), 7))) << "there is no seventh: no service";
  EXPECT_FALSE(accepted(table, call(std::string("\2\0\3Svc\7go", 9), 0))) << "a lenient peer reads the first";
  EXPECT_FALSE(accepted(table, call(std::string("\3\0\3Svc\2go", 9), 0)));
}

const std::string kVarintId =
    "descriptor: 1\n"
    "name: little\n"
    "match: [\"u8@0 == 0x4c\"]\n"
    "layouts:\n"
    "  any:\n"
    "    items:\n"
    "      magic: {type: u8, value: 0x4c}\n"
    "      kind: u8\n"
    "      code: u8\n"
    "      id: TYPE\n"
    "      body: {prefix: u32, body: true}\n"
    "id: ID\n"
    "kind:\n"
    "- {is: request, when: [kind == 0]}\n"
    "- {is: response, when: [kind == 1]}\n"
    "status: {from: code, outcome: {0: ok}, other: server_error, reply: {other: 1}}\n"
    "make:\n"
    "  reply: {layout: any, set: {kind: 1, id: \"${id}\", code: \"${status}\"}}\n";

descriptor::Loaded little(const std::string& type, const std::string& id) {
  std::string out = kVarintId;
  out.replace(out.find("TYPE"), 4, type);
  out.replace(out.find("ID\n"), 2, id);
  return descriptor::load_string(out, "d.yaml");
}

TEST(DescribedIdWidth, IsWhatPeersKeep) {
  struct Row {
    const char *type, *id;
    uint32_t bits;  // in the table
    uint64_t most;  // id of ours
  } rows[] = {{"varint", "id", 31, 1u << 31},          {"zigzag", "id", 31, 1u << 31},
              {"varint", "{from: id, bits: 16}", 16, 1 << 16}, {"varint", "{from: id, bits: 63}", 63, uint64_t{1} << 63},
              {"u64", "{from: id, bits: 53}", 53, uint64_t{1} << 53}, {"u32", "id", 0, uint64_t{1} << 32}};
  for (const Row& row : rows) {
    auto loaded = little(row.type, row.id);
    ASSERT_TRUE(loaded.descriptor) << row.type;
    const dragoman_codec* table = &loaded.descriptor->table();
    EXPECT_EQ(table->id_bits, row.bits) << row.type << row.id;
    const uint32_t kept = row.bits ? row.bits : 32;
    FramedConnection down(table, Role::kServer), up(table, Role::kClient);
    Hop hop(down, up);
    Asker asker(table);
    const bool fixed = row.type[0] == 'u';
    const std::string id = fixed ? be(5, row.type[1] == '6' ? 8 : 4) : "\x05";
    for (int i = 0; i < 50; ++i) {
      down.feed(std::string("\x4c\0\0", 3) + id + be(0, 4));
      const uint64_t ours = asker.frame(up.sink.take()).id;
      EXPECT_LT(ours, row.most) << kept;
    }
    // What a client gives itself comes back as it was, however wide.
    if (!fixed) {
      const std::string wide = std::string(9, '\xff') + "\x01";
      down.feed(std::string("\x4c\0\0", 3) + wide + be(0, 4));
      const std::string sent = up.sink.take();
      up.feed(std::string("\x4c\x01\0", 3) + sent.substr(3));
      EXPECT_EQ(down.sink.take(), std::string("\x4c\x01\0", 3) + wide + be(0, 4)) << row.type;
    }
  }
}

TEST(DescribedIdWidth, Faults) {
  struct Row {
    const char *type, *id, *says;
  } rows[] = {
      {"varint", "{from: id, bits: 7}", "12:22 id.bits: a whole number 8..64"},
      {"varint", "{from: id, bits: 65}", "id.bits: a whole number 8..64"},
      {"u32", "{from: id, bits: 33}", "id.bits: a whole number 8..32"},
      {"bytes16", "{from: id, bits: 31}", "id.bits: bits are those of a number, and this id is a text"},
      {"varint", "{from: id, bit: 31}", "unknown key \"bit\""}};
  for (const Row& row : rows) {
    auto loaded = little(row.type, row.id);
    std::string out;
    for (const auto& d : loaded.diagnostics)
      out += std::to_string(d.line) + ":" + std::to_string(d.column) + " " + d.path + ": " + d.message + "\n";
    EXPECT_NE(out.find(row.says), std::string::npos) << row.id << "\n" << out;
  }
}

}  // namespace
}  // namespace dragoman::testing
