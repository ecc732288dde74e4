// Frames of a protocol as they were on the wire, in files: what the kit tests a codec with.
//
//   # A comment. Lines that begin with "# expect" say what the codec must make of the bytes, one line a
// frame:
//   # expect request id=7 service=shop.Cart method=add header.zone=b timeout_ms=1500
//   # expect response id=7 status=2 outcome=no_route
//   50430101 00000007 ...
//
// The first word is request, oneway, response, heartbeat, heartbeat_ack, goaway, or, for bytes that must be
// refused, malformed, too_big, unsupported or not_mine. A file called bad-* without such a line must be refused, in
// whatever words; any other must hold whole frames. What is expected to be an answer is shown to the codec as sent by
// a server, for protocols whose answers look like requests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/result.h"

namespace dragoman::kit {

struct Expectation {
  std::string kind;
  std::vector<std::pair<std::string, std::string>> fields;  // name, value
};

struct Vector {
  std::string name;  // of its file, without the ending
  std::string bytes;
  std::vector<Expectation> expected;  // may be empty
  bool bad = false;                   // must be refused
  uint32_t from = 0;                  // who sent it: DRAGOMAN_FROM_*
};

/// The text of one file. The error says which line.
Result<Vector> parse_vector(const std::string& name, const std::string& text);
/// Every *.hex file of a folder, by name. The error names the file.
Result<std::vector<Vector>> read_vectors(const std::string& folder);
/// One *.hex file.
Result<Vector> read_vector(const std::string& file);

/// "5043 0101" in pairs of bytes, at most `max` bytes of it.
std::string hex_text(const std::string& bytes, size_t max = 96);

}  // namespace dragoman::kit
