// Tars and TUP: every captured packet in both roles, and the rules of the wire.
#include "protocols/tars/tars.h"

#include <gtest/gtest.h>

#include "protocols/tars/jce.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

using Write = std::function<void(ByteWriter&)>;

std::string packet(const Write& fields) {
  std::vector<uint8_t> out(1 << 20);
  ByteWriter w(out.data(), out.size());
  w.be<uint32_t>(0);
  fields(w);
  w.patch_be<uint32_t>(0, static_cast<uint32_t>(w.size()));
  EXPECT_TRUE(w.fits());
  return {reinterpret_cast<char*>(out.data()), w.size()};
}
void buffer(ByteWriter& w, uint8_t tag, std::string_view bytes) {
  jce::write_head(w, tag, jce::kBytes);
  jce::write_head(w, 0, jce::kInt8);
  jce::write_integer(w, 0, static_cast<int64_t>(bytes.size()));
  w.text(bytes);
}
void map(ByteWriter& w, uint8_t tag, const std::vector<std::pair<std::string, std::string>>& pairs) {
  jce::write_head(w, tag, jce::kMap);
  jce::write_integer(w, 0, static_cast<int64_t>(pairs.size()));
  for (const auto& [key, value] : pairs) {
    jce::write_string(w, 0, key);
    jce::write_string(w, 1, value);
  }
}
struct Call {
  int64_t id = 1, version = 1, type = 0, timeout = 0;
  std::string servant = "App.Server.Obj", func = "call", bytes = {};
  std::vector<std::pair<std::string, std::string>> context = {}, status = {};
};
std::string request(const Call& c) {
  return packet([&](ByteWriter& w) {
    jce::write_integer(w, 1, c.version);
    jce::write_integer(w, 2, c.type);
    jce::write_integer(w, 3, 0);
    jce::write_integer(w, 4, c.id);
    jce::write_string(w, 5, c.servant);
    jce::write_string(w, 6, c.func);
    buffer(w, 7, c.bytes);
    jce::write_integer(w, 8, c.timeout);
    map(w, 9, c.context);
    map(w, 10, c.status);
  });
}
std::string request(int64_t id) { return request(Call{.id = id}); }
std::string response(int64_t id, int64_t ret = 0, std::string_view bytes = {}, std::string_view desc = {}) {
  return packet([&](ByteWriter& w) {
    jce::write_integer(w, 1, 1);
    jce::write_integer(w, 2, 0);
    jce::write_integer(w, 3, id);
    jce::write_integer(w, 4, 0);
    jce::write_integer(w, 5, ret);
    buffer(w, 6, bytes);
    map(w, 7, {});
    jce::write_string(w, 8, desc);
  });
}

class TarsVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(TarsVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (v.kind() == "malformed" || v.kind() == "stream" || v.kind() == "rewrite") return;
  expect_prefixes_need_more(tars_codec(), v.bytes);
  dragoman_frame f = Asker(tars_codec()).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  if (v.is_request() || v.kind() == "response") {
    if (v.has("status")) {
      EXPECT_EQ(f.status, std::stoi(v.text("status")));
    } else {
      EXPECT_EQ(f.timeout_ms, static_cast<int64_t>(v.number("timeout")));
    }
    expect_passes_at_every_split(tars_codec(), request(1), v, [&](const Head& h) {
      EXPECT_EQ(h.service, v.text("service"));
      EXPECT_EQ(h.method, v.text("method"));
      EXPECT_EQ(h.header("dye"), v.text("dye"));
      EXPECT_EQ(h.header("set"), v.text("set"));
      EXPECT_FALSE(h.opaque);
      for (const auto& [name, value] : v.fields)
        if (name.starts_with("header:")) {
          EXPECT_EQ(h.header(name.substr(7)), value) << name;
        }
    });
    return;
  }
  for (size_t cut = 0; cut <= v.bytes.size(); ++cut) {
    FramedConnection c(tars_codec(), v.kind() == "goaway" ? Role::kClient : Role::kServer);
    c.feed(v.bytes.substr(0, cut));
    c.feed(v.bytes.substr(cut));
    EXPECT_EQ(c.events.broken, 0);
    EXPECT_EQ(c.accepted(), 0u);
    EXPECT_EQ(c.events.goaways, v.kind() == "goaway" ? 1 : 0);
    std::string ack = c.sink.take();
    if (v.kind() == "goaway" || v.has("silent")) {
      EXPECT_EQ(ack, "");
    } else {
      dragoman_frame answer = Asker(tars_codec()).frame(ack);
      EXPECT_EQ(answer.kind, static_cast<uint32_t>(DRAGOMAN_RESPONSE));
      EXPECT_EQ(answer.id, v.number("id"));
      EXPECT_EQ(answer.status, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TarsVectors, ::testing::ValuesIn(vectors("tars")), test_name);

TEST(Tars, RewrittenIdsTakeTheirShortestForm) {
  auto all = vectors("tars");
  for (const Vector& v : all) {
    if (v.kind() != "rewrite") continue;
    const std::string& from = vector_named(all, v.text("of")).bytes;
    Asker asker(tars_codec());
    EXPECT_EQ(asker.with_id(from, v.number("id")), v.bytes) << v.name;
    EXPECT_EQ(asker.with_id(v.bytes, asker.frame(from).id), from) << v.name;
  }
}

TEST(Tars, WholeStreams) {
  auto all = vectors("tars");
  for (size_t step : {1, 7, 100, 100000}) {
    FramedConnection c(tars_codec(), Role::kServer);
    const Vector& calls = vector_named(all, "tars-stream-c2s");
    c.feed_in_steps(calls.bytes, step);
    EXPECT_EQ(c.events.broken, 0);
    EXPECT_EQ(c.accepted() + c.events.count(CodecEvent::kHeartbeatAnswered), calls.number("messages"));
    FramedConnection up(tars_codec(), Role::kClient);
    const Vector& answers = vector_named(all, "tars-stream-s2c");
    up.feed_in_steps(answers.bytes, step);
    EXPECT_EQ(up.events.broken, 0);
    EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), answers.number("messages")) << "nobody asked here";
  }
}

TEST(Tars, Malformed) { expect_malformed_are_refused(tars_codec(), "tars", 3); }

TEST(Tars, OnlyRequestsOverTheLimitAreAnswered) {
  CodecOptions options = framed_options();
  options.framed.frame_bytes_max = 400;
  const std::string big(500, 'x');
  const std::pair<std::string, bool> rows[] = {{request(Call{.id = 7, .bytes = big}), true},
                                               {request(Call{.id = 7, .type = 1, .bytes = big}), false},
                                               {response(7, 0, big), false}};
  for (const auto& [bytes, answered] : rows) {
    for (size_t step : {bytes.size(), size_t{1}}) {
      FramedConnection c(tars_codec(), Role::kServer, options);
      c.feed_in_steps(bytes, step);
      EXPECT_EQ(c.events.broken_reason, Reason::kFrameTooLarge);
      EXPECT_EQ(c.sink.take().empty(), !answered) << "step " << step;
    }
  }
}

TEST(Tars, FieldsThatAreNone) {
  auto broken = [](const Write& fields) {
    FramedConnection c(tars_codec(), Role::kServer);
    c.feed(packet(fields));
    EXPECT_EQ(c.accepted(), 0u);
    return c.events.broken_reason;
  };
  auto begin = [](ByteWriter& w) {
    jce::write_integer(w, 1, 1);
    jce::write_integer(w, 4, 7);
  };
  auto named = [&](ByteWriter& w) {
    begin(w);
    jce::write_string(w, 5, "A.B.C");
    jce::write_string(w, 6, "f");
  };
  EXPECT_EQ(broken([&](ByteWriter& w) { begin(w); jce::write_string(w, 5, "x"); }), Reason::kMalformed) << "no function";
  EXPECT_EQ(broken([&](ByteWriter& w) { begin(w); jce::write_string(w, 6, "x"); w.be<uint64_t>(0); }), Reason::kMalformed);
  EXPECT_EQ(broken([&](ByteWriter& w) { jce::write_integer(w, 1, 1); jce::write_string(w, 5, "x"); jce::write_string(w, 6, "f"); }),
            Reason::kMalformed) << "no id";
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x9e); }), Reason::kMalformed) << "no such type";
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0xbb); }), Reason::kMalformed) << "a struct that never began";
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0xba); }), Reason::kMalformed) << "a struct that never ends";
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x7d); w.u8(0x01); }), Reason::kMalformed) << "bytes of no bytes";
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x7d); w.u8(0); jce::write_integer(w, 0, -1); }), Reason::kMalformed);
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x7d); w.u8(0); jce::write_integer(w, 0, INT32_MAX); }),
            Reason::kMalformed);
  for (int64_t pairs : {int64_t{-1}, int64_t{1}, int64_t{1025}, int64_t{1} << 31, int64_t{1} << 40})
    EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x98); jce::write_integer(w, 0, pairs); }), Reason::kMalformed) << pairs;
  EXPECT_EQ(broken([&](ByteWriter& w) { named(w); w.u8(0x98); jce::write_integer(w, 0, 1); jce::write_integer(w, 0, 1);
                                        jce::write_integer(w, 1, 1); }), Reason::kMalformed) << "a map of numbers";
  EXPECT_EQ(broken([&](ByteWriter& w) {
              named(w);
              for (int i = 0; i < 100'000; ++i) w.u8(i ? 0x0a : 0xba);
            }), Reason::kMalformed) << "nesting without end";
}

