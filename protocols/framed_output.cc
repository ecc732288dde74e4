#include "protocols/framed_codec.h"
#include "proxy/base/cursor.h"

namespace dragoman::framed {
namespace {

void store_id(uint8_t* p, uint32_t len, bool big_endian, uint64_t id) {
  if (len == 4)
    return big_endian ? store_be(p, static_cast<uint32_t>(id)) : store_le(p, static_cast<uint32_t>(id));
  if (len == 8) return big_endian ? store_be(p, id) : store_le(p, id);
  for (uint32_t i = 0; i < len; ++i, id >>= 8) p[big_endian ? len - 1 - i : i] = static_cast<uint8_t>(id);
}

}  // namespace

Exchange* FramedCodec::open(MessageSink& answers) {
  if (capacity() == 0) return nullptr;
  FramedExchange& x = create(true);
  x.sink = &answers;
  return &x;
}

uint32_t FramedCodec::capacity() const {
  if (broken_ || goaway_ || draining_ || eof_ || spent_) return 0;
  if (is_ping_pong()) return ours_open_ == 0 && !in_read_ && phase() == ReadPhase::kIdle ? 1 : 0;
  if (is_shared() && blocked_) return 0;  // requests wait where they are counted and can be given up
  uint32_t room = open_ < options_.streams_max ? options_.streams_max - open_ : 0;
  if (!is_shared() || room == 0) return room;
  const uint32_t unused = ids_.unused();
  return std::min(room, unused ? unused : ids_.room(events_.now_ms()));
}

Reason FramedCodec::send_head(FramedExchange& x, Head& head, bool end) {
  if (x.closed || x.one_way) return Reason::kNone;  // a one-way request from the peer takes no answer
  dragoman_frame f = head.frame;
  if (x.out != Part::kNone || head.wire.empty() || head.wire.size() != f.head_len ||
      f.total_len < f.head_len || is_request(f) != x.ours || (end && f.total_len != f.head_len))
    return Reason::kInternal;

  if (head.table && head.table != &table_) {
    // It was read by another version of this protocol. Where both say the same of its head it goes on like any other;
    // else it is read again when all of it is here.
    dragoman_frame now{};
    if (!same_frame(head.wire, f, now, false) || (x.ours && now.variant != f.variant)) {
      x.foreign = &head;
      set_out(x, Part::kOpen);
      x.buffer.append(head.wire);
      return end ? send_foreign(x) : Reason::kNone;
    }
    f = now;
  }
  std::span<uint8_t> bytes;
  // An edit is a wish: a message that has no place for it passes as it came, since without the wish it would, too.
  // Only what must not reach the peer may hold it back.
  if (head.edits && !edit_head(x, head, f, bytes)) {
    events_.on_event(CodecEvent::kEditSkipped);
    if (x.ours && head.must_remove)
      for (const HeaderEdit* e = head.edits; e; e = e->next)
        if (e->op == EditOp::kRemove && e->needed) return Reason::kEditFailed;
  }
  const bool is_edited = !bytes.empty();
  if (!is_edited) {
    bytes = {x.head.arena.allocate_array<uint8_t>(f.head_len), f.head_len};
    std::memcpy(bytes.data(), head.wire.data(), bytes.size());
  }
  const uint32_t head_len = f.head_len;
  if (!x.ours && (f.flags & DRAGOMAN_FRAME_FORM) &&
      ((f.variant ^ x.head.frame.variant) & ~DRAGOMAN_VARIANT_EXCLUSIVE) != 0)
    return Reason::kUpstreamProtocolError;
  if (!x.ours && is_over(f.total_len)) {
    events_.on_event(CodecEvent::kAnswerRefused);
    return Reason::kWriteStall;
  }
  x.one_way = x.ours && (head.one_way || f.kind == DRAGOMAN_ONEWAY);
  if (Reason why = assign_id(x, f, bytes); why != Reason::kNone) {
    x.one_way = false;
    return why;
  }

  if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
    if (table_.checksum(table_.context, conn(), bytes.data(), &f, 1) != 1) {
      give_id_back(x);
      return Reason::kEditFailed;
    }
  } else if (f.checksum == DRAGOMAN_CHECKSUM_CRC32) {
    // Only the part up to the id changed when nothing was edited; the mask is over what follows it.
    bool same_layout = !is_edited && f.head_len == head_len && f.id_type != DRAGOMAN_ID_CODED;
    size_t now = same_layout ? f.id_offset + f.id_len : f.head_len;
    size_t was = same_layout ? now : head.wire.size();
    if (now != was || std::memcmp(bytes.data(), head.wire.data(), now) != 0) {
      store_be(x.mask, crc32_change(crc32_of(head.wire.data(), was), crc32_of(bytes.data(), now),
                                    f.checksum_offset - now));
      x.patches = true;
    }
  }

