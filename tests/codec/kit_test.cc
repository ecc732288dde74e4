// The conformance kit: good codecs pass it, and each of many broken ones is caught by the rule that is meant
// for it.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>

#include "protocols/kit/kit.h"
#include "tests/framed/tiny_codecs.h"

// The tutorial codec, linked in.
#include "protocols/example/parcel.cc"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

using kit::Verdict;

std::vector<kit::Vector> vectors(const std::string& folder) {
  auto read = kit::read_vectors(source_dir() + "/" + folder);
  EXPECT_TRUE(read) << read.error();
  return read ? *read : std::vector<kit::Vector>{};
}

kit::Vector vector_of(const std::string& name, const std::string& bytes) {
  kit::Vector v;
  v.name = name;
  v.bytes = bytes;
  return v;
}

kit::Options quick(double seconds = 0.05) {
  kit::Options options;
  options.seconds = seconds;
  return options;
}

TEST(Kit, TheTutorialCodecPasses) {
  kit::Report report = kit::check(*dragoman_codec_v1(), vectors("protocols/example/vectors"), quick(0.5));
  EXPECT_TRUE(report.passed()) << kit::report_text(report, true);
  EXPECT_GT(report.mutations, 10u);
  EXPECT_GT(report.ns_per_frame, 0);
  for (const kit::Result& r : report.results)
    EXPECT_TRUE(r.verdict == Verdict::kPassed || r.rule.id == "checksum") << r.rule.id << ": " << r.what;
}

TEST(Kit, CodecsWithOtherIdsAndChecksumsPass) {
  kit::Report text = kit::check(*codec_table<TextId>(),
                                {vector_of("request", TextId::frame(DRAGOMAN_REQUEST, "0123456789abcdefgh",
                                                                    "body")),
                                 vector_of("answer", TextId::frame(DRAGOMAN_RESPONSE, "0123456789abcdefgh",
                                                                   "BODY"))},
                                quick());
  for (std::string_view rule : {"split", "id-rewrite", "ids-cross", "unknown-id", "duplicate-id"})
    EXPECT_EQ(text.find(rule)->verdict, Verdict::kPassed) << rule << ": " << text.find(rule)->what;
}

// --- broken ones
// -------------------------------------------------------------------------------------------------

/// The tutorial's table, for the functions that a broken one leaves as they are.
const dragoman_codec& good() { return *dragoman_codec_v1(); }

using Table = dragoman_codec;
using Bytes = const uint8_t*;
using FrameIn = const dragoman_frame*;

/// Changes what an honest probe() found.
#define PROBE(...)                                                                                       \
  [](Table& t) {                                                                                         \
    t.probe = [](const void* context, void* conn, Bytes d, uint64_t n, dragoman_frame* out) {            \
      dragoman_frame& f = *out;                                                                          \
      int v = good().probe(context, conn, d, n, out);                                                    \
      __VA_ARGS__;                                                                                       \
      (void)f;                                                                                           \
      return v;                                                                                          \
    };                                                                                                   \
  }

/// Changes what an honest function wrote; `n` is how much that was, and what is returned.
#define REPLY(...)                                                                                       \
  [](Table& t) {                                                                                         \
    t.reply = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t outcome, dragoman_bytes text, \
                 uint8_t* out, uint64_t cap) -> int64_t {                                                \
      int64_t n = good().reply(c, conn, head, f, outcome, text, out, cap);                               \
      bool fits = n <= static_cast<int64_t>(cap);                                                        \
      (void)fits;                                                                                        \
      __VA_ARGS__;                                                                                       \
      return n;                                                                                          \
    };                                                                                                   \
  }
#define EDIT(...)                                                                                        \
  [](Table& t) {                                                                                         \
    t.edit = [](const void* c, void* conn, Bytes head, FrameIn f, const dragoman_edit* edits,            \
                uint32_t count, uint8_t* out, uint64_t cap) -> int64_t {                                 \
      __VA_ARGS__;                                                                                       \
    };                                                                                                   \
  }

int64_t copy(Bytes head, FrameIn f, uint8_t* out, uint64_t cap) {
  if (f->head_len <= cap) std::memcpy(out, head, f->head_len);
  return f->head_len;
}

struct Broken {
  const char* what;
  const char* rule;  // that must catch it
  void (*breaks)(Table& t);
};

