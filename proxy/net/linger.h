// The end of a connection nobody owns any more.
#pragma once

#include "proxy/base/buffer.h"
#include "proxy/base/timer_wheel.h"
#include "proxy/net/poll_handle.h"

namespace dragoman {

/// Flushes what a transport left behind, sends FIN, drops what the peer still sends, closes the fd. Owns
/// itself; the loop keeps the list.
class Linger : public ListLink<Linger> {
 public:
  /// Takes over `fd`, its poll handle and its output. `eof`: the peer has sent FIN already.
  static void start(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t linger_ms);
  /// The loop stops: each has its linger time left, no more.
  static void cut_all(Loop::Impl& loop);
  static void close_all(Loop::Impl& loop);

 private:
  Linger(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t linger_ms);
  ~Linger();
  void flush();
  void drop_input();
  void watch();
  void on_poll(int status, int events);
  void on_timeout() { delete this; }

  Loop& loop_;
  int fd_;
  bool eof_;
  bool sent_fin_ = false;
  uint64_t linger_ms_;
  size_t dropped_ = 0;
  ByteChain out_;
  PollHandle poll_;
  Timer timer_;
};

}  // namespace dragoman
