// Byte pipes: TCP here; proxy/tls wraps the same interface. The only users of sockets but acceptor and connector.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/buffer.h"
#include "proxy/base/reason.h"
#include "proxy/base/result.h"
#include "proxy/base/shared_text.h"
#include "proxy/net/loop.h"

namespace dragoman {

/// Where a socket is: IPv4, IPv6 or unix. An IPv4 address that is written as IPv6 (::ffff:1.2.3.4) is an IPv4 address here.
struct Address {
  union Storage {  // sockaddr_storage would cost 128 bytes a connection
    sockaddr sa;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  static constexpr size_t kUnixPathMax = 107;  // sockaddr_un has room for one more

  Storage storage{.v6 = {}};
  uint8_t length = 0;      // of what is in `storage`, a socklen_t; 0 = no address
  bool ipv6_only = false;  // of a listener: "[::]" takes no IPv4
  /// The path of a unix socket ("@name" in the abstract namespace; null: it has none), or the zone of an IPv6 address as written.
  SharedText name;

  /// "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "unix:/path", "unix:@name"; literals only.
  static Result<Address> parse(std::string_view text);
  /// Any other family gives an empty address (length 0).
  static Address from(const sockaddr* sa, socklen_t length);
  bool is_unix() const { return length != 0 && storage.sa.sa_family == AF_UNIX; }
  /// For bind() and connect(); the length, or 0 with errno when the zone is no interface of this host.
  socklen_t fill(sockaddr_storage& out) const;
  std::string to_string() const;  // "1.2.3.4:80"
  std::string host() const;       // "1.2.3.4"; a unix socket is a host of its own
  uint16_t port() const;          // 0 of unix sockets
  /// A socket that listens here gets connections to `to`, as far as addresses of this host can be told.
  bool takes(const Address& to) const;
  bool operator==(const Address& other) const;
};

/// Why reading is paused; one bit each, never a count.
enum PauseReason : uint8_t {
  kPauseCodec = 1,     // the codec holds bytes it can't use yet (pipelining, paused exchange)
  kPausePeerFull = 2,  // what was read has nowhere to go (the other side's output is over its watermark)
  kPauseSelfFull = 4,  // our answers to this peer are over the watermark
  kPauseEngine = 8,    // filter or tunnel
};

/// Not while reading is paused: on_data, on_eof; only then: on_peer_left. Any of them may close the transport.
class TransportEvents {
 public:
  /// `n` > 0 bytes, writable, valid during the call, preceded by Loop::kScratchHeadroom writable bytes.
  virtual void on_data(uint8_t* data, size_t n) = 0;
  /// The peer finished sending; writing still works.
  virtual void on_eof() = 0;
  /// The connection broke (reset, write error, ...): TransportOptions::broken. What the peer had sent before
  /// was delivered first unless reading was paused. Last event; the transport is closed already.
  virtual void on_closed(Reason reason) = 0;
  /// Output is over the high watermark after a flush (true), or fell under the low one (false). Both are told in turn, and after
  /// ByteSink::want_room() at the next flush, however little is left after it.
  virtual void on_write_blocked(bool blocked) = 0;
  /// While reading is paused: the peer's FIN came, with nothing before it that is still unread. on_eof() follows when reading goes on.
  virtual void on_peer_left() {}
  /// TLS only: the handshake is done, Transport::tls() is there. Comes once, before any on_data.
  virtual void on_ready() {}

 protected:
  ~TransportEvents() = default;
};

/// What a closed connection may still take: see close_after_flush().
struct LingerLimits {
  uint64_t timeout_ms = 1000;       // after FIN
  uint64_t idle_timeout_ms = 1000;  // after FIN, or the peer's last bytes
  uint64_t bytes_max = 256 * 1024;  // read and dropped
  uint32_t connections_max = 1024;  // of a group; the oldest is reset for one too many
};

/// Connections that linger and are counted together. Confined to one loop; each of them holds its group.
class LingerGroup {
 public:
  struct Member : ListLink<Member> {};

  virtual ~LingerGroup() = default;
  /// Looked at again and again: they may follow a configuration.
  virtual LingerLimits limits() const { return {}; }
  /// How the connections, and the bytes they have not sent, became more or fewer.
  virtual void on_linger(int connections, int64_t unsent_bytes) {}
  /// One was reset for a bound.
  virtual void on_cut() {}
  /// Resets the one that has been there longest of those that have sent everything; false when there is none.
  bool cut_oldest();
  size_t count() const { return count_; }

