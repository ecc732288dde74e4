// What stands between accept and codec where the first bytes decide: TLS or not. Reads them, does the handshake, and
// hands the transport over to a connection or a relay.
#pragma once

#include <memory>

#include "proxy/net/transport.h"
#include "proxy/stream/connection.h"
#include "proxy/stream/listener_slot.h"
#include "proxy/tls/transport.h"

namespace dragoman {

class Gate final : public AcceptedConnection, private TransportEvents {
 public:
  /// Takes over `fd`. The gate lives until it has handed over or closed; `slot` lists it meanwhile.
  static void start(ListenerSlot& slot, int fd);
  ~Gate() override;
  void drain() override;
  void abort() override { end(Reason::kDraining); }

 private:
  Gate(ListenerSlot& slot, int fd);
  // TransportEvents
  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override { end(Reason::kNone); }
  void on_closed(Reason reason) override;
  void on_write_blocked(bool) override {}
  void on_ready() override;

  void start_tls();
  void on_timer();
  /// Gives the transport away; `data` are bytes read and not used here. The gate is over.
  void hand_over(uint8_t* data, size_t n);
  /// Closes. A reason that says why is counted.
  void end(Reason reason);

  Ref<ListenerSlot> slot_;
  Ref<ListenerRuntime> runtime_;
  std::unique_ptr<Transport> transport_;
  TlsTransport* tls_ = nullptr;  // transport_, from the client's hello on
  Timer timer_;
  uint64_t start_ns_;
  bool draining_ = false;
  bool over_ = false;
};

}  // namespace dragoman
