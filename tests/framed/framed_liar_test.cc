// Tables that lie are contained: the connection they lie on breaks, nothing else happens.
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "protocols/bolt/bolt.h"
#include "tests/framed/tiny_codecs.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

std::span<const uint8_t> bytes_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

/// Set by each row: changes what an honest probe said.
int (*tamper)(uint64_t len, int verdict, dragoman_frame& f);

dragoman_codec liar() {
  dragoman_codec t = *bolt_codec();
  t.probe = [](const void* context, void* conn, const uint8_t* data, uint64_t len, dragoman_frame* out) {
    int verdict = bolt_codec()->probe(context, conn, data, len, out);
    return tamper(len, verdict, *out);
  };
  return t;
}

TEST(Liar, ImpossibleFramesBreakTheConnection) {
  struct Row {
    const char* what;
    int (*tamper)(uint64_t len, int verdict, dragoman_frame& f);
  };
#define ROW(what, change)                              \
  {                                                    \
    what, [](uint64_t len, int v, dragoman_frame& f) { \
      (void)len;                                       \
      (void)f;                                         \
      change;                                          \
      return v;                                        \
    }                                                  \
  }
  const Row rows[] = {
    ROW("no bytes", f.total_len = 0),
    ROW("no head", f.head_len = 0),
    ROW("head over frame", f.head_len = static_cast<uint32_t>(f.total_len) + 1),
    ROW("head of 4 GiB", f.head_len = UINT32_MAX),
    ROW("head over the table's own limit", f.total_len = 200000; f.head_len = 150000),
    ROW("length unknown without extent", f.total_len = UINT64_MAX),
    ROW("kind 0", f.kind = 0),
    ROW("kind 99", f.kind = 99),
    ROW("stream frames", f.kind = DRAGOMAN_STREAM_DATA),
    ROW("id type", f.id_type = 17),
    ROW("opaque id in a table of integer ones", f.id_type = DRAGOMAN_ID_BYTES),
    ROW("coded id without set_id", f.id_type = DRAGOMAN_ID_CODED),
    ROW("id outside the head", f.id_offset = f.head_len - 3),
    ROW("id far outside", f.id_offset = UINT32_MAX),
    ROW("id of another length", f.id_len = 8),
    ROW("id of no length", f.id_len = 0),
    ROW("bytes id of no length", f.id_type = DRAGOMAN_ID_BYTES; f.id_len = 0),
    ROW("coded id without set_id", f.id_type = DRAGOMAN_ID_CODED),
    ROW("checksum kind", f.checksum = 9),
    ROW("checksum inside the head", f.checksum = DRAGOMAN_CHECKSUM_CRC32; f.checksum_offset = 3),
    ROW("checksum not last", f.checksum = DRAGOMAN_CHECKSUM_CRC32; f.checksum_offset = f.total_len - 5),
    ROW("checksum behind the end", f.checksum = DRAGOMAN_CHECKSUM_CRC32; f.checksum_offset = f.total_len),
    ROW("custom checksum without the function", f.checksum = DRAGOMAN_CHECKSUM_CUSTOM;
        f.head_len = static_cast<uint32_t>(f.total_len)),
    ROW("needs what is there", f.need = len; v = DRAGOMAN_NEED),
    ROW("needs nothing", f.need = 0; v = DRAGOMAN_NEED),
    ROW("needs too much", f.need = 1 << 30; v = DRAGOMAN_NEED),
    ROW("needs 2^64-1", f.need = UINT64_MAX; v = DRAGOMAN_NEED),
    ROW("no verdict", v = 42),
    ROW("negative verdict", v = -1),
    ROW("malformed without a reason", v = DRAGOMAN_MALFORMED; f.reason = nullptr),
    ROW("malformed with a head it has not", v = DRAGOMAN_MALFORMED; f.head_len = 1000000),
    ROW("too big with no head", v = DRAGOMAN_TOO_BIG; f.head_len = 0),
    ROW("unsupported with an impossible frame", v = DRAGOMAN_UNSUPPORTED; f.head_len = UINT32_MAX),
  };
#undef ROW
  for (const Row& row : rows) {
    tamper = row.tamper;
    dragoman_codec t = liar();
    for (Role role : {Role::kServer, Role::kClient}) {
      FramedConnection c(&t, role);
      c.feed(BoltFrame::request(1).bytes());
      EXPECT_EQ(c.events.broken, 1) << row.what;
      EXPECT_EQ(c.accepted(), 0u) << row.what;
      EXPECT_EQ(c.codec->open_exchanges(), 0u);
    }
  }
}

