// Fields between nghttp2 and heads.
#pragma once

#include <nghttp2/nghttp2.h>

#include <span>
#include <string_view>
#include <vector>

#include "protocols/exchange.h"
#include "protocols/head.h"

namespace dragoman::http2 {

/// Why a request is answered by the codec itself. `text` is a literal.
struct Refusal {
  Reason reason = Reason::kNone;
  uint16_t status = 0;  // 0: the reason's
  const char* text = "";
  explicit operator bool() const { return reason != Reason::kNone; }
};

/// Takes one pseudo-header field of a request or response that nghttp2 found in its place. `value` lives as
/// long as the head. Null, or why it is malformed.
const char* take_pseudo(std::string_view name, std::string_view value, Head& head, std::string_view& protocol);
/// Takes one other field. Hop-by-hop ones become members of the head.
const char* take_field(const KnownName& field, std::string_view value, Head& head);
/// Whether a field may be sent as a trailer: not about the connection, and nothing in it that could be read
/// as something else.
bool may_be_trailer(const Header& field);
/// What remains to be checked and done when all fields are there. Fills in path and authority as they are
/// forwarded.
Refusal finish_request(Head& head, std::string_view protocol, const Http1Options& options);

/// Name-value pairs of one header block. Names and values are views of the head or of literals; nghttp2
/// copies all but the names that last, which would be made lower case once more.
class Block {
 public:
  Block();
  /// `name` is a literal, in lower case.
  void add(std::string_view name, std::string_view value) { push(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME); }
  void add_number(std::string_view name, uint64_t value);
  /// A field by any name.
  void add_field(const Header& field);
  /// Every field that may be passed on; false when one can't be encoded.
  bool add_fields(const HeaderList& fields, std::string_view without = {});
  const nghttp2_nv* data() const { return list_.data(); }
  size_t size() const { return list_.size(); }

 private:
  void push(std::string_view name, std::string_view value, uint8_t flags);

  std::vector<nghttp2_nv>& list_;  // of this thread
  char digits_[2][24];
  uint8_t numbers_ = 0;
};

}  // namespace dragoman::http2
