// What a described protocol costs against the same one in C++: Bolt v1, request and answer, as the framed host calls a
// table: probe(), outcome() of answers, view() of what is wanted, then another id in its place.
// Where every header is wanted, the codec in C++ collects transaction and trace ids as well, which a descriptor doesn't:
// the larger of both ratios is the one that counts.
// Prints nanoseconds a frame; with --json one line for programs. With --check, the exit status is 1 when the descriptor
// costs more than 1.5 times as much. --written and --described run one of them 2,000 times, for a profiler:
//   valgrind --tool=callgrind --toggle-collect='*one_frame*' build/release/tests/descriptor/descriptor_bench --described
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>

#include "protocols/bolt/bolt.h"
#include "proxy/base/cursor.h"
#include "tests/descriptor/shipped.h"

namespace {

using namespace dragoman;
using namespace dragoman::testing;
using Clock = std::chrono::steady_clock;

constexpr double kTarget = 1.5;

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

[[gnu::noinline]] void one_frame(const dragoman_codec& t, std::string& bytes, uint32_t want) {
  dragoman_frame f{};
  f.size = sizeof f;
  f.want = want;
  auto* p = reinterpret_cast<uint8_t*>(bytes.data());
  sink += static_cast<uint64_t>(t.probe(t.context, nullptr, p, bytes.size(), &f));
  if (f.kind == DRAGOMAN_RESPONSE) sink += t.outcome(t.context, nullptr, p, &f);
  dragoman_view v{};
  v.size = sizeof v;
  if (want & DRAGOMAN_WANT_HEADERS)
    v.header = [](void*, dragoman_bytes name, dragoman_bytes value) { sink += name.len + value.len; };
  t.view(t.context, nullptr, p, &f, want, &v);
  sink += v.service.len + v.method.len;
  store_be<uint32_t>(p + f.id_offset, static_cast<uint32_t>(f.id + 1));
}

/// The least time of many short rounds, in which both have their turn: the machine has other work.
void measure(const dragoman_codec* const (&tables)[2], bool request, uint32_t want, double (&out)[2]) {
  // Each frame is at another place, as they come from a connection.
  std::vector<std::string> frames(16, frame(request));
  out[0] = out[1] = 1e9;
  for (int round = 0; round < 300; ++round) {
    for (size_t i = 0; i < 2; ++i) {
      constexpr size_t kTimes = 1000;
      auto from = Clock::now();
      for (size_t n = 0; n < kTimes; ++n) one_frame(*tables[i], frames[n % frames.size()], want);
      double ns = std::chrono::duration<double, std::nano>(Clock::now() - from).count() / kTimes;
      out[i] = std::min(out[i], ns);
    }
  }
}

constexpr uint32_t kNames = DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD;
constexpr uint32_t kAll = kNames | DRAGOMAN_WANT_HEADERS;

}  // namespace

int main(int argc, char** argv) {
  bool json = false, check = false;
  const char* only = nullptr;
  for (int i = 1; i < argc; ++i) {
    std::string_view flag = argv[i];
    json = json || flag == "--json";
    check = check || flag == "--check";
    if (flag == "--written" || flag == "--described") only = argv[i];
  }
  auto descriptor = shipped_descriptor("bolt1");
  const dragoman_codec* const tables[2] = {bolt_codec(), &descriptor->table()};
  if (only) {
    for (bool request : {true, false}) {
      std::string bytes = frame(request);
      for (int n = 0; n < 1000; ++n) one_frame(*tables[std::string_view(only) == "--described"], bytes, kAll);
    }
    return sink == 0 ? 2 : 0;
  }
  double worst = 0;
  if (json) std::printf("{\"target\": %.2f", kTarget);
  auto row = [&](const char* what, const char* wanted, const double(&ns)[2]) {
    if (json)
      std::printf(", \"%s_%s\": {\"written_ns\": %.1f, \"described_ns\": %.1f, \"ratio\": %.3f}", wanted,
                  what, ns[0], ns[1], ns[1] / ns[0]);
    else
      std::printf("bolt v1, %-7s  wanted: %-5s  written %6.1f ns  described %6.1f ns  %.2fx\n", what, wanted,
                  ns[0], ns[1], ns[1] / ns[0]);
  };
  for (uint32_t want : {kNames, kAll}) {
    const char* wanted = want == kAll ? "all" : "names";
    double both[2] = {};
    for (bool request : {true, false}) {
      double ns[2];
      measure(tables, request, want, ns);
      for (size_t i = 0; i < 2; ++i) both[i] += ns[i];
      row(request ? "request" : "answer", wanted, ns);
    }
    row("both", wanted, both);
    worst = std::max(worst, both[1] / both[0]);
  }
  if (json)
    std::printf(", \"ratio\": %.3f}\n", worst);
  else
    std::printf("a descriptor costs %.2f times the codec in C++; the target is at most %.2f\n", worst,
                kTarget);
  if (sink == 0) return 2;
  return check && worst > kTarget ? 1 : 0;
}
