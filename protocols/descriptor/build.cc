#include "protocols/descriptor/build.h"

#include <charconv>

#include "protocols/descriptor/draft.h"
#include "protocols/descriptor/edits.h"
#include "protocols/descriptor/sums.h"

namespace dragoman::descriptor {
namespace {

const Program& program_of(const void* context) { return *static_cast<const Program*>(context); }

std::string_view text_of_bytes(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

// ---------------------------------------------------------------- heads that were read

/// Writes the head of `r` with the content of `item` by `content`; kNowhere: only numbers in `draft` changed.
template <class F>
int64_t rewrite(Reading& r, Draft& draft, uint8_t item, F&& content, uint8_t* out, uint64_t cap) {
  if (item != kNowhere) {
    ByteWriter counting(nullptr, 0);
    if (!content(counting)) return -1;
    draft.content[item] = counting.size();
    const Item& i = draft.layout.items[item];
    if (i.kind == ItemKind::kPrefix) draft.anew |= uint64_t{1} << item;
    if (i.kind == ItemKind::kLength) draft.resized |= uint64_t{1} << item;
    if (i.kind == ItemKind::kBytes && counting.size() != i.size) return -1;
    if (i.kind != ItemKind::kRest && counting.size() > i.max) return -1;
  }
  // Nothing is made that would be refused when it is read.
  if (!draft.settle() || draft.total > r.program->frame_bytes_max) return -1;
  if (draft.total - (r.total - r.head_len) > r.program->head_bytes_max) return -1;
  ByteWriter writer(out, static_cast<size_t>(cap));
  bool whole = r.head_len == r.total;
  bool right = write_items(draft, &r, whole, writer, [&](uint8_t i, ByteWriter& w) {
    if (i == item) return content(w);
    w.bytes(i == draft.layout.body_item ? std::span<const uint8_t>(r.p + r.at[i] + r.size[i], r.body_bytes)
                                        : r.content(i));
    return true;
  });
  return right ? static_cast<int64_t>(writer.size()) : -1;
}

// ---------------------------------------------------------------- frames of our own

/// Where templates take their values from.
struct Inputs {
  const Program& program;
  Reading* request = nullptr;
  std::string_view id_text{};  // opaque ids
  uint64_t id = 0;
  const Program::Reply* status = nullptr;
  std::string_view text{};
};

void write_escaped(ByteWriter& out, std::string_view text, Escape escape) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (escape) {
    case Escape::kNone:
      out.text(text);
      return;
    case Escape::kXml:
      write_xml_text(out, text);
      return;
    case Escape::kLine:
      for (char c : text) out.u8(static_cast<uint8_t>(c) < ' ' || c == 0x7f ? ' ' : static_cast<uint8_t>(c));
      return;
    case Escape::kJson:
      for (char c : text) {
        auto b = static_cast<uint8_t>(c);
        if (c == '"' || c == '\\') {
          out.u8('\\');
          out.u8(b);
        } else if (b < ' ') {
          out.text("\\u00");
          out.u8(static_cast<uint8_t>(kHex[b >> 4]));
          out.u8(static_cast<uint8_t>(kHex[b & 15]));
        } else {
          out.u8(b);
        }
      }
      return;
  }
}

void write_decimal(ByteWriter& out, int64_t v) {
  char digits[24];
  auto end = std::to_chars(digits, digits + sizeof digits, v).ptr;
  out.bytes(digits, static_cast<size_t>(end - digits));
}

const Reference* of_request(const Piece& piece, const Inputs& in) {
  if (!in.request || !in.request->layout) return nullptr;
  auto layout = static_cast<size_t>(in.request->layout - in.program.layouts.data());
  return &piece.of_request[layout];
}

void write_piece(ByteWriter& out, const Piece& piece, const Inputs& in) {
  constexpr size_t kTextMax = 1024;
  switch (piece.kind) {
    case Piece::Kind::kLiteral:
      out.text(piece.literal);
      return;
    case Piece::Kind::kId:
      if (in.program.id_len == 0)
        write_escaped(out, in.id_text, Escape::kNone);
      else
        write_decimal(out, static_cast<int64_t>(in.id));
      return;
    case Piece::Kind::kStatus:
      if (in.program.status_is_text)
        out.text(in.status ? in.status->text : std::string_view());
      else
        write_decimal(out, in.status ? in.status->number : 0);
      return;
    case Piece::Kind::kText:
      write_escaped(out, in.text.substr(0, kTextMax), piece.escape);
      return;
    case Piece::Kind::kRequest: {
      const Reference* reference = of_request(piece, in);
      if (!reference) return;
      std::string_view text;
      int64_t v = 0;
      if (filtered_text(*reference, *in.request, text))
        write_escaped(out, text.substr(0, kTextMax), piece.escape);
      else if (number_of(reference->source, *in.request, v))
        write_decimal(out, v);
      return;
    }
  }
}

bool write_pieces(ByteWriter& out, const std::vector<Piece>& pieces, const Inputs& in) {
  for (const Piece& piece : pieces) write_piece(out, piece, in);
  return true;
}

/// The number that one piece stands for; absent things of the request are 0.
bool number_of_pieces(const std::vector<Piece>& pieces, const Inputs& in, uint64_t& out) {
  if (pieces.size() != 1) return false;
  int64_t v = 0;
  switch (pieces[0].kind) {
    case Piece::Kind::kId:
      out = in.id;
      return true;
    case Piece::Kind::kStatus:
      out = in.status ? static_cast<uint64_t>(in.status->number) : 0;
      return true;
    case Piece::Kind::kLiteral:
      if (!decimal_of(pieces[0].literal, v)) return false;
      break;
    case Piece::Kind::kRequest:
      if (const Reference* reference = of_request(pieces[0], in)) {
        if (!number_of(reference->source, *in.request, v)) v = 0;
      }
      break;
    case Piece::Kind::kText:
      return false;
  }
  out = static_cast<uint64_t>(v);
  return true;
}

size_t size_of_pieces(const std::vector<Piece>& pieces, const Inputs& in) {
  ByteWriter counting(nullptr, 0);
  write_pieces(counting, pieces, in);
  return counting.size();
}

bool write_term(ByteWriter& out, const Term& term, const std::vector<Piece>& pieces, const Inputs& in) {
  uint64_t v = 0;
  if (term.text)
    v = size_of_pieces(pieces, in);
  else if (!number_of_pieces(pieces, in, v))
    return false;
  if (encoded_bytes(term.number, v) == 0) return false;
  write_number(out, term.number, v);
  return !term.text || write_pieces(out, pieces, in);
}

bool write_name(ByteWriter& out, const Term& term, const std::string& name) {
  uint64_t v = name.size();
  int64_t number = 0;
  if (!term.text) {
    if (!decimal_of(name, number)) return false;
    v = static_cast<uint64_t>(number);
  }
  if (encoded_bytes(term.number, v) == 0) return false;
  write_number(out, term.number, v);
  if (term.text) out.text(name);
  return true;
}

bool write_protobuf_value(ByteWriter& out, const Lookup& l, unsigned depth, const Setting::Pair& pair,
                          const Inputs& in) {
  uint64_t tag = uint64_t{l.path[depth]} << 3;
  if (l.presence) {
    write_varint(out, tag | 2);
    write_varint(out, 0);
    return true;
  }
  if (l.is_number) {
    uint64_t v = 0;
    if (!number_of_pieces(pair.pieces, in, v)) return false;
    write_varint(out, tag);
    write_varint(out, v);
    return true;
  }
  write_varint(out, tag | 2);
  write_varint(out, size_of_pieces(pair.pieces, in));
  return write_pieces(out, pair.pieces, in);
}

/// Pairs are sorted by path; those of one message stand together.
bool write_protobuf(ByteWriter& out, const BlockPlan& plan, const Setting& setting, const Inputs& in) {
  for (size_t i = 0; i < setting.pairs.size();) {
    const Lookup& first = plan.lookups[setting.pairs[i].lookup];
    if (first.path_len == 1) {
      if (!write_protobuf_value(out, first, 0, setting.pairs[i++], in)) return false;
      continue;
    }
    auto inside = [&](ByteWriter& w, size_t from) {
      size_t at = from;
      for (; at < setting.pairs.size(); ++at) {
        const Lookup& l = plan.lookups[setting.pairs[at].lookup];
        if (l.path_len != 2 || l.path[0] != first.path[0]) break;
        if (!write_protobuf_value(w, l, 1, setting.pairs[at], in)) return size_t{0};
      }
      return at;
    };
    ByteWriter counting(nullptr, 0);
    size_t next = inside(counting, i);
    if (next == 0) return false;
    write_varint(out, uint64_t{first.path[0]} << 3 | 2);
    write_varint(out, counting.size());
    i = inside(out, i);
  }
  return true;
}

bool write_block(ByteWriter& out, const BlockPlan& plan, const Setting& setting, const Inputs& in) {
  switch (plan.kind) {
    case Block::kPairs:
      if (plan.counted) write_number(out, plan.count, setting.pairs.size());
      for (const Setting::Pair& pair : setting.pairs)
        if (!write_name(out, plan.key, pair.name) || !write_term(out, plan.value, pair.pieces, in)) return false;
      return true;
    case Block::kTextPairs:
      for (size_t i = 0; i < setting.pairs.size(); ++i) {
        if (i > 0) out.text(plan.after);
        out.text(setting.pairs[i].name);
        out.text(plan.between);
        write_pieces(out, setting.pairs[i].pieces, in);
      }
      return true;
    case Block::kSplit:
      for (size_t i = 0; i < setting.pairs.size(); ++i) {
        if (i > 0) out.text(plan.between);
        write_pieces(out, setting.pairs[i].pieces, in);
      }
      return true;
    case Block::kXml:
      for (const Setting::Pair& pair : setting.pairs) {
        out.u8('<');
        out.text(pair.name);
        out.u8('>');
        write_pieces(out, pair.pieces, in);
        out.text("</");
        out.text(pair.name);
        out.u8('>');
      }
      return true;
    case Block::kProtobuf:
      return write_protobuf(out, plan, setting, in);
    case Block::kSections:
      for (size_t i = 0; i < setting.pairs.size();) {  // sorted by section
        uint32_t index = setting.pairs[i].section;
        const Section& s = plan.sections[index];
        write_number(out, plan.section_id, s.id);
        if (s.kind == Section::Kind::kText) {
          if (!write_term(out, s.value, setting.pairs[i++].pieces, in)) return false;
          continue;
        }
        size_t end = i;
        while (end < setting.pairs.size() && setting.pairs[end].section == index) ++end;
        write_number(out, s.count, end - i);
        for (; i < end; ++i)
          if (!write_name(out, s.key, setting.pairs[i].name) || !write_term(out, s.value, setting.pairs[i].pieces, in))
            return false;
      }
      return true;
    case Block::kList:
      if (plan.counted) write_number(out, plan.count, setting.pairs.size());
      for (const Setting::Pair& entry : setting.pairs)
        if (!write_term(out, plan.value, entry.pieces, in)) return false;
      return true;
    case Block::kNone:
      break;
  }
  return false;
}

/// The item of a frame just written that is not read as it was written: absent, there, or of another size. Its index;
/// kNowhere: none; the number of items: the frame as a whole.
size_t unread_item(const Draft& draft, const Program& g, const uint8_t* p, size_t n, uint32_t from) {
  const std::vector<Item>& items = draft.layout.items;
  Reading r(g, p, n, from);
  if (locate(r) != DRAGOMAN_FRAME || r.layout != &draft.layout) return items.size();
  for (size_t i = 0; i < items.size(); ++i) {
    const auto index = static_cast<uint8_t>(i);
    if (r.has(index) != draft.has(i)) return i;
    if (!draft.has(i) || items[i].fixed_at >= 0) continue;
    const uint64_t inside = items[i].kind == ItemKind::kNumber ? 0 : draft.content[i] + draft.padding[i];
    const uint64_t mark = items[i].kind == ItemKind::kUntil ? items[i].text.size() : 0;
    const uint64_t read = r.size_of(index) + (i == draft.layout.body_item ? r.body_bytes : 0);
    if (read != draft.number_bytes[i] + inside + mark) return i;
  }
  return r.total == n ? size_t{kNowhere} : items.size();
}

/// A complete frame. Negative where it can't be made: -1; -2 - i where item i would not be read as it is written;
/// kNotRead - size where the whole, of that size, would not be.
int64_t make(const Template& t, const Inputs& in, uint32_t from, uint8_t* out, uint64_t cap) {
  if (!t.there) return -1;
  const Layout& l = in.program.layouts[t.layout];
  Draft draft(l);
  const Setting* settings[kItemsMax] = {};
  for (size_t i = 0; i < l.items.size(); ++i) {
    const Item& item = l.items[i];
    bool number = item.kind == ItemKind::kNumber || item.kind == ItemKind::kPrefix;
    if (number) draft.anew |= uint64_t{1} << i;
    if (item.kind == ItemKind::kLength) draft.resized |= uint64_t{1} << i;
    if (number && item.has_value) draft.value[i] = static_cast<uint64_t>(item.value);
    if (item.kind == ItemKind::kBytes || item.kind == ItemKind::kChecksum) draft.content[i] = item.size;
  }
  for (const Setting& s : t.settings) {
    if (s.slot < l.items.size()) {
      settings[s.slot] = &s;
      const Item& item = l.items[s.slot];
      if (item.kind == ItemKind::kNumber) {
        uint64_t& v = draft.value[s.slot];
        if (!number_of_pieces(s.pieces, in, v)) return -1;
        // An id in a signed field stands as its two's complement.
        const Number& n = item.number;
        bool narrow = n.is_signed && n.coding == Coding::kFixed && n.width < 8;
        if (narrow && s.pieces[0].kind == Piece::Kind::kId) v = sign_extended(v, n.width);
      }
      continue;
    }
    for (const Bits& b : l.bits) {
      if (b.slot != s.slot) continue;
      uint64_t v = 0;
      if (!number_of_pieces(s.pieces, in, v) || (v << b.shift & ~b.mask)) return -1;
      draft.value[b.of] |= v << b.shift;
    }
  }
  for (const Bits& b : l.bits) draft.value[b.slot] = (draft.value[b.of] & b.mask) >> b.shift;
  auto content = [&](uint8_t i, ByteWriter& w) {
    const Item& item = l.items[i];
    const Setting* s = settings[i];
    if (item.block != kNowhere) {
      static const Setting kEmpty{};
      const Setting& of = s ? *s : kEmpty;
      return of.whole ? write_pieces(w, of.pieces, in) : write_block(w, l.blocks[item.block], of, in);
    }
    if (item.kind == ItemKind::kBytes) {
      size_t before = w.size();
      if (s)
        write_pieces(w, s->pieces, in);
      else
        w.text(item.text);
      while (w.size() - before < item.size) w.u8(0);
      return w.size() - before == item.size;
    }
    return !s || write_pieces(w, s->pieces, in);
  };
  // Optional items: by the values that stand in front of them, so that the frame reads back.
  for (size_t i = 0; i < l.items.size(); ++i) {
    if (l.items[i].when.empty()) continue;
    if (settings[i]) continue;
    bool there = true;
    for (const Test& test : l.items[i].when) {
      if (test.source.from != From::kSlot) {
        there = false;  // it looks at bytes behind: left out unless the template sets it
        break;
      }
      Test on_value = test;
      Reading values(in.program, nullptr, 0, 0);
      values.layout = &l;
      values.read = static_cast<uint8_t>(l.items.size());
      values.absent = draft.absent;
      values.slot[test.source.index] = draft.value[test.source.index];
      there = there && holds(on_value, values);
    }
    if (!there) draft.absent |= uint64_t{1} << i;
  }
  for (size_t i = 0; i < l.items.size(); ++i) {
    const Item& item = l.items[i];
    if (!draft.has(i) || item.kind == ItemKind::kNumber || item.kind == ItemKind::kChecksum) continue;
    ByteWriter counting(nullptr, 0);
    if (!content(static_cast<uint8_t>(i), counting)) return -1;
    draft.content[i] = counting.size();
  }
  if (!draft.settle()) return -1;
  ByteWriter writer(out, static_cast<size_t>(cap));
  if (!write_items(draft, nullptr, true, writer, content)) return -1;
  if (l.checksum_item != kNowhere && draft.has(l.checksum_item) && writer.fits()) {
    const Item& item = l.items[l.checksum_item];
    size_t at = writer.size() - item.size;
    size_t first = 0;
    for (size_t i = 0; item.sum_from != kNowhere && i < item.sum_from; ++i) {
      if (!draft.has(i)) continue;
      first += draft.number_bytes[i];
      if (l.items[i].kind != ItemKind::kNumber) first += draft.content[i] + draft.padding[i];
      if (l.items[i].kind == ItemKind::kUntil) first += l.items[i].text.size();
    }
    store_number(item.number, out + at, sum_of(item.sum, out + first, at - first));
  }
  if (writer.fits()) {
    size_t unread = unread_item(draft, in.program, out, writer.size(), from);
    if (unread == l.items.size()) return kNotRead - static_cast<int64_t>(writer.size());
    if (unread != kNowhere) return -2 - static_cast<int64_t>(unread);
  }
  return static_cast<int64_t>(writer.size());
}

/// What a request says, as far as its head is there.
struct Request {
  Reading reading;
  Inputs in;

