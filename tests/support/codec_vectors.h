// Vectors of framed codecs, and what every codec must do with every one of them: pass both roles at every split
// with only the id changed, ask for no more than the frame has.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "proxy/base/cursor.h"
#include "tests/support/framed_proxy.h"
#include "tests/support/hex.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {

/// One line of an index: name, then `field=value` each; the bytes come from a field `hex` or the file name.hex.
struct Vector {
  std::string name, bytes;
  std::map<std::string, std::string> fields;

  bool has(const std::string& field) const { return fields.count(field) > 0; }
  std::string text(const std::string& field) const { return has(field) ? fields.at(field) : ""; }
  uint64_t number(const std::string& field) const { return std::stoull(fields.at(field)); }
  std::string kind() const { return text("kind"); }
  bool is_request() const { return kind() == "request" || kind() == "oneway"; }
};

inline std::ostream& operator<<(std::ostream& out, const Vector& v) { return out << v.name; }

inline std::vector<Vector> vectors(const std::string& folder, const std::string& index = "index.tsv") {
  std::string base = (source_dir() + "/tests/vectors/") + folder + "/";
  std::vector<Vector> out;
  std::ifstream in(base + index);
  for (std::string line; std::getline(in, line);) {
    Vector v;
    size_t cell = 0;
    for (size_t at = 0; at <= line.size(); ++cell) {
      size_t tab = std::min(line.find('\t', at), line.size());
      std::string text = line.substr(at, tab - at);
      if (cell == 0) {
        v.name = text;
      } else {
        size_t eq = text.find('=');
        v.fields[text.substr(0, eq)] = text.substr(eq + 1);
      }
      at = tab + 1;
    }
    v.bytes = v.has("hex") ? from_hex(v.text("hex")) : read_hex(base + v.name + ".hex");
    if (v.bytes.empty()) throw std::runtime_error("no bytes in " + base + v.name);
    out.push_back(std::move(v));
  }
  if (out.empty()) throw std::runtime_error("no vectors in " + base);
  return out;
}

inline const Vector& vector_named(const std::vector<Vector>& all, const std::string& name) {
  for (const Vector& v : all)
    if (v.name == name) return v;
  throw std::runtime_error("no vector " + name);
}

