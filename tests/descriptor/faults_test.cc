// What a descriptor may not say, and where that is reported.
#include <gtest/gtest.h>

#include "protocols/descriptor/descriptor.h"
#include "protocols/descriptor/keys.h"
#include "tests/descriptor/shipped.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

// 0123456789 columns start at 1
const std::string kBase =
    "descriptor: 1\n"                                                                   // 1
    "name: little\n"                                                                    // 2
    "match: [\"u8@0 == 0x4c\"]\n"                                                       // 3
    "layouts:\n"                                                                        // 4
    "  any:\n"                                                                          // 5
    "    items:\n"                                                                      // 6
    "      magic: {type: u8, value: 0x4c}\n"                                            // 7
    "      kind: u8\n"                                                                  // 8
    "      id: u32\n"                                                                   // 9
    "      code: u8\n"                                                                  // 10
    "      meta_len: u16\n"                                                             // 11
    "      meta: {len: meta_len, pairs: {key: u8s, value: u16s}}\n"                     // 12
    "      body: {prefix: u32, body: true}\n"                                           // 13
    "id: id\n"                                                                          // 14
    "kind:\n"                                                                           // 15
    "- {is: request, when: [kind == 0]}\n"                                              // 16
    "- {is: response, when: [kind == 1]}\n"                                             // 17
    "status: {from: code, outcome: {0: ok}, other: server_error, reply: {other: 1}}\n"  // 18
    "service: meta.service\n"                                                           // 19
    "make:\n"                                                                           // 20
    "  reply: {layout: any, set: {kind: 1, id: \"${id}\", code: \"${status}\"}}\n";     // 21

std::string report(const std::string& text) {
  auto loaded = descriptor::load_string(text, "d.yaml");
  std::string out;
  for (const auto& d : loaded.diagnostics)
    out += std::to_string(d.line) + ":" + std::to_string(d.column) + " " + d.path + ": " + d.message + "\n";
  EXPECT_EQ(loaded.descriptor == nullptr, !loaded.diagnostics.empty()) << out;
  return out;
}

