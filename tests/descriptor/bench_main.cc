// What a described protocol costs against the same one in C++: nanoseconds a frame, Bolt v1, request and answer.
//   codec  probe, view of everything, outcome of answers
// Prints one line each; exit status 1 when the descriptor costs more than 1.5 times as much (with --check).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "protocols/bolt/bolt.h"
#include "tests/descriptor/shipped.h"

namespace {

using namespace dragoman;
using namespace dragoman::testing;
using Clock = std::chrono::steady_clock;

std::string frame(bool request) {
  std::string class_name(request ? kSofaRequest : kSofaResponse);
  std::string header;
  if (request)
    header = kv("sofa_head_target_service", "com.example.UserService:1.0") + kv("sofa_head_method_name", "getUser") +
             kv("rpc_trace_context.sofaTraceId", "0a0fe91b1600000000001100112345") + kv("zone", "hz-a");
  else
    header = kv("sofa_head_response_error", "false") + kv("zone", "hz-a");
  std::string body(128, 'b');
  std::string out = be(1, 1) + be(request ? 1 : 0, 1) + be(request ? 1 : 2, 2) + be(1, 1) + be(77, 4) + be(1, 1) +
                    (request ? be(3000, 4) : be(0, 2)) + be(class_name.size(), 2) + be(header.size(), 2) +
                    be(body.size(), 4);
  return out + class_name + header + body;
}

uint64_t sink = 0;

void look(const dragoman_codec& t, const std::string& bytes) {
  dragoman_frame f{};
  f.size = sizeof f;
  auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  sink += static_cast<uint64_t>(t.probe(t.context, nullptr, p, bytes.size(), &f));
  if (f.kind == DRAGOMAN_RESPONSE) sink += t.outcome(t.context, nullptr, p, &f);
  dragoman_view v{};
  v.size = sizeof v;
  v.header = [](void*, dragoman_bytes name, dragoman_bytes value) { sink += name.len + value.len; };
  t.view(t.context, nullptr, p, &f, 7, &v);
  sink += v.service.len + v.method.len + f.id;
}

/// Least time of many short rounds: the machine has other work.
template <class F>
double nanoseconds(F&& f) {
  double best = 1e9;
  for (int round = 0; round < 200; ++round) {
    constexpr int kTimes = 2000;
    auto from = Clock::now();
    for (int i = 0; i < kTimes; ++i) f();
    double ns = std::chrono::duration<double, std::nano>(Clock::now() - from).count() / kTimes;
    best = std::min(best, ns);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  auto descriptor = shipped_descriptor("bolt1");
  const dragoman_codec &written = *bolt_codec(), &described = descriptor->table();
  double both[2] = {};
  for (bool request : {true, false}) {
    std::string bytes = frame(request);
    double a = nanoseconds([&] { look(written, bytes); }), b = nanoseconds([&] { look(described, bytes); });
    both[0] += a;
    both[1] += b;
    std::printf("codec  bolt v1 %-8s  written %6.1f ns  described %6.1f ns  %.2fx\n", request ? "request" : "answer", a, b,
                b / a);
  }
  double ratio = both[1] / both[0];
  std::printf("codec  bolt v1 both      written %6.1f ns  described %6.1f ns  %.2fx\n", both[0], both[1], ratio);
  if (sink == 0) return 2;
  return argc > 1 && std::strcmp(argv[1], "--check") == 0 && ratio > 1.5 ? 1 : 0;
}
