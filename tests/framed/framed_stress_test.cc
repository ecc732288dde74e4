// Random lives of clients and backends around the framed host: every pool mode, both roles, one-way requests, half
// frames, resets, late, double and missing answers, drains, garbage, blocked output, ids used twice. What must hold:
//   every sink hears exactly one end, or none when its holder released it first
//   no answer reaches another call, and ordered answers keep their order
//   at the end nothing is left alive
//
// Runs some seconds, DRAGOMAN_STRESS_SECONDS says how many. Seeds are printed; DRAGOMAN_STRESS_SEED repeats one.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <random>
#include <set>

#include "protocols/bolt/bolt.h"
#include "tests/framed/tiny_codecs.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

/// A frame as the peers of the test see it. Payloads are "q<number>" and "a<number>".
struct Seen {
  uint32_t kind = 0;
  uint64_t id = 0;
  std::string payload;
};

std::string number_of(const std::string& payload) {
  return payload.empty() ? "" : payload.substr(1, payload.find_first_of("x.") - 1);
}

/// A protocol from outside: its frames are made and read without the codec under test.
struct Wire {
  const char* name;
  const dragoman_codec* (*table)();
  bool ids;
  bool loose;
  bool pools;  // ids tell answers apart: multiplex works
  std::string (*make)(uint32_t kind, uint64_t id, const std::string& payload);
  bool (*take)(std::string& bytes, Seen& out);  // the first frame, if it is complete
};

std::string make_bolt(uint32_t kind, uint64_t id, const std::string& payload) {
  auto number = static_cast<uint32_t>(id);
  if (kind == DRAGOMAN_RESPONSE) return BoltFrame::response(number, payload).bytes();
  return kind == DRAGOMAN_ONEWAY ? BoltFrame::one_way(number, payload).bytes()
                                 : BoltFrame::request(number, payload).bytes();
}

bool take_bolt(std::string& bytes, Seen& out) {
  if (bytes.size() < 22) return false;
  auto number = [&](size_t at, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; ++i) v = v << 8 | static_cast<uint8_t>(bytes[at + i]);
    return v;
  };
  const auto type = static_cast<uint8_t>(bytes[1]);
  const size_t lengths = type == 0 ? 12 : 14, head = lengths + 8;
  const size_t content = static_cast<size_t>(number(lengths + 4, 4)),
               before = static_cast<size_t>(number(lengths, 2) + number(lengths + 2, 2));
  if (bytes.size() < head + before + content) return false;
  out.kind = type == 0 ? DRAGOMAN_RESPONSE : type == 2 ? DRAGOMAN_ONEWAY : DRAGOMAN_REQUEST;
  if (number(2, 2) == 0) out.kind = DRAGOMAN_HEARTBEAT;
  out.id = number(5, 4);
  out.payload = bytes.substr(head + before, content);
  bytes.erase(0, head + before + content);
  return true;
}

bool take_noid(std::string& bytes, Seen& out) {
  if (bytes.size() < 4) return false;
  const size_t n = static_cast<uint8_t>(bytes[2]) * 256u + static_cast<uint8_t>(bytes[3]);
  if (bytes.size() < 4 + n) return false;
  out = {static_cast<uint8_t>(bytes[1]), 0, bytes.substr(4, n)};
  bytes.erase(0, 4 + n);
  return true;
}

bool take_unsized(std::string& bytes, Seen& out) {
  const size_t semicolon = bytes.find(';'), end = bytes.find('.');
  if (end == std::string::npos) return false;
  out = {static_cast<uint8_t>(bytes[1]), std::stoull(bytes.substr(2, semicolon - 2)),
         bytes.substr(semicolon + 1, end - semicolon - 1)};
  bytes.erase(0, end + 1);
  return true;
}

const Wire kWires[] = {
    {"bolt", [] { return bolt_codec(); }, true, false, true, make_bolt, take_bolt},
    {"no ids", [] { return codec_table<NoId>(); }, false, false, false,
     [](uint32_t kind, uint64_t, const std::string& payload) { return NoId::frame(kind, payload); },
     take_noid},
    {"loose ids", [] { return codec_table<Unsized>(); }, true, true, true,
     [](uint32_t kind, uint64_t id, const std::string& payload) {
       return Unsized::frame(kind, id, payload, 'L');
     },
     take_unsized},
};

struct World;

