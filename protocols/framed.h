// The host of every framed RPC codec: turns a table of pure functions (plugin.h) into a ConnectionCodec, in
// both roles. It owns framing, limits, ids, checksums, heartbeats and the exchanges; the table only explains
// bytes.
//
// Reading. A frame's head is kept until it is complete; limits are checked from the first bytes that tell the
// length. Then the exchange is made and the rest of the frame streams as body chunks without being kept.
// Frames for nobody are skipped. What the table returns is checked: a length that can't be true breaks the
// connection with kInternal.
//
// Writing. In multiplex mode and for every answer, a frame is collected in its exchange until its end and
// written whole, so frames never interleave and a sender that dies half-way harms nobody. In ping-pong and
// bound mode requests stream through; other frames wait for the end of a streaming one; if it is cut, the
// connection breaks. Edits, ids and CRC-32 are fixed in the written copy; the CRC changes by a mask over its
// four bytes, whatever the length of the body. A head's edits need DRAGOMAN_CAN_EDIT and a message that has a place for
// them; one that has none is sent as it came (kEditSkipped).
//
// Ends. Whoever holds an exchange hears how it ends: the sink of each that is not released and was not reset by
// its holder gets on_reset() when the connection ends, whatever the wire says about its messages.
//
// Ids. Multiplex and ping-pong: own ids from an IdTable, beginning where `id_seed` says; the answer to a request
// that was given up is dropped (kLateAnswer), as are answers to one-way requests (kOneWayAnswered) and answers
// nobody waits for (kUnknownId); the last end a ping-pong connection. When half of the ids wait for late answers,
// the connection is spent (kIdsSpent, on_spent()). Bound: ids pass through and answers find the oldest unanswered
// request with their id. An answer without its id (marked LOOSE) is for the only request under way, unless
// something else sent may still be answered. Giving up a request in ping-pong mode, or without ids, breaks the
// connection because its answer could not be told from the next. A ping-pong connection offers no exchange while
// a read is under way or a frame is half here, and none after a one-way request whose answer could not be told
// from another's. Answers to the peer's requests carry the id the peer gave, also when it used one twice
// (kDuplicateId). Protocols without ids, and requests marked ORDERED, get their answers in request order, those
// made here too; what can't keep the order because the connection breaks is not said.
//
// Bounds. Answers that wait for their turn become one buffer with their neighbours; with more than
// `held_bytes_max` of them the connection is not read (kAnswersHeld). With `kept_bytes_max` kept for a client that
// doesn't read, answers become errors (kAnswerRefused). A shared connection whose output is over its watermark
// takes no exchanges; a request given up before a byte of it left is taken out of the output (kRequestWithdrawn).
//
// Frames of unknown length: the table says as the body comes where it ends (extent); they are limited,
// collected and skipped like others.
//
// Flow control. Server role, ping-pong and bound: any paused exchange pauses the connection's reading; what
// one read brought is still delivered. Client role in multiplex mode: pause_reading() does nothing, since one
// slow reader must not stop the others; what it still gets is at most the frames of its own requests.
//
// Draining. drain() sends goaway when the options and the protocol have it; exchanges go on, new ones too in
// the server role. on_finished() is called each time no exchange is open any more; the owner decides how long
// to wait for silence. The same after the peer's FIN (exchanges being served are still answered) and, in the
// client role, after its goaway.
#pragma once

#include <memory>

#include "protocols/exchange.h"
#include "proxy/base/result.h"

namespace dragoman {

/// Whether a table keeps the rules of plugin.h that can be seen from outside: ABI version, required
/// functions, abilities and functions in pairs, limits. The error names what is wrong and both versions where
/// that is it.
Result<void> check_codec(const dragoman_codec& table);

/// `protocol.table` must have passed check_codec(). The codec shares `protocol.owner`; without one the table
/// must outlive it.
std::unique_ptr<ConnectionCodec> make_framed_codec(const Protocol& protocol, Role role, ByteSink& out,
                                                   ConnectionEvents& events, const CodecOptions& options);

/// Exchanges of framed codecs on this thread, released ones not counted: zero at the end of a worker's life.
size_t live_framed_exchanges();

}  // namespace dragoman