std::string with(const std::string& from, const std::string& to) {
  std::string text = kBase;
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

TEST(DescriptorFaults, TheBaseHasNone) { EXPECT_EQ(report(kBase), ""); }

TEST(DescriptorFaults, EachIsReportedWhereItStands) {
  struct Row {
    const char *from, *to, *says;
  };
  const Row rows[] = {
      // The file.
      {"descriptor: 1", "descriptor: 2", "1:13 descriptor: a whole number 1..1 is expected"},
      {"name: little", "name: Little", "2:7 name: a name of 1 to 32"},
      {"name: little", "nam: little", "2:1 nam: unknown key \"nam\"; did you mean \"name\"?"},
      {"name: little\n", "", "the key \"name\" is missing"},
      {"id: id\n", "id: id\nendian: middle\n", "15:9 endian: unknown byte order \"middle\""},
      {"id: id\n", "id: id\nlimits: {frame: 5GiB}\n", "15:17 limits.frame: a size 64..4294967296 bytes"},
      {"id: id\n", "id: id\nlimits: {head: 1MiB}\n", "limits.head: a size 64..131072"},
      {"id: id\n", "id: id\nlimits: {pairs: 0}\n", "limits.pairs: a whole number 1..65535"},
      {"id: id\n", "id: id\nid: id\n", "duplicate key"},
      // Tests.
      {"u8@0 == 0x4c", "u8@0 = 0x4c", "3:15 match[0]: a comparison is expected here"},
      {"u8@0 == 0x4c", "u8@0 == ", "a whole number is expected here"},
      {"u8@0 == 0x4c", "u9@0 == 1", "3:9 match[0]: a type of fixed width"},
      {"u8@0 == 0x4c", "u8@70000 == 1", "an offset is 0..65535"},
      {"match: [\"u8@0 == 0x4c\"]", "limits: {head: 1KiB}\nmatch: [\"u8@1024 == 1\"]",
       "this looks behind limits.head"},
      {"u8@0 == 0x4c", "kind == 1", "only tests at fixed offsets"},
      {"[\"u8@0 == 0x4c\"]", "[]", "3:8 match: at least one test is needed"},
      {"[\"u8@0 == 0x4c\"]", "['bytes2@0 == \"LIT\"']", "the text has 3 bytes, not 2"},
      {"[\"u8@0 == 0x4c\"]", "['u8@0 == \"L\"']", "a number is compared with numbers"},
      {"kind == 0", "knd == 0", "16:24 kind[0].when[0]: unknown item \"knd\"; did you mean \"kind\"?"},
      {"kind == 0", "kind == \\\"a\\\"", ""},
      {"[kind == 0]", "['kind == \"a\"']", "is a number, not a text"},
      {"[kind == 0]", "['kind in [1, \"a\"]']", "numbers and texts can't stand in one list"},
      {"[kind == 0]", "['kind in 5']", "a list in brackets or a range"},
      {"[kind == 0]", "['kind == 0 1']", "nothing more is expected here"},
      {"[kind == 0]", "['u8@next == 0']", "@next can only stand in an item's when"},
      {"[kind == 0]", "['meta < \"a\"']", "texts can be compared with ==, != and in"},
      // Items.
      {"kind: u8", "kind: u9", "8:13 layouts.any.items.kind: unknown type \"u9\"; did you mean \"u8\"?"},
      {"kind: u8", "kind: {typ: u8}", "unknown key \"typ\"; did you mean \"type\"?"},
      {"kind: u8", "kind: {type: u8, len: id}", "exactly one of type, len, prefix, until and checksum"},
      {"kind: u8", "kind: {type: u8, max: 5}", "max goes with len, prefix or until"},
      {"kind: u8", "kind: {type: u8, bits: {a: 0x100}}", "a mask within the number is expected"},
      {"kind: u8", "kind: {type: u8, bits: {a: 3, b: 2}}", "this mask shares bits"},
      {"kind: u8", "kind: {type: u8, bits: {id: 3}}", "two things are called \"id\""},
      {"kind: u8", "kind: {type: u8, value: 256}", "does not fit its type"},
      {"kind: u8", "kind: {type: bytes2, value: abc}", "the text has 3 bytes, not 2"},
      {"kind: u8", "k-d: u8", "an item's name begins with a letter"},
      {"meta_len: u16", "meta_len: bytes2", "12:19 layouts.any.items.meta.len: \"meta_len\" is no number"},
      {"len: meta_len", "len: meta_lan",
       "unknown number in front of it: \"meta_lan\"; did you mean \"meta_len\"?"},
      {"len: meta_len", "len: meta_len*0", "a factor is 1..65535"},
      {"len: meta_len", "len: rest", "len: rest needs frame"},
      {"len: meta_len", "len: end(id)", "end() can stand in frame only"},
      {"prefix: u32, body", "until: '|', body", "a body can't end at a mark"},
      {"body: {prefix: u32, body: true}", "body: {prefix: u32, body: true}\n      more: u8",
       "only a checksum can follow the body"},
      {"body: {prefix: u32, body: true}", "body: {prefix: u32, body: true, xml: true}", "a body is not read"},
      {"body: {prefix: u32, body: true}", "crc: {checksum: crc32}\n      more: u8",
       "nothing can follow a checksum"},
      {"body: {prefix: u32, body: true}", "crc: {checksum: crc16}",
       "unknown checksum \"crc16\"; allowed: crc32, crc32c"},
      {"body: {prefix: u32, body: true}", "crc: {checksum: crc32, from: kint}", "did you mean \"kind\"?"},
      {"body: {prefix: u32, body: true}", "body: {len: meta_len, body: true}", "is the length of two things"},
      {"body: {prefix: u32, body: true}", "body: {prefix: u32, when: [kind == 1], body: true}",
       "a body is always there"},
      {"      kind: u8\n", "      kind: u8\n      n: {type: u8, when: [kind == 0]}\n      p: {len: n}\n",
       "\"n\" may be left out, so no length can rest on it"},
      {"key: u8s", "key: u8x", "is no type of a pair"},
      {"key: u8s, value: u16s", "key: u8s", "key and value (binary pairs), or between and after"},
      {"pairs: {key: u8s, value: u16s}", "split: {by: '', words: [a]}", "a text of 1 to 8 bytes"},
      {"pairs: {key: u8s, value: u16s}", "split: {by: '|', words: [a, a]}", "two words have one name"},
      {"pairs: {key: u8s, value: u16s}", "protobuf: {a: 1.2.3.4.5 int}", "a path and a type are expected"},
      {"pairs: {key: u8s, value: u16s}", "sections: {id: u8, kinds: {x: pad}}",
       "a section's number is expected"},
      {"pairs: {key: u8s, value: u16s}", "list: {entry: u8}", "a type with s is expected: u8s"},
      {"pairs: {key: u8s, value: u16s}", "list: {count: u8}", "the key \"entry\" is missing"},
      {"kind: u8", "sender: u8", "is not end, rest or sender"},
      {"[kind == 0]", "[sender > client]", "sender can be compared with == and !="},
      {"[kind == 0]", "[sender == me]", "16:34 kind[0].when[0]: client or server is expected here"},
      {"      code: u8\n", "      code: {type: u8, when: [sender == client]}\n",
       "only numbers can be tested here"},
      // Layouts.
      {"  any:\n    items:\n", "  any:\n    frame: id + kind\n    items:\n", "its id is another"},
      {"  any:\n    items:\n", "  any:\n    frame: '12'\n    items:\n", "a frame's length rests on a number"},
      {"  any:\n", "  one: {items: {x: u8}}\n  any:\n", "those behind it are never reached"},
      {"  any:\n    items:\n", "  any:\n    check: ['u8@50 == 0']\n    items:\n",
       "behind the items of fixed size"},
      // Rules.
      {"meta.service", "meta[code]", "\"meta\" has no such name in it"},
      {"id: id", "id: idd", "14:5 id: unknown item \"idd\"; did you mean \"id\"?"},
      {"id: id", "id: body", "is a body or a checksum, which nobody reads"},
      {"id: id", "id: magic", "an id can't be a constant"},
      {"id: id", "id: meta.", "a name is expected behind '.'"},
      {"id: id", "id: 'id | before(\"x\")'", "without filters"},
      {"is: request,", "is: requst,", "16:8 kind[0].is: unknown kind \"requst\"; did you mean \"request\"?"},
      {"is: request, when: [kind == 0]", "is: request", "those behind it are never reached"},
      {"outcome: {0: ok}", "outcome: {0: okay}", "unknown outcome \"okay\""},
      {"reply: {other: 1}", "reply: {timeout: 1}", "other is missing"},
      {"reply: {other: 1}", "reply: {other: 0}", "reads back as ok"},
      {"reply: {other: 1}", "reply: {other: 300}", "a value does not fit its item"},
      {"reply: {other: 1}", "reply: {ok: 1, other: 1}", "unknown outcome \"ok\""},
      {"meta.service", "meta.service | befor(\"x\")", "unknown filter"},
      {"meta.service", "code", "is a number; a text of the frame is expected"},
      {"service: meta.service", "headers: meto", "unknown block \"meto\"; did you mean \"meta\"?"},
      {"service: meta.service", "attributes: {Zone: meta.zone}", "an attribute's name is of"},
      {"service: meta.service", "same: meta.service", "1 to 8 lists of references are expected"},
      {"service: meta.service", "same: [[meta.service]]", "a list of two references or more is expected"},
      {"service: meta.service", "same: [[meta.service, nothing]]", "unknown item \"nothing\""},
      {"service: meta.service", "timeout: {from: id, unit: h}", "unknown unit \"h\""},
      // Templates.
      {"layout: any, set", "layout: some, set", "unknown layout \"some\"; allowed: any"},
      {"code: \"${status}\"", "cod: 1", "unknown item \"cod\"; did you mean \"code\"?"},
      {"code: \"${status}\"", "code: \"${state}\"", "unknown value; allowed: id, status, text, request.NAME"},
      {"code: \"${status}\"", "code: \"${request.cod}\"", "unknown item \"cod\""},
      {"code: \"${status}\"", "code: \"x${status}\"", "a number, or one ${...}, is expected"},
      {"kind: 1, id", "kind: 0, id", "it is of another kind"},
      {"kind: 1, id", "kind: 7, id", "no kind fits"},
      {"id: \"${id}\"", "id: 5", "its id is another"},
      {"make:\n", "make:\n  heartbeat: {layout: any}\n", "heartbeat and heartbeat_reply come together"},
  };
  for (const Row& row : rows) {
    if (!*row.says) continue;
    std::string text = with(row.from, row.to);
    std::string found = report(text);
    EXPECT_NE(found.find(row.says), std::string::npos) << row.from << " -> " << row.to << "\n" << found;
  }
}

TEST(DescriptorFaults, AllAreReportedAtOnce) {
  std::string text = with("kind == 0", "knd == 0");
  text.replace(text.find("outcome: {0: ok}"), 16, "outcome: {0: yes}");
  text.replace(text.find("layout: any"), 11, "layout: yna");
  std::string found = report(text);
  EXPECT_EQ(std::count(found.begin(), found.end(), '\n'), 3) << found;
  EXPECT_LT(found.find("16:"), found.find("18:"));
}

TEST(DescriptorFaults, WhatMayBeEmptyNeverGetsOn) {
  std::string text = with("      magic: {type: u8, value: 0x4c}\n      kind: u8\n      id: u32\n      code: u8\n      meta_len: u16\n"
                          "      meta: {len: meta_len, pairs: {key: u8s, value: u16s}}\n      body: {prefix: u32, body: true}\n",
                          "      a: {type: u8, when: ['u8@next == 1']}\n");
  EXPECT_NE(report(text).find("reading would never get on"), std::string::npos);
}

TEST(DescriptorFaults, FilesThatAreNone) {
  EXPECT_NE(report("").find("nothing in it"), std::string::npos);
  EXPECT_NE(report("- 1\n").find("a block of keys is expected"), std::string::npos);
  EXPECT_NE(report("a: ["), "");
  EXPECT_NE(report(std::string(300000, '#')).find("larger than 256KiB"), std::string::npos);
  EXPECT_EQ(descriptor::load_file("/no/such/file").descriptor, nullptr);
}

// ---------------------------------------------------------------- the table of keys

TEST(DescriptorKeys, TheReferenceIsWrittenFromTheTable) {
  std::ifstream in(source_dir() + "/protocols/descriptors/README.md");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  std::string wanted = "<!-- keys: written by descriptor_keys -->\n" + descriptor::reference_markdown() + "\n<!-- end of keys -->";
  EXPECT_NE(text.find(wanted), std::string::npos) << "run build/<preset>/tests/descriptor/descriptor_keys .";
}

TEST(DescriptorKeys, EveryKeyIsReadByTheCompiler) {
  // A key that the compiler does not ask for would take any value: each must refuse a block where it takes a value, or
  // a value where it takes a block.
  std::string sources;
  for (const char* file : {"compile.cc", "rules.cc"}) {
    std::ifstream in((source_dir() + "/protocols/descriptor/") + file);
    sources.append(std::istreambuf_iterator<char>(in), {});
  }
  for (const descriptor::Key& key : descriptor::keys())
    EXPECT_NE(sources.find("\"" + std::string(key.name) + "\""), std::string::npos) << key.where << "." << key.name;
}

TEST(DescriptorKeys, TheShippedOnesAreShort) {
  for (const char* name : kShippedNames) {
    EXPECT_NE(shipped_descriptor(name), nullptr);
    std::ifstream in((source_dir() + "/protocols/descriptors/") + name + ".yaml");
    std::string text{std::istreambuf_iterator<char>(in), {}};
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), std::string(name) == "ttheader_lite" ? 70 : 60)
        << name;
  }
}