inline std::string test_name(const ::testing::TestParamInfo<Vector>& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

/// A table with a connection's memory, asked directly.
class Asker {
 public:
  explicit Asker(const dragoman_codec* table) : table_(table), memory_(table->conn_state_size / 8 + 2) {}
  int probe(std::string_view bytes, dragoman_frame& f, uint32_t want = 7) {
    f = {};
    f.size = sizeof f;
    f.want = want;
    return table_->probe(table_->context, memory_.data(), data(bytes), bytes.size(), &f);
  }
  dragoman_frame frame(std::string_view bytes, uint32_t want = 7) {
    dragoman_frame f;
    EXPECT_EQ(probe(bytes, f, want), DRAGOMAN_FRAME) << (f.reason ? f.reason : "");
    return f;
  }
  Outcome outcome(std::string_view bytes) {
    dragoman_frame f = frame(bytes);
    return static_cast<Outcome>(table_->outcome(table_->context, memory_.data(), data(bytes), &f));
  }
  std::string reply(std::string_view request, Outcome outcome, std::string_view text = {}) {
    dragoman_frame f = frame(request);
    uint8_t out[4096];
    int64_t n = table_->reply(table_->context, memory_.data(), data(request), &f, static_cast<uint32_t>(outcome),
                              {data(text), text.size()}, out, sizeof out);
    if (n < 0 || n > static_cast<int64_t>(sizeof out)) return "error";
    return {reinterpret_cast<char*>(out), static_cast<size_t>(n)};
  }
  /// The frame with another id.
  std::string with_id(std::string bytes, uint64_t id, uint32_t want = 7) {
    dragoman_frame f = frame(bytes, want);
    if (f.id_type == DRAGOMAN_ID_CODED) {
      uint8_t number[8];
      store_be<uint64_t>(number, id);
      std::string out(bytes.size() + 64, '\0');
      int64_t n = table_->set_id(table_->context, memory_.data(), data(bytes), &f, {number, 8},
                                 reinterpret_cast<uint8_t*>(out.data()), out.size());
      EXPECT_GT(n, 0);
      return out.substr(0, static_cast<size_t>(n)) + bytes.substr(f.head_len);
    }
    for (uint32_t i = 0; i < f.id_len; ++i, id >>= 8)
      bytes[f.id_offset + (f.id_type == DRAGOMAN_ID_BE ? f.id_len - 1 - i : i)] = static_cast<char>(id);
    return bytes;
  }

 private:
  static const uint8_t* data(std::string_view s) { return reinterpret_cast<const uint8_t*>(s.data()); }
  const dragoman_codec* table_;
  std::vector<uint64_t> memory_;
};

/// Every beginning of a frame is told as the frame itself, or as one that needs more, but never more than it has.
inline void expect_prefixes_need_more(const dragoman_codec* table, const std::string& bytes) {
  for (uint32_t want : {0u, 3u, 7u}) {
    dragoman_frame whole = Asker(table).frame(bytes, want);
    for (size_t n = 1; n < bytes.size(); ++n) {
      dragoman_frame f;
      int verdict = Asker(table).probe(std::string_view(bytes).substr(0, n), f, want);
      if (verdict == DRAGOMAN_FRAME) {
        ASSERT_EQ(f.total_len, whole.total_len) << n;
        ASSERT_EQ(f.head_len, whole.head_len) << n;
        ASSERT_EQ(f.id, whole.id) << n;
      } else {
        ASSERT_EQ(verdict, DRAGOMAN_NEED) << n;
        ASSERT_GT(f.need, n);
        ASSERT_LE(f.need, bytes.size()) << "waits for more than the frame has";
      }
    }
  }
}

/// Feeds a request to a server-role connection in pieces, passes what comes out on, and expects the same bytes with
/// another id. `head` is called with the request's head (not for one-ways).
template <class OnHead>
void expect_request_passes(const dragoman_codec* table, const Vector& v, size_t cut, size_t step, OnHead&& head,
                           CodecOptions options = framed_options()) {
  bool exclusive = Asker(table).frame(v.bytes).variant & DRAGOMAN_VARIANT_EXCLUSIVE;
  if (exclusive) options.framed.mode = PoolMode::kPingPong;
  FramedConnection down(table, Role::kServer, options), up(table, Role::kClient, options);
  Hop hop(down, up);
  if (step) {
    down.feed_in_steps(v.bytes, step);
  } else {
    down.feed(v.bytes.substr(0, cut));
    down.feed(v.bytes.substr(cut));
  }
  ASSERT_EQ(down.events.broken, 0) << v.name << ": " << down.events.broken_detail;
  ASSERT_EQ(down.accepted(), 1u) << v.name << " cut " << cut;
  EXPECT_TRUE(down.at(0).ended);
  EXPECT_TRUE(hop.failures.empty());
  std::string sent = up.sink.take();
  Asker asker(table);
  // An exclusive connection may leave an id that can't be changed.
  if (options.framed.mode == PoolMode::kBound || (exclusive && sent == v.bytes)) {
    ASSERT_EQ(sent, v.bytes) << v.name << " cut " << cut;
  } else {
    ASSERT_EQ(asker.with_id(sent, 1), asker.with_id(v.bytes, 1)) << v.name << " cut " << cut;
  }
  EXPECT_EQ(down.codec->phase(), ReadPhase::kIdle);
  if (v.kind() == "oneway") {
    EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
    return;
  }
  head(*down.at(0).head);
}

/// Sends `request` through, answers it with the vector in pieces, and expects the vector with the request's id.
inline void expect_response_passes(const dragoman_codec* table, const std::string& request, const Vector& v,
                                   size_t cut, size_t step, CodecOptions options = framed_options()) {
  if (Asker(table).frame(request).variant & DRAGOMAN_VARIANT_EXCLUSIVE) options.framed.mode = PoolMode::kPingPong;
  FramedConnection down(table, Role::kServer, options), up(table, Role::kClient, options);
  Hop hop(down, up);
  Asker asker(table);
  uint64_t id = asker.frame(v.bytes).id;
  down.feed(asker.with_id(request, id));
  std::string sent = up.sink.take();
  std::string answer = asker.with_id(v.bytes, asker.frame(sent).id);
  if (step) {
    up.feed_in_steps(answer, step);
  } else {
    cut = std::min(cut, answer.size());  // ids may be shorter
    up.feed(answer.substr(0, cut));
    up.feed(answer.substr(cut));
  }
  ASSERT_EQ(up.events.broken, 0) << v.name << ": " << up.events.broken_detail;
  EXPECT_TRUE(hop.failures.empty());
  ASSERT_EQ(down.sink.take(), v.bytes) << v.name << " cut " << cut;
  EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
}

/// All splits of a vector; see above.
template <class OnHead>
void expect_passes_at_every_split(const dragoman_codec* table, const std::string& request, const Vector& v,
                                  OnHead&& head, CodecOptions options = framed_options()) {
  size_t stride = v.bytes.size() > 1000 ? 13 : 1;
  for (size_t cut = 0; cut <= v.bytes.size() && !::testing::Test::HasFatalFailure(); cut += stride) {
    if (v.is_request())
      expect_request_passes(table, v, cut, 0, head, options);
    else
      expect_response_passes(table, request, v, cut, 0, options);
  }
  if (v.is_request())
    expect_request_passes(table, v, 0, 1, head, options);
  else
    expect_response_passes(table, request, v, 0, 1, options);
}

enum class Edit { kMade, kSkipped };

/// A request as a backend gets it over a bound connection when its head is changed on the way; "" when it must pass as it
/// came, and be counted.
inline std::string edited_request(const dragoman_codec* table, const std::string& bytes,
                                  const std::function<void(Head&)>& edit, Edit want = Edit::kMade) {
  FramedConnection down(table, Role::kServer), up(table, Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  down.events.then_exchange = [&, start = down.events.then_exchange](FakeMessageSink& sink) {
    start(sink);
    sink.then_head = [&edit, pass = sink.then_head](Head& h, bool end) {
      edit(h);
      pass(h, end);
    };
  };
  down.feed(bytes);
  EXPECT_TRUE(hop.failures.empty());
  std::string sent = up.sink.take();
  EXPECT_EQ(up.events.count(CodecEvent::kEditSkipped), want == Edit::kSkipped ? 1u : 0u);
  if (want == Edit::kSkipped) {
    EXPECT_TRUE(sent == bytes) << "it passes as it came";
  }
  return want == Edit::kSkipped ? "" : sent;
}

/// Vectors called X-hijack-REASON are error replies of other proxies: reply() makes the same bytes with the same words.
/// `request_of(v)` is the call that v answers, `count` how many there are whose reason has an outcome.
template <class RequestOf>
void expect_replies_equal(const dragoman_codec* table, const std::string& folder, size_t count,
                          RequestOf&& request_of) {
  const std::pair<std::string_view, Outcome> reasons[] = {
      {"bad-request", Outcome::kCodecError}, {"codec-error", Outcome::kCodecError},
      {"limit", Outcome::kOverloaded},       {"no-healthy-upstream", Outcome::kUnavailable},
      {"no-route", Outcome::kNoRoute},       {"overflow", Outcome::kOverloaded},
      {"timeout", Outcome::kTimeout},        {"timeout-wideid", Outcome::kTimeout},
      {"unknown", Outcome::kUnknown},
  };
  size_t seen = 0;
  for (const Vector& v : vectors(folder)) {
    size_t at = v.name.find("-hijack-");
    if (at == std::string::npos || v.name.find("tup") != std::string::npos) continue;
    for (const auto& [reason, outcome] : reasons) {
      if (v.name.substr(at + 8) != reason) continue;
      ++seen;
      size_t from = v.bytes.find("mesh: "), to = from;
      ASSERT_NE(from, std::string::npos) << v.name;
      auto in_words = [](char c) {
        return isalpha(static_cast<unsigned char>(c)) || c == ' ' || c == ':' || c == '/';
      };
      while (to < v.bytes.size() && in_words(v.bytes[to])) ++to;
      while (v.bytes[to - 1] == ' ') --to;
      EXPECT_EQ(Asker(table).reply(request_of(v), outcome, v.bytes.substr(from, to - from)), v.bytes)
          << v.name;
    }
  }
  EXPECT_EQ(seen, count);
}

/// Every vector of kind malformed breaks the connection of whoever sends it, whole or byte by byte; those that are over a
/// limit with that reason.
inline void expect_malformed_are_refused(const dragoman_codec* table, const std::string& folder,
                                         size_t count) {
  size_t seen = 0;
  for (const Vector& v : vectors(folder)) {
    if (v.kind() != "malformed") continue;
    ++seen;
    bool too_large = v.text("reason").find(" over ") != std::string::npos;
    for (size_t step : {v.bytes.size(), size_t{1}}) {
      FramedConnection c(table, Role::kServer);
      c.feed_in_steps(v.bytes, step);
      EXPECT_EQ(c.events.broken, 1) << v.name;
      EXPECT_EQ(c.events.broken_reason, too_large ? Reason::kFrameTooLarge : Reason::kMalformed) << v.name;
      EXPECT_EQ(c.accepted(), 0u) << v.name;
    }
  }
  EXPECT_EQ(seen, count);
}

/// The number behind "tag=": what calls are known by in expect_ids_never_cross().
inline uint64_t tag_of(std::string_view bytes) {
  return std::stoull(std::string(bytes.substr(bytes.rfind("tag=") + 4, 20)));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kCrossingCalls = 100'000;
#else
inline constexpr int kCrossingCalls = 1'000'000;
#endif

/// kCrossingCalls calls from several clients over shared upstream connections, answered in random order, some given up.
/// `request(id, tag)` and `answer(request bytes, id, tag)` make frames in which tag_of() finds `tag` again.
template <class Request, class Answer>
void expect_ids_never_cross(const dragoman_codec* table, Request&& request, Answer&& answer) {
  constexpr size_t kClients = 8;
  std::mt19937 random(42);
  CodecOptions options = framed_options();
  options.framed.want = 0;
  Asker asker(table);
  int sent = 0, answered = 0;
  while (sent < kCrossingCalls) {
    FramedConnection up(table, Role::kClient, options);
    std::vector<std::unique_ptr<FramedConnection>> clients;
    std::vector<std::unique_ptr<Hop>> hops;
    std::vector<std::map<uint64_t, uint64_t>> waiting(kClients);  // id -> tag
    std::vector<std::string> open;                                // requests the backend has
    for (size_t i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<FramedConnection>(table, Role::kServer, options));
      hops.push_back(std::make_unique<Hop>(*clients.back(), up));
    }
    std::vector<uint64_t> next(kClients, 1);
    for (int turn = 0; turn < 2000 && sent < kCrossingCalls; ++turn) {
      size_t c = random() % kClients;
      for (size_t n = 1 + random() % 4; n > 0; --n, ++sent) {
        uint64_t id = next[c]++, tag = static_cast<uint64_t>(sent) + 1;
        waiting[c][id] = tag;
        clients[c]->feed(request(id, tag));
        open.push_back(up.sink.take());
      }
      while (open.size() > 64 || (!open.empty() && random() % 2)) {
        size_t at = random() % open.size();
        std::swap(open[at], open.back());
        up.feed(answer(open.back(), asker.frame(open.back(), 0).id, tag_of(open.back())));
        open.pop_back();
        for (size_t i = 0; i < kClients; ++i) {
          std::string got = clients[i]->sink.take();
          if (got.empty()) continue;
          uint64_t id = asker.frame(got, 0).id;
          ASSERT_EQ(waiting[i].count(id), 1u);
          ASSERT_EQ(waiting[i][id], tag_of(got)) << "an answer crossed";
          waiting[i].erase(id);
          ++answered;
        }
      }
    }
    ASSERT_EQ(up.events.broken, 0) << up.events.broken_detail;
    for (auto& client : clients) ASSERT_EQ(client->events.broken, 0);
  }
  EXPECT_GT(answered, kCrossingCalls * 9 / 10);
}

}  // namespace dragoman::testing