  Request(const Program& g, const uint8_t* head, const dragoman_frame* frame)
      : reading(g, head, frame ? frame->head_len : 0, frame ? frame->from : 0), in{.program = g} {
    if (!frame) {
      in.id_text = "0000000000000001";
      in.id = 1;
      return;
    }
    locate_again(reading);
    if (!reading.fixed_part) reading.layout = nullptr;
    in.request = &reading;
    in.id = frame->id;
    if (frame->id_type == DRAGOMAN_ID_BYTES && frame->id_len <= frame->head_len &&
        frame->id_offset <= frame->head_len - frame->id_len)
      in.id_text = {reinterpret_cast<const char*>(head) + frame->id_offset, frame->id_len};
  }
};

}  // namespace

int64_t edit(const void* context, void*, const uint8_t* head, const dragoman_frame* frame,
             const dragoman_edit* edits, uint32_t count, uint8_t* out, uint64_t cap) {
  Reading r(program_of(context), head, frame->head_len, frame->from);
  if (locate_again(r) != DRAGOMAN_FRAME) return -1;
  const Layout& l = *r.layout;
  if (l.headers_block == kNowhere || !r.has(l.headers_item) || !all_hold(l.headers_when, r)) return -1;
  Draft draft(r);
  const BlockPlan& plan = l.blocks[l.headers_block];
  return rewrite(
      r, draft, l.headers_item,
      [&](ByteWriter& w) { return write_edited(r, plan, std::span<const dragoman_edit>(edits, count), w); }, out,
      cap);
}

int64_t set_id(const void* context, void*, const uint8_t* head, const dragoman_frame* frame, dragoman_bytes id,
               uint8_t* out, uint64_t cap) {
  Reading r(program_of(context), head, frame->head_len, frame->from);
  if (locate_again(r) != DRAGOMAN_FRAME) return -1;
  const Layout& l = *r.layout;
  Draft draft(r);
  uint64_t number = 0;
  if (l.id_type == DRAGOMAN_ID_CODED) {
    if (id.len != 8) return -1;
    number = load_be<uint64_t>(id.data);
  }
  // Where the field is signed, the number stands as its two's complement.
  auto set = [&](uint8_t item) {
    const Number& n = l.items[item].number;
    bool narrow = n.is_signed && n.coding == Coding::kFixed && n.width < 8;
    draft.set(item, narrow ? sign_extended(number, n.width) : number);
  };
  for (const Source& also : l.also)
    if (r.has(also.index)) set(also.index);
  auto nothing = [](ByteWriter&) { return false; };
  switch (l.id.from) {
    case From::kSlot:
      set(l.id.index);
      return rewrite(r, draft, kNowhere, nothing, out, cap);
    case From::kItem:
      return rewrite(
          r, draft, l.id.index,
          [&](ByteWriter& w) {
            w.text(text_of_bytes(id));
            return true;
          },
          out, cap);
    case From::kLookup:
      return rewrite(
          r, draft, l.blocks[l.id.block].item,
          [&](ByteWriter& w) { return write_with_id(r, l.id.block, l.id.index, text_of_bytes(id), number, w); }, out,
          cap);
    default:
      return -1;
  }
}

int64_t reply(const void* context, void*, const uint8_t* head, const dragoman_frame* frame, uint32_t outcome,
              dragoman_bytes text, uint8_t* out, uint64_t cap) {
  const Program& g = program_of(context);
  Request request(g, head, frame);
  const Program::Reply& row = outcome < std::size(g.replies) && g.replies[outcome].there ? g.replies[outcome]
                                                                                         : g.other_reply;
  request.in.status = &row;
  request.in.text = text_of_bytes(text);
  // Answers go to whoever asked.
  const uint32_t from =
      frame && frame->from == DRAGOMAN_FROM_SERVER ? DRAGOMAN_FROM_CLIENT : DRAGOMAN_FROM_SERVER;
  int64_t n = make(g.reply, request.in, from, out, cap);
  if (n >= 0 || text.len == 0) return n;
  request.in.text = {};  // a text that holds the mark of its item's end, perhaps
  return make(g.reply, request.in, from, out, cap);
}

int64_t heartbeat(const void* context, void*, uint32_t, uint64_t id, uint8_t* out, uint64_t cap) {
  const Program& g = program_of(context);
  char text[16];
  for (unsigned i = 0; i < 16; ++i) text[i] = "0123456789abcdef"[id >> (60 - 4 * i) & 15];
  Inputs in{.program = g, .id_text = {text, 16}, .id = id};
  return make(g.heartbeat, in, DRAGOMAN_FROM_CLIENT, out, cap);
}

int64_t heartbeat_reply(const void* context, void*, const uint8_t* head, const dragoman_frame* frame, uint8_t* out,
                        uint64_t cap) {
  const Program& g = program_of(context);
  Request request(g, head, frame);
  const uint32_t from =
      frame && frame->from == DRAGOMAN_FROM_SERVER ? DRAGOMAN_FROM_CLIENT : DRAGOMAN_FROM_SERVER;
  return make(g.heartbeat_reply, request.in, from, out, cap);
}

int64_t goaway(const void* context, void*, uint32_t, uint8_t* out, uint64_t cap) {
  const Program& g = program_of(context);
  Inputs in{.program = g, .id_text = "0000000000000000"};
  return make(g.goaway, in, DRAGOMAN_FROM_SERVER, out, cap);
}

}  // namespace dragoman::descriptor
