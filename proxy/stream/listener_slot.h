// One worker's end of one listener: the accept loop and the connections it brought. Survives reloads that keep the
// listener; only the runtime it points to is replaced.
#pragma once

#include <memory>

#include "proxy/net/transport.h"
#include "proxy/stream/connection.h"
#include "proxy/stream/listener_runtime.h"

namespace dragoman {

class ListenerSlot final : public RefCounted<ListenerSlot>, private AcceptEvents {
 public:
  /// Takes over the listening `fd`.
  ListenerSlot(WorkerContext& worker, Ref<ListenerRuntime> runtime, int fd);
  ~ListenerSlot();

  WorkerContext& worker() { return worker_; }
  const WorkerContext& worker() const { return worker_; }
  ListenerRuntime* runtime() const { return runtime_.get(); }
  void set_runtime(Ref<ListenerRuntime> runtime);
  /// How often the runtime was replaced.
  uint64_t reloads() const { return reloads_; }

  /// Stops accepting (what the kernel queued is still taken) and drains every connection.
  void drain();
  /// Closes every connection now.
  void abort();
  bool draining() const { return draining_; }
  size_t connections() const { return count_; }

  void add(AcceptedConnection& connection);
  /// `after` takes the place of `before`, which lets go of its socket.
  void replace(AcceptedConnection& before, AcceptedConnection& after);
  /// For client connections.
  const SharedTransportOptions& transport_options();
  void on_closed(AcceptedConnection& connection);
  /// A connection that this worker got, from the kernel or another worker. It is counted in ListenerShared::balance.
  void take(int fd, const Address& peer);

 private:
  bool balanced() const;
  void on_accept(int fd, const Address& peer) override;
  void on_accept_failed(int error) override;

  WorkerContext& worker_;
  Ref<ListenerRuntime> runtime_;
  std::shared_ptr<ListenerShared> shared_;
  std::unique_ptr<Acceptor> acceptor_;
  std::shared_ptr<LingerGroup> linger_;  // those that were closed
  SharedTransportOptions options_;
  IntrusiveList<AcceptedConnection, AcceptedConnection> connections_;
  size_t count_ = 0;
  uint64_t reloads_ = 0;
  bool draining_ = false;
};

}  // namespace dragoman
