// What a listener holds of each accepted connection, whatever it speaks.
#pragma once

#include "proxy/base/intrusive_list.h"
#include "proxy/net/loop.h"

namespace dragoman {

class ListenerSlot;

class AcceptedConnection : public Retired, public ListLink<AcceptedConnection> {
 public:
  using ListLink<AcceptedConnection>::unlink;
  using ListLink<AcceptedConnection>::linked;
  /// Graceful: no new work, ends when the open work is done or `idle_grace_ms` passed without any.
  virtual void drain() = 0;
  /// Now.
  virtual void abort() = 0;
};

}  // namespace dragoman