  if (x.one_way) x.in = Part::kDone;
  set_out(x, Part::kOpen);
  if (x.ours) {
    x.loose = f.flags & DRAGOMAN_FRAME_LOOSE;
  } else if (!is_unsized(f)) {
    x.reserved = f.total_len;
    reserved_ += x.reserved;
  }
  x.unsized = is_unsized(f);
  x.out_left = x.unsized ? DRAGOMAN_LENGTH_UNKNOWN : f.total_len - f.head_len;
  x.staged = bytes;
  if (x.ours && streams_requests() && !streaming_ && !end) {
    streaming_ = &x;
    x.written = true;
    put(&x, x.staged.data(), x.staged.size());
    x.staged = {};
  } else if (end) {
    send_body(x, {}, true);
  }
  return Reason::kNone;
}

bool FramedCodec::is_attribute(std::string_view name) const {
  for (uint32_t i = 0; i < table_.attribute_count; ++i)
    if (equals_ignore_case(name, table_.attributes[i])) return true;
  return false;
}

/// Makes `bytes` the head with its edits applied, and `f` its description; leaves both when it has no place for them.
/// False when an edit was left out.
bool FramedCodec::edit_head(FramedExchange& x, const Head& head, dragoman_frame& f,
                            std::span<uint8_t>& bytes) {
  bool offered = false, asked = false;
  for (const HeaderEdit* e = head.edits; e; e = e->next) (e->optional ? offered : asked) = true;
  if (offered && (make_edits(x, head, f, bytes, true) || !asked)) return true;
  // What nobody asked for must not cost what somebody did.
  return !bytes.empty() ? false : make_edits(x, head, f, bytes, false);
}

bool FramedCodec::make_edits(FramedExchange& x, const Head& head, dragoman_frame& f,
                             std::span<uint8_t>& bytes, bool optional) {
  if (!table_.edit || head.opaque) return false;
  uint32_t count = 0;
  size_t cap = head.wire.size() + 64;
  bool all = true;
  for (const HeaderEdit* e = head.edits; e; e = e->next) {
    if (e->optional && !optional) continue;
    if (is_attribute(e->name)) {  // nothing on the wire
      all = false;
      continue;
    }
    ++count;
    cap += e->name.size() + e->value.size() + 16;
  }
  Arena& arena = x.head.arena;
  auto* edits = arena.allocate_array<dragoman_edit>(count);
  uint32_t i = 0;
  for (const HeaderEdit* e = head.edits; e; e = e->next)
    if (!is_attribute(e->name) && (optional || !e->optional))
      edits[i++] = {static_cast<uint32_t>(e->op), 0, bytes_of(e->name), bytes_of(e->value)};
  if (count == 0) return false;

  cap = std::min<size_t>(cap, head_bytes_max_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto* out = arena.allocate_array<uint8_t>(cap);
    int64_t n = table_.edit(table_.context, conn(), head.wire.data(), &f, edits, count, out, cap);
    if (n <= 0 || n > static_cast<int64_t>(head_bytes_max_)) return false;
    if (n > static_cast<int64_t>(cap)) {
      cap = static_cast<size_t>(n);
      continue;
    }
    std::span<uint8_t> made(out, static_cast<size_t>(n));
    dragoman_frame now{};
    if (!same_frame(made, f, now, true)) return false;
    bytes = made;
    f = now;
    return all;
  }
  return false;
}

/// Makes `bytes` the head with opaque id `id`, or with the number x.id in the codec's own encoding.
Reason FramedCodec::rewrite_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes,
                               std::span<const uint8_t> id) {
  size_t cap = bytes.size() + id.size() + 64;
  auto* out = x.head.arena.allocate_array<uint8_t>(cap);
  int64_t n = -1;
  if (table_.set_id)
    n = table_.set_id(table_.context, conn(), bytes.data(), &f, {id.data(), id.size()}, out, cap);
  if (n <= 0 || n > static_cast<int64_t>(cap)) return Reason::kEditFailed;
  bytes = {out, static_cast<size_t>(n)};
  dragoman_frame now{};
  if (!same_frame(bytes, f, now, false)) return Reason::kEditFailed;
  bool written = f.id_type == DRAGOMAN_ID_CODED
                     ? now.id == x.id
                     : std::ranges::equal(bytes.subspan(now.id_offset, now.id_len), id);
  if (!written) return Reason::kEditFailed;
  f = now;
  return Reason::kNone;
}

