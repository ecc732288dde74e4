// The end of a connection nobody owns any more.
#pragma once

#include <algorithm>
#include <memory>

#include "proxy/base/buffer.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/net/poll_handle.h"
#include "proxy/net/transport.h"

namespace dragoman {

/// Flushes what a transport left behind, sends FIN, drops what the peer still sends within its group's limits, closes the fd.
/// Owns itself; the loop keeps the list.
class Linger : public ListLink<Linger> {
 public:
  /// Takes over `fd`, its poll handle and its output. `eof`: the peer has sent FIN already. `limit_ms`: 0 = the group's.
  static void start(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t limit_ms,
                    std::shared_ptr<LingerGroup> group);
  /// The loop stops: each has a second left, or its own limit if that is shorter.
  static void cut_all(Loop::Impl& loop);
  static void close_all(Loop::Impl& loop);

 private:
  friend class LingerGroup;

  Linger(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t limit_ms,
         std::shared_ptr<LingerGroup> group);
  ~Linger();
  void flush();
  void drop_input();
  void watch();
  void on_poll(int status, int events);
  void on_timer();
  void wait();
  /// A bound is reached: the peer gets a reset.
  void cut();
  uint64_t idle_limit_ms() const { return std::min(limit_ms_, group_->limits().idle_timeout_ms); }

  Loop& loop_;
  int fd_;
  bool eof_;
  bool sent_fin_ = false;
  uint64_t limit_ms_;
  uint64_t fin_ms_ = 0;  // when FIN was sent
  uint64_t moved_ms_;    // when bytes last went out, or came in
  uint64_t dropped_ = 0;
  size_t counted_ = 0;  // bytes of out_ that the group knows of
  ByteChain out_;
  PollHandle poll_;
  Timer timer_;
  std::shared_ptr<LingerGroup> group_;
  struct InGroup : LingerGroup::Member {
    Linger* self = nullptr;
  } in_group_;
};

}  // namespace dragoman
