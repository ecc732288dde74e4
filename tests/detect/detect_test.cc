// First bytes -> protocol, by captured clients at every prefix length, and whether protocols can be told apart at all.
#include "protocols/detect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "protocols/exchange.h"
#include "tests/support/source_dir.h"

namespace dragoman {
namespace {

using Bytes = std::vector<uint8_t>;

struct Vector {
  std::string protocol;  // who sent it
  std::string name;
  Bytes bytes;
};

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  int high = -1;
  for (char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

/// tests/vectors/detect/<protocol>--<what>.hex: what a client of that protocol sends first; noclient: what none does.
std::vector<Vector> vectors() {
  std::vector<Vector> all;
  for (const auto& file : std::filesystem::directory_iterator(source_dir() + "/tests/vectors/detect")) {
    const std::string name = file.path().filename().string();
    std::ifstream in(file.path());
    const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    all.push_back({name.substr(0, name.find("--")), name, from_hex(text)});
  }
  return all;
}

struct Rules {
  std::vector<DetectRule> rules;
  std::vector<std::string> names;
  void add(const std::string& name, DetectRule rule) {
    names.push_back(name);
    rules.push_back(rule);
  }
  void reverse() {
    std::reverse(rules.begin(), rules.end());
    std::reverse(names.begin(), names.end());
  }
};

/// Everything this program can tell.
Rules all_rules() {
  Rules rules;
  for (const char* name : {"tls", "http1", "http2", "redis"}) rules.add(name, *DetectRule::built_in(name));
  for (const Protocol& p : protocols())
    if (p.table) rules.add(std::string(p.name), DetectRule::of(*p.table));
  return rules;
}

/// A codec may be called motan and speak motan2, or dubbo_thrift and have vectors of dubbothrift.
bool is(const std::string& sender, std::string rule) {
  std::erase(rule, '_');
  return sender.starts_with(rule) || rule.starts_with(sender);
}

TEST(Detect, EveryClientAtEveryPrefixLength) {
  ASSERT_GT(vectors().size(), 40u);
  for (bool reversed : {false, true}) {
    Rules rules = all_rules();
    if (reversed) rules.reverse();
    for (const Vector& v : vectors()) {
      const bool known =
          std::any_of(rules.names.begin(), rules.names.end(), [&](auto& n) { return is(v.protocol, n); });
      std::optional<size_t> decided;
      for (size_t n = 0; n <= std::min<size_t>(v.bytes.size(), 600); ++n) {
        const Detection d = detect(rules.rules, std::span(v.bytes).first(n));
        if (n == 0) {
          EXPECT_EQ(d.verdict, Verdict::kMore) << v.name;  // silence tells nothing
        }
        if (d.verdict == Verdict::kYes) {
          EXPECT_TRUE(is(v.protocol, rules.names[d.index])) << v.name << " at " << n << " is " << rules.names[d.index];
          if (!decided) decided = n;
        } else {
          EXPECT_FALSE(decided) << v.name << ": decided at " << *decided << ", not so at " << n;
        }
        if (known) {
          EXPECT_NE(d.verdict, Verdict::kNo) << v.name << " at " << n;
        }
      }
      EXPECT_EQ(decided.has_value(), known) << v.name;
      if (decided && v.protocol != "http1") {
        EXPECT_LE(*decided, 24u) << v.name;
      }
    }
  }
}

TEST(Detect, NoTwoBuiltInsClaimTheSameBytes) {
  const Rules rules = all_rules();
  for (size_t i = 0; i < rules.rules.size(); ++i)
    for (size_t k = i + 1; k < rules.rules.size(); ++k)
      EXPECT_FALSE(find_conflict(rules.rules[i], rules.rules[k])) << rules.names[i] << " and " << rules.names[k];
}

TEST(Detect, TheSearchFindsEveryBuiltInInItself) {
  const Rules rules = all_rules();
  for (size_t i = 0; i < rules.rules.size(); ++i) {
    // A frame of dubbo_thrift names its length four times and holds a whole head: no search guesses that.
    const bool guessable = rules.names[i] != "dubbo_thrift";
    EXPECT_EQ(find_conflict(rules.rules[i], rules.rules[i]).has_value(), guessable) << rules.names[i];
  }
}

TEST(Detect, SilenceAloneMeansMysql) {
  const DetectRule mysql = *DetectRule::built_in("mysql");
  for (const Vector& v : vectors()) EXPECT_EQ(detect({&mysql, 1}, v.bytes).verdict, Verdict::kNo) << v.name;
}

// --- hand-made codecs -----------------------------------------------------------------------------------------------

/// Claims frames that begin with `kMagic`; needs `kHead` bytes to describe one.
template <uint32_t kMagic, uint64_t kHead>
int probe_magic(const void*, void*, const uint8_t* data, uint64_t len, dragoman_frame* out) {
  for (uint64_t i = 0; i < std::min<uint64_t>(len, 4); ++i)
    if (data[i] != (kMagic >> (24 - 8 * i) & 0xff)) return DRAGOMAN_NOT_MINE;
  if (len < kHead) {
    out->need = kHead;
    return DRAGOMAN_NEED;
  }
  out->kind = DRAGOMAN_REQUEST;
  out->head_len = out->total_len = kHead;
  return DRAGOMAN_FRAME;
}

/// Length first: any u32 up to 1 MiB, then a version byte.
int probe_length(const void*, void*, const uint8_t* data, uint64_t len, dragoman_frame* out) {
  if (len >= 1 && data[0] != 0) return DRAGOMAN_NOT_MINE;
  if (len >= 2 && data[1] > 0x0f) return DRAGOMAN_NOT_MINE;
  if (len < 5) {
    out->need = 5;
    return DRAGOMAN_NEED;
  }
  return data[4] == 1 ? DRAGOMAN_FRAME : DRAGOMAN_NOT_MINE;
}

/// At 4 bytes it is sure; with more it says no.
int probe_fickle(const void*, void*, const uint8_t*, uint64_t len, dragoman_frame* out) {
  out->need = 9;
  return len > 4 ? DRAGOMAN_MALFORMED : DRAGOMAN_NEED;
}

template <class Probe>
dragoman_codec codec(Probe probe, uint32_t detect_bytes_max) {
  dragoman_codec t{};
  t.probe = probe;
  t.detect_bytes_max = detect_bytes_max;
  t.head_bytes_max = 64;
  return t;
}

TEST(Detect, TheSearchFindsWhatCannotBeToldApart) {
  const dragoman_codec a = codec(probe_magic<0xdabb0102, 16>, 4);
  const dragoman_codec same = codec(probe_magic<0xdabb0102, 8>, 4);
  const dragoman_codec near = codec(probe_magic<0xdabb0103, 8>, 4);
  const dragoman_codec zero = codec(probe_magic<0x00000010, 8>, 4);
  const dragoman_codec length = codec(probe_length, 5);
  const auto rule = [](const dragoman_codec& t) { return DetectRule::of(t); };
  EXPECT_EQ(find_conflict(rule(a), rule(same)), (Bytes{0xda, 0xbb, 1, 2}));
  EXPECT_EQ(find_conflict(rule(same), rule(a)), (Bytes{0xda, 0xbb, 1, 2}));
  EXPECT_FALSE(find_conflict(rule(a), rule(near)));
  EXPECT_FALSE(find_conflict(rule(a), rule(length)));
  // A magic that is also a length, found behind free bytes.
  const auto both = find_conflict(rule(zero), rule(length));
  ASSERT_TRUE(both);
  EXPECT_EQ(*both, (Bytes{0, 0, 0, 0x10, 1}));
}

TEST(Detect, TheFirstDeclaredWinsAndOnlyWhenThoseBeforeSaidNo) {
  const dragoman_codec magic = codec(probe_magic<0x00000001, 8>, 4);
  const dragoman_codec length = codec(probe_length, 5);
  const std::vector<DetectRule> rules = {DetectRule::of(length), DetectRule::of(magic)};
  const Bytes bytes = {0, 0, 0, 1, 1};
  // The second one is sure at four bytes; the first is not, so the answer waits and is the same however the bytes come.
  EXPECT_EQ(detect(rules, std::span(bytes).first(4)).verdict, Verdict::kMore);
  EXPECT_EQ(detect(rules, bytes).verdict, Verdict::kYes);
  EXPECT_EQ(detect(rules, bytes).index, 0u);
  const Bytes other = {0, 0, 0, 1, 2};
  EXPECT_EQ(detect(rules, other).verdict, Verdict::kYes);
  EXPECT_EQ(detect(rules, other).index, 1u);
  // When nothing more will come, who is sure wins.
  const Detection now = detect(rules, std::span(bytes).first(4), true);
  EXPECT_EQ(now.verdict, Verdict::kYes);
  EXPECT_EQ(now.index, 1u);
  EXPECT_EQ(detect(rules, std::span(bytes).first(3), true).verdict, Verdict::kNo);
}

TEST(Detect, ACodecIsNeverAskedBeyondWhatItSaysTells) {
  const dragoman_codec fickle = codec(probe_fickle, 4);
  const DetectRule rule = DetectRule::of(fickle);
  const Bytes bytes(8, 1);
  EXPECT_EQ(rule.ask(std::span(bytes).first(3)), Verdict::kMore);
  EXPECT_EQ(rule.ask(std::span(bytes).first(4)), Verdict::kYes);
  EXPECT_EQ(rule.ask(bytes), Verdict::kYes);
}

// --- HTTP/1 ---------------------------------------------------------------------------------------------------------

TEST(Detect, Http1ByItsRequestLine) {
  const DetectRule rule = *DetectRule::built_in("http1");
  const auto ask = [&](std::string_view text) {
    return rule.ask({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  using enum Verdict;
  const std::pair<std::string_view, Verdict> rows[] = {
      {"G", kMore},
      {"GET", kMore},
      {"GET ", kMore},
      {"GET /", kYes},
      {"GET x", kMore},
      {"GET key\r\n", kNo},  // Redis inline
      {"GET key HTTP/1.1\r\n", kYes},
      {"POST http://a/", kYes},
      {"OPTIONS * HTTP/1.1\r\n", kYes},
      {"CONNECT a:1", kMore},
      {"CONNECT /", kMore},
      {"CONNECT a:1 HTTP/1.1\n", kYes},
      {"PROPFIND /", kMore},
      {"PROPFIND / HTTP/1.1\r\n", kYes},
      {"PRI * HTTP/2.0\r\n", kNo},
      {"PRI * HTTP/2.0", kMore},
      {"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", kNo},
      {"GET  HTTP/0.9\r\n", kNo},
      {"GET\r\n", kNo},
      {"\r\n", kNo},
      {" GET /", kNo},
      {"averyveryveryverylongmethod", kNo},
      {"\x01", kNo},
      {"1GET /", kNo},
  };
  for (const auto& [text, verdict] : rows) EXPECT_EQ(ask(text), verdict) << text;
  EXPECT_EQ(ask("X " + std::string(9000, 'a')), kNo);
}

// --- the server name ------------------------------------------------------------------------------------------------

TEST(HelloName, OfCapturedClientsAtEveryPrefix) {
  for (const Vector& v : vectors()) {
    if (v.protocol != "tls") continue;
    ASSERT_EQ(hello_server_name(v.bytes).verdict, Verdict::kYes) << v.name;
    for (size_t n = 0; n < v.bytes.size(); ++n)
      EXPECT_EQ(hello_server_name(std::span(v.bytes).first(n)).verdict, Verdict::kMore) << v.name << " at " << n;
  }
}

TEST(HelloName, NotOfAServersHello) {
  for (const Vector& v : vectors()) {
    if (v.name != "noclient--tls-serverhello.hex") continue;
    ASSERT_EQ(v.bytes[0], 0x16);
    EXPECT_EQ(hello_server_name(v.bytes).verdict, Verdict::kNo);
    const DetectRule tls = *DetectRule::built_in("tls");
    EXPECT_EQ(detect({&tls, 1}, std::span(v.bytes).first(6)).verdict, Verdict::kNo);
    return;
  }
  FAIL() << "no such vector";
}

/// A ClientHello with that server name, or without one.
Bytes make_hello(std::string_view name, bool with_name = true) {
  Bytes body(2 + 32, 3);
  const auto add = [&](std::initializer_list<int> bytes) {
    for (int b : bytes) body.push_back(static_cast<uint8_t>(b));
  };
  add({0, 0, 2, 0x13, 0x01, 1, 0});
  const int n = static_cast<int>(name.size());
  if (with_name) {
    add({0, n + 9 + 6, 0, 23, 0, 2, 9, 9, 0, 0, 0, n + 5, 0, n + 3, 0, 0, n});
    body.insert(body.end(), name.begin(), name.end());
  }
  Bytes message = {1, 0, static_cast<uint8_t>(body.size() >> 8), static_cast<uint8_t>(body.size())};
  message.insert(message.end(), body.begin(), body.end());
  return message;
}

Bytes in_records(const Bytes& message, size_t each) {
  Bytes out;
  for (size_t at = 0; at < message.size(); at += each) {
    const size_t n = std::min(each, message.size() - at);
    out.insert(out.end(), {22, 3, 1, static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)});
    out.insert(out.end(), message.begin() + static_cast<ptrdiff_t>(at),
               message.begin() + static_cast<ptrdiff_t>(at + n));
  }
  return out;
}

TEST(HelloName, LowerCaseWholeOrInPieces) {
  const Bytes message = make_hello("API.Example.ORG");
  for (size_t each : {1000, 40, 7, 1})
    EXPECT_EQ(hello_server_name(in_records(message, each)).name, "api.example.org") << each;
  const HelloName none = hello_server_name(in_records(make_hello("", false), 1000));
  EXPECT_EQ(none.verdict, Verdict::kYes);
  EXPECT_EQ(none.name, "");
}

TEST(HelloName, EveryBrokenByteIsAnswered) {
  const Bytes good = in_records(make_hello("a.example"), 1000);
  for (size_t at = 0; at < good.size(); ++at) {
    for (int value : {0, 1, 0x7f, 0xff}) {
      Bytes bad = good;
      bad[at] = static_cast<uint8_t>(value);
      const HelloName result = hello_server_name(bad);
      for (char c : result.name) EXPECT_TRUE(result.verdict == Verdict::kYes && c > ' ' && c < 0x7f);
    }
  }
  EXPECT_EQ(hello_server_name(in_records(make_hello(std::string_view("a\0b", 3)), 1000)).verdict, Verdict::kNo);
}

}  // namespace
}  // namespace dragoman
