// First bytes of a connection -> the protocol it speaks, among those that were declared.
//
// Pure functions of the bytes so far. A rule's verdict is final: once yes or no it stays so with more bytes. Rules are asked in
// the order declared, and the first yes wins once all before it said no; so the result does not depend on how the
// network cut the bytes. Only the client's bytes count: protocols where the server speaks first can't be told.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/plugin.h"

namespace dragoman {

enum class Verdict : uint8_t { kNo, kMore, kYes };

/// How to recognise one protocol.
class DetectRule {
 public:
  /// A built-in one that is no framed codec: tls, http1, http2, redis, and mysql, which no client's bytes tell. Nothing for any
  /// other name.
  static std::optional<DetectRule> built_in(std::string_view name);
  /// By the codec's own probe(). `table` must outlive the rule.
  static DetectRule of(const dragoman_codec& table);

  Verdict ask(std::span<const uint8_t> bytes) const;
  std::string_view sample() const { return sample_; }
  /// More bytes than this change no verdict.
  size_t bytes_max() const { return bytes_max_; }

 private:
  using Ask = Verdict (*)(std::span<const uint8_t> bytes);
  DetectRule(Ask how, std::string_view sample, size_t bytes_max)
      : ask_(how), sample_(sample), bytes_max_(bytes_max) {}
  explicit DetectRule(const dragoman_codec& table) : table_(&table), bytes_max_(table.detect_bytes_max) {}

  Ask ask_ = nullptr;
  std::string_view sample_;  // what a client sends, where a search would hardly guess it
  const dragoman_codec* table_ = nullptr;
  size_t bytes_max_;
};

struct Detection {
  Verdict verdict = Verdict::kMore;
  size_t index = 0;  // of the rule that said yes
};

/// `final`: no more bytes will be waited for, so the first yes wins even if a rule before it is undecided.
Detection detect(std::span<const DetectRule> rules, std::span<const uint8_t> bytes, bool final = false);

/// Bytes that both rules claim, or nothing when the search found none. The search walks prefixes that both leave open and
/// tries every next byte, keeping a few of each kind: a shared magic is found, a coincidence deep inside a frame may not be.
std::optional<std::vector<uint8_t>> find_conflict(const DetectRule& a, const DetectRule& b);

/// The server name in a TLS ClientHello (RFC 6066 section 3), lower case, without terminating TLS. `bytes` begin with its first
/// record; it may stretch over several.
struct HelloName {
  Verdict verdict = Verdict::kMore;  // kNo: it can't be read
  std::string name;                  // kYes; empty when the client sent none
};
HelloName hello_server_name(std::span<const uint8_t> bytes);

}  // namespace dragoman
