// New contents of a block: with edited headers, or with another id.
#pragma once

#include <span>

#include "protocols/descriptor/blocks.h"

namespace dragoman::descriptor {

/// The block's content with the edits applied. False when a name or value can't stand in such a block.
bool write_edited(Reading& r, const BlockPlan& plan, std::span<const dragoman_edit> edits, ByteWriter& out);

/// The block's content with another id where look-up `index` found the old one.
bool write_with_id(Reading& r, uint8_t block, uint8_t index, std::string_view text, uint64_t number,
                   ByteWriter& out);

void write_varint(ByteWriter& out, uint64_t v);
void write_xml_text(ByteWriter& out, std::string_view text);

}  // namespace dragoman::descriptor
