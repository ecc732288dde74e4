// What gRPC puts into HTTP/2 fields: its content type, deadlines, status, names of services. Bodies are nobody's business here.
// The rules are those of gRPC's own PROTOCOL-HTTP2 document.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocols/head.h"

namespace dragoman::grpc {

inline constexpr std::string_view kContentType = "application/grpc";

/// application/grpc, with or without "+format" or parameters; gRPC-Web is something else.
bool is_content_type(std::string_view value);

/// 1 to 8 digits and a unit of H M S m u n, as milliseconds, at least 1 and at most kTimeoutMaxMs. -1: malformed.
int64_t parse_timeout(std::string_view value);
inline constexpr int64_t kTimeoutMaxMs = int64_t{1000} * 3600 * 24 * 365;

/// The shortest exact unit that needs no more than 8 digits, else rounded up. The text is in memory of `arena`.
std::string_view write_timeout(int64_t ms, Arena& arena);

/// A grpc-status; what is not a number up to 16 is 2 (UNKNOWN).
int32_t parse_status(std::string_view value);
Outcome outcome_of_status(int32_t status);

/// grpc-message for a text: bytes outside ' '..'~' and '%' as %XX.
std::string_view encode_message(std::string_view text, Arena& arena);

/// Marks `head` when its request is gRPC, and fills in service, rpc_method, timeout_ms and what Triple adds. Other requests
/// may be of Triple's HTTP face (triple.h). A malformed deadline is passed on and not kept by us.
void read_request(Head& head);
/// Writes timeout_ms into the fields it came in, if it came.
void write_deadline(Head& request);
/// The result of a call, when its answer has ended: status and outcome, from `trailers` or else the head of the answer; of a
/// failure grpc-retry-pushback-ms too (what is not a number of up to 8 digits forbids repeats).
void read_result(Head& answer, const HeaderList& trailers);

}  // namespace dragoman::grpc