Reason FramedCodec::rewrite_number(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes) {
  uint8_t number[8];
  store_be<uint64_t>(number, x.id);
  return rewrite_id(x, f, bytes, number);
}

/// Sends the whole frame in `buffer` as this version reads it.
Reason FramedCodec::send_foreign(FramedExchange& x) {
  const Head& as_read = *std::exchange(x.foreign, nullptr);
  std::vector<uint8_t> frame(x.buffer.size());
  x.buffer.copy_to(frame.data());
  x.buffer.clear();
  set_out(x, Part::kNone);
  Head head;
  if (!read_again(frame, as_read.frame, head.frame)) return Reason::kUnsupported;
  const size_t head_len = head.frame.head_len;
  head.wire = std::span(frame).first(head_len);
  head.edits = as_read.edits;
  head.must_remove = as_read.must_remove;
  head.one_way = as_read.one_way;
  const bool bodiless = head_len == frame.size();
  if (Reason why = send_head(x, head, bodiless); why != Reason::kNone) return why;
  if (!bodiless) send_body(x, std::span(frame).subspan(head_len), true);
  return Reason::kNone;
}

/// Asks about bytes that are no input: whether they are a frame like `was`, as `now` describes it.
bool FramedCodec::probe_aside(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now,
                              Memory& memory) {
  now.size = sizeof now;
  now.want = was.want;
  now.from = was.from;
  return table_.probe(table_.context, memory.get(), bytes.data(), bytes.size(), &now) == DRAGOMAN_FRAME &&
         !frame_fault(now) && now.kind == was.kind;
}

/// Whether a whole frame that another version of this codec read is one here as well, and of the same kind.
bool FramedCodec::read_again(std::span<const uint8_t> frame, const dragoman_frame& was, dragoman_frame& now) {
  Memory memory(conn(), table_.conn_state_size);
  if (!probe_aside(frame, was, now, memory) || now.head_len > frame.size() ||
      (is_request(now) && now.variant != was.variant))
    return false;
  if (!is_unsized(now)) return now.total_len == frame.size();
  auto body = frame.subspan(now.head_len);
  uint64_t used = 0;
  return !body.empty() &&
         table_.extent(table_.context, memory.get(), &now, 0, body.data(), body.size(), &used) ==
             DRAGOMAN_FRAME &&
         used == body.size();
}

/// Whether a head that the table changed still describes the same frame, with the same body after it.
bool FramedCodec::same_frame(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now,
                             bool same_id) {
  Memory memory(conn(), table_.conn_state_size);
  return probe_aside(bytes, was, now, memory) && now.head_len == bytes.size() &&
         is_unsized(now) == is_unsized(was) &&
         (is_unsized(was) || (now.total_len <= options_.frame_bytes_max &&
                              now.total_len - now.head_len == was.total_len - was.head_len)) &&
         now.checksum == was.checksum && now.id_type == was.id_type &&
         (!same_id || (now.id == was.id && now.id_len == was.id_len));
}

/// Puts the id for this connection into a head about to be sent.
Reason FramedCodec::assign_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes) {
  if (x.ours) {
    if (is_shared() && f.id_type != DRAGOMAN_ID_NONE) return assign_own_id(x, f, bytes);
    if (gives_ids() && f.id_type != DRAGOMAN_ID_NONE) {
      const dragoman_frame f_was = f;
      const std::span<uint8_t> bytes_was = bytes;
      Reason why = assign_own_id(x, f, bytes);
      // A connection for one call at a time may do with the client's id where it can't be changed.
      if (why != Reason::kEditFailed || !is_ping_pong()) return why;
      f = f_was;
      bytes = bytes_was;
    }
    if (is_shared()) return Reason::kUnsupported;  // without ids it can't share a connection
    x.id = f.id;
    if (f.id_type == DRAGOMAN_ID_BYTES) x.id_bytes = bytes.subspan(f.id_offset, f.id_len);
    return Reason::kNone;
  }
  const dragoman_frame& asked = x.head.frame;
  // An answer gets the id the peer gave its request.
  if (asked.id_type != f.id_type && !(has_number(asked) && has_number(f))) return Reason::kInternal;
  if (f.id_type == DRAGOMAN_ID_NONE) return Reason::kNone;
  if (f.id_type == DRAGOMAN_ID_BYTES)
    return rewrite_id(x, f, bytes, x.head.wire.subspan(asked.id_offset, asked.id_len));
  x.id = asked.id;
  if (f.id_type == DRAGOMAN_ID_CODED) return rewrite_number(x, f, bytes);
  store_id(bytes.data() + f.id_offset, f.id_len, f.id_type == DRAGOMAN_ID_BE, x.id);
  f.id = x.id;
  return Reason::kNone;
}