/// Items that may be absent in front of others, at the mercy of a template.
const std::string kOptional =
    "descriptor: 1\n"
    "name: optional\n"
    "match: [\"u16@0 == 0x5555\"]\n"
    "layouts:\n"
    "  any:\n"
    "    items:\n"
    "      magic: {type: u16, value: 0x5555}\n"
    "      op: u8\n"
    "      number: u32\n"
    "      size: u16\n"
    "      flag: {type: u8, value: 0x3c, when: [\"u8@next == 0x3c\"]}\n"
    "      note: {until: \"END\", when: [flag == 0x3c]}\n"
    "      lead: u8\n"
    "      body: {len: rest, body: true}\n"
    "    frame: 9 + size\n"
    "id: number\n"
    "kind:\n"
    "- {is: request, when: [op == 1]}\n"
    "- {is: response, when: [op == 2]}\n"
    "status: {from: op, outcome: {9: ok}, other: server_error, reply: {other: 2}}\n"
    "make:\n"
    "  reply: {layout: any, set: {op: 2, number: \"${id}\", lead: 1, body: \"${text}\"}}\n";

std::string optional_with(const std::string& from, const std::string& to) {
  std::string text = kOptional;
  return text.replace(text.find(from), from.size(), to);
}

std::string reply_of(const std::string& yaml, std::string_view text) {
  auto loaded = descriptor::load_string(yaml, "d.yaml");
  if (!loaded.descriptor) return report(yaml);
  const dragoman_codec& t = loaded.descriptor->table();
  uint8_t out[64];
  static constexpr uint8_t kRequest[] = {0x55, 0x55, 1, 0, 0, 0, 7, 0, 1, 4};
  dragoman_frame f{};
  f.size = sizeof f;
  EXPECT_EQ(t.probe(t.context, nullptr, kRequest, sizeof kRequest, &f), DRAGOMAN_FRAME);
  int64_t n = t.reply(t.context, nullptr, kRequest, &f, DRAGOMAN_OUTCOME_TIMEOUT,
                      {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, out, sizeof out);
  return n < 0 ? "none" : std::string(reinterpret_cast<const char*>(out), static_cast<size_t>(n));
}

TEST(DescriptorTemplates, AnAbsentItemLeavesNothingBehind) {
  EXPECT_EQ(reply_of(kOptional, "late"), std::string("\x55\x55\2\0\0\0\7\0\5\1late", 14));
  EXPECT_EQ(reply_of(optional_with("lead: 1, body", "flag: 60, note: hi, lead: 1, body"), "late"),
            std::string("\x55\x55\2\0\0\0\7\0\x0b<hiEND\1late", 20));
}

TEST(DescriptorTemplates, ItemsThatWouldNotBeReadAsWrittenAreNamed) {
  // A note without its flag; a lead that looks like the flag; a note that holds its own end.
  EXPECT_NE(report(optional_with("lead: 1, body", "note: hi, lead: 1, body"))
                .find("does not read back: item note is read"),
            std::string::npos);
  EXPECT_NE(report(optional_with("lead: 1, body", "lead: 60, body")).find("does not read back: "),
            std::string::npos);
  EXPECT_NE(report(optional_with("lead: 1, body", "flag: 60, note: aENDb, lead: 1, body"))
                .find("does not read back: item note"),
            std::string::npos);
}

TEST(DescriptorTemplates, ATextThatHoldsTheMarkOfItsItemIsLeftOut) {
  const std::string yaml =
      optional_with("lead: 1, body: \"${text}\"", "flag: 60, note: \"${text}\", lead: 1, body: x");
  EXPECT_EQ(reply_of(yaml, "late"), std::string("\x55\x55\2\0\0\0\7\0\x0a<lateEND\1x", 19));
  EXPECT_EQ(reply_of(yaml, "the END is near"), std::string("\x55\x55\2\0\0\0\7\0\6<END\1x", 15));
}

TEST(DescriptorReasons, NameTheItem) {
  auto loaded = descriptor::load_string(kOptional, "d.yaml");
  ASSERT_TRUE(loaded.descriptor) << report(kOptional);
  const dragoman_codec& t = loaded.descriptor->table();
  static constexpr uint8_t kCut[] = {0x55, 0x55, 1, 0, 0, 0, 7, 0, 2, '<', 'x'};
  dragoman_frame f{};
  f.size = sizeof f;
  EXPECT_EQ(t.probe(t.context, nullptr, kCut, sizeof kCut, &f), DRAGOMAN_MALFORMED);
  EXPECT_STREQ(f.reason, "item note: no end mark in the frame");
}

}  // namespace
}  // namespace dragoman::testing