TEST(Liar, RandomAnswersNeverEscape) {
  static std::mt19937_64 random(7);
  tamper = [](uint64_t, int verdict, dragoman_frame& f) {
    auto pick = [](uint64_t honest) -> uint64_t {
      switch (random() % 8) {
        case 0:
          return random();
        case 1:
          return random() % 64;
        case 2:
          return honest + 1;
        case 3:
          return honest - 1;
        default:
          return honest;
      }
    };
    f.total_len = pick(f.total_len);
    f.head_len = static_cast<uint32_t>(pick(f.head_len));
    f.need = pick(f.need);
    f.kind = static_cast<uint32_t>(pick(f.kind));
    f.id_offset = static_cast<uint32_t>(pick(f.id_offset));
    f.id_len = static_cast<uint32_t>(pick(f.id_len));
    f.id_type = static_cast<uint32_t>(pick(f.id_type));
    f.checksum = static_cast<uint32_t>(pick(f.checksum));
    f.checksum_offset = pick(f.checksum_offset);
    return random() % 6 ? verdict : static_cast<int>(random() % 7);
  };
  dragoman_codec t = liar();
  // A table that gives wrong heads must not be asked to read them: view, outcome and reply are harmless here.
  t.view = [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t,
              dragoman_view*) { return 0; };
  t.outcome = [](const void*, void*, const uint8_t*, const dragoman_frame*) -> uint32_t {
    return static_cast<uint32_t>(random());
  };
  t.reply = [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_bytes, uint8_t*,
               uint64_t) -> int64_t { return 20; };
  t.heartbeat_reply = [](const void*, void*, const uint8_t*, const dragoman_frame*, uint8_t*,
                         uint64_t) -> int64_t {
    return 20;
  };
  std::string stream;
  for (uint32_t i = 0; i < 20; ++i) stream += BoltFrame::request(i).bytes() + BoltFrame::response(i).bytes();
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    FramedConnection c(&t, round % 2 ? Role::kServer : Role::kClient);
    c.feed_in_steps(stream, 1 + random() % 400);
    c.codec->on_eof();
    accepted += static_cast<int>(c.accepted());
  }
  EXPECT_GT(accepted, 0);
}

TEST(Liar, ViewsOutsideTheHeadBreakTheConnection) {
  using ViewFn = int (*)(const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_view*);
  const ViewFn views[] = {
      [](const void*, void*, const uint8_t* head, const dragoman_frame* f, uint32_t, dragoman_view* v) {
        v->service = {head + f->head_len, 1};
        return 0;
      },
      [](const void*, void*, const uint8_t* head, const dragoman_frame* f, uint32_t, dragoman_view* v) {
        v->method = {head, uint64_t{f->head_len} + 1};
        return 0;
      },
      [](const void*, void*, const uint8_t* head, const dragoman_frame*, uint32_t, dragoman_view* v) {
        v->service = {head + 1, UINT64_MAX};
        return 0;
      },
      [](const void*, void*, const uint8_t* head, const dragoman_frame*, uint32_t, dragoman_view* v) {
        v->service = {head - 1, 2};
        return 0;
      },
      [](const void*, void*, const uint8_t* head, const dragoman_frame* f, uint32_t, dragoman_view* v) {
        v->header(v->ctx, {head, 2}, {head + f->head_len - 1, 2});
        return 0;
      },
      [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_view* v) {
        v->method = {nullptr, 3};
        return 0;
      },
  };
  for (ViewFn fn : views) {
    dragoman_codec t = *bolt_codec();
    t.view = fn;
    FramedConnection c(&t, Role::kServer);
    c.feed(BoltFrame::request(1).bytes());
    EXPECT_EQ(c.events.broken_reason, Reason::kInternal);
    EXPECT_EQ(c.accepted(), 0u);
  }
  dragoman_codec t = *bolt_codec();
  t.view = [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t,
              dragoman_view*) { return -1; };
  FramedConnection c(&t, Role::kServer);
  c.feed(BoltFrame::request(1).bytes());
  EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
  EXPECT_EQ(c.sink.take().size(), 20u) << "answered in the protocol";
}