Reason FramedCodec::assign_own_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes) {
  if (x.one_way) {
    x.id = ids_.next_one_way();
  } else {
    if (!ids_.acquire(&x, events_.now_ms(), x.id)) return Reason::kUpstreamRefused;
    x.holds_id = true;
  }
  x.own_id = true;
  Reason why = Reason::kNone;
  if (f.id_type == DRAGOMAN_ID_BYTES) {
    size_t len = std::max<size_t>(f.id_len, kHexIdBytes);
    auto* text = x.head.arena.allocate_array<uint8_t>(len);
    for (size_t i = 0; i < kHexIdBytes; ++i) text[i] = "0123456789abcdef"[x.id >> (60 - 4 * i) & 15];
    std::fill(text + kHexIdBytes, text + len, uint8_t{'0'});
    why = rewrite_id(x, f, bytes, {text, len});
  } else if (f.id_type == DRAGOMAN_ID_CODED) {
    why = rewrite_number(x, f, bytes);
  }
  if (why != Reason::kNone) {
    give_id_back(x);
    x.own_id = false;
    return why;
  }
  if (!is_integer_id(f)) return why;
  store_id(bytes.data() + f.id_offset, f.id_len, f.id_type == DRAGOMAN_ID_BE, x.id);
  f.id = x.id;
  return Reason::kNone;
}

void FramedCodec::send_body(FramedExchange& x, std::span<const uint8_t> chunk, bool end) {
  if (x.closed || x.out != Part::kOpen) return;
  if (x.foreign) {
    x.buffer.append(chunk);
    if (!end) return;
    Reason why = send_foreign(x);
    if (why == Reason::kNone) return;
    MessageSink* sink = x.sink;
    if (x.ours) {
      close(x);
    } else {  // whoever reconnects gets the version that the others have
      LocalReply reply;
      reply.reason = why;
      reply.text = reason_row(why).label;
      reply.close = true;
      send_reply(x, x.head, reply);
    }
    if (!x.closed) close(x);  // its holder hears one end
    return sink->on_reset(why);
  }
  if (!x.unsized && (chunk.size() > x.out_left || (end && chunk.size() != x.out_left))) {
    // Not the body its head announced. Nothing of it was written unless it streams.
    MessageSink* sink = x.sink;
    const char* why = why_reset_breaks(x);
    close(x);
    if (sink) sink->on_reset(Reason::kInternal);
    if (why) break_connection(Reason::kInternal, why);
    return;
  }
  if (streaming_ == &x) {
    put_body(x, chunk, false);
    if (end) end_output(x);
    return;
  }
  if (x.unsized && !x.ours) {
    x.reserved += chunk.size();
    reserved_ += chunk.size();
    if (is_over(0) && x.sink) {
      // No other place for it: the call ends as if the client had gone, with an error in its place.
      events_.on_event(CodecEvent::kAnswerRefused);
      unreserve(x);
      x.staged = {};
      x.buffer.clear();
      if (answer(x.head.wire.data(), x.head.frame, Reason::kWriteStall, {}, x.ordered ? &x : nullptr) !=
          Answer::kMade)
        return break_connection(Reason::kWriteStall, "no answer in this protocol");
      return end_output(x);
    }
  }
  if (is_shared() && end) {
    x.sent_at = given_out_;
    unsent_.push_back(x);
  }
  if (end && x.buffer.empty() && !x.ordered) {  // the common case: the whole frame is here
    x.written = true;
    put(&x, x.staged.data(), x.staged.size());
    x.staged = {};
    put_body(x, chunk, false);
    end_output(x);
    return;
  }
  if (!x.staged.empty()) {
    x.buffer.append(x.staged);
    x.staged = {};
  }
  put_body(x, chunk, true);
  if (!end) return;
  x.written = true;
  if (!x.ordered) put_all(x.buffer);
  end_output(x);
}

