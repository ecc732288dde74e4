// The functions of plugin.h that read, over a Program (their `context`).
#pragma once

#include "protocols/descriptor/program.h"

namespace dragoman::descriptor {

int probe(const void* context, void* conn, const uint8_t* data, uint64_t len, dragoman_frame* out);
int view(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame, uint32_t want,
         dragoman_view* out);
uint32_t outcome(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame);
int status_text(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                dragoman_bytes* out);
int checksum(const void* context, void* conn, uint8_t* bytes, const dragoman_frame* frame, int fix);

}  // namespace dragoman::descriptor
