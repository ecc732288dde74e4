// An observer of relayed connections, chosen by DRAGOMAN_FUZZED_OBSERVER (a namespace).
//
// Input: records `u8 side and cut, u16 length (big-endian)`, then so many bytes; bit 0 of the first says which side sent them. What
// the observer tells must not depend on how they are cut, and after it has stopped it tells nothing.
#include <cstdint>
#include <span>
#include <vector>

#include "protocols/mysql/observer.h"
#include "protocols/redis/observer.h"

namespace {

using namespace dragoman;
namespace observed = dragoman::DRAGOMAN_FUZZED_OBSERVER;

constexpr size_t kOutstandingMax = 64;

/// Everything told, in numbers.
struct Recorder final : observed::Events {
  std::vector<uint32_t> told;
  bool stopped = false;
  void add(uint32_t what, uint32_t value) {
    if (stopped) __builtin_trap();
    told.push_back(what);
    told.push_back(value);
  }
  void on_command(observed::Command c) override { add(1, static_cast<uint32_t>(c)); }
  void on_answer(observed::Command c, uint32_t us) override { add(2, static_cast<uint32_t>(c) | us << 8); }
  void on_error(observed::Error e) override { add(3, static_cast<uint32_t>(e)); }
#ifdef DRAGOMAN_FUZZED_PUSHES
  void on_push() override { add(4, 0); }
#endif
  void on_stop(ObserverStop why) override {
    add(5, static_cast<uint32_t>(why));
    stopped = true;
  }
};

/// `cut`: 0 whole records, else so many bytes at once.
std::vector<uint32_t> watch(std::span<const uint8_t> input, size_t cut) {
  Recorder recorder;
  observed::Observer observer(recorder, kOutstandingMax);
  for (uint32_t now_us = 1; input.size() >= 3; ++now_us) {
    const uint8_t side = input[0];
    size_t n = size_t{input[1]} << 8 | input[2];
    input = input.subspan(3);
    n = std::min(n, input.size());
    auto bytes = input.first(n);
    input = input.subspan(n);
    while (!bytes.empty()) {
      const size_t piece = cut == 0 ? bytes.size() : std::min(cut, bytes.size());
      const std::vector<uint8_t> copy(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(piece));
      if (side & 1)
        observer.on_server(copy, now_us);
      else
        observer.on_client(copy, now_us);
      bytes = bytes.subspan(piece);
    }
  }
  return std::move(recorder.told);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> input(data, size);
  const std::vector<uint32_t> whole = watch(input, 0);
  if (watch(input, 1) != whole || watch(input, 7) != whole) __builtin_trap();
  return 0;
}