struct Backend {
  explicit Backend(const Wire& w, PoolMode m, uint64_t seed)
      : mode(m), c(w.table(), Role::kClient, [&] {
          CodecOptions o = framed_options(m);
          o.framed.streams_max = 40;
          o.framed.id_seed = seed;
          return o;
        }()) {
    c.events.refuse = true;  // nobody takes its requests
  }
  PoolMode mode;
  FramedConnection c;
  std::string bytes;          // on their way to it
  std::deque<Seen> requests;  // not answered
  std::deque<Seen> answered;
  bool retired = false;  // takes no more calls
  bool blocked = false;  // reads nothing
  bool closed = false;
  void* client = nullptr;  // bound
};

struct Client {
  explicit Client(const Wire& w, bool small)
      : c(w.table(), Role::kServer, [&] {
          CodecOptions o = framed_options();
          o.framed.streams_max = small ? 3 : 1000;
          o.framed.held_bytes_max = 20'000;
          o.framed.kept_bytes_max = small ? 2'000 : 200'000;
          o.framed.frame_bytes_max = 50'000;
          return o;
        }()) {}
  FramedConnection c;
  std::string half;                                    // rest of a frame half sent
  std::string bytes;                                   // answers on their way to it
  bool blocked = false;                                // reads nothing
  std::deque<std::pair<uint64_t, std::string>> asked;  // id, payload; in order
  bool closed = false;
};

/// One exchange of a client and its call, as the engine treats them.
struct Relay {
  World& world;
  Client& client;
  Backend* backend = nullptr;
  Exchange* down;
  Exchange* up = nullptr;
  std::string request;
  bool head_seen = false, request_ended = false, answering = false, ended = false, done = false;
  int down_ends = 0, up_ends = 0;
  Head* head = nullptr;
  std::string answer;

  struct Down final : MessageSink {
    Relay* r = nullptr;
    void on_head(Head& h, bool end) override { r->on_request(&h, {}, end); }
    void on_body(std::span<const uint8_t> chunk, bool end) override { r->on_request(nullptr, chunk, end); }
    void on_trailers(HeaderList&) override { ADD_FAILURE(); }
    void on_reset(Reason) override {
      EXPECT_FALSE(r->done) << "a released sink was told";
      EXPECT_EQ(++r->down_ends, 1);
      r->finish();
    }
    void on_write_blocked(bool) override { EXPECT_FALSE(r->done); }
  } down_sink;
  struct Up final : MessageSink {
    Relay* r = nullptr;
    void on_head(Head& h, bool end) override { r->on_answer(&h, {}, end); }
    void on_body(std::span<const uint8_t> chunk, bool end) override { r->on_answer(nullptr, chunk, end); }
    void on_trailers(HeaderList&) override { ADD_FAILURE(); }
    void on_reset(Reason reason) override {
      EXPECT_FALSE(r->done) << "a released sink was told";
      EXPECT_EQ(++r->up_ends, 1);
      r->fail(reason);
    }
    void on_write_blocked(bool) override { EXPECT_FALSE(r->done); }
  } up_sink;

  Relay(World& w, Client& c, Exchange& x) : world(w), client(c), down(&x) { down_sink.r = up_sink.r = this; }
  void on_request(Head* h, std::span<const uint8_t> chunk, bool end);
  void on_answer(Head* h, std::span<const uint8_t> chunk, bool end);
  void open(Backend& b);
  void fail(Reason reason);
  void finish();
};

struct World {
  const Wire& wire;
  const PoolMode mode;
  std::mt19937_64 random;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<std::unique_ptr<Relay>> relays;
  uint64_t number = 0, answers = 0, errors = 0;

  World(const Wire& w, PoolMode m, uint64_t seed) : wire(w), mode(m), random(seed) {}
  uint64_t dice(uint64_t n) { return random() % n; }