TEST(Liar, AttributesThatCannotBeTrue) {
  static const std::string kLong(DRAGOMAN_ATTRIBUTE_BYTES_MAX + 1, 'x');
  static const char* const kNames[] = {"a", "b"};
  using ViewFn =
      int (*)(const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_view*);
  struct Row {
    bool honest;
    ViewFn view;
  } rows[] = {
      {true,
       [](auto, auto, const uint8_t*, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 1, {reinterpret_cast<const uint8_t*>(kLong.data()), kLong.size() - 1});
         return 0;
       }},
      {true,
       [](auto, auto, const uint8_t* head, const dragoman_frame* f, auto, dragoman_view* v) {
         v->attribute(v->ctx, 0, {head, f->head_len});
         v->attribute(v->ctx, 1, {nullptr, 0});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t* head, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 2, {head, 1});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t* head, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, UINT32_MAX, {head, 1});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t* head, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 1, {head, 1});
         v->attribute(v->ctx, 1, {head, 1});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t*, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 1, {reinterpret_cast<const uint8_t*>(kLong.data()), kLong.size()});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t*, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 1, {nullptr, 5});
         return 0;
       }},
      {false,
       [](auto, auto, const uint8_t* head, auto, auto, dragoman_view* v) {
         v->attribute(v->ctx, 1, {head, UINT64_MAX});
         return 0;
       }},
  };
  for (const Row& row : rows) {
    dragoman_codec t = *bolt_codec();
    t.attributes = kNames;
    t.attribute_count = 2;
    t.view = row.view;
    ASSERT_TRUE(check_codec(t).has_value());
    FramedConnection c(&t, Role::kServer);
    c.feed(BoltFrame::request(1).bytes());
    EXPECT_EQ(c.accepted(), row.honest ? 1u : 0u);
    EXPECT_EQ(c.events.broken_reason, row.honest ? Reason::kNone : Reason::kInternal);
  }
}

TEST(Liar, ExtentsThatCannotBeTrue) {
  using ExtentFn = int (*)(const void*, void*, const dragoman_frame*, uint64_t, const uint8_t*, uint64_t,
                           uint64_t*);
  const ExtentFn extents[] = {
      [](auto, auto, auto, auto, auto, uint64_t len, uint64_t* used) -> int {
        *used = len + 1;
        return DRAGOMAN_FRAME;
      },
      [](auto, auto, auto, auto, auto, uint64_t len, uint64_t* used) -> int {
        *used = len + 1;
        return DRAGOMAN_NEED;
      },
      [](auto, auto, auto, auto, auto, uint64_t, uint64_t* used) -> int {
        *used = 0;  // goes on, but takes nothing
        return DRAGOMAN_NEED;
      },
      [](auto, auto, auto, auto, auto, uint64_t, uint64_t*) -> int { return DRAGOMAN_FRAME; },
      [](auto, auto, auto, auto, auto, uint64_t, uint64_t* used) -> int {
        *used = 0;
        return 77;
      },
  };
  for (ExtentFn extent : extents) {
    for (size_t step : {100, 1}) {
      dragoman_codec t = *codec_table<Unsized>();
      t.extent = extent;
      FramedConnection c(&t, Role::kServer);
      c.feed_in_steps(Unsized::frame(DRAGOMAN_REQUEST, 5, "text"), step);
      EXPECT_EQ(c.events.broken_reason, Reason::kInternal);
    }
  }
  dragoman_codec t = *codec_table<Unsized>();  // a frame may end right behind its head
  t.extent = [](auto, auto, auto, auto, auto, uint64_t, uint64_t* used) -> int {
    *used = 0;
    return DRAGOMAN_FRAME;
  };
  FramedConnection c(&t, Role::kServer);
  c.feed("U\x01" "5;U\x01" "6;U\x01" "7;");
  EXPECT_EQ(c.accepted(), 3u);
  EXPECT_TRUE(c.at(0).ended && c.at(1).ended);
  EXPECT_FALSE(c.at(2).ended);
}