/// Every byte for the transport goes through these two.
void FramedCodec::give_out(const uint8_t* p, size_t n) {
  given_out_ += n;
  out_.write(p, n);
}

void FramedCodec::give_out(ByteChain& bytes) {
  if (bytes.empty()) return;
  given_out_ += bytes.size();
  out_.out.splice(bytes);
  out_.wrote();
}

void FramedCodec::put_all(ByteChain& bytes) {
  if (streaming_)
    deferred_.splice(bytes);
  else
    give_out(bytes);
}

/// Whether a peer that doesn't read has enough. While it reads, nothing is refused.
bool FramedCodec::is_over(uint64_t more) const {
  if (role_ != Role::kServer || !blocked_ || options_.kept_bytes_max == 0) return false;
  uint64_t kept = out_.out.size() + deferred_.size() + held_bytes_ + reserved_;
  return kept + (more == DRAGOMAN_LENGTH_UNKNOWN ? 0 : more) > options_.kept_bytes_max;
}

void FramedCodec::unreserve(FramedExchange& x) {
  reserved_ -= x.reserved;
  x.reserved = 0;
}

/// Writes to the connection, or behind the frame that is streaming.
void FramedCodec::put(const FramedExchange* x, const uint8_t* p, size_t n) {
  if (n == 0) return;
  if (streaming_ && streaming_ != x)
    deferred_.append(p, n);
  else
    give_out(p, n);
}

/// Writes body bytes, or collects them, with the checksum at the frame's end changed by the mask.
void FramedCodec::put_body(FramedExchange& x, std::span<const uint8_t> chunk, bool buffered) {
  auto give = [&](const uint8_t* p, size_t n) { buffered ? x.buffer.append(p, n) : put(&x, p, n); };
  size_t plain = chunk.size();
  if (x.patches) plain = static_cast<size_t>(std::min<uint64_t>(plain, x.out_left > 4 ? x.out_left - 4 : 0));
  give(chunk.data(), plain);
  if (x.unsized) return;
  x.out_left -= plain;
  if (size_t rest = chunk.size() - plain; rest > 0) {  // <= 4
    uint8_t tail[4];
    for (size_t i = 0; i < rest; ++i) tail[i] = chunk[plain + i] ^ x.mask[4 - x.out_left + i];
    give(tail, rest);
    x.out_left -= rest;
  }
}

void FramedCodec::end_output(FramedExchange& x) {
  set_out(x, Part::kDone);
  unreserve(x);
  if (streaming_ == &x) {
    streaming_ = nullptr;
    give_out(deferred_);
  }
  if (x.ordered) {
    if (answers_.front() != &x) hold(x);
    flush_answers();
  } else if (x.ours) {
    x.sent_bytes = given_out_ - x.sent_at;
    if (x.one_way && (x.loose || !x.own_id)) {
      // Its answer, if one comes, could not be told from that of a later call.
      loose_sent_ = true;
      if (is_ping_pong()) spend();
    }
  }
}

/// Writes the ordered answers whose turn has come.
void FramedCodec::flush_answers() {
  while (FramedExchange* x = answers_.front()) {
    if (x->out != Part::kDone) break;
    answers_.pop_front();
    unhold(*x);
    put_all(x->buffer);
    if (x->released) Exchanges::destroy(x);
  }
  look_at_held();
}

/// Answers a request in the protocol's own words.
FramedCodec::Answer FramedCodec::answer(const uint8_t* head, const dragoman_frame& f, Reason reason,
                                        std::string_view text, FramedExchange* into, std::string_view tell) {
  auto outcome = static_cast<uint32_t>(reason_row(reason).outcome);
  const auto words = [&](uint8_t* out, uint64_t cap) {
    return table_.reply(table_.context, conn(), head, &f, outcome, bytes_of(text), out, cap);
  };
  if (tell.empty()) return make(into, words);
  std::vector<uint8_t> frame(512);
  int64_t n = words(frame.data(), frame.size());
  if (n > static_cast<int64_t>(frame.size()) && n <= static_cast<int64_t>(kReplyBytesMax)) {
    frame.resize(static_cast<size_t>(n));
    n = words(frame.data(), frame.size());
  }
  if (n <= 0 || n > static_cast<int64_t>(frame.size())) return make(into, words);
  frame.resize(static_cast<size_t>(n));
  add_reason(frame, tell);
  return make(into, [&](uint8_t* out, uint64_t cap) {
    if (frame.size() <= cap) std::memcpy(out, frame.data(), frame.size());
    return static_cast<int64_t>(frame.size());
  });
}