  void add_client() {
    clients.push_back(std::make_unique<Client>(wire, dice(3) == 0));
    Client* c = clients.back().get();
    accept(*c);
  }
  void accept(Client& c);
  Backend* room(Client& c) {
    if (mode == PoolMode::kBound) {
      for (auto& b : backends)
        if (b->client == &c && !b->closed) return b->c.codec->capacity() > 0 ? b.get() : nullptr;
    } else {
      for (auto& b : backends)
        if (!b->closed && b->c.codec->capacity() > 0 && !b->retired) return b.get();
      if (backends.size() - dead() >= 6) return nullptr;
    }
    backends.push_back(std::make_unique<Backend>(wire, mode, dice(2) ? random() : 0));
    backends.back()->client = &c;
    return backends.back().get();
  }
  size_t dead() {
    size_t n = 0;
    for (auto& b : backends) n += b->closed;
    return n;
  }
  void close(Backend& b) {
    if (std::exchange(b.closed, true)) return;
    b.c.codec->on_transport_closed(Reason::kUpstreamReset);
    EXPECT_EQ(b.c.codec->open_exchanges(), 0u) << "somebody did not hear the end";
    for (auto& r : relays) EXPECT_FALSE(!r->done && r->up && r->backend == &b);
  }
  void close(Client& c) {
    if (std::exchange(c.closed, true)) return;
    c.c.codec->on_transport_closed(Reason::kDownstreamReset);
    EXPECT_EQ(c.c.codec->open_exchanges(), 0u) << "somebody did not hear the end";
    for (auto& r : relays) EXPECT_FALSE(!r->done && &r->client == &c);
    if (mode == PoolMode::kBound)
      for (auto& b : backends)
        if (b->client == &c) close(*b);
  }
  void step();
  void client_acts(Client& c);
  void backend_acts(Backend& b);
  void relay_acts(Relay& r);
  void read_answers(Client& c);
  void tidy();
  void end();
};

/// Gives every exchange of a client a relay.
void World::accept(Client& c) {
  c.c.events.take_exchange = [this, &c](Exchange& x) -> MessageSink* {
    relays.push_back(std::make_unique<Relay>(*this, c, x));
    return &relays.back()->down_sink;
  };
}

void Relay::on_request(Head* h, std::span<const uint8_t> chunk, bool end) {
  EXPECT_FALSE(done);
  EXPECT_EQ(down_ends, 0);
  EXPECT_FALSE(request_ended);
  if (h) head = h;
  request += to_text(chunk);
  request_ended = end;
  if (h && world.dice(12) == 0) return fail(Reason::kNoRoute);  // answered at its head
  if (up) {
    up->send_body(chunk, end);
    if (end && !done && head->one_way) finish();
  } else if (h && world.dice(2)) {
    if (Backend* b = world.room(client)) open(*b);
  }
}

void Relay::open(Backend& b) {
  up = b.c.codec->open(up_sink);
  ASSERT_NE(up, nullptr);
  backend = &b;
  Reason why = up->send_head(*head, request_ended && request.empty());
  if (done) return;
  if (why != Reason::kNone) return fail(why);
  if (!request.empty())
    up->send_body(std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(request.data()), request.size()),
                  request_ended);
  if (!done && request_ended && head->one_way) finish();
}

void Relay::on_answer(Head* h, std::span<const uint8_t> chunk, bool end) {
  EXPECT_FALSE(done);
  EXPECT_FALSE(ended);
  ended = end;
  answer += to_text(chunk);
  if (h) {
    Reason why = down->send_head(*h, end);
    if (done) return;
    answering = why == Reason::kNone;
    if (why != Reason::kNone) return fail(why);
  } else {
    down->send_body(chunk, end);
  }
  if (!end || done) return;
  EXPECT_EQ(number_of(answer), number_of(request)) << "an answer to another call";
  finish();
}

void Relay::fail(Reason reason) {
  if (done) return;
  if (up) {
    Exchange* x = std::exchange(up, nullptr);
    x->reset(reason);
    x->release();
  }
  if (done) return;
  LocalReply reply;
  reply.reason = reason;
  if (head && !head->one_way) down->send_reply(*head, reply);
  finish();
}

void Relay::finish() {
  if (std::exchange(done, true)) return;
  if (up) std::exchange(up, nullptr)->release();
  std::exchange(down, nullptr)->release();
}