TEST(Liar, RepliesOfImpossibleLength) {
  using ReplyFn =
      int64_t (*)(const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_bytes,
                  uint8_t*, uint64_t);
  const ReplyFn replies[] = {
      [](auto...) -> int64_t { return -1; },
      [](auto...) -> int64_t { return 0; },
      [](auto...) -> int64_t { return INT64_MAX; },
      [](auto...) -> int64_t { return INT64_MIN; },
      [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_bytes, uint8_t*,
         uint64_t cap) -> int64_t {
        return static_cast<int64_t>(cap) + 1;  // never content
      },
  };
  for (ReplyFn fn : replies) {
    dragoman_codec t = *bolt_codec();
    t.reply = fn;
    FramedConnection c(&t, Role::kServer);
    c.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes());
    c.at(0).exchange->send_reply(*c.at(0).head, {});
    EXPECT_EQ(c.events.broken_reason, Reason::kInternal);
    EXPECT_TRUE(c.at(1).was_reset);
    EXPECT_EQ(c.sink.take(), "");
  }
  // A long one is fine.
  dragoman_codec t = *bolt_codec();
  t.reply = [](const void*, void*, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_bytes,
               uint8_t* out,
               uint64_t cap) -> int64_t {
    if (cap >= 3000) std::fill(out, out + 3000, uint8_t{'r'});
    return 3000;
  };
  FramedConnection c(&t, Role::kServer);
  c.feed(BoltFrame::request(1).bytes());
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  EXPECT_EQ(c.sink.take(), std::string(3000, 'r'));
}

TEST(Liar, HeartbeatsAndGoawaysThatFail) {
  dragoman_codec t = *bolt_codec();
  t.heartbeat = [](auto...) -> int64_t { return -1; };
  t.heartbeat_reply = [](auto...) -> int64_t { return INT64_MAX; };
  t.goaway = [](auto...) -> int64_t { return 0; };
  FramedConnection a(&t, Role::kClient), b(&t, Role::kServer);
  EXPECT_FALSE(a.codec->heartbeat());
  EXPECT_EQ(a.events.broken_reason, Reason::kInternal);
  b.feed(BoltFrame::heartbeat(1).bytes());
  EXPECT_EQ(b.events.broken_reason, Reason::kInternal);
  CodecOptions options = framed_options();
  options.framed.goaway = true;
  FramedConnection c(&t, Role::kServer, options);
  c.codec->drain();
  EXPECT_EQ(c.events.broken_reason, Reason::kInternal);
}

int64_t (*edit_lie)(uint8_t* out, uint64_t cap, std::span<const uint8_t> head);

