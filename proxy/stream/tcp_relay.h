// Plain TCP: one client connection, one upstream connection, bytes both ways with back-pressure and half-close. An observer may
// look at them once they have been passed on, and says in its protocol's words that there is no server.
#pragma once

#include <memory>

#include "protocols/observer.h"
#include "proxy/net/transport.h"
#include "proxy/stream/connection.h"
#include "proxy/stream/listener_slot.h"

namespace dragoman {

class TcpRelay final : public AcceptedConnection, private ConnectEvents {
 public:
  static void start(ListenerSlot& slot, int fd, const Address& peer);
  /// Takes over a transport, the bytes already read from it (`ended`: all there will be), and the place of `before` in the slot.
  static void take_over(ListenerSlot& slot, std::unique_ptr<Transport> transport, ByteChain& early, bool ended,
                        AcceptedConnection& before, Ref<ListenerRuntime> runtime);
  ~TcpRelay() override;
  void drain() override;
  void abort() override { close(Reason::kDraining); }

 private:
  struct Side final : TransportEvents {
    Side(TcpRelay& r, bool down) : relay(r), downstream(down) {}
    void on_data(uint8_t* data, size_t n) override { relay.on_data(*this, data, n); }
    void on_eof() override { relay.on_eof(*this); }
    void on_closed(Reason reason) override { relay.on_side_closed(*this, reason); }
    void on_write_blocked(bool blocked) override { relay.on_blocked(*this, blocked); }
    void on_ready() override { relay.on_upstream_ready(); }
    TcpRelay& relay;
    const bool downstream;
    bool ended = false;
    std::unique_ptr<Transport> transport;
  };

  TcpRelay(ListenerSlot& slot, Ref<ListenerRuntime> runtime, std::string peer_host);
  void start(std::unique_ptr<Transport> transport);
  void connect();
  void begin();
  void came_to_nothing();
  void refuse_loop();
  /// Without memory for it the connection ends, on both sides.
  template <class Work>
  void guarded(Work&& work);
  void on_connected(int fd) override;
  void connected(int fd);
  void on_connect_failed(Reason reason, int error) override;
  void connect_failed(Reason reason, int error);
  void on_upstream_ready();
  Side& other(Side& side) { return &side == &down_ ? up_ : down_; }
  void on_data(Side& side, uint8_t* data, size_t n);
  void on_eof(Side& side);
  void on_side_closed(Side& side, Reason reason);
  void on_blocked(Side& side, bool blocked);
  void on_timer();
  void take_timer();
  /// Shows the observer, if there is one, bytes that a side has sent.
  void observe(const Side& from, const uint8_t* data, size_t n);
  /// What the client is told before a connection ends that no server had.
  std::string_view last_words(Reason reason) const;
  void close(Reason reason);

  Ref<ListenerSlot> slot_;
  Ref<ListenerRuntime> runtime_;
  Ref<Cluster> cluster_;
  Ref<Endpoint> endpoint_;
  Side down_{*this, true};
  Side up_{*this, false};
  ByteChain early_{MemoryOwner::kInput};  // from the client, for the upstream once it is there
  std::unique_ptr<StreamObserver> observer_;
  std::unique_ptr<Connector> connector_;
  Timer timer_;
  std::string peer_host_;
  uint64_t start_ns_;
  uint64_t start_wall_us_;
  uint64_t connect_ms_ = 0;  // the last connect began
  uint16_t attempts_ = 0;
  Outcome outcome_ = Outcome::kOk;
  bool connection_taken_ = false;
  bool loop_ = false;  // the endpoint is a listener that leads here
  bool up_ready_ = false;
  bool client_ended_ = false;  // before the server did
  bool closed_ = false;
};

}  // namespace dragoman
