// Socket calls shared by the sources of this folder.
#pragma once

#include <cstddef>
#include <cstdint>

#include "proxy/base/buffer.h"
#include "proxy/net/loop.h"

namespace dragoman {

struct IoResult {
  size_t bytes = 0;
  int error = 0;  // errno; 0 also when the socket would block
};

/// Sends from the front of `chain` until it is empty or the socket takes no more, and drops what was sent.
IoResult send_chain(int fd, ByteChain& chain, LoopStats& stats);
/// send() without SIGPIPE; would-block is a success with 0 bytes.
IoResult send_bytes(int fd, const uint8_t* data, size_t n, LoopStats& stats);
/// SO_ERROR, cleared by the call.
int take_socket_error(int fd);
/// Finds dead peers of quiet connections after about 2 minutes.
void set_keep_alive(int fd);
void set_no_delay(int fd);

}  // namespace dragoman
