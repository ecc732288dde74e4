// What every part of a worker may use: its loop, its number, its random numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "proxy/net/loop.h"
#include "proxy/observe/metrics.h"

namespace dragoman {

/// xoshiro256**: fast, good enough for balancing, jitter and request ids (not for secrets).
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& s : state_) {  // splitmix64 spreads the seed
      seed += 0x9e3779b97f4a7c15ull;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      s = z ^ (z >> 31);
    }
  }
  uint64_t next() {
    auto rotl = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
    uint64_t result = rotl(state_[1] * 5, 7) * 9;
    uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotl(state_[3], 45);
    return result;
  }
  /// Uniform in [0, n), n > 0.
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((static_cast<uint64_t>(static_cast<uint32_t>(next())) * n) >> 32); }

 private:
  uint64_t state_[4];
};

struct WorkerContext {
  Loop& loop;
  int index;      // 0 .. workers - 1; also the metric shard
  int workers;
  Random random;
  Gauge connections{};  // of both sides, open now
  /// Takes what is dear to destroy and may be destroyed by any thread; null: it dies where it is.
  std::function<void(std::shared_ptr<const void>)> dispose{};
};

}  // namespace dragoman
