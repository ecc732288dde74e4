// The functions of plugin.h that write, over a Program (their `context`): changed heads and frames of our own.
#pragma once

#include "protocols/descriptor/program.h"

namespace dragoman::descriptor {

int64_t edit(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
             const dragoman_edit* edits, uint32_t count, uint8_t* out, uint64_t cap);
int64_t set_id(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
               dragoman_bytes id, uint8_t* out, uint64_t cap);
/// What functions that make frames return, less the size, for bytes that are no such frame when they are read.
inline constexpr int64_t kNotRead = -1'000'000;

/// `frame` may be null: then everything that comes from the request is absent (for tests of a descriptor).
int64_t reply(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
              uint32_t outcome, dragoman_bytes text, uint8_t* out, uint64_t cap);
int64_t heartbeat(const void* context, void* conn, uint32_t variant, uint64_t id, uint8_t* out, uint64_t cap);
int64_t heartbeat_reply(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                        uint8_t* out, uint64_t cap);
int64_t goaway(const void* context, void* conn, uint32_t variant, uint8_t* out, uint64_t cap);

}  // namespace dragoman::descriptor
