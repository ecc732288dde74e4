// Listening where nobody else does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "proxy/base/result.h"
#include "proxy/net/transport.h"

namespace dragoman {

/// The first socket of an address that several sockets of this process are to share: listen_socket(), but it fails when any
/// socket listens there, also one that shares its port (another process of ours would get a part of the connections, unseen). Once
/// it is there, the port is shared as with `reuse_port`. Two processes can't both succeed: bind and listen are exclusive.
Result<int> listen_first(const Address& address, int backlog);

/// A unix socket that listens. All workers accept on duplicates of the one descriptor, since nothing can be bound twice to a path.
/// The file is removed with the object, unless another one has taken its place.
class UnixListener {
 public:
  /// A file that nobody accepts on is left over from a process that died, and replaced; one where a process listens is refused unless
  /// `take_over`; what is no socket is never touched. `mode` is the file's, 0 = as the umask says.
  static Result<std::shared_ptr<UnixListener>> open(const Address& address, int backlog, uint32_t mode,
                                                    bool take_over);
  ~UnixListener();

  /// For one worker; the callee owns it. -1 without descriptors.
  int duplicate() const;
  /// New settings of a listener that stays.
  Result<void> adjust(int backlog, uint32_t mode);

 private:
  UnixListener(int fd, Address address) : fd_(fd), address_(std::move(address)) {}

  int fd_;
  const Address address_;
  // The file, 0 in the abstract namespace.
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace dragoman
