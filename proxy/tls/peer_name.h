// Who a certificate says its holder is, by its subject alternative names only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"

struct x509_st;

namespace dragoman {

/// The names in a certificate that can be trusted to be what they look like: entries with an embedded NUL or
/// bytes outside of printable ASCII are left out, and so is every URI when more than one SPIFFE id is there (SPIFFE X.509-SVID
/// section 2: exactly one).
struct PeerNames {
  std::vector<std::string> uris;
  std::vector<std::string> dns;  // lower case, may begin with "*."
  bool ambiguous = false;        // more than one spiffe:// URI

  static PeerNames of(x509_st* certificate);
  /// SPIFFE id, else the first URI, else the first DNS name.
  std::string_view identity() const;
};

/// One allowed peer: "spiffe://domain/path", "spiffe://domain/path/*", "dns:name", "dns:*.suffix".
class PeerRule {
 public:
  static Result<PeerRule> parse(std::string_view text);
  bool allows(const PeerNames& names) const;

 private:
  bool uri_ = false;
  bool open_ended_ = false;  // URI: starts with text_; DNS: one or more labels before text_
  std::string text_;
};

}  // namespace dragoman
