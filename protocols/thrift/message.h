// The beginning of a Thrift message: type, name, sequence id; and the one message the proxy writes itself.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/base/cursor.h"

namespace dragoman::thrift {

enum class Encoding : uint8_t { kBinary, kOldBinary, kCompact };
enum MessageType : uint8_t { kCall = 1, kReply = 2, kException = 3, kOneWay = 4 };
/// TApplicationException's types.
enum ErrorType : uint8_t { kUnknownMethod = 1, kInternalError = 6, kProtocolError = 7, kInvalidTransform = 8, kInvalidProtocol = 9 };

inline constexpr uint32_t kNameBytesMax = 4096;
inline constexpr size_t kReplyTextMax = 1000;
/// No beginning of a message is longer.
inline constexpr size_t kMessageHeadMax = 16 + kNameBytesMax;

enum class Parsed : uint8_t { kDone, kNeed, kNotMine, kMalformed, kTooBig };

struct Message {
  uint8_t type = 0;
  std::string_view name;  // as on the wire, with the service in front when multiplexed
  uint32_t sequence = 0;
  size_t sequence_offset = 0;  // from the message's beginning
  size_t sequence_len = 0;
  size_t size = 0;  // of this beginning
  size_t need = 0;  // kNeed: bytes that must be there
};

/// Reads a message that begins with `bytes`; `limit` bytes are all it can have (0 = not known).
Parsed parse_message(std::span<const uint8_t> bytes, Encoding encoding, uint64_t limit, Message& out);

/// The beginning of a Kitex Protobuf message: that of strict binary with another version.
Parsed parse_kitex_protobuf(std::span<const uint8_t> bytes, uint64_t limit, Message& out);

/// An answer of type EXCEPTION with a TApplicationException in it.
void write_exception(std::string_view name, uint32_t sequence, std::string_view text, ErrorType type,
                     Encoding encoding, ByteWriter& out);

/// What kind of TApplicationException the body of an EXCEPTION message holds; 0 when it doesn't say.
int32_t exception_type(std::span<const uint8_t> body, Encoding encoding);

/// What such an exception means to us, and what we say: outcomes of plugin.h.
uint32_t outcome_of(int32_t exception_type);
ErrorType error_for(uint32_t outcome);
std::string_view words_for(uint32_t outcome);

void write_varint(uint64_t value, ByteWriter& out);
/// Sets in's ok() to false when it is longer than `bytes_max`, or than the bytes there.
uint64_t read_varint(ByteReader& in, int bytes_max);

}  // namespace dragoman::thrift
