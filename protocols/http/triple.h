// Dubbo's Triple. Its gRPC face is gRPC (grpc.h) with fields of its own. Its HTTP face is a POST of one message, JSON or
// protobuf, to /pkg.Service/method on any version of HTTP; streams of messages come in the envelopes of Connect.
#pragma once

#include "protocols/exchange.h"
#include "protocols/head.h"

namespace dragoman::triple {

/// Fills in service and rpc_method from a path of /service/method.
void split_path(Head& head);
/// Fills in group, version ("1.0.0" is what a call without one means) and, where it came, timeout_ms.
void read_fields(Head& head);

/// Marks `head` when its request is of the HTTP face, and fills in service, rpc_method, group and version: a POST of
/// application/json, application/proto, application/connect+json or +proto to a path of two segments, with a tri- field or to
/// a service that has a name as Java and protobuf give them ("acme.Hello"). tri-service-timeout counts on every POST.
void read_request(Head& head);
/// Writes timeout_ms into the field it came in, if it came.
void write_deadline(Head& request);

/// `reply` as clients of the HTTP face read failures (configured answers stay as they are): under its HTTP status, JSON of gRPC's number and the text. In memory of
/// `arena`.
LocalReply make_reply(const LocalReply& reply, Arena& arena);

}  // namespace dragoman::triple
