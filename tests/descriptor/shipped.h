// The shipped descriptors, others in this folder that show more of the language, and the vectors they are tested with.
#pragma once

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "protocols/descriptor/descriptor.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {

struct Shipped {
  const char* name;     // of the descriptor
  const char* vectors;  // folder under tests/vectors
};
inline constexpr Shipped kShipped[] = {
    {"baidu_std", "brpc"},
    {"motan2", "motan2"},
    {"ttheader_lite", "ttheader"},
    {"rocketmq_binary", "rocketmq"},
    {"bankxml", "bankxml"},
    {"tradeline", "tradeline"},
    {"pulse", "pulse"},
};
inline constexpr Shipped kMore[] = {{"axis", "axis"},
                                    {"lumen", "lumen"},
                                    {"kafka", "kafka"},
                                    {"kitex_protobuf", "kitex_protobuf"},
                                    {"mesh_header", "mesh_header"}};

inline constexpr const char* kShippedNames[] = {"bolt1",           "baidu_std", "motan2",    "ttheader_lite",
                                                "rocketmq_binary", "bankxml",   "tradeline", "pulse"};

/// Those that have a descriptor.tsv: shipped or not.
inline std::vector<Shipped> with_vectors() {
  std::vector<Shipped> all(std::begin(kShipped), std::end(kShipped));
  all.insert(all.end(), std::begin(kMore), std::end(kMore));
  return all;
}
/// Every descriptor, shipped or not.
inline std::vector<const char*> all_descriptors() {
  std::vector<const char*> all(std::begin(kShippedNames), std::end(kShippedNames));
  for (const Shipped& s : kMore) all.push_back(s.name);
  return all;
}

/// Throws when the descriptor has faults.
inline std::shared_ptr<const descriptor::Descriptor> shipped_descriptor(const std::string& name) {
  std::string folder = source_dir() + "/protocols/descriptors/";
  for (const Shipped& s : kMore)
    if (name == s.name) folder = source_dir() + "/tests/descriptor/";
  auto loaded = descriptor::load_file(folder + name + ".yaml");
  if (!loaded.descriptor) throw std::runtime_error(config::render_text(loaded.diagnostics, loaded.source));
  return loaded.descriptor;
}

/// One line of a descriptor.tsv; "-" is an empty text.
struct DescribedVector {
  std::string name, verdict, kind, total, id, service, method, timeout_ms, outcome, bytes;

  /// Who sent it, for protocols whose answers look like requests.
  uint32_t from() const {
    return kind == "response" || kind == "heartbeat_reply" ? DRAGOMAN_FROM_SERVER : DRAGOMAN_FROM_CLIENT;
  }
};

inline std::vector<DescribedVector> vectors_of(const std::string& folder) {
  std::string base = source_dir() + "/tests/vectors/" + folder + "/";
  std::ifstream in(base + "descriptor.tsv");
  std::vector<DescribedVector> out;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    DescribedVector v;
    size_t at = 0;
    for (std::string DescribedVector::* member : {&DescribedVector::name, &DescribedVector::verdict, &DescribedVector::kind, &DescribedVector::total, &DescribedVector::id,
                                         &DescribedVector::service, &DescribedVector::method, &DescribedVector::timeout_ms, &DescribedVector::outcome}) {
      size_t tab = std::min(line.find('\t', at), line.size());
      v.*member = line.substr(at, tab - at);
      if (v.*member == "-") (v.*member).clear();
      at = tab + 1;
    }
    v.bytes = read_hex(base + v.name + ".hex");
    out.push_back(std::move(v));
  }
  if (out.size() < 7) throw std::runtime_error("vectors are missing: " + folder);
  return out;
}

}  // namespace dragoman::testing