void World::client_acts(Client& c) {
  if (c.closed) return;
  auto send = [&](const std::string& bytes) {
    c.c.feed(bytes);
    if (c.c.events.broken) close(c);
  };
  if (!c.half.empty()) {
    if (dice(20) == 0) {  // goes in the middle of it
      c.c.codec->on_eof();
      return close(c);
    }
    return send(std::exchange(c.half, {}));
  }
  switch (dice(40)) {
    case 0: return close(c);
    case 1:
      c.c.codec->on_eof();
      if (c.c.codec->open_exchanges() == 0 || c.c.events.broken || dice(2)) close(c);
      return;
    case 2: return c.c.codec->drain();
    case 3: c.c.codec->fail(Reason::kFrameTimeout); return close(c);
    case 4:
      if (dice(4) == 0) send("garbage garbage garbage garbage.");
      return;
    case 5:
    case 6:
    case 7:
      c.c.codec->on_write_blocked(c.blocked = !c.blocked);
      if (c.c.events.broken) close(c);
      return;
    case 8: return send(wire.make(DRAGOMAN_RESPONSE, dice(100), "a0"));  // to nobody
    default: break;
  }
  if (c.c.events.paused && dice(4)) return;
  std::string bytes;
  for (uint64_t n = 1 + dice(4); n > 0; --n) {
    const bool one_way = dice(5) == 0;
    ++number;
    uint64_t id = dice(3) == 0 ? 0 : dice(2) ? 1 + dice(4) : number % 60000;
    if (mode == PoolMode::kBound) id = number;  // ids pass through: the client's own matter
    const std::string payload =
        "q" + std::to_string(number) + std::string(dice(8) == 0 ? dice(9000) : 0, 'x');
    bytes += wire.make(one_way ? DRAGOMAN_ONEWAY : DRAGOMAN_REQUEST, id, payload);
    if (!one_way) c.asked.emplace_back(id, payload);
  }
  if (dice(4) == 0) {
    size_t cut = dice(bytes.size());
    c.half = bytes.substr(cut);
    bytes.resize(cut);
  }
  if (!bytes.empty()) send(bytes);
}

