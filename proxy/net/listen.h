// Listening where nobody else does.
#pragma once

#include "proxy/base/result.h"
#include "proxy/net/transport.h"

namespace dragoman {

/// The first socket of an address that several sockets of this process are to share: listen_socket(), but it fails when any
/// socket listens there, also one that shares its port (another process of ours would get a part of the connections, unseen). Once
/// it is there, the port is shared as with `reuse_port`. Two processes can't both succeed: bind and listen are exclusive.
Result<int> listen_first(const Address& address, int backlog);

}  // namespace dragoman