/// Adds the header kReasonHeader to an answer of ours; one that has no place for it stays as it is.
void FramedCodec::add_reason(std::vector<uint8_t>& frame, std::string_view tell) {
  if (!table_.edit || is_attribute(kReasonHeader)) return;
  const auto read = [&](std::span<const uint8_t> bytes, dragoman_frame& f) {
    Memory memory(conn(), table_.conn_state_size);
    f.size = sizeof f;
    f.want = DRAGOMAN_WANT_HEADERS;
    f.from = DRAGOMAN_FROM_SERVER;
    return table_.probe(table_.context, memory.get(), bytes.data(), bytes.size(), &f) == DRAGOMAN_FRAME &&
           !frame_fault(f) && f.kind == DRAGOMAN_RESPONSE && !is_unsized(f) && f.total_len == bytes.size();
  };
  dragoman_frame was{}, now{};
  if (!read(frame, was)) return;
  const dragoman_edit edit{static_cast<uint32_t>(EditOp::kSet), 0, bytes_of(kReasonHeader), bytes_of(tell)};
  std::vector<uint8_t> made(was.head_len + 256);
  const int64_t n =
      table_.edit(table_.context, conn(), frame.data(), &was, &edit, 1, made.data(), made.size());
  if (n <= 0 || n > static_cast<int64_t>(made.size())) return;
  made.resize(static_cast<size_t>(n));
  made.insert(made.end(), frame.begin() + was.head_len, frame.end());
  if (!read(made, now) || now.status != was.status || now.id != was.id || now.id_len != was.id_len ||
      now.checksum != was.checksum)
    return;
  if (now.checksum == DRAGOMAN_CHECKSUM_CUSTOM &&
      table_.checksum(table_.context, conn(), made.data(), &now, 1) != 1)
    return;
  if (now.checksum == DRAGOMAN_CHECKSUM_CRC32)
    store_be(made.data() + now.checksum_offset, crc32_of(made.data(), now.checksum_offset));
  frame = std::move(made);
}

void FramedCodec::send_reply(FramedExchange& x, const Head& request, const LocalReply& reply) {
  if (x.closed) return;
  // An answer under way of which nothing was written yet gives its place to this one.
  const bool unsent = x.out == Part::kNone || (x.out == Part::kOpen && !x.written && streaming_ != &x);
  if (x.ours || (!x.one_way && !unsent)) return reset(x, reply.reason);
  if (!x.one_way) {
    x.staged = {};
    x.foreign = nullptr;
    x.buffer.clear();
    x.out_left = 0;
    switch (answer(request.wire.data(), request.frame, reply.reason, reply.text, x.ordered ? &x : nullptr,
                   reply.tell)) {
      case Answer::kMade:
        break;
      case Answer::kNone:
        close(x);
        // One slow call must not end those beside it: its caller knows by the id that no answer came.
        if (reason_row(reply.reason).outcome == Outcome::kTimeout && has_ids() && !x.ordered && !reply.close)
          return;
        return break_connection(reply.reason, "no answer in this protocol");
      case Answer::kFailed:
        close(x);
        return lie("codec: reply failed");
    }
    end_output(x);
  }
  if (reply.close) drain();
}

bool FramedCodec::heartbeat() {
  if (broken_ || !table_.heartbeat) return false;
  uint64_t id = ids_.next_heartbeat();
  if (make(nullptr, [&](uint8_t* out, uint64_t cap) {
        return table_.heartbeat(table_.context, conn(), variant_, id, out, cap);
      }) != Answer::kMade) {
    lie("codec: heartbeat failed");
    return false;
  }
  ++heartbeats_missed_;
  return true;
}

void FramedCodec::drain() {
  if (broken_ || draining_) return;
  draining_ = true;
  if (role_ == Role::kServer && options_.goaway && table_.goaway &&
      make(nullptr, [&](uint8_t* out, uint64_t cap) {
        return table_.goaway(table_.context, conn(), variant_, out, cap);
      }) != Answer::kMade)
    return lie("codec: goaway failed");
  maybe_finished();
}

}  // namespace dragoman::framed
