#include "proxy/server/watchdog.h"

#include <algorithm>

#include "protocols/plugin_crash.h"
#include "proxy/base/log.h"

namespace dragoman {

Watchdog::Watchdog(Loop& loop, std::span<const std::unique_ptr<Worker>> workers, uint64_t stall_ms)
    : loop_(loop),
      workers_(workers),
      stall_ms_(stall_ms),
      every_ms_(std::max<uint64_t>(stall_ms / 5, 10)),
      due_ms_(Worker::clock_ms() + every_ms_),
      told_(workers.size()) {
  timer_.bind<&Watchdog::look>(loop_.timers(), this);
  timer_.start(every_ms_);
}

void Watchdog::look() {
  const uint64_t now = Worker::clock_ms();
  // Where this thread itself came late, the machine stood still or was busy with us: that says nothing about workers.
  const bool on_time = now < due_ms_ + every_ms_;
  due_ms_ = now + every_ms_;
  timer_.start(every_ms_);
  for (size_t i = 0; i < workers_.size(); ++i) {
    const uint64_t sign = workers_[i]->last_sign_ms();
    if (told_[i] != 0 && sign != told_[i]) {
      if (sign != Worker::kEnded)
        DRAGOMAN_LOG(kWarn, "server", "worker {} goes on after {} ms", i, sign - told_[i]);
      told_[i] = 0;
    }
    if (told_[i] != 0 || !on_time || sign == Worker::kEnded || now < sign + stall_ms_) continue;
    told_[i] = sign;
    ++stalls_;
    const std::string codec = library_of(workers_[i]->thread());
    if (codec.empty())
      DRAGOMAN_LOG(kError, "server", "worker {} has stood still for {} ms, in no codec that is a library", i,
                   now - sign);
    else
      DRAGOMAN_LOG(kError, "server", "worker {} has stood still for {} ms in the codec {}", i, now - sign,
                   codec);
  }
}

}  // namespace dragoman