 private:
  friend class Linger;
  IntrusiveList<Member, Member> members_;
  size_t count_ = 0;
};

struct TransportOptions {
  uint32_t high_bytes = 256 * 1024;  // output watermarks
  uint32_t low_bytes = 64 * 1024;
  uint32_t read_budget_bytes = 256 * 1024;   // per loop turn; then the other connections have theirs
  Reason broken = Reason::kDownstreamReset;  // what on_closed says; the upstream side sets kUpstreamReset
  std::shared_ptr<LingerGroup> linger{};     // null: the loop's own, with the limits' defaults

  bool operator==(const TransportOptions&) const = default;
};

/// Options that many transports share: those of a listener, or towards a cluster. For one thread.
class SharedTransportOptions {
 public:
  SharedTransportOptions(const TransportOptions& options = {})
      : at_(std::make_shared<TransportOptions>(options)) {}
  const TransportOptions* operator->() const { return at_.get(); }
  /// These from now on; transports keep those they began with.
  const SharedTransportOptions& follow(const TransportOptions& options) {
    if (!(options == *at_)) at_ = std::make_shared<TransportOptions>(options);
    return *this;
  }

 private:
  std::shared_ptr<const TransportOptions> at_;
};

/// What a TLS handshake agreed on.
struct TlsInfo {
  std::string sni;            // lower case; empty when the client sent none
  std::string alpn;           // empty when none was agreed
  std::string peer;           // who the verified peer is: SPIFFE id, else its first URI or DNS name; empty = nobody
  std::string_view version;   // "TLSv1.3"
  bool resumed = false;
};

/// A connected socket. Output appended to `out` is gathered and written once per loop turn (in uv_check,
/// right after I/O, posts and timers); large writes go to the socket at once when nothing is queued. Idle
/// transports hold no buffers. Callbacks never run from inside a method called by the owner: a write error
/// surfaces as on_closed at the flush. After close() no event comes. Owners retire themselves rather than die
/// in a callback.
class Transport : public ByteSink, public ListLink<Transport> {
 public:
  /// Takes over a connected, non-blocking fd. Reading starts at once. TCP_NODELAY is set.
  static std::unique_ptr<Transport> adopt(Loop& loop, int fd, TransportEvents& events,
                                          SharedTransportOptions options);
  ~Transport() override = default;

  virtual void pause_read(PauseReason reason) = 0;
  virtual void resume_read(PauseReason reason) = 0;
  /// Sends FIN once `out` is flushed; reading goes on.
  virtual void finish() = 0;
  /// Closes now, dropping unsent output. `abort` = with RST.
  virtual void close(bool abort = false) = 0;
  /// Detaches from the owner: flushes what is queued (giving up after 10 s without progress), sends FIN, then
  /// reads and drops what the peer still sends, within its group's limits, so that a last answer isn't
  /// destroyed by a reset, and closes. No more events. `linger_ms` stands for the group's time limit, 0 = that
  /// one. Once the loop stops, a second bounds it all.
  virtual void close_after_flush(uint64_t linger_ms = 0) = 0;
  virtual bool closed() const = 0;
  /// Events go to another owner from now on.
  virtual void set_events(TransportEvents& events) = 0;
  /// Null without TLS and before on_ready().
  virtual const TlsInfo* tls() const { return nullptr; }
  /// Whether the socket holds bytes that no on_data has brought yet; costs a system call.
  virtual bool unread() const = 0;
  /// Bytes that are not given to the socket yet.
  virtual size_t unsent() const { return out.size(); }

  /// Bytes that the socket has and the peer's host has not acknowledged; costs a system call.
  virtual size_t in_flight() const { return 0; }

