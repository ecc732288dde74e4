// The short way through a program, for frames of plain layouts that are entirely in order: the first bytes tell layout
// and kind in one comparison, every other number is loaded where the compiler said it is. What is not in order, or not
// all there, is left to the functions that take any frame (read.h), and so is what there is to say about it: the short
// way only ever says what they would say.
#pragma once

#include "protocols/descriptor/read.h"

namespace dragoman::descriptor {

/// Fills Layout::plain and Program::openings of a program that is complete otherwise.
void find_plain(Program& g);

/// The opening that these bytes have; null: ask the tests.
inline const Opening* opening_of(const Program& g, const uint8_t* p, size_t n) {
  if (n < g.opening_at + sizeof(uint64_t)) return nullptr;
  uint64_t bytes = load_be<uint64_t>(p + g.opening_at);
  for (const Opening& o : g.openings) {
    if ((bytes & o.mask) != o.value) continue;
    return o.plain && (bytes & o.check_mask) == o.check_value ? &o : nullptr;
  }
  return nullptr;
}

/// What the functions of the table say of such a frame. False, with nothing written: take the long way.
bool probe_plain(const Program& g, const uint8_t* p, size_t n, dragoman_frame& out);
bool view_plain(const Program& g, const uint8_t* head, size_t n, uint32_t want, dragoman_view& out,
                int& result);
/// `found` = false: no rule fits, the table of statuses decides.
bool rules_plain(const Program& g, const uint8_t* head, size_t n, bool& found, uint32_t& outcome);

}  // namespace dragoman::descriptor