// Peers of TUP look for the id where requests have it.
TEST(Tars, AnswersOfTupHaveTheLayoutOfRequests) {
  for (int version : {1, 2, 3, 5}) {
    FramedConnection c(tars_codec(), Role::kClient);
    c.feed(packet([&](ByteWriter& w) {
      jce::write_integer(w, 1, version);
      jce::write_integer(w, 3, 1);
      jce::write_integer(w, 4, 0);
      jce::write_integer(w, 5, -7);
    }));
    const bool tup = version == 2 || version == 3;
    EXPECT_EQ(c.events.broken_reason, tup ? Reason::kUpstreamProtocolError : Reason::kNone) << version;
  }
}

TEST(Tars, NestedAndUnknownFieldsAreSkipped) {
  std::string bytes = packet([](ByteWriter& w) {
    jce::write_integer(w, 1, 1);
    w.u8(0x3a);  // a struct where a number stands elsewhere is broken; in a tag nobody knows it is fine
    w.u8(0x0b);
    jce::write_integer(w, 4, 7);
    jce::write_string(w, 5, "A.B.C");
    jce::write_string(w, 6, "f");
  });
  FramedConnection bad(tars_codec(), Role::kServer);
  bad.feed(bytes);
  EXPECT_EQ(bad.events.broken, 1);

  FramedConnection c(tars_codec(), Role::kServer);
  c.feed(packet([](ByteWriter& w) {
    jce::write_integer(w, 1, 1);
    jce::write_integer(w, 4, 7);
    jce::write_string(w, 5, "A.B.C");
    jce::write_string(w, 6, "f");
    w.u8(0xba);                                 // tag 11: a struct
    for (int i = 0; i < 14; ++i) w.u8(0x0a);    // ... of structs
    w.u8(0x09), jce::write_integer(w, 0, 2);    // ... a list of two
    jce::write_string(w, 0, std::string(300, 'x'));
    w.u8(0x04), w.be<uint32_t>(0);              // a float
    for (int i = 0; i < 15; ++i) w.u8(0x0b);
    w.u8(0xc8), jce::write_integer(w, 0, 1), jce::write_integer(w, 0, 300), jce::write_integer(w, 1, 1ll << 40);
    w.u8(0xf5), w.u8(200), w.be<uint64_t>(0);  // tag 200: a double
  }));
  EXPECT_EQ(c.events.broken, 0) << c.events.broken_detail;
  ASSERT_EQ(c.accepted(), 1u);
  EXPECT_EQ(c.at(0).head->service, "A.B.C");
}

