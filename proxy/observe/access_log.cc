#include "proxy/observe/access_log.h"

#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

#include "proxy/observe/histogram.h"
#include "proxy/observe/log_file.h"

namespace dragoman {
namespace {

constexpr int64_t kCoalesceMs = 10;  // lines of that long are written together
constexpr int64_t kCloseGraceMs = 1000;
constexpr size_t kRingLinesMin = 4;

}  // namespace

AccessLogShard::AccessLogShard(AccessLogWriter& writer, size_t ring_bytes)
    : writer_(writer),
      wants_response_headers_(writer.format_.wants_response_headers()),
      ring_bytes_(ring_bytes),
      ring_(new char[ring_bytes + writer.format_.line_bytes_max()]) {}

void AccessLogShard::write(const AccessRecord& record) {
  const AccessLogFormat& format = writer_.format_;
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  if (ring_bytes_ - (tail - head_seen_) < format.line_bytes_max()) {
    head_seen_ = head_.load(std::memory_order_acquire);
    if (ring_bytes_ - (tail - head_seen_) < format.line_bytes_max()) {
      cell_add(dropped_, 1);
      return;
    }
  }
  const size_t offset = tail & (ring_bytes_ - 1);
  char* const start = ring_.get() + offset;
  const auto length = static_cast<size_t>(format.append(record, start, second_cache_) - start);
  if (offset + length > ring_bytes_) {
    std::memcpy(ring_.get(), ring_.get() + ring_bytes_, offset + length - ring_bytes_);
  }
  cell_add(lines_, 1);
  // Sequentially consistent with idle_: either the thread sees these bytes before it sleeps, or we see that
  // it sleeps.
  tail_.store(tail + length, std::memory_order_seq_cst);
  if (writer_.idle_.load(std::memory_order_seq_cst) && writer_.idle_.exchange(false)) writer_.wake();
  if (tail + length - head_seen_ >= ring_bytes_ / 2) {
    head_seen_ = head_.load(std::memory_order_acquire);
    if (tail + length - head_seen_ >= ring_bytes_ / 2 && !writer_.hurried_.load(std::memory_order_relaxed) &&
        !writer_.hurried_.exchange(true)) {
      writer_.wake();
    }
  }
}

AccessLogWriter::AccessLogWriter(AccessLogFormat format, const AccessLogOptions& options,
                                 std::unique_ptr<LogFile> file)
    : format_(std::move(format)), path_(options.path), file_(std::move(file)) {
  const size_t ring_bytes =
      std::bit_ceil(std::max(options.queue_bytes, kRingLinesMin * format_.line_bytes_max()));
  for (int i = 0; i < options.shards; ++i) shards_.emplace_back(new AccessLogShard(*this, ring_bytes));
  sem_init(&wake_, 0, 0);
  thread_ = std::thread([this] { run(); });
}

Result<std::unique_ptr<AccessLogWriter>> AccessLogWriter::open(AccessLogFormat format,
                                                               const AccessLogOptions& options) {
  assert(options.shards >= 1);
  auto file = LogFile::open(options.path);
  if (!file) return unexpected(file.error());
  return std::unique_ptr<AccessLogWriter>(new AccessLogWriter(std::move(format), options, std::move(*file)));
}

AccessLogWriter::~AccessLogWriter() {
  deadline_ms_.store(monotonic_ms() + kCloseGraceMs);
  stop_.store(true);
  wake();
  thread_.join();
  sem_destroy(&wake_);
}

Result<void> AccessLogWriter::reopen() {
  auto file = LogFile::open(path_);
  if (!file) return unexpected(file.error());
  {
    std::lock_guard lock(mutex_);
    next_file_ = std::move(*file);
  }
  wake();  // so that the old file is let go, also when no line comes
  return {};
}

void AccessLogWriter::flush() {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = ++flush_wanted_;
  wake();
  flushed_.wait(lock, [&] { return flush_done_ >= wanted; });
}

uint64_t AccessLogWriter::lines() const {
  uint64_t total = 0;
  for (const auto& shard : shards_) total += shard->lines_.load(std::memory_order_relaxed);
  return total;
}

uint64_t AccessLogWriter::dropped() const {
  uint64_t total = 0;
  for (const auto& shard : shards_) total += shard->dropped_.load(std::memory_order_relaxed);
  return total;
}

void AccessLogWriter::wake() { sem_post(&wake_); }

bool AccessLogWriter::pending() const {
  return std::any_of(shards_.begin(), shards_.end(), [](const auto& shard) {
    return shard->tail_.load(std::memory_order_seq_cst) != shard->head_.load(std::memory_order_relaxed);
  });
}

bool AccessLogWriter::drain() {
  std::vector<iovec> pieces;
  std::vector<std::pair<AccessLogShard*, uint64_t>> taken;
  for (const auto& shard : shards_) {
    const uint64_t head = shard->head_.load(std::memory_order_relaxed);
    const uint64_t tail = shard->tail_.load(std::memory_order_acquire);
    if (head == tail) continue;
    const size_t offset = head & (shard->ring_bytes_ - 1);
    const size_t length = tail - head;
    const size_t before_end = std::min(length, shard->ring_bytes_ - offset);
    pieces.push_back({shard->ring_.get() + offset, before_end});
    if (length > before_end) pieces.push_back({shard->ring_.get(), length - before_end});
    taken.emplace_back(shard.get(), tail);
  }
  if (pieces.empty()) return false;
  const size_t lost = file_->write(pieces, deadline_ms_);
  failed_.fetch_add(lost, std::memory_order_relaxed);
  for (const auto& [shard, tail] : taken) shard->head_.store(tail, std::memory_order_release);
  return true;
}

void AccessLogWriter::run() {
  block_signals();
  for (;;) {
    // Both are read before the rings, so that what was queued before a stop or a flush is seen.
    const bool stopping = stop_.load();
    uint64_t flush_wanted;
    {
      std::lock_guard lock(mutex_);
      flush_wanted = flush_wanted_;
      if (next_file_) file_ = std::move(next_file_);
    }
    hurried_.store(false, std::memory_order_relaxed);
    const bool wrote = drain();
    {
      std::lock_guard lock(mutex_);
      flush_done_ = flush_wanted;
      flushed_.notify_all();
    }
    if (stopping) return;
    if (wrote) {
      timespec until;
      clock_gettime(CLOCK_MONOTONIC, &until);
      until.tv_nsec += kCoalesceMs * 1000000;
      if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, ++until.tv_sec;
      sem_clockwait(&wake_, CLOCK_MONOTONIC, &until);
    } else {
      idle_.store(true, std::memory_order_seq_cst);
      if (!pending()) sem_wait(&wake_);
      idle_.store(false, std::memory_order_relaxed);
    }
  }
}

}  // namespace dragoman
