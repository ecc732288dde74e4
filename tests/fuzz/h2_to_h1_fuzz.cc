// A client of HTTP/2 in front of a backend of HTTP/1: whatever it sends, the backend reads exactly the requests that the client
// completed, one after the other, with the same head, body and trailers; and never the end of one that was not.
//
// Input: records. A strict HTTP/1 server of our own reads what is written upstream, and answers each request at once.
#include <vector>

#include "protocols/http1/http1_codec.h"
#include "protocols/http2/http2_codec.h"
#include "tests/fuzz/http_fuzz_support.h"
#include "tests/http2/frames.h"

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;
namespace h2 = dragoman::testing::h2;

std::string text_of(const Head& h) {
  std::string out;
  out.append(h.method).append(" ").append(h.path).append(" ").append(h.authority);
  for (const Header& f : h.headers) out.append("\n").append(f.name).append(": ").append(f.value);
  if (h.expect_continue) out += "\n<expect>";
  return out;
}

struct Request {
  End end;
  End answer;
  std::string head;
  int64_t length = -1;
  bool sent = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in(data, size);
  uint8_t bits = in.u8();
  CodecOptions options;
  options.http1.normalize_path = !(bits & 1);
  options.http1.allow_trace = true;
  options.http1.allow_websocket = false;
  CodecOptions roomy = options;
  roomy.http1.header_bytes_max = roomy.http1.uri_bytes_max = 1 << 20;
  roomy.http1.headers_max = 10'000;
  roomy.http1.normalize_path = false;
  roomy.http1.backslashes = true;
  roomy.http1.underscores = Underscores::kPass;  // what comes out is compared with what went in
  {
    Connection down(make_http2_codec, Role::kServer, options);
    Connection up(make_http1_codec, Role::kClient, roomy);
    Connection backend(make_http1_codec, Role::kServer, roomy);
    std::vector<std::unique_ptr<Request>> requests;  // passed on
    std::vector<std::unique_ptr<End>> seen;          // by the backend
    auto finish = [](Request& r) {
      r.answer.release();
      r.end.release();
    };
    down.accept = [&](Exchange& x) -> MessageSink* {
      requests.push_back(std::make_unique<Request>());
      Request* r = requests.back().get();
      r->end.exchange = &x;
      r->end.then_head = [&, r](Head& h, bool end) {
        r->answer.exchange = up.over() ? nullptr : up.codec->open(r->answer);
        r->head = text_of(h);
        r->length = h.content_length;
        if (!r->answer.exchange) return r->end.exchange->reset(Reason::kPendingOverflow);
        Reason reason = r->answer.exchange->send_head(h, end);
        r->sent = reason == Reason::kNone;
        if (!r->sent) finish(*r);
      };
      r->end.then_body = [r](std::span<const uint8_t> chunk, bool end) {
        if (r->answer.exchange) r->answer.exchange->send_body(chunk, end);
      };
      r->end.then_trailers = [r](HeaderList& t) {
        if (r->answer.exchange) r->answer.exchange->send_trailers(t);
      };
      r->end.then_reset = [&, r](Reason reason) {
        if (r->answer.exchange) r->answer.exchange->reset(reason);
        finish(*r);
      };
      r->answer.then_head = [&, r](Head& h, bool end) {
        if (h.status >= 200) REQUIRE(r->end.exchange && end);
        if (r->end.exchange) static_cast<void>(r->end.exchange->send_head(h, end));
        if (end) finish(*r);
      };
      r->answer.then_reset = [&, r](Reason) { finish(*r); };
      return &r->end;
    };
    backend.accept = [&](Exchange& x) -> MessageSink* {
      seen.push_back(std::make_unique<End>());
      End* e = seen.back().get();
      e->exchange = &x;
      return e;
    };
    std::vector<std::string> heads;
    size_t checked = 0;
    auto settle = [&] {
      for (int i = 0; i < 4; ++i) {
        down.sink.take();
        std::string wire = up.sink.take();
        if (!backend.over()) backend.feed(wire);
        while (checked < seen.size() && seen[checked]->ended) {
          End& e = *seen[checked];
          // The same request must have been completed by the client.
          Request* match = nullptr;
          size_t n = 0;
          for (auto& r : requests)
            if (r->sent && n++ == checked) match = r.get();
          REQUIRE(match);
          // By its end, or because all that it announced has come. What became of its connection later does not matter.
          REQUIRE(match->length >= 0 ? match->end.body.size() == static_cast<size_t>(match->length)
                                     : match->end.ended);
          REQUIRE(text_of(*e.head) == match->head);
          REQUIRE(e.body == match->end.body);
          REQUIRE(e.trailers == match->end.trailers);
          Head ok;
          ok.is_http = true;
          ok.status = 204;
          REQUIRE(e.exchange->send_head(ok, true) == Reason::kNone);
          e.release();
          ++checked;
        }
        std::string answer = backend.sink.take();
        // The backend never has anything to object to, except a method it does not know.
        REQUIRE(!backend.broken || backend.reason == Reason::kUnsupported);
        if (backend.broken) return;
        if (!up.over()) up.feed(answer);
      }
    };
    down.feed(h2::hello());
    for (int steps = 0; in.more() && !down.over() && !up.over() && steps < 200; ++steps) {
      uint8_t action = in.u8(), id = in.u8();
      switch (action % 6) {
        case 0:
        case 1: {
          uint8_t shape = in.u8();
          h2::Fields f = shape & 1 ? h2::post() : h2::get();
          if (shape & 2) f[2].second = std::string(in.bytes(in.u8() % 32));
          if (shape & 4) f[3].second = std::string(in.bytes(in.u8() % 32));
          if (shape & 8) f[0].second = std::string(in.bytes(in.u8() % 12));
          for (int n = shape >> 6; n > 0; --n) {
            std::string name(in.bytes(in.u8() % 24));
            f.emplace_back(name, std::string(in.bytes(in.u8() % 24)));
          }
          if (shape & 16) f.emplace_back("content-length", std::to_string(in.u8() % 16));
          if (shape & 32) f.emplace_back("te", "trailers");
          down.feed(h2::headers(id, f, h2::kEndHeaders | (action & 64 ? h2::kEndStream : 0)));
          break;
        }
        case 2:
          down.feed(h2::data(id, in.bytes(in.u8() % 64), action & 64 ? h2::kEndStream : 0));
          break;
        case 3:
          down.feed(h2::headers(id, {{std::string(in.bytes(in.u8() % 16)), std::string(in.bytes(in.u8() % 16))}}));
          break;
        case 4:
          down.feed(h2::rst(id));
          break;
        default:
          down.feed(in.bytes(id));
          break;
      }
      settle();
    }
    for (auto& r : requests) finish(*r);
    for (auto& e : seen) e->release();
    if (!down.over()) down.codec->on_transport_closed(Reason::kDownstreamReset);
    if (!up.over()) up.codec->on_transport_closed(Reason::kUpstreamReset);
    if (!backend.over()) backend.codec->on_transport_closed(Reason::kDownstreamReset);
  }
  REQUIRE(live_http2_exchanges() == 0);
  return 0;
}