TEST(Liar, EditsThatMakeAnotherFrameFail) {
  using Lie = int64_t (*)(uint8_t*, uint64_t, std::span<const uint8_t>);
  const Lie lies[] = {
      [](uint8_t*, uint64_t, std::span<const uint8_t>) -> int64_t { return 0; },
      [](uint8_t*, uint64_t, std::span<const uint8_t>) -> int64_t { return INT64_MAX; },
      [](uint8_t*, uint64_t cap, std::span<const uint8_t>) -> int64_t {
        return static_cast<int64_t>(cap) + 1;
      },
      [](uint8_t* out, uint64_t, std::span<const uint8_t> h) -> int64_t {  // shorter than it says
        std::copy(h.begin(), h.end(), out);
        return static_cast<int64_t>(h.size()) - 1;
      },
      [](uint8_t* out, uint64_t, std::span<const uint8_t> h) -> int64_t {  // another body length
        std::copy(h.begin(), h.end(), out);
        out[21] = 200;
        return static_cast<int64_t>(h.size());
      },
      [](uint8_t* out, uint64_t, std::span<const uint8_t> h) -> int64_t {  // a one-way now
        std::copy(h.begin(), h.end(), out);
        out[1] = 2;
        return static_cast<int64_t>(h.size());
      },
      [](uint8_t* out, uint64_t, std::span<const uint8_t> h) -> int64_t {  // another id
        std::copy(h.begin(), h.end(), out);
        out[8] ^= 1;
        return static_cast<int64_t>(h.size());
      },
      [](uint8_t* out, uint64_t, std::span<const uint8_t> h) -> int64_t {  // another protocol
        std::fill(out, out + h.size(), uint8_t{'G'});
        return static_cast<int64_t>(h.size());
      },
  };
  FramedConnection down(bolt_codec(), Role::kServer);
  down.feed(BoltFrame::request(1).bytes());
  down.at(0).head->set_header("a", "b");
  for (Lie lie : lies) {
    edit_lie = lie;
    dragoman_codec t = *bolt_codec();
    t.edit = [](const void*, void*, const uint8_t* head, const dragoman_frame* f, const dragoman_edit*,
                uint32_t,
                uint8_t* out, uint64_t cap) {
      return edit_lie(out, cap, {head, f->head_len});
    };
    FramedConnection up(&t, Role::kClient);
    FakeMessageSink answer;
    answer.exchange = up.codec->open(answer);
    EXPECT_EQ(answer.exchange->send_head(*down.at(0).head, down.at(0).body.empty()), Reason::kNone);
    if (!down.at(0).body.empty()) answer.exchange->send_body(bytes_of(down.at(0).body), true);
    EXPECT_EQ(up.sink.take().substr(9), BoltFrame::request(1).bytes().substr(9))
        << "as it came, but for the id";
    EXPECT_EQ(up.events.count(CodecEvent::kEditSkipped), 1u);
    EXPECT_EQ(up.events.broken, 0);
    answer.release();
  }
}

TEST(Liar, SetIdThatSetsAnother) {
  dragoman_codec t = *codec_table<TextId>();
  t.set_id = [](const void* context, void* conn, const uint8_t* head, const dragoman_frame* f,
                dragoman_bytes id, uint8_t* out,
                uint64_t cap) {
    int64_t n = codec_table<TextId>()->set_id(context, conn, head, f, id, out, cap);
    out[5] ^= 1;
    return n;
  };
  FramedConnection down(&t, Role::kServer), up(&t, Role::kClient);
  down.feed(TextId::frame(DRAGOMAN_REQUEST, "id", ""));
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  EXPECT_EQ(answer.exchange->send_head(*down.at(0).head, true), Reason::kEditFailed);
  EXPECT_EQ(up.codec->capacity(), 9999u);
  answer.release();
  EXPECT_EQ(up.codec->capacity(), 10000u);
}

struct Throwing {
  static constexpr const char* kName = "throwing";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 64;
  static constexpr uint32_t kDetectBytesMax = 1;
  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] == 'P') throw std::runtime_error("probe");
    f.kind = b[0] == 'A' ? DRAGOMAN_RESPONSE : DRAGOMAN_REQUEST;
    f.total_len = f.head_len = 1;
    return codec::found(f);
  }
  bool view(const codec::Message& m, uint32_t, codec::View&) {
    if (m.head[0] == 'V') throw 1;
    return true;
  }
  uint32_t outcome(const codec::Message&) { throw 2; }
  bool reply(const codec::Message&, uint32_t, std::string_view, ByteWriter&) { throw 3; }
};

