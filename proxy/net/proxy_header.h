// The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a proxy says first on a connection, about the
// connection that it serves.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/net/transport.h"

namespace dragoman {

/// "10.0.0.0/8", "::1": addresses that begin alike.
class IpPrefix {
 public:
  static Result<IpPrefix> parse(std::string_view text);
  /// False of what is no IP address.
  bool covers(const Address& address) const;

 private:
  Address address_;
  int bits_ = 0;
};

struct ProxyHeader {
  enum class Verdict : uint8_t {
    kMore,  // it may become one
    kNone,  // no header begins like this
    kBad,   // one that is wrong: `error`
    kDone,
  };
  Verdict verdict = Verdict::kMore;
  size_t bytes = 0;       // kDone: its length
  bool has_ends = false;  // kDone: false when the sender speaks for itself (LOCAL, UNKNOWN, UNSPEC)
  Address source, destination;
  std::string_view error;

  static constexpr size_t kBytesMax1 = 107;     // version 1, with its end of line
  static constexpr size_t kBytesMax2 = 65'551;  // version 2, by its format

  /// Reads the header at the start of `bytes`, of which more may come. `bytes_max` is for version 2.
  static ProxyHeader read(std::span<const uint8_t> bytes, size_t bytes_max);
  /// The header of `version` 1 or 2 for a client at `source` that connected to `destination`.
  static std::string write(int version, const Address& source, const Address& destination);
  /// The sender speaks for itself: of health checks.
  static std::string write_local(int version);
};

}  // namespace dragoman
