// From what an observer of a relayed connection tells to the metrics of its listener.
#pragma once

#include <memory>

#include "protocols/observer.h"
#include "proxy/stream/listener_runtime.h"

namespace dragoman {

/// The observer of `runtime`'s protocol, for one connection; null for tcp. `runtime` must outlive it.
std::unique_ptr<StreamObserver> make_relay_observer(const ListenerRuntime& runtime);

}  // namespace dragoman