/// TarsCpp and TarsGo take the first field of a tag, and look forward only: what is not in order is no packet.
TEST(Tars, NothingCanBeReadInTwoWays) {
  using Field = std::function<void(ByteWriter&)>;
  auto number = [](uint8_t tag, int64_t v) -> Field {
    return [=](ByteWriter& w) { jce::write_integer(w, tag, v); };
  };
  auto text = [](uint8_t tag, std::string v) -> Field {
    return [=](ByteWriter& w) { jce::write_string(w, tag, v); };
  };
  auto pairs = [](uint8_t tag, std::vector<std::pair<std::string, std::string>> v) -> Field {
    return [=](ByteWriter& w) { map(w, tag, v); };
  };
  auto wide = [](uint8_t tag, int64_t v) -> Field {
    return [=](ByteWriter& w) {
      jce::write_head(w, tag, jce::kInt64), w.be<uint64_t>(static_cast<uint64_t>(v));
    };
  };
  auto accepted = [](std::vector<Field> fields, size_t at = SIZE_MAX, Field more = {}) {
    if (at != SIZE_MAX) fields.insert(fields.begin() + static_cast<ptrdiff_t>(at), more);
    FramedConnection c(tars_codec(), Role::kServer);
    c.feed(packet([&](ByteWriter& w) {
      for (const Field& field : fields) field(w);
    }));
    EXPECT_EQ(c.accepted(), c.events.broken || c.events.count(CodecEvent::kHeadersContradict) ? 0u : 1u);
    EXPECT_EQ(c.events.broken_reason, c.events.broken ? Reason::kMalformed : Reason::kNone);
    return c.accepted() == 1;
  };
  const Field body = [](ByteWriter& w) { buffer(w, 7, "b"); };
  const std::vector<Field> whole = {number(1, 1),           number(2, 0), number(3, 0), number(4, 9),
                                    text(5, "A.B.C"),       text(6, "f"), body,         number(8, 100),
                                    pairs(9, {{"k", "v"}}), pairs(10, {})};
  ASSERT_TRUE(accepted(whole));
  // Every field a second time, before and behind the first, and swapped with the next.
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_FALSE(accepted(whole, i, whole[i])) << i;
    if (i + 1 == whole.size()) continue;
    auto swapped = whole;
    std::swap(swapped[i], swapped[i + 1]);
    EXPECT_FALSE(accepted(swapped)) << i;
  }
  EXPECT_FALSE(accepted(whole, 3, number(4, 0x100000))) << "the id";
  // A tag in its long form, a number too wide for its field.
  EXPECT_FALSE(accepted(whole, 3, [](ByteWriter& w) { w.u8(0xf0), w.u8(4), w.u8(1); }));
  for (size_t i : {1, 2, 3, 7}) {
    auto wider = whole;
    wider[i] = wide(static_cast<uint8_t>(i + 1), 9);
    EXPECT_FALSE(accepted(wider)) << i;
  }
  // Maps: keys have tag 0, values tag 1; two values of one key contradict each other.
  auto with = [&](size_t i, Field f) {
    auto fields = whole;
    fields[i] = std::move(f);
    return accepted(fields);
  };
  EXPECT_TRUE(with(8, pairs(9, {{"k", "v"}, {"K", "v"}})));
  EXPECT_FALSE(with(8, pairs(9, {{"k", "v"}, {"k", "w"}})));
  EXPECT_FALSE(with(8, pairs(9, {{"k", "v"}, {"K", "w"}})));
  for (auto [key, value] : {std::pair{1, 1}, {0, 0}, {0, 2}})
    EXPECT_FALSE(with(8, [=](ByteWriter& w) {
      jce::write_head(w, 9, jce::kMap), jce::write_integer(w, 0, 1);
      jce::write_string(w, static_cast<uint8_t>(key), "k"),
          jce::write_string(w, static_cast<uint8_t>(value), "v");
    }));
  for (std::string key : {"STATUS_DYED_KEY", "STATUS_SETNAME_VALUE", "STATUS_RESULT_CODE"}) {
    EXPECT_TRUE(with(9, pairs(10, {{key, "1"}, {key, "1"}})));
    EXPECT_FALSE(with(9, pairs(10, {{key, "1"}, {key, "2"}})));
  }
}

TEST(Tars, TheFirstBytesTell) {
  dragoman_frame f;
  Asker asker(tars_codec());
  EXPECT_EQ(asker.probe(std::string(4, '\0'), f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x10\x01", 6), f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe("GET / HTTP/1.1", f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x10\x00\x2c", 7), f), DRAGOMAN_NOT_MINE) << "TTHeader";
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x10\x06\x2c", 7), f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x20\x01\x2c", 7), f), DRAGOMAN_NOT_MINE);
}