void World::backend_acts(Backend& b) {
  if (b.closed) return;
  if (!b.blocked) b.bytes += b.c.sink.take();
  for (Seen seen; wire.take(b.bytes, seen);)
    if (seen.kind == DRAGOMAN_REQUEST || seen.kind == DRAGOMAN_ONEWAY) b.requests.push_back(seen);
  auto send = [&](const std::string& bytes) {
    if (dice(4) == 0 && bytes.size() > 1) {
      size_t cut = 1 + dice(bytes.size() - 1);
      b.c.feed(bytes.substr(0, cut));
      if (!b.c.events.broken) b.c.feed(bytes.substr(cut));
    } else {
      b.c.feed(bytes);
    }
    if (b.c.events.broken) close(b);
  };
  switch (dice(60)) {
    case 0: return close(b);
    case 1: b.c.codec->on_eof(); return close(b);
    case 2: return b.c.codec->drain();
    case 3:
    case 4:
    case 5: return b.c.codec->on_write_blocked(b.blocked = !b.blocked);
    case 6:
      if (!b.c.events.broken) static_cast<void>(b.c.codec->heartbeat());
      return;
    case 7: return send(wire.make(dice(2) ? DRAGOMAN_REQUEST : DRAGOMAN_ONEWAY, dice(50), "q0"));
    case 8:
      if (dice(4) == 0) send("garbage garbage garbage garbage.");
      return;
    case 9:
      if (wire.ids && !b.answered.empty())
        send(
            wire.make(DRAGOMAN_RESPONSE, b.answered.front().id, "a" + number_of(b.answered.front().payload)));
      return;
    default: break;
  }
  if (b.requests.empty()) return;
  // Without ids, and with ids left out, a server is one after the other and answers everything or nothing.
  const bool in_turn = !wire.ids;
  const size_t at = in_turn ? 0 : dice(b.requests.size());
  Seen request = b.requests[at];
  b.requests.erase(b.requests.begin() + static_cast<std::ptrdiff_t>(at));
  const bool only = b.requests.empty() && b.c.sink.peek().empty();
  const bool one_way = request.kind == DRAGOMAN_ONEWAY;
  if (one_way ? dice(4) != 0 : !in_turn && dice(12) == 0)
    return;  // no answer; some answer one-way messages, too
  if (one_way && mode == PoolMode::kBound) return;
  std::string payload = "a" + number_of(request.payload);
  if (dice(8) == 0) payload += (wire.take == take_unsized ? "" : "." + std::string(dice(20'000), 'y'));
  const bool left_out = wire.loose && only && dice(3) == 0;
  b.answered.push_front(request);
  if (b.answered.size() > 20) b.answered.pop_back();
  std::string bytes = wire.make(DRAGOMAN_RESPONSE, left_out ? 0 : request.id, payload);
  if (dice(16) == 0 && mode != PoolMode::kBound) bytes += bytes;
  if (dice(30) == 0) {
    b.c.feed(bytes.substr(0, dice(bytes.size())));
    b.c.codec->on_eof();
    return close(b);
  }
  send(bytes);
}

void World::relay_acts(Relay& r) {
  if (r.done || !r.head) return;
  if (dice(25) == 0) return r.fail(Reason::kUpstreamTimeout);
  if (r.up || dice(2)) return;
  if (Backend* b = room(r.client)) r.open(*b);
}

/// What a client gets: each answer is for a request of its own, whose id it has; without ids they come in order.
void World::read_answers(Client& c) {
  if (!c.blocked) c.bytes += c.c.sink.take();
  for (Seen seen; wire.take(c.bytes, seen);) {
    if (seen.kind != DRAGOMAN_RESPONSE) continue;
    const bool good = !seen.payload.empty() && seen.payload[0] == 'a';
    auto is_it = [&](const auto& a) {
      return a.first == seen.id && (!good || number_of(a.second) == number_of(seen.payload));
    };
    auto found = c.asked.begin();
    if (wire.ids) {
      found = std::find_if(c.asked.begin(), c.asked.end(), is_it);
    } else if (found != c.asked.end() && good) {
      EXPECT_EQ(number_of(found->second), number_of(seen.payload)) << "out of order";
    }
    ASSERT_NE(found, c.asked.end()) << "an answer to nothing: " << seen.id << " "
                                    << seen.payload.substr(0, 40);
    if (good || !wire.ids) c.asked.erase(found);  // which of several with its id an error is for doesn't show
    ++(good ? answers : errors);
  }
}

void World::step() {
  while (clients.size() < 4) add_client();
  client_acts(*clients[dice(clients.size())]);
  if (!relays.empty()) relay_acts(*relays[dice(relays.size())]);
  for (int i = 0; i < 2 && !backends.empty(); ++i) backend_acts(*backends[dice(backends.size())]);
  for (auto& b : backends) {
    if (b->closed) continue;
    if (b->c.events.spent || b->c.events.goaways) b->retired = true;
    if (b->c.events.broken || (b->retired && b->c.codec->open_exchanges() == 0)) close(*b);
  }
  for (auto& c : clients) {
    if (c->closed) continue;
    if (c->c.events.broken) close(*c);
    read_answers(*c);
  }
  if (dice(20) == 0) tidy();
}

void World::tidy() {
  std::erase_if(relays, [](auto& r) { return r->done; });
  std::erase_if(clients, [](auto& c) { return c->closed; });
  std::erase_if(backends, [](auto& b) { return b->closed; });
}

void World::end() {
  for (auto& c : clients) close(*c);
  for (auto& b : backends) close(*b);
  for (auto& r : relays) EXPECT_TRUE(r->done);
  tidy();
}

TEST(FramedStress, NothingCrossesNothingDangles) {
  const char* seconds = std::getenv("DRAGOMAN_STRESS_SECONDS");
  const char* given = std::getenv("DRAGOMAN_STRESS_SEED");
  uint64_t seed = given ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(seconds ? std::atoi(seconds) : 15);
  std::cout << "DRAGOMAN_STRESS_SEED=" << seed << std::endl;
  const size_t chunks = live_chunks();
  uint64_t worlds = 0, answers = 0, errors = 0;
  do {
    for (const Wire& wire : kWires) {
      for (PoolMode mode : {PoolMode::kMultiplex, PoolMode::kPingPong, PoolMode::kBound}) {
        if (mode == PoolMode::kMultiplex && !wire.pools) continue;
        SCOPED_TRACE(std::string(wire.name) + ", mode " + std::to_string(static_cast<int>(mode)) +
                     ", DRAGOMAN_STRESS_SEED=" + std::to_string(seed));
        {
          World world(wire, mode, seed);
          for (int i = 0; i < 1500 && !HasFailure(); ++i) world.step();
          world.end();
          answers += world.answers;
          errors += world.errors;
        }
        ++worlds;
        ASSERT_EQ(live_framed_exchanges(), 0u);
        ASSERT_EQ(live_chunks(), chunks);
        if (HasFailure()) return;
      }
    }
    ++seed;
  } while (!given && std::chrono::steady_clock::now() < until);
  std::cout << worlds << " worlds, " << answers << " answers, " << errors << " errors" << std::endl;
  EXPECT_GT(answers, worlds * 20);
}

}  // namespace
}  // namespace dragoman::testing
