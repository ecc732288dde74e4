// Bolt frames for tests, built field by field, and the vectors of tests/vectors/{bolt,jraft}.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/hex.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {

inline constexpr std::string_view kSofaRequest = "com.alipay.sofa.rpc.core.request.SofaRequest";
inline constexpr std::string_view kSofaResponse = "com.alipay.sofa.rpc.core.response.SofaResponse";

inline std::string be(uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  return out;
}

/// One pair of the SOFARPC header section.
inline std::string kv(std::string_view key, std::string_view value) {
  return be(key.size(), 4) + std::string(key) + be(value.size(), 4) + std::string(value);
}

inline uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

struct BoltFrame {
  uint8_t proto = 1;
  uint8_t ver1 = 1;  // v2 only
  uint8_t type = 1;
  uint16_t command = 1;
  uint8_t ver2 = 1;
  uint32_t id = 1;
  uint8_t codec = 1;
  uint8_t flags = 0;  // v2's switch
  int32_t timeout_ms = 3000;
  uint16_t status = 0;
  std::string class_name{};
  std::string header{};
  std::string content{};

  bool has_crc() const { return proto == 2 && ver1 == 2 && (flags & 1); }
  std::string bytes() const {
    std::string out = be(proto, 1);
    if (proto == 2) out += be(ver1, 1);
    out += be(type, 1) + be(command, 2) + be(ver2, 1) + be(id, 4) + be(codec, 1);
    if (proto == 2) out += be(flags, 1);
    out += type == 0 ? be(status, 2) : be(static_cast<uint32_t>(timeout_ms), 4);
    out += be(class_name.size(), 2) + be(header.size(), 2) + be(content.size(), 4);
    out += class_name + header + content;
    if (has_crc()) out += be(crc_of(out), 4);
    return out;
  }
  static BoltFrame request(uint32_t id, std::string content = "body") {
    BoltFrame f;
    f.id = id;
    f.class_name = kSofaRequest;
    f.header = kv("service", "S:1.0") + kv("sofa_head_method_name", "m");
    f.content = std::move(content);
    return f;
  }
  static BoltFrame one_way(uint32_t id, std::string content = "body") {
    BoltFrame f = request(id, std::move(content));
    f.type = 2;
    return f;
  }
  static BoltFrame response(uint32_t id, std::string content = "answer") {
    BoltFrame f;
    f.type = 0;
    f.command = 2;
    f.id = id;
    f.class_name = kSofaResponse;
    f.content = std::move(content);
    return f;
  }
  static BoltFrame heartbeat(uint32_t id) {
    BoltFrame f;
    f.command = 0;
    f.id = id;
    f.timeout_ms = -1;
    return f;
  }
};

inline uint32_t bolt_id(std::string_view frame) {
  size_t at = frame.at(0) == 2 ? 6 : 5;
  uint32_t id = 0;
  for (size_t i = 0; i < 4; ++i) id = id << 8 | static_cast<uint8_t>(frame.at(at + i));
  return id;
}

/// The frame with another id, its checksum fixed if it has one.
inline std::string with_bolt_id(std::string frame, uint32_t id) {
  frame.replace(frame.at(0) == 2 ? 6 : 5, 4, be(id, 4));
  if (frame[0] == 2 && frame[1] == 2 && (frame[11] & 1)) {
    std::string_view body(frame.data(), frame.size() - 4);
    std::string crc = be(crc_of(body), 4);
    frame.replace(frame.size() - 4, 4, crc);
  }
  return frame;
}

/// One line of an index.tsv.
struct BoltVector {
  std::string name, kind, bytes;
  std::map<std::string, std::string> fields;  // by column
  std::map<std::string, std::string> headers;

  bool is_response() const { return fields.at("type") == "0"; }
  uint64_t number(const std::string& column) const {
    return static_cast<uint64_t>(std::stoll(fields.at(column), nullptr, 0));
  }
  std::string text(const std::string& column) const {
    return fields.at(column) == "-" ? "" : fields.at(column);
  }
};

/// All vectors of both folders.
inline std::vector<BoltVector> bolt_vectors() {
  std::vector<BoltVector> out;
  for (std::string folder : {"bolt", "jraft"}) {
    std::string base = (source_dir() + "/tests/vectors/") + folder + "/";
    std::ifstream in(base + "index.tsv");
    std::vector<std::string> columns;
    std::string line;
    while (std::getline(in, line)) {
      std::vector<std::string> cells;
      for (size_t at = 0; at <= line.size();) {
        size_t tab = std::min(line.find('\t', at), line.size());
        cells.push_back(line.substr(at, tab - at));
        at = tab + 1;
      }
      if (columns.empty()) {
        cells[0] = "name";
        columns = cells;
        columns.pop_back();  // the header pairs
        continue;
      }
      BoltVector v;
      for (size_t i = 0; i < columns.size(); ++i)
        v.fields[columns[i].substr(0, columns[i].find(' '))] = cells.at(i);
      for (size_t i = columns.size(); i < cells.size(); ++i) {
        size_t eq = cells[i].find('=');
        v.headers[cells[i].substr(0, eq)] = cells[i].substr(eq + 1);
      }
      v.name = cells[0];
      v.kind = cells[1];
      v.bytes = read_hex(base + v.name + ".hex");
      out.push_back(std::move(v));
    }
  }
  if (out.size() < 80) throw std::runtime_error("vectors are missing");
  return out;
}

}  // namespace dragoman::testing