const Broken kBroken[] = {
    // the table
    {"a function without its ability", "table", [](Table&
                                                   t) { t.abilities &= ~uint64_t{DRAGOMAN_CAN_EDIT}; }},
    {"an id of three bytes", "table", [](Table& t) { t.id_len = 3; }},
    // probe()
    {"reads behind the end", "bounds",
     PROBE(if (n == 18) v = d[n + 5] == 0x77 ? DRAGOMAN_MALFORMED : v)},
    {"needs what it has", "progress", PROBE(if (v == DRAGOMAN_NEED) f.need = n)},
    {"needs more than the frame", "progress", PROBE(if (v == DRAGOMAN_NEED) f.need = 4096)},
    {"needs more than any head", "progress", PROBE(if (v == DRAGOMAN_NEED) f.need = 1 << 20)},
    {"an answer that is none", "verdict", PROBE(if (n > 20) v = 17)},
    {"refuses without a reason", "reason", PROBE(if (v == DRAGOMAN_MALFORMED) f.reason = nullptr)},
    {"not mine while the magic is incomplete", "split", PROBE(if (n == 1) v = DRAGOMAN_NOT_MINE)},
    {"another length while the head is incomplete", "split", PROBE(if (n < f.head_len) f.total_len += 1)},
    {"a head longer than the frame", "frame", PROBE(if (v == 0 &&
                                                        f.kind == DRAGOMAN_RESPONSE) f.total_len = f.head_len - 1)},
    {"a kind that is none", "frame", PROBE(if (v == 0 && f.kind == DRAGOMAN_ONEWAY) f.kind = 77)},
    {"a length of 16 bits", "decode", PROBE(if (v == 0) f.total_len = f.head_len + d[17] % 8)},
    {"a length that wraps", "lengths", PROBE(if (v == 0) f.total_len = static_cast<uint32_t>(f.total_len))},
    {"a head over the table's limit", "head-max", [](Table& t) { t.head_bytes_max = 20; }},
    {"one-way requests as requests", "decode", PROBE(if (v == 0 &&
                                                         f.kind == DRAGOMAN_ONEWAY) f.kind = DRAGOMAN_REQUEST)},
    {"forgets the deadline", "decode", PROBE(f.timeout_ms = 0)},
    {"ids in the wrong byte order", "id-place", PROBE(if (v == 0) f.id = __builtin_bswap32(static_cast<uint32_t>(f.id)))},
    {"an id at the wrong place", "id-place", PROBE(if (v == 0) f.id_offset += 2)},
    {"keeps 24 bits of an id of 32", "id-bits", PROBE(if (v == 0) f.id &= 0xffffff)},
    {"an id outside the head", "frame", PROBE(if (v == 0) f.id_offset = f.head_len - 1)},
    {"takes anything for its own", "conflict",
     [](Table& t) {
       t.probe = [](const void* context, void* conn, Bytes data, uint64_t len, dragoman_frame* f) {
         int verdict = good().probe(context, conn, data, len, f);
         if (verdict != DRAGOMAN_NOT_MINE) return verdict;
         f->kind = DRAGOMAN_GOAWAY;
         f->total_len = f->head_len = 1;
         return +DRAGOMAN_FRAME;
       };
     }},
    {"never sure what is its own", "detect",
     PROBE(if (v == DRAGOMAN_NOT_MINE && n < 18) { v = DRAGOMAN_NEED; f.need = 18; })},
    {"another answer each time", "pure", PROBE(static int calls; if (v == 0 &&
                                                                     n > 20) f.timeout_ms += ++calls)},
    {"counts calls in the connection's memory", "pure",
     [](Table& t) {
       t.conn_state_size = 8;
       t.probe = [](const void* context, void* conn, Bytes data, uint64_t len, dragoman_frame* f) {
         int verdict = good().probe(context, conn, data, len, f);
         f->variant = ++*static_cast<uint32_t*>(conn) > 8 ? 1 : 0;
         return verdict;
       };
     }},
    {"writes to what it reads", "const", PROBE(if (n > 3) const_cast<uint8_t*>(d)[n - 1] ^= 1)},
    {"loops for ever", "returns", PROBE(static std::atomic<bool> no; if (n > 20) while (!no) {})},
    {"divides by zero", "returns", PROBE(if (v == 0 && f.total_len == f.head_len) std::raise(SIGFPE))},
    {"takes broken heads", "refuse", PROBE(if (v == DRAGOMAN_MALFORMED) { v = 0; f.kind = DRAGOMAN_GOAWAY; f.total_len = f.head_len = 18; })},
    // view() and outcome()
    {"a service outside the head", "view",
     [](Table& t) {
       t.view = [](const void*, void*, Bytes, FrameIn, uint32_t, dragoman_view* v) {
         static const char elsewhere[] = "service";
         v->service = {reinterpret_cast<const uint8_t*>(elsewhere), 7};
         return 0;
       };
     }},
    {"a method that ends behind the head", "view",
     [](Table& t) {
       t.view = [](const void*, void*, Bytes head, FrameIn f, uint32_t, dragoman_view* v) {
         v->method = {head + f->head_len - 2, 4};
         return 0;
       };
     }},
    {"refuses good heads", "view",
     [](Table& t) { t.view = [](const void*, void*, Bytes, FrameIn, uint32_t,
                                dragoman_view*) { return -1; }; }},
    {"reads behind the head", "bounds",
     [](Table& t) {
       t.view = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t want, dragoman_view* v) {
         if (head[f->head_len + 1] == 0x99) return -1;
         return good().view(c, conn, head, f, want, v);
       };
     }},
    {"the service only with the headers", "want",
     [](Table& t) {
       t.view = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t want, dragoman_view* v) {
         int result = good().view(c, conn, head, f, want, v);
         if (!(want & DRAGOMAN_WANT_HEADERS)) v->service = {};
         return result;
       };
     }},
    {"lacks a method that is there", "lacks", [](Table& t) { t.lacks = DRAGOMAN_WANT_METHOD; }},
    {"tells one of two headers", "twice",
     [](Table& t) {
       t.view = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t want, dragoman_view* v) {
         struct Filter {
           dragoman_view* to;
           std::vector<std::string> told;
         } filter{v, {}};
         dragoman_view mine = *v;
         mine.ctx = &filter;
         if (v->header)
           mine.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
             auto& to = *static_cast<Filter*>(ctx);
             std::string text(reinterpret_cast<const char*>(name.data), static_cast<size_t>(name.len));
             if (std::find(to.told.begin(), to.told.end(), text) != to.told.end()) return;
             to.told.push_back(text);
             to.to->header(to.to->ctx, name, value);
           };
         int result = good().view(c, conn, head, f, want, &mine);
         v->flags = mine.flags;
         v->service = mine.service;
         v->method = mine.method;
         return result;
       };
     }},
    {"takes the service from a header that may be there twice", "twice",
     [](Table& t) {
       t.view = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t want, dragoman_view* v) {
         struct Taker {
           dragoman_view* to;
           dragoman_bytes zone{};
         } taker{v};
         dragoman_view mine = *v;
         mine.ctx = &taker;
         mine.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
           auto& to = *static_cast<Taker*>(ctx);
           if (name.len == 4 && std::memcmp(name.data, "zone", 4) == 0) to.zone = value;
           if (to.to->header) to.to->header(to.to->ctx, name, value);
         };
         int result = good().view(c, conn, head, f, want, &mine);
         v->flags = mine.flags;
         v->service = taker.zone.len ? taker.zone : mine.service;
         v->method = mine.method;
         return result;
       };
     }},
    {"promises a method that never is", "lacks",
     [](Table& t) {
       t.view = [](const void* c, void* conn, Bytes head, FrameIn f, uint32_t want, dragoman_view* v) {
         int result = good().view(c, conn, head, f, want, v);
         v->method = {};
         return result;
       };
     }},
    {"an outcome that is none", "outcome",
     [](Table& t) { t.outcome = [](const void*, void*, Bytes, FrameIn) -> uint32_t { return 99; }; }},
    {"errors count as success", "decode",
     [](Table& t) { t.outcome = [](const void*, void*, Bytes,
                                   FrameIn) -> uint32_t { return DRAGOMAN_OUTCOME_OK; }; }},
    // reply()
    {"replies to somebody else", "reply-id", REPLY(if (fits) out[7] ^= 1)},
    {"replies with success", "reply-outcome", REPLY(if (fits) std::memset(out + 8, 0, 4))},
    {"replies with a request", "reply", REPLY(if (fits) out[3] = kRequest)},
    {"replies with half a frame", "reply", REPLY(n = n > 18 ? n - 1 : n)},
    {"replies with two frames", "reply", REPLY(if (n + 18 <= static_cast<int64_t>(cap)) std::memcpy(out + n,
        out, 18); n += 18)},
    {"can't reply", "reply", REPLY(n = -1)},
    {"writes behind the buffer", "cap",
     REPLY(if (!fits) std::memset(out, 0, static_cast<size_t>(n)))},
    {"says how much fits, not how much it takes", "cap-length",
     REPLY(if (!fits) n = static_cast<int64_t>(cap))},
    // edit()
    {"edits nothing", "edit-set", EDIT((void)edits; (void)count; return copy(head, f, out, cap))},
    {"forgets the length", "edit",
     EDIT(int64_t n = good().edit(c, conn, head, f, edits, count, out,
                                  cap); if (n <= static_cast<int64_t>(cap))
              std::memcpy(out, head, 18);
          return n)},
    {"changes the id", "edit",
     EDIT(int64_t n = good().edit(c, conn, head, f, edits, count, out,
                                  cap); if (n <= static_cast<int64_t>(cap)) out[7] ^= 9;
          return n)},
    {"never removes", "edit-remove",
     EDIT(if (count == 1 && edits[0].op == DRAGOMAN_EDIT_REMOVE) return copy(head, f, out, cap);
          return good().edit(c, conn, head, f, edits, count, out, cap))},
    {"drops what was there", "edit-keeps",
     EDIT(dragoman_frame bare = *f; bare.head_len = 18;
          return good().edit(c, conn, head, &bare, edits, count, out, cap))},
    {"grows with each edit", "same-bytes",
     EDIT(int64_t n = good().edit(c, conn, head, f, edits, count, out, cap);
          if (n + 4 <= static_cast<int64_t>(cap)) {
            std::memcpy(out + n, "a=b\n", 4);
            out[13] = static_cast<uint8_t>(out[13] + 4);
          } return n < 0 ? n : n + 4)},
    // heartbeats and goaway
    {"heartbeats with one id", "heartbeat",
     [](Table& t) {
       t.heartbeat = [](const void* c, void* conn, uint32_t v, uint64_t, uint8_t* out, uint64_t cap) {
         return good().heartbeat(c, conn, v, 1, out, cap);
       };
     }},
    {"answers a ping with a ping", "heartbeat-reply",
     [](Table& t) {
       t.heartbeat_reply = [](const void* c, void* conn, Bytes, FrameIn f, uint8_t* out, uint64_t cap) {
         return good().heartbeat(c, conn, 0, f->id, out, cap);
       };
     }},
    {"pongs with another id", "heartbeat-reply",
     [](Table& t) {
       t.heartbeat_reply = [](const void* c, void* conn, Bytes head, FrameIn f, uint8_t* out, uint64_t cap) {
         dragoman_frame other = *f;
         other.id = 5;
         return good().heartbeat_reply(c, conn, head, &other, out, cap);
       };
     }},
    {"says goodbye with a ping", "goaway",
     [](Table& t) {
       t.goaway = [](const void* c, void* conn, uint32_t v, uint8_t* out, uint64_t cap) {
         return good().heartbeat(c, conn, v, 1, out, cap);
       };
     }},
};