TEST(Tars, BigBuffersStreamAndStillRoute) {
  for (size_t n : {0, 8000, 9000, 100'000, 200'000}) {
    for (uint32_t want : {0u, 3u, 7u}) {
      CodecOptions options = framed_options();
      options.framed.want = want;
      FramedConnection down(tars_codec(), Role::kServer, options), up(tars_codec(), Role::kClient, options);
      Hop hop(down, up);
      std::string bytes = request({.id = 5, .timeout = 900, .bytes = std::string(n, 'b'), .context = {{"k", "v"}}});
      down.feed_in_steps(bytes, 4096);
      ASSERT_EQ(down.accepted(), 1u) << n << down.events.broken_detail;
      EXPECT_TRUE(hop.failures.empty());
      const Head& h = *down.at(0).head;
      EXPECT_EQ(h.service, want ? "App.Server.Obj" : "");
      EXPECT_EQ(h.method, want ? "call" : "");
      bool whole = n <= 8000 || (want == 7 && n <= 100'000);
      EXPECT_EQ(h.wire.size() == bytes.size(), whole) << n << " " << want;
      EXPECT_EQ(h.timeout_ms, whole ? 900 : -1);
      EXPECT_EQ(h.header("k"), whole && want == 7 ? "v" : "");
      EXPECT_EQ(h.opaque, want == 7 && !whole);
      std::string sent = up.sink.take();
      Asker asker(tars_codec());
      EXPECT_TRUE(asker.with_id(sent, 5, want) == bytes) << n << " " << want;
    }
  }
}

std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(tars_codec(), bytes, edit, want);
}

TEST(Tars, EditsTheContext) {
  Call call{.id = 9, .bytes = "body", .context = {{"a", "1"}, {"Color", "blue"}}, .status = {{"s", "t"}}};
  Call want = call;
  want.context = {{"a", "1"}, {"color", "red"}};
  EXPECT_EQ(edited(request(call), [](Head& h) { h.set_header("color", "red"); }), request(want));
  want.context = {{"Color", "blue"}};
  EXPECT_EQ(edited(request(call), [](Head& h) { h.remove_header("A"); }), request(want));
  want.context = {{"a", "1"}, {"Color", "blue"}, {"a", std::string(300, 'x')}};
  EXPECT_EQ(edited(request(call), [](Head& h) { h.add_header("a", std::string(300, 'x')); }), request(want));
  // A packet that has none yet, with and without the status behind it.
  auto bare = [](bool status) {
    return packet([&](ByteWriter& w) {
      jce::write_integer(w, 1, 1);
      jce::write_integer(w, 4, 9);
      jce::write_string(w, 5, "A.B.C");
      jce::write_string(w, 6, "f");
      buffer(w, 7, "b");
      if (status) map(w, 10, {{"s", "t"}});
    });
  };
  for (bool status : {false, true}) {
    std::string sent = edited(bare(status), [](Head& h) { h.set_header("k", "v"); });
    FramedConnection c(tars_codec(), Role::kServer);
    c.feed(sent);
    ASSERT_EQ(c.accepted(), 1u) << c.events.broken_detail;
    EXPECT_EQ(c.at(0).head->header("k"), "v");
    EXPECT_EQ(sent.size(), bare(status).size() + 9);
  }
}

TEST(Tars, Outcomes) {
  Asker asker(tars_codec());
  std::pair<int, Outcome> rows[] = {{0, Outcome::kOk},           {-1, Outcome::kCodecError},  {-2, Outcome::kServerError},
                                    {-3, Outcome::kClientError}, {-4, Outcome::kNoRoute},     {-5, Outcome::kUnavailable},
                                    {-6, Outcome::kTimeout},     {-7, Outcome::kTimeout},     {-8, Outcome::kReset},
                                    {-9, Outcome::kOverloaded},  {-10, Outcome::kUnavailable}, {-11, Outcome::kNoRoute},
                                    {-12, Outcome::kCodecError}, {-13, Outcome::kReset},      {-99, Outcome::kServerError},
                                    {1, Outcome::kServerError},  {70000, Outcome::kServerError}};
  for (auto [ret, outcome] : rows) EXPECT_EQ(asker.outcome(response(1, ret)), outcome) << ret;
}

