// Checksums that a descriptor can name, and numbers written to the wire.
#pragma once

#include "protocols/descriptor/program.h"

namespace dragoman::descriptor {

uint32_t sum_of(Sum sum, const uint8_t* p, size_t n);
/// Bytes of a sum on the wire.
uint32_t sum_bytes(Sum sum);

/// Writes a fixed-width number of `number.width` bytes.
void store_number(const Number& number, uint8_t* p, uint64_t value);

}  // namespace dragoman::descriptor
