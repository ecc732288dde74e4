#include "proxy/net/linger.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "proxy/net/loop_impl.h"
#include "proxy/net/socket.h"

namespace dragoman {
namespace {

constexpr uint64_t kFlushStallMs = 10'000;
constexpr uint64_t kStoppingMs = 1'000;

}  // namespace

// --- LingerGroup ------------------------------------------------------------------------------------------------------

bool LingerGroup::cut_oldest() {
  for (Member* m = members_.front(); m; m = members_.next(*m)) {
    Linger* linger = static_cast<Linger::InGroup*>(m)->self;
    if (!linger->sent_fin_) continue;
    linger->cut();
    return true;
  }
  return false;
}

// --- Linger -----------------------------------------------------------------------------------------------------------

void Linger::start(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t limit_ms,
                   std::shared_ptr<LingerGroup> group) {
  if (!group) group = loop.impl().lingerers;
  auto* linger = new Linger(loop, fd, poll, out, eof, limit_ms, group);
  while (group->count_ > group->limits().connections_max && !group->cut_oldest()) {
    Linger* oldest = static_cast<InGroup*>(group->members_.front())->self;
    oldest->cut();
    if (oldest == linger) return;
  }
  linger->flush();
}

Linger::Linger(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t limit_ms,
               std::shared_ptr<LingerGroup> group)
    : loop_(loop), fd_(fd), eof_(eof), moved_ms_(loop.now_ms()), group_(std::move(group)) {
  limit_ms_ = limit_ms != 0 ? limit_ms : group_->limits().timeout_ms;
  out_.swap(out);
  counted_ = out_.size();
  poll_.take<&Linger::on_poll>(poll, this);
  timer_.bind<&Linger::on_timer>(loop.timers(), this);
  loop.impl().lingering.push_back(*this);
  in_group_.self = this;
  group_->members_.push_back(in_group_);
  ++group_->count_;
  group_->on_linger(1, static_cast<int64_t>(counted_));
  wait();
}

Linger::~Linger() {
  poll_.close();
  close_fd(fd_);
  in_group_.unlink();
  --group_->count_;
  group_->on_linger(-1, -static_cast<int64_t>(counted_));
}

void Linger::cut_all(Loop::Impl& loop) {
  for (Linger* l = loop.lingering.front(); l; l = loop.lingering.next(*l)) {
    l->limit_ms_ = std::min(l->limit_ms_, kStoppingMs);
    l->timer_.start(l->limit_ms_);
  }
}

void Linger::close_all(Loop::Impl& loop) {
  while (Linger* l = loop.lingering.front()) delete l;
}

void Linger::cut() {
  group_->on_cut();
  const linger reset{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  delete this;
}

// While output is left only its standing still counts, then silence and the whole.
void Linger::wait() {
  if (loop_.impl().stopping) return timer_.start(std::min(limit_ms_, kStoppingMs));
  if (!sent_fin_) return timer_.start(std::max(limit_ms_, kFlushStallMs));
  const uint64_t now = loop_.now_ms();
  const uint64_t due = std::min(fin_ms_ + limit_ms_, moved_ms_ + idle_limit_ms());
  timer_.start(due > now ? due - now : 1);
}

void Linger::on_timer() {
  const uint64_t now = loop_.now_ms();
  const bool over = loop_.impl().stopping || !sent_fin_ || now >= fin_ms_ + limit_ms_;
  if (!over && now < moved_ms_ + idle_limit_ms()) return wait();
  // A client that went on sending is cut; one that only did not close may keep its answer.
  if (!out_.empty() || (sent_fin_ && now < moved_ms_ + idle_limit_ms())) return cut();
  delete this;
}

void Linger::flush() {
  const IoResult sent = send_chain(fd_, out_, loop_.impl().stats);
  if (sent.error) {
    delete this;
    return;
  }
  if (sent.bytes) {
    moved_ms_ = loop_.now_ms();
    group_->on_linger(0, static_cast<int64_t>(out_.size()) - static_cast<int64_t>(counted_));
    counted_ = out_.size();
  }
  if (!out_.empty()) {
    if (sent.bytes) wait();
    watch();
    return;
  }
  if (!sent_fin_) {
    sent_fin_ = true;
    if (eof_ || ::shutdown(fd_, SHUT_WR) != 0) {
      delete this;  // close() sends the FIN; nothing is left to read, so no reset follows
      return;
    }
    fin_ms_ = moved_ms_ = loop_.now_ms();
    if (!loop_.impl().stopping) wait();
  }
  watch();
}

void Linger::watch() { poll_.want((out_.empty() ? 0 : UV_WRITABLE) | (eof_ ? 0 : UV_READABLE)); }

void Linger::drop_input() {
  const ssize_t n = ::recv(fd_, loop_.scratch(), Loop::kScratchBytes, 0);
  if (n > 0) {
    dropped_ += static_cast<uint64_t>(n);
    if (sent_fin_) moved_ms_ = loop_.now_ms();  // the timer looks at it when it fires
    if (dropped_ > group_->limits().bytes_max) cut();
    return;
  }
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (n == 0 && !out_.empty()) {
    eof_ = true;
    watch();
    return;
  }
  delete this;
}

void Linger::on_poll(int status, int events) {
  if (status < 0) {
    delete this;
    return;
  }
  if (events & UV_WRITABLE) {
    flush();  // may delete this
  } else if (events & UV_READABLE) {
    drop_input();
  }
}

}  // namespace dragoman
