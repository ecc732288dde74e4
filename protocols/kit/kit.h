// The conformance kit: whether a codec keeps the contract of plugin.h, rule by rule, tried with frames of
// its protocol. It runs on any table: built in, from a plugin, from a descriptor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/kit/vectors.h"
#include "protocols/plugin.h"

namespace dragoman::kit {

struct Rule {
  std::string_view id;
  std::string_view promise;
};
/// All rules, in the order of a report.
std::span<const Rule> rules();

enum class Verdict : uint8_t { kPassed, kFailed, kSkipped };

struct Result {
  Rule rule;
  Verdict verdict = Verdict::kPassed;
  std::string what;   // of a failed one: what went wrong first; of a skipped one: why
  std::string bytes;  // those that broke it; may be empty
};

struct Options {
  double seconds = 1;          // for random changes
  uint64_t seed = 1;
  std::vector<Vector> others;  // frames of other protocols, which the codec must not take for its own
  std::vector<const dragoman_codec*> neighbours;  // codecs that must not take this one's frames for theirs
};

struct Report {
  std::vector<Result> results;  // one for each of rules()
  uint64_t mutations = 0;       // frames with random changes that were tried
  double ns_per_frame = 0;      // probe() and view() of everything, mean over the vectors; 0 without any

  bool passed() const;
  const Result* find(std::string_view rule) const;
};

/// A process can run one check at a time: crashes are caught by signal handlers.
Report check(const dragoman_codec& table, const std::vector<Vector>& vectors, const Options& options);

/// For people: a line for each rule, and the bytes that broke one.
std::string report_text(const Report& report, bool only_failed = false);

/// One frame in a vector, field by field, for people.
std::string decode_text(const dragoman_codec& table, const Vector& vector);

struct Cost {
  double probe_ns = 0;
  double view_ns = 0;   // probe() and view() with everything wanted
  double reply_ns = 0;  // reply(), 0 without requests
  double edit_ns = 0;   // edit() that sets one header; 0 without the ability
};
/// Mean over the good vectors.
Cost measure(const dragoman_codec& table, const std::vector<Vector>& vectors, double seconds);

}  // namespace dragoman::kit
