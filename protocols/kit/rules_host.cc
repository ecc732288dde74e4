// Rules that need the host: framing at every split, ids on shared connections, one-way requests, random
// bytes.
#include <algorithm>
#include <chrono>
#include <random>

#include "protocols/kit/harness.h"
#include "protocols/kit/run.h"

namespace dragoman::kit {
namespace {

PoolMode mode_of(const dragoman_codec& t) {
  if (t.abilities & DRAGOMAN_ONLY_BOUND) return PoolMode::kBound;
  return t.abilities & DRAGOMAN_CAN_MULTIPLEX ? PoolMode::kMultiplex : PoolMode::kPingPong;
}

const Frame* first_of(const Run& run, uint32_t kind) {
  for (const Frame& f : run.frames)
    if (f.f.kind == kind) return &f;
  return nullptr;
}

/// A request on its way: what the backend saw of it.
struct Call {
  Call(Run& run, const Frame& request)
      : up(run.t, Role::kClient, mode_of(run.t), request.f.variant), down(run.t, Role::kServer,
          PoolMode::kMultiplex) {
    down.hop_to = &up;
    down.feed(request.bytes);
    State state(run.t);
    sent = first_frame(run.t, state, up.take(), DRAGOMAN_FROM_CLIENT);
  }
  /// `response` as the answer to this call.
  std::optional<Frame> answer(Run& run, const Frame& response) const {
    return sent ? answer_to(run, response, *sent) : std::nullopt;
  }
  static std::optional<Frame> answer_to(Run& run, const Frame& response, const Frame& request) {
    const dragoman_frame& f = request.f;
    bool text = f.id_type == DRAGOMAN_ID_BYTES;
    return with_id(run.t, response, f.id, text ? request.bytes.substr(f.id_offset, f.id_len) : "");
  }
  Side up;  // outlives what hops to it
  Side down;
  std::optional<Frame> sent;
};

/// Gives `bytes` in pieces: the first of `cut` bytes, the others of `step`.
std::string fed(Side& side, const std::string& bytes, size_t cut, size_t step) {
  side.feed(bytes.substr(0, cut));
  for (size_t at = cut; at < bytes.size(); at += step) side.feed(bytes.substr(at, step));
  return side.transcript();
}

void splits(Run& run) {
  for (const Frame& frame : run.frames) {
    const bool response = frame.f.kind == DRAGOMAN_RESPONSE;
    const Frame* request = response ? first_of(run, DRAGOMAN_REQUEST) : nullptr;
    if (response && !request) continue;
    auto transcript = [&](size_t cut, size_t step) -> std::string {
      if (!response) {
        Side side(run.t, Role::kServer, PoolMode::kMultiplex);
        std::string text = fed(side, frame.bytes, cut, step);
        if (side.lied()) run.fail("host", "the host breaks the connection: " + side.detail(), frame.bytes);
        return text;
      }
      Call call(run, *request);
      auto answer = call.answer(run, frame);
      if (!answer) return "no answer";
      fed(call.up, answer->bytes, std::min(cut, answer->bytes.size()), step);
      if (call.up.lied()) run.fail("host", "the host breaks the connection: " + call.up.detail(),
                                   answer->bytes);
      return call.down.transcript() + (call.up.broken() ? "broken" : "");
    };
    const std::string whole = transcript(frame.bytes.size(), 1);
    size_t size = frame.bytes.size();
    for (size_t cut = 1; cut < size; cut += size > 600 ? 1 + size / 300 : 1) {
      if (transcript(cut, size) == whole) continue;
      run.fail("host-split", "something else comes of a frame that is cut after " + std::to_string(cut) +
               " bytes",
               frame.bytes);
      break;
    }
    if (size <= 20000 && transcript(1, 1) != whole)
      run.fail("host-bytes", "something else comes of a frame that arrives byte by byte", frame.bytes);
    run.settle(frame.bytes);
  }
}

void hundred_at_once(Run& run, const std::vector<const Frame*>& requests) {
  std::string all;
  std::vector<const Frame*> hundred;
  for (size_t i = 0; i < 100; ++i) {
    hundred.push_back(requests[i % requests.size()]);
    all += hundred.back()->bytes;
  }
  Side at_once(run.t, Role::kServer, PoolMode::kMultiplex), one_by_one(run.t, Role::kServer,
      PoolMode::kMultiplex);
  at_once.feed(all);
  for (const Frame* f : hundred) one_by_one.feed(f->bytes);
  if (at_once.accepted.size() != hundred.size())
    run.fail("batch", std::to_string(at_once.accepted.size()) + " of 100 requests in one write arrive", "");
  else if (at_once.transcript() != one_by_one.transcript())
    run.fail("batch", "requests in one write are not what they are one by one", "");
  run.settle("");
}

/// One variant after the other: peers of some protocols keep to what they began with.
void batch(Run& run) {
  std::map<uint32_t, std::vector<const Frame*>> by_variant;
  for (const Frame& f : run.frames)
    if (f.f.kind == DRAGOMAN_REQUEST || f.f.kind == DRAGOMAN_ONEWAY) by_variant[f.f.variant].push_back(&f);
  if (by_variant.empty()) return run.skip("batch", "no vectors of requests");
  for (const auto& [variant, requests] : by_variant) hundred_at_once(run, requests);
}

void truncate(Run& run) {
  for (const Frame& frame : run.frames) {
    if (frame.f.kind == DRAGOMAN_RESPONSE) continue;
    size_t size = frame.bytes.size();
    for (size_t n = 1; n < size; n += size > 600 ? 1 + size / 300 : 1) {
      Side side(run.t, Role::kServer, PoolMode::kMultiplex);
      const std::string part = frame.bytes.substr(0, n);
      side.feed(part);
      side.end();
      bool complete = std::any_of(side.accepted.begin(), side.accepted.end(), [](auto&
          s) { return s->ended; });
      if (complete) run.fail("truncate", "a request that is cut off counts as whole", part);
      if (side.lied()) run.fail("truncate", "the host breaks the connection: " + side.detail(), part);
      if (!run.settle(part, "truncate")) break;
    }
  }
}

void shared_ids(Run& run) {
  const char* const kRules[] = {"ids-cross", "unknown-id", "duplicate-id"};
  const Frame *request = first_of(run, DRAGOMAN_REQUEST), *response = first_of(run, DRAGOMAN_RESPONSE);
  std::string why;
  if (!(run.t.abilities & DRAGOMAN_CAN_MULTIPLEX)) why = "connections are not shared";
  else if (!request || !response) why = "no vectors of a request and a response";
  else if (request->f.id_type == DRAGOMAN_ID_NONE || request->f.variant & DRAGOMAN_VARIANT_EXCLUSIVE)
    why = "the requests have no ids";
  if (!why.empty()) {
    for (const char* rule : kRules) run.skip(rule, why);
    return;
  }
  // Two clients use the same id at the same time; the second one's answer comes first.
  Call first(run, *request);
  Side second(run.t, Role::kServer, PoolMode::kMultiplex);
  second.hop_to = &first.up;
  second.feed(request->bytes);
  State state(run.t);
  auto sent = first_frame(run.t, state, first.up.take(), DRAGOMAN_FROM_CLIENT);
  run.settle(request->bytes);
  if (!first.sent || !sent)
    return run.fail("ids-cross", "a request does not get through to a shared connection", request->bytes);
  auto answer_2 = Call::answer_to(run, *response, *sent), answer_1 = first.answer(run, *response);
  if (!answer_1 || !answer_2) return run.fail("ids-cross", "an answer can't be given the id of its request",
                                              response->bytes);
  auto wanted = Call::answer_to(run, *response, *request);
  auto check = [&](Side& mine, Side& other, const std::string& answer) {
    first.up.feed(answer);
    std::string got = mine.take(), stray = other.take();
    if (!stray.empty()) return run.fail("ids-cross", "an answer reaches the wrong client", answer);
    State s(run.t);
    auto frame = first_frame(run.t, s, got, DRAGOMAN_FROM_SERVER);
    if (!frame || frame->bytes.size() != got.size())
      return run.fail("ids-cross", "no whole answer reaches its client", answer);
    bool same = request->f.id_type == DRAGOMAN_ID_BYTES
                    ? frame->bytes.substr(frame->f.id_offset, frame->f.id_len) ==
                          request->bytes.substr(request->f.id_offset, request->f.id_len)
                    : frame->f.id == request->f.id;
    if (!same) run.fail("ids-cross", "a client gets an answer with another id than its request had", got);
    else if (wanted && got != wanted->bytes)
      run.fail("ids-cross", "more than the id of an answer is changed", got);
  };
  check(second, first.down, answer_2->bytes);
  first.up.feed(answer_2->bytes);  // again
  if (!second.take().empty() || !first.down.take().empty() || first.up.broken())
    run.fail("duplicate-id", "a second answer to one request is not dropped", answer_2->bytes);
  check(first.down, second, answer_1->bytes);
  auto nobody = with_id(run.t, *response, run.t.id_len == 1 ? 0xee : run.t.id_len == 2 ? 0xeeee : 0x6eeeeeee,
                        "eeeeeeeeeeeeeeee");
  if (nobody) {
    first.up.feed(nobody->bytes);
    if (!second.take().empty() || !first.down.take().empty() || first.up.broken())
      run.fail("unknown-id", "an answer that nobody waits for is not dropped", nobody->bytes);
  }
  run.settle(response->bytes);
}

void one_way(Run& run) {
  const Frame* frame = first_of(run, DRAGOMAN_ONEWAY);
  if (!frame) return run.skip("oneway", "no vectors of one-way requests");
  Call call(run, *frame);
  if (!call.sent) {
    run.fail("oneway", "a one-way request does not get through", frame->bytes);
  } else {
    call.down.accepted[0]->other->release();
    call.down.accepted[0]->release();
    if (call.up.codec->open_exchanges() != 0 || call.down.codec->open_exchanges() != 0)
      run.fail("oneway", "a one-way request waits for an answer", frame->bytes);
    if (!call.down.take().empty()) run.fail("oneway", "a one-way request is answered", frame->bytes);
  }
  run.settle(frame->bytes);
}

void heartbeats(Run& run) {
  if (!run.t.heartbeat) return run.skip("host-heartbeat", "the codec can't");
  const Frame* request = first_of(run, DRAGOMAN_REQUEST);
  Side client(run.t, Role::kClient, mode_of(run.t), request ? request->f.variant : 0);
  Side server(run.t, Role::kServer, PoolMode::kMultiplex);
  bool sent = client.codec->heartbeat();
  std::string beat = client.take();
  server.feed(beat);
  std::string ack = server.take();
  client.feed(ack);
  if (!sent || beat.empty() || server.count(CodecEvent::kHeartbeatAnswered) != 1)
    run.fail("host-heartbeat", "a heartbeat that one side sends is not answered by the other", beat);
  else if (client.codec->heartbeats_missed() != 0 || client.count(CodecEvent::kHeartbeatAck) != 1)
    run.fail("host-heartbeat", "the answer to a heartbeat is not known as such", ack);
  run.settle(beat);
}

std::string mutated(const Run& run, std::mt19937_64& random) {
  std::string bytes;
  for (size_t n = 1 + random() % 3; n > 0; --n) bytes += run.frames[random() % run.frames.size()].bytes;
  if (bytes.size() > 8192) bytes.resize(8192);
  for (size_t n = 1 + random() % 6; n > 0; --n) {
    size_t at = random() % bytes.size();
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
        break;
      case 2:
        bytes[at] = static_cast<char>(random() % 2 ? 0xff : 0);
        break;
      case 3:
        bytes.erase(at, 1 + random() % 8);
        break;
      case 4:
        bytes.insert(at, 1 + random() % 8, static_cast<char>(random()));
        break;
      case 5:
        bytes.resize(at + 1);
        break;
    }
    if (bytes.empty()) bytes = "x";
  }
  return bytes;
}

void mutate(Run& run) {
  using Clock = std::chrono::steady_clock;
  if (run.options.seconds <= 0) return run.skip("mutate", "no time was given");
  std::mt19937_64 random(run.options.seed);
  const auto until = Clock::now() + std::chrono::duration<double>(run.options.seconds);
  const Frame* request = first_of(run, DRAGOMAN_REQUEST);
  while (Clock::now() < until) {
    ++run.mutations;
    const std::string bytes = mutated(run, random);
    Side server(run.t, Role::kServer, PoolMode::kMultiplex);
    fed(server, bytes, random() % (bytes.size() + 1), 1 + random() % bytes.size());
    for (auto& s : server.accepted) {  // answer what can be answered
      if (!s->head || s->was_reset) continue;
      LocalReply reply;
      reply.reason = static_cast<Reason>(1 + random() % 20);
      reply.text = "kit";
      s->head->set_header("x-kit", "1");
      if (random() % 2) s->exchange->send_reply(*s->head, reply);
    }
    if (server.lied()) run.fail("mutate", "the host breaks the connection: " + server.detail(), bytes);
    if (request && random() % 2) {
      Call call(run, *request);
      call.up.feed(bytes);
      if (call.up.lied()) run.fail("mutate", "the host breaks the connection: " + call.up.detail(), bytes);
    }
    if (!run.settle(bytes, "mutate")) return;
  }
}

}  // namespace

void host_rules(Run& run) {
  splits(run);
  batch(run);
  truncate(run);
  shared_ids(run);
  one_way(run);
  heartbeats(run);
  mutate(run);
}

}  // namespace dragoman::kit
