// The shipped descriptors and the vectors they are tested with.
#pragma once

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "protocols/descriptor/descriptor.h"
#include "tests/support/bolt_frames.h"

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

inline constexpr const char* kShippedNames[] = {"bolt1",           "baidu_std", "motan2",    "ttheader_lite",
                                                "rocketmq_binary", "bankxml",   "tradeline", "pulse"};

/// Throws when the descriptor has faults.
inline std::shared_ptr<const descriptor::Descriptor> shipped_descriptor(const std::string& name) {
  auto loaded = descriptor::load_file(DRAGOMAN_SOURCE_DIR "/protocols/descriptors/" + name + ".yaml");
  if (!loaded.descriptor) throw std::runtime_error(config::render_text(loaded.diagnostics, loaded.source));
  return loaded.descriptor;
}

/// One line of a descriptor.tsv; "-" is an empty text.
struct Vector {
  std::string name, verdict, kind, total, id, service, method, timeout_ms, outcome, bytes;
};

inline std::vector<Vector> vectors_of(const std::string& folder) {
  std::string base = DRAGOMAN_SOURCE_DIR "/tests/vectors/" + folder + "/";
  std::ifstream in(base + "descriptor.tsv");
  std::vector<Vector> out;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    Vector v;
    size_t at = 0;
    for (std::string Vector::* member : {&Vector::name, &Vector::verdict, &Vector::kind, &Vector::total, &Vector::id,
                                         &Vector::service, &Vector::method, &Vector::timeout_ms, &Vector::outcome}) {
      size_t tab = std::min(line.find('\t', at), line.size());
      v.*member = line.substr(at, tab - at);
      if (v.*member == "-") (v.*member).clear();
      at = tab + 1;
    }
    v.bytes = read_hex(base + v.name + ".hex");
    out.push_back(std::move(v));
  }
  if (out.size() < 10) throw std::runtime_error("vectors are missing: " + folder);
  return out;
}

}  // namespace dragoman::testing