  virtual const Address& peer() const = 0;
  /// Who the peer is and where it connected to, when somebody in between said so (PROXY protocol).
  virtual void set_ends(const Address& peer, const Address& local) = 0;
  /// Fetched at the first call; empty when that comes after the close.
  virtual const Address& local() const = 0;
  /// Of the socket, that is with TLS's own.
  virtual uint64_t bytes_read() const { return bytes_read_; }
  virtual uint64_t bytes_written() const { return bytes_written_; }
  /// Loop time of the last read / write progress, ms; bytes queued while nothing waits to be written count as progress.
  virtual uint64_t last_read_ms() const { return last_read_ms_; }
  virtual uint64_t last_write_ms() const { return last_write_ms_; }
  bool write_blocked() const { return blocked_; }
  /// The loop's call for each transport that wrote, once per turn: brings `out` to the wire.
  virtual void flush() {}

 protected:
  uint64_t bytes_read_ = 0;
  uint64_t bytes_written_ = 0;
  uint64_t last_read_ms_ = 0;
  uint64_t last_write_ms_ = 0;
  bool blocked_ = false;
};

/// Creates listening sockets (bound, listening, non-blocking, SO_REUSEADDR, SO_REUSEPORT when `reuse_port`;
/// keep-alive probes, which accepted connections inherit). "[::]" takes IPv4 too unless `address.ipv6_only`. Returns the fd. With
/// port 0 the kernel picks one: see bound_address(). Not for unix sockets: see UnixListener in listen.h.
Result<int> listen_socket(const Address& address, int backlog, bool reuse_port);
Address bound_address(int fd);
/// Empty when it is not connected.
Address peer_address(int fd);
void close_fd(int fd);
/// Sends all of `bytes` on a socket that was just connected, whose buffer is empty; false when it can't.
bool send_first(int fd, std::string_view bytes);
/// Longest time that sent bytes and keep-alive probes stay unacknowledged (TCP_USER_TIMEOUT); 0 = the system's.
void set_user_timeout(int fd, uint32_t ms);

class AcceptEvents {
 public:
  /// A new connection; the callee owns `fd`.
  virtual void on_accept(int fd, const Address& peer) = 0;
  /// accept() failed for lack of descriptors or memory; accepting pauses for 100 ms by itself.
  virtual void on_accept_failed(int error) = 0;

 protected:
  ~AcceptEvents() = default;
};

/// Accepts on one listening fd, at most `per_turn` connections per loop turn. Survives EMFILE/ENFILE/ENOMEM
/// (pauses and retries) and ignores ECONNABORTED.
class Acceptor {
 public:
  /// Takes over `fd`.
  static std::unique_ptr<Acceptor> create(Loop& loop, int fd, AcceptEvents& events, int per_turn);
  virtual ~Acceptor() = default;  // closes
  /// Takes everything already queued in the kernel, then closes.
  virtual void drain_and_close() = 0;
  /// Stops and starts accepting without closing.
  virtual void pause() = 0;
  virtual void resume() = 0;
  /// Keeps `n` descriptors back, with which it goes on accepting when the process has no others.
  virtual void reserve(int n) = 0;
};

class ConnectEvents {
 public:
  /// `fd` is connected (callee owns it).
  virtual void on_connected(int fd) = 0;
  virtual void on_connect_failed(Reason reason,
                                 int error) = 0;  // kConnectFailure, kConnectTimeout or kOwnResources

 protected:
  ~ConnectEvents() = default;
};

/// One connect attempt; destroying it cancels. Events never run inside create(). `timeout_ms` 0 = the
/// kernel's.
class Connector {
 public:
  static std::unique_ptr<Connector> create(Loop& loop, const Address& to, uint64_t timeout_ms,
                                           ConnectEvents& events);
  virtual ~Connector() = default;
};

/// Calls `fn` for each delivery of signal `signo`; used by the control thread.
class SignalWatch {
 public:
  static std::unique_ptr<SignalWatch> create(Loop& loop, int signo, std::function<void()> fn);
  virtual ~SignalWatch() = default;
};
/// Calls `fn` when the file at `path` is another one than at the last call (or create()): written, replaced by rename,
/// its symlink's target moved, its mode changed, or missing for a second. Not before it is whole: see watch.h, which also
/// has the way to begin with what was read earlier. Changes the directory's watch can't see (targets elsewhere, network
/// file systems) are found within 2 s.
class FileWatch {
 public:
  static std::unique_ptr<FileWatch> create(Loop& loop, std::string path, std::function<void()> fn);
  virtual ~FileWatch() = default;
};

}  // namespace dragoman
