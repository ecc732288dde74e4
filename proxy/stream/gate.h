// What stands between accept and codec where the first bytes decide: TLS or not, which protocol. Reads them, does the
// handshake, and hands the transport over to a connection or a relay.
#pragma once

#include <memory>
#include <span>
#include <string>

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
  enum class Stage : uint8_t {
    kProxy,      // a PROXY protocol header
    kFirst,      // TLS or not (and then kDetect at once)
    kHandshake,  // TLS
    kDetect,     // which protocol
    kIdle,       // silence: wait
  };
  explicit Gate(ListenerSlot& slot);
  void begin(int fd);
  // TransportEvents
  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  void on_closed(Reason reason) override { end(reason); }
  void on_write_blocked(bool) override {}
  void on_ready() override;

  const config::Listener& settings() const { return runtime_->spec->settings; }
  bool permissive() const { return settings().tls && settings().tls->mode == config::TlsMode::kPermissive; }
  /// What comes after the PROXY protocol header, if there is to be one.
  void begin();
  /// Takes the header off `bytes`. False: more of it is to come, or the gate is over.
  bool read_proxy(std::span<uint8_t>& bytes);
  /// There is no header, or no more of it. False: the gate is over.
  bool pass_proxy(std::span<uint8_t> bytes);
  void refuse(Reason reason, std::string_view detail = {});
  void start_tls();
  void start_detection();
  void start_timer(int64_t limit_ms);
  /// Decides by `bytes`, which are all there are so far and, when `now`, all there will be. False: more are needed.
  bool decide(std::span<uint8_t> bytes, bool now);
  /// The part for TLS that is passed on, by its server name. Null: none of ours. `more`: it is not all there.
  ListenerRuntime* pass_on(std::span<const uint8_t> bytes, bool& more);
  void found(size_t index, std::span<uint8_t> bytes);
  void unknown(std::span<uint8_t> bytes);
  /// prefix_ can still become one of the protocols.
  void wait_for_more();
  /// Whether a client that sends nothing is waited for as an idle one is.
  bool waits() const;
  void on_timer();
  void take_timer();
  void on_silence();
  /// prefix_ where codecs want their bytes: writable, with headroom.
  std::span<uint8_t> prefix_in_scratch();
  /// Gives the transport away; `bytes` were read and are not used here. The gate is over.
  void hand_over(ListenerRuntime& part, std::span<uint8_t> bytes);
  void lose();
  /// Closes. A reason that says why is counted.
  void end(Reason reason);

  Ref<ListenerSlot> slot_;
  Ref<ListenerRuntime> runtime_;
  std::unique_ptr<Transport> transport_;
  TlsTransport* tls_ = nullptr;  // transport_, from the client's hello on
  std::string prefix_;           // what was read and did not tell
  Timer timer_;
  uint64_t start_ns_;
  uint64_t undecided_since_ms_ = 0;  // the first byte
  Stage stage_ = Stage::kFirst;
  bool trusted_ = false;  // its PROXY protocol header is believed
  bool eof_ = false;  // the client stopped sending
  bool draining_ = false;
  bool waited_ = false;  // detect.silence is wait, and the client was silent
  bool over_ = false;
};

}  // namespace dragoman
