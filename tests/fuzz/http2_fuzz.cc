// HTTP/2, both roles: whatever a peer sends and an owner does, the codec keeps the contract of exchange.h and leaves nothing.
//
// Input: one byte of options, then records `u8 action, ...`. Bytes come as they are, or as the payload of a frame whose head is
// right; the owner answers, gives up, pauses, waits.
#include "protocols/http2/http2_codec.h"
#include "tests/fuzz/http_fuzz_support.h"
#include "tests/http2/frames.h"

#include <vector>

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;
namespace h2 = dragoman::testing::h2;

struct Run {
  Run(Role role, const CodecOptions& options) : role_(role), connection(make_http2_codec, role, options) {
    connection.accept = [this](Exchange& x) -> MessageSink* {
      ends.push_back(std::make_unique<End>());
      ends.back()->exchange = &x;
      return ends.back().get();
    };
  }
  ~Run() {
    for (auto& e : ends) e->release();
  }
  End* pick(uint8_t i) { return ends.empty() ? nullptr : ends[i % ends.size()].get(); }
  void call(std::string_view path, bool end) {
    ends.push_back(std::make_unique<End>());
    End& e = *ends.back();
    e.exchange = connection.codec->open(e);
    if (!e.exchange) return ends.pop_back();
    request.method = end ? "GET" : "POST";
    request.path = path;
    static_cast<void>(e.exchange->send_head(request, end));
  }

  const Role role_;
  Connection connection;
  std::vector<std::unique_ptr<End>> ends;
  Head request;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in(data, size);
  uint8_t bits = in.u8();
  CodecOptions options;
  options.http2.streams_max = bits & 4 ? 3 : 100;
  options.http2.stream_window_bytes = bits & 8 ? 100 : 65'535;
  if (bits & 16) {
    options.http1.header_bytes_max = 300;
    options.http1.headers_max = 8;
    options.http1.body_bytes_max = 50;
    options.http2.control_burst = 20;
    options.http2.resets_burst = 3;
    options.http2.own_resets_burst = 3;
  }
  {
    Role role = bits & 1 ? Role::kClient : Role::kServer;
    Run run(role, options);
    Connection& c = run.connection;
    run.request.is_http = true;
    run.request.authority = "a";
    run.request.scheme = "http";
    Head answer;
    answer.is_http = true;
    answer.is_request = false;
    Head fields;
    fields.headers.add("x-end", "1");
    if (!(bits & 2)) c.feed(role == Role::kServer ? h2::hello() : h2::settings({{8, 1}}));
    for (int steps = 0; in.more() && !c.over() && steps < 400; ++steps) {
      uint8_t action = in.u8();
      switch (action % 24) {
        case 0:
          c.feed(in.bytes(in.u16()));
          break;
        case 1: case 2: case 3: case 4: case 5: case 6: case 7: case 8: {
          uint8_t type = in.u8() % 12, flags = in.u8(), id = in.u8();
          c.feed(h2::frame(type, flags, id, in.bytes(in.u8())));
          break;
        }
        case 9: {
          uint8_t id = in.u8(), flags = in.u8();
          h2::Fields f = role == Role::kServer ? h2::post("/p") : h2::Fields{{":status", "200"}};
          for (int n = flags >> 6; n > 0; --n) {
            std::string name(in.bytes(in.u8() % 24));
            f.emplace_back(name, std::string(in.bytes(in.u8() % 24)));
          }
          c.feed(h2::headers(id, f, flags & 5));
          break;
        }
        case 10:
          c.now += in.u16() * 16;
          c.codec->tick();
          break;
        case 11:
          c.codec->on_write_blocked(in.u8() & 1);
          break;
        case 12:
          c.sink.take();
          break;
        case 13:
          if (role == Role::kClient) run.call(in.bytes(in.u8() % 16), action & 1);
          break;
        case 14:
          if (End* e = run.pick(in.u8()); e && e->exchange) {
            answer.status = 100 + in.u8() * 3u;
            answer.content_length = in.u8() % 4 == 0 ? in.u8() : -1;
            if (role == Role::kServer) static_cast<void>(e->exchange->send_head(answer, in.u8() & 1));
          }
          break;
        case 15:
          if (End* e = run.pick(in.u8()); e && e->exchange) {
            std::string body(in.u16() * (action > 128 ? 4u : 1u), 'x');
            e->exchange->send_body({reinterpret_cast<const uint8_t*>(body.data()), body.size()}, in.u8() & 1);
          }
          break;
        case 16:
          if (End* e = run.pick(in.u8()); e && e->exchange) e->exchange->send_trailers(fields.headers);
          break;
        case 17:
          if (End* e = run.pick(in.u8()); e && e->exchange) e->exchange->reset(Reason::kUpstreamReset);
          break;
        case 18:
          if (End* e = run.pick(in.u8())) e->release();
          break;
        case 19:
          if (End* e = run.pick(in.u8()); e && e->exchange) {
            if (in.u8() & 1)
              e->exchange->pause_reading();
            else
              e->exchange->resume_reading();
          }
          break;
        case 20:
          if (End* e = run.pick(in.u8()); e && e->exchange && e->head && role == Role::kServer) {
            LocalReply reply;
            reply.reason = Reason::kNoRoute;
            reply.text = "no";
            e->exchange->send_reply(*e->head, reply);
          }
          break;
        case 21:
          c.codec->drain();
          break;
        case 22:
          c.codec->heartbeat();
          break;
        default:
          if (action == 23) c.codec->on_eof();
          break;
      }
      // What was written is a sequence of whole frames.
      if (action & 32) {
        std::string said = c.sink.take();
        size_t whole = said.starts_with(h2::kPreface) ? h2::kPreface.size() : 0;
        for (const h2::Frame& f : h2::parse(said)) whole += 9 + f.payload.size();
        REQUIRE(whole == said.size());
      }
    }
    if (!c.over()) c.codec->on_transport_closed(role == Role::kServer ? Reason::kDownstreamReset : Reason::kUpstreamReset);
  }
  REQUIRE(live_http2_exchanges() == 0);
  REQUIRE(live_chunks() == 0);
  return 0;
}
