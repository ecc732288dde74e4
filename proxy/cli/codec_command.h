// dragoman codec ...: for those who write codecs. Exit codes as in cli.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dragoman {

struct CodecCommand {
  std::string codec;                // a built-in one's name, or the path of a library or a descriptor
  std::vector<std::string> codecs;  // bench: any number
  std::string vectors;              // folder of *.hex files
  std::vector<std::string> others;  // check: such folders of other protocols
  std::string instead_of;           // check: a built-in codec whose frames it may take
  std::string file;                 // decode: one *.hex file
  std::string name;                 // new
  std::string folder = ".";         // new: where the new folder goes
  bool descriptor = false;          // new: in YAML instead of C++
  double seconds = 2;
  uint64_t seed = 1;
  bool markdown = false;
  bool only_failed = false;
};

int codec_list(const CodecCommand& command);
/// 0 when every rule holds.
int codec_check(const CodecCommand& command);
int codec_decode(const CodecCommand& command);
int codec_bench(const CodecCommand& command);
int codec_new(const CodecCommand& command);

}  // namespace dragoman