TEST(Liar, ExceptionsStayInside) {
  for (const char* bytes : {"P", "V"}) {
    FramedConnection c(codec_table<Throwing>(), Role::kServer);
    c.feed(bytes);
    EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
  }
  FramedConnection c(codec_table<Throwing>(), Role::kServer),
      up(codec_table<Throwing>(), Role::kClient, framed_options(PoolMode::kPingPong));
  c.feed("R");
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  ASSERT_EQ(answer.exchange->send_head(*c.at(0).head, true), Reason::kNone);
  up.feed("A");
  EXPECT_EQ(answer.head->outcome, Outcome::kUnknown);
  answer.release();
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  EXPECT_EQ(c.events.broken_reason, Reason::kInternal);
}

TEST(CheckCodec, RefusesWhatCannotWork) {
  struct Row {
    const char* says;
    void (*change)(dragoman_codec&);
  } rows[] = {
      {"ABI 2.1, this program has 1.1", [](auto& t) { t.abi_major = 2; }},
      {"ABI 1.", [](auto& t) { t.size = 8; }},
      {"name", [](auto& t) { t.name = nullptr; }},
      {"name", [](auto& t) { t.name = "Bad Name"; }},
      {"name", [](auto& t) { t.name = ""; }},
      {"version", [](auto& t) { t.version = nullptr; }},
      {"required", [](auto& t) { t.probe = nullptr; }},
      {"required", [](auto& t) { t.view = nullptr; }},
      {"required", [](auto& t) { t.outcome = nullptr; }},
      {"required", [](auto& t) { t.reply = nullptr; }},
      {"conn_state_size", [](auto& t) { t.conn_state_size = 1025; }},
      {"head_bytes_max", [](auto& t) { t.head_bytes_max = 0; }},
      {"head_bytes_max", [](auto& t) { t.head_bytes_max = 131073; }},
      {"detect_bytes_max", [](auto& t) { t.detect_bytes_max = 0; }},
      {"id_len", [](auto& t) { t.id_len = 3; }},
      {"CAN_EDIT", [](auto& t) { t.edit = nullptr; }},
      {"CAN_EDIT", [](auto& t) { t.abilities &= ~uint64_t{DRAGOMAN_CAN_EDIT}; }},
      {"CAN_HEARTBEAT", [](auto& t) { t.heartbeat_reply = nullptr; }},
      {"CAN_HEARTBEAT", [](auto& t) { t.heartbeat = nullptr; }},
      {"CAN_GOAWAY", [](auto& t) { t.goaway = nullptr; }},
      {"CAN_CHECKSUM", [](auto& t) { t.abilities |= DRAGOMAN_CAN_CHECKSUM; }},
      {"CAN_MULTIPLEX", [](auto& t) { t.id_len = 0; }},
      {"CAN_MULTIPLEX", [](auto& t) { t.abilities &= ~uint64_t{DRAGOMAN_CAN_MULTIPLEX}; }},
      {"attributes are missing",
       [](auto& t) {
         t.attributes = nullptr;
         t.attribute_count = 1;
       }},
      {"more than 16",
       [](auto& t) {
         static const char* const kMany[17] = {};
         t.attributes = kMany;
         t.attribute_count = 17;
       }},
      {"attribute's name",
       [](auto& t) {
         static const char* const kBad[] = {"good", "Bad"};
         t.attributes = kBad;
         t.attribute_count = 2;
       }},
      {"attribute's name",
       [](auto& t) {
         static const char* const kNull[] = {nullptr};
         t.attributes = kNull;
         t.attribute_count = 1;
       }},
      {"one name",
       [](auto& t) {
         static const char* const kTwice[] = {"a", "b", "a"};
         t.attributes = kTwice;
         t.attribute_count = 3;
       }},
      {"ONLY_BOUND", [](auto& t) { t.abilities |= DRAGOMAN_ONLY_BOUND; }},
  };
  for (const Row& row : rows) {
    dragoman_codec t = *bolt_codec();
    row.change(t);
    auto result = check_codec(t);
    ASSERT_FALSE(result.has_value()) << row.says;
    EXPECT_NE(result.error().find(row.says), std::string::npos) << result.error();
  }
}

}  // namespace
}  // namespace dragoman::testing