class BrokenCodec : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenCodec, IsCaughtByItsRule) {
  static const std::vector<kit::Vector> kVectors = vectors("protocols/example/vectors");
  Table table = good();
  GetParam().breaks(table);
  kit::Report report = kit::check(table, kVectors, quick(0.01));
  const kit::Result* result = report.find(GetParam().rule);
  ASSERT_NE(result, nullptr) << GetParam().rule << " is no rule";
  EXPECT_EQ(result->verdict, Verdict::kFailed) << GetParam().what << "\n" << kit::report_text(report);
  EXPECT_FALSE(result->what.empty());
}

INSTANTIATE_TEST_SUITE_P(All, BrokenCodec, ::testing::ValuesIn(kBroken), [](const auto& broken) {
  std::string name = broken.param.what;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

TEST(Kit, EveryRuleThatCanBeBrokenIsBrokenByOne) {
  EXPECT_GE(std::size(kBroken), 25u);
  for (const Broken& b : kBroken)
    EXPECT_TRUE(std::any_of(kit::rules().begin(), kit::rules().end(), [&](auto&
        r) { return r.id == b.rule; })) << b.rule;
}

// --- ids and checksums that the tutorial codec has not
// -------------------------------------------------------------

TEST(Kit, ComparesBytesAfterAnIdIsSet) {
  Table t = *codec_table<TextId>();
  t.set_id = [](const void* c, void* conn, Bytes head, FrameIn f, dragoman_bytes id, uint8_t* out,
                uint64_t cap) -> int64_t {
    int64_t n = codec_table<TextId>()->set_id(c, conn, head, f, id, out, cap);
    if (n > 0 && n <= static_cast<int64_t>(cap) && f->head_len > 20)
      out[n - 1] = static_cast<uint8_t>(out[n - 1] ^ 1);
    return n;
  };
  kit::Report report = kit::check(
      t, {vector_of("request", TextId::frame(DRAGOMAN_REQUEST, "0123456789abcdefgh", "body"))}, quick(0.01));
  EXPECT_EQ(report.find("same-bytes")->verdict, Verdict::kFailed);
  EXPECT_NE(report.find("same-bytes")->what.find("from byte "), std::string::npos)
      << report.find("same-bytes")->what;
}

TEST(Kit, CatchesIdsThatAreNotSet) {
  Table t = *codec_table<TextId>();
  t.set_id = [](const void*, void*, Bytes head, FrameIn f, dragoman_bytes, uint8_t* out,
                uint64_t cap) -> int64_t {
    return copy(head, f, out, cap);
  };
  kit::Report report = kit::check(t,
                                  {vector_of("request", TextId::frame(DRAGOMAN_REQUEST, "0123456789abcdefgh",
                                                                      "body")),
                                   vector_of("answer", TextId::frame(DRAGOMAN_RESPONSE, "0123456789abcdefgh",
                                                                     "x"))},
                                  quick(0.01));
  EXPECT_EQ(report.find("id-rewrite")->verdict, Verdict::kFailed);
  EXPECT_EQ(report.find("ids-cross")->verdict, Verdict::kFailed);
}

TEST(Kit, CatchesChecksumsThatCheckNothing) {
  std::vector<kit::Vector> frames = {vector_of("request", Summed::frame(DRAGOMAN_REQUEST, 7, "body"))};
  kit::Report honest = kit::check(*codec_table<Summed>(), frames, quick(0.01));
  EXPECT_EQ(honest.find("checksum")->verdict, Verdict::kPassed) << honest.find("checksum")->what;
  Table t = *codec_table<Summed>();
  t.checksum = [](const void*, void*, uint8_t*, FrameIn, int) { return 1; };
  EXPECT_EQ(kit::check(t, frames, quick(0.01)).find("checksum")->verdict, Verdict::kFailed);
}

// --- vectors
// -------------------------------------------------------------------------------------------------------

TEST(KitVectors, SayWhatIsWrongInThem) {
  const struct {
    const char* text;
    const char* says;
  } rows[] = {
      {"", "no bytes"},
      {"# only words\n", "no bytes"},
      {"5", "half a byte"},
      {"5g", "line 1: not a hexadecimal digit"},
      {"# expect nonsense\n00", "line 1: unknown kind of frame nonsense"},
      {"00\n# expect request id\n", "line 2: id is not name=value"},
  };
  for (const auto& row : rows) {
    auto v = kit::parse_vector("v", row.text);
    ASSERT_FALSE(v) << row.text;
    EXPECT_NE(v.error().find(row.says), std::string::npos) << v.error();
  }
  auto v = kit::parse_vector("v", "# expect oneway id=7\n00 Ff\r\n 10");
  ASSERT_TRUE(v);
  EXPECT_EQ(v->bytes, std::string("\0\xff\x10", 3));
  EXPECT_FALSE(v->bad);
  EXPECT_TRUE(kit::parse_vector("v", "# expect malformed\n00")->bad);
  EXPECT_TRUE(kit::parse_vector("bad-v", "00")->bad);
  EXPECT_FALSE(kit::parse_vector("bad-v", "# expect request\n00")->bad) << "only its peers refuse it";
  EXPECT_EQ(kit::parse_vector("v", "# expect response\n00")->from, uint32_t{DRAGOMAN_FROM_SERVER});
  EXPECT_NE(kit::read_vectors("/nonexistent").error().find("can't be read"), std::string::npos);
}

TEST(KitVectors, ThatExpectTheWrongThingFailTheirRule) {
  auto v = vectors("protocols/example/vectors");
  for (auto& x : v)
    if (x.name == "answer-busy") x.expected[0].fields = {{"outcome", "timeout"}};
  kit::Report report = kit::check(good(), v, quick(0));
  EXPECT_EQ(report.find("decode")->what, "answer-busy: outcome is \"overloaded\", not \"timeout\"");
  EXPECT_FALSE(report.passed());
  EXPECT_NE(kit::report_text(report).find("FAIL  decode"), std::string::npos);
}

TEST(KitDecode, ShowsFramesFieldByField) {
  auto v = kit::read_vector(source_dir() + "/protocols/example/vectors/request.hex");
  ASSERT_TRUE(v);
  EXPECT_EQ(kit::decode_text(good(), *v),
            "at 0: request, 63 bytes, head 54\n"
            "  id: 7 (4 bytes at 4)\n"
            "  timeout_ms: 1500\n"
            "  service: shop.Cart\n"
            "  method: add\n"
            "  header zone: b\n"
            "  body: 7b22 736b 7522 3a31 7d\n");
  v->bytes.resize(30);
  EXPECT_NE(kit::decode_text(good(), *v).find("at 0: frame of 63 bytes, there are 30"), std::string::npos);
}

}  // namespace
}  // namespace dragoman::testing