TEST(Tars, LocalRepliesEqualWhatPeersAccept) {
  auto all = vectors("tars");
  expect_replies_equal(tars_codec(), "tars", 7,
                       [](const Vector& v) { return request(static_cast<int32_t>(v.number("id"))); });
  Asker asker(tars_codec());
  std::string tup = vector_named(all, "tars-tup3-call-getusrname").bytes;
  EXPECT_EQ(asker.reply(tup, Outcome::kTimeout), vector_named(all, "tars-tup3-hijack-timeout").bytes);
  std::string told = asker.reply(tup, Outcome::kNoRoute, "nowhere");
  EXPECT_EQ(asker.frame(told).status, -4);
  EXPECT_NE(told.find("nowhere"), told.npos);
  EXPECT_EQ(asker.frame(asker.reply(request(1), Outcome::kReset, std::string(5000, 'x'))).status, -8);
}

TEST(Tars, AnswersOfTupWithoutAResultAreAnswersToo) {
  Call call{.id = 3, .version = 3};
  FramedConnection down(tars_codec(), Role::kServer), up(tars_codec(), Role::kClient);
  Hop hop(down, up);
  down.feed(request(call));
  std::string sent = up.sink.take();
  up.feed(sent);  // same layout, no STATUS_RESULT_CODE: all went well
  EXPECT_EQ(down.sink.take(), request(call));
  EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
}

TEST(Tars, HeartbeatsAndReconnectGoBothWays) {
  FramedConnection up(tars_codec(), Role::kClient), down(tars_codec(), Role::kServer);
  EXPECT_TRUE(up.codec->heartbeat());
  down.feed(up.sink.take());
  EXPECT_EQ(down.events.count(CodecEvent::kHeartbeatAnswered), 1u);
  EXPECT_EQ(up.codec->heartbeats_missed(), 1u);
  up.feed(down.sink.take());
  EXPECT_EQ(up.codec->heartbeats_missed(), 0u);
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatAck), 1u);

  CodecOptions options = framed_options();
  options.framed.goaway = true;
  FramedConnection going(tars_codec(), Role::kServer, options);
  going.codec->drain();
  std::string push = going.sink.take();
  EXPECT_EQ(push, vector_named(vectors("tars"), "tars-push-reconnect").bytes);
  up.feed(push);
  EXPECT_EQ(up.events.goaways, 1);
  up.feed(response(0, 0, "pushed"));
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u) << "a push for nobody";
}

TEST(Tars, OneWayCallsGetNothing) {
  FramedConnection down(tars_codec(), Role::kServer), up(tars_codec(), Role::kClient);
  Hop hop(down, up);
  down.feed(request({.id = 2, .type = 1}));
  EXPECT_EQ(down.accepted(), 1u);
  EXPECT_NE(up.sink.take(), "");
  EXPECT_EQ(up.codec->open_exchanges(), 0u);
}

TEST(Tars, IdsNeverCross) {
  expect_ids_never_cross(
      tars_codec(),
      [](uint64_t id, uint64_t tag) {
        std::string text = "tag=" + std::to_string(tag) + ".";
        std::string fixed("\0\0\0\0\x10\x01\x2c\x3c\x42", 9);
        std::string bytes = fixed + be(id, 4) + "\x56\x01S\x66\x01" "f\x76" + std::string(1, static_cast<char>(text.size())) + text;
        return be(bytes.size(), 4) + bytes.substr(4);
      },
      [](const std::string&, uint64_t id, uint64_t tag) {
        std::string text = "tag=" + std::to_string(tag) + ".";
        std::string fixed("\0\0\0\0\x10\x01\x2c\x32", 8);
        std::string bytes = fixed + be(id, 4) + "\x4c\x5c\x66" + std::string(1, static_cast<char>(text.size())) + text;
        return be(bytes.size(), 4) + bytes.substr(4);
      });
}

}  // namespace
}  // namespace dragoman::testing
