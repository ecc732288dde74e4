#include "protocols/framed_codec.h"

namespace dragoman::framed {
namespace {

/// Takes what view() finds into a head.
struct ViewCollector {
  ViewCollector(Head& to, const dragoman_codec& codec, uint32_t max)
      : head(to), table(codec), headers_max(max) {}

  Head& head;
  const dragoman_codec& table;
  const uint32_t headers_max;
  bool honest = true;
  bool too_many = false;
  bool contradicts = false;
  uint64_t lengths = 0;  // of the names so far, as a set
  uint32_t given = 0;  // bit set of attributes
  dragoman_bytes attributes[DRAGOMAN_ATTRIBUTES_MAX];  // those given

  bool within(dragoman_bytes b) const {
    if (b.len == 0) return true;
    auto begin = reinterpret_cast<uintptr_t>(head.wire.data());
    auto at = reinterpret_cast<uintptr_t>(b.data);
    return at >= begin && b.len <= head.wire.size() && at - begin <= head.wire.size() - b.len;
  }
  /// Memory of the codec's own, no byte of which is the head's: what a value means, not what it is on the wire.
  bool foreign(dragoman_bytes b) const {
    auto begin = reinterpret_cast<uintptr_t>(head.wire.data());
    auto at = reinterpret_cast<uintptr_t>(b.data);
    return b.data && (at >= begin + head.wire.size() || (at < begin && b.len <= begin - at));
  }
  bool inside(dragoman_bytes b) {
    if (within(b)) return true;
    honest = false;
    return false;
  }
  /// Service and method may also stand in the connection's memory.
  std::string_view copied(dragoman_bytes b, const uint8_t* memory) {
    auto begin = reinterpret_cast<uintptr_t>(memory);
    auto at = reinterpret_cast<uintptr_t>(b.data);
    bool remembered = memory && b.len <= table.conn_state_size && at >= begin &&
                      at - begin <= table.conn_state_size - b.len;
    if (remembered) return head.arena.copy(text_of(b));
    return inside(b) ? text_of(b) : std::string_view();
  }
  static void on_header(void* ctx, dragoman_bytes name, dragoman_bytes value) {
    auto& self = *static_cast<ViewCollector*>(ctx);
    if (!self.inside(name)) return;
    std::string_view text = text_of(value);
    if (!self.within(value)) {
      if (!self.foreign(value) || value.len > self.table.head_bytes_max) {
        self.honest = false;
        return;
      }
      text = self.head.arena.copy(text);
    }
    self.add(text_of(name), text);
  }
  /// A header of the wire.
  void add(std::string_view name, std::string_view value) {
    HeaderList& headers = head.headers;
    if (headers.size() >= headers_max) {
      too_many = true;
      return;
    }
    // Peers keep headers in maps. Of two with one name, in whatever case, some take the first and others the last.
    const uint64_t length = uint64_t{1} << (name.size() & 63);
    if (lengths & length)
      for (const Header& other : headers)
        if (other.value != value && equals_ignore_case(other.name, name)) contradicts = true;
    lengths |= length;
    headers.push(name, value, header_id(name));
  }
  static void on_attribute(void* ctx, uint32_t index, dragoman_bytes value) {
    auto& self = *static_cast<ViewCollector*>(ctx);
    const bool own = !self.within(value);
    if (index >= self.table.attribute_count || (self.given & 1u << index) ||
        (own && (!self.foreign(value) || value.len > DRAGOMAN_ATTRIBUTE_BYTES_MAX))) {
      self.honest = false;
      return;
    }
    self.given |= 1u << index;
    self.attributes[index] = own ? bytes_of(self.head.arena.copy(text_of(value))) : value;
  }
  /// Attributes become headers; one of the same name on the wire is hidden.
  void add_attributes() {
    for (uint32_t i = 0; given >> i; ++i) {
      if (!(given & 1u << i)) continue;
      std::string_view name = table.attributes[i];
      head.headers.remove(name);
      head.headers.add_name(name, text_of(attributes[i]));
    }
  }
};

}  // namespace

void FramedCodec::on_data(uint8_t* data, size_t n) {
  if (broken_) return;
  in_read_ = true;
  read_all(data, n);
  in_read_ = false;
  if (broken_) return;
  const bool due = capacity_due_;
  capacity_due_ = is_ping_pong() && phase() != ReadPhase::kIdle;  // when that frame is complete
  if (due) events_.on_capacity();
}

void FramedCodec::read_all(uint8_t* data, size_t n) {
  if (!stash_.empty()) {
    if (stash_.size() + n < need_) {
      stash_.append(data, n);
      return;
    }
    size_t kept = stash_.size();  // < need_ <= head_bytes_max_ <= kHeadroom
    data -= kept;
    n += kept;
    stash_.copy_to(data);
    stash_.clear();
  }
  while (n > 0) {
    size_t used = body_left_ ? read_body(data, n) : read_frame(data, n);
    if (broken_) return;
    if (used == 0) {
      stash_.append(data, n);
      return;
    }
    data += used;
    n -= used;
  }
}

/// Null, or what can't be true about a frame.
const char* FramedCodec::frame_fault(const dragoman_frame& f) const {
  if (f.total_len == 0) return "codec: frame of no bytes";
  if (is_unsized(f)) {
    if (!table_.extent || f.checksum != DRAGOMAN_CHECKSUM_NONE) return "codec: length that can't be found";
    if (!is_request(f) && f.kind != DRAGOMAN_RESPONSE) return "codec: control frame of unknown length";
  }
  if (f.head_len == 0 || f.head_len > f.total_len) return "codec: head length out of range";
  if (f.kind < DRAGOMAN_REQUEST || f.kind > DRAGOMAN_STREAM_CANCEL) return "codec: unknown frame kind";
  if (f.id_type > DRAGOMAN_ID_CODED) return "codec: unknown id type";
  if (f.id_type != DRAGOMAN_ID_NONE) {
    if (f.id_offset > f.head_len || f.id_len > f.head_len - f.id_offset) return "codec: id outside the head";
    bool right = is_integer_id(f)                 ? f.id_len == table_.id_len
                 : f.id_type == DRAGOMAN_ID_CODED ? table_.id_len > 0 && table_.set_id
                                                  : f.id_len > 0 && table_.id_len == 0;
    if (!right) return "codec: id length out of range";
  }
  switch (f.checksum) {
    case DRAGOMAN_CHECKSUM_NONE:
      break;
    case DRAGOMAN_CHECKSUM_CRC32:
      if (f.total_len < 4 || f.checksum_offset != f.total_len - 4 || f.checksum_offset < f.head_len)
        return "codec: checksum is not the last field";
      break;
    case DRAGOMAN_CHECKSUM_CUSTOM:
      if (!table_.checksum || f.head_len != f.total_len) return "codec: custom checksum outside the head";
      break;
    default:
      return "codec: unknown checksum";
  }
  return nullptr;
}

/// Reads the frame at `p`: its head and what is there of its body. Returns how many bytes it took; 0 when
/// more are needed (see need_) or the connection broke.
size_t FramedCodec::read_frame(const uint8_t* p, size_t n) {
  dragoman_frame f{};
  f.size = sizeof f;
  f.want = head_want();
  f.from = from();
  bool supported = true;
  switch (table_.probe(table_.context, conn(), p, n, &f)) {
    case DRAGOMAN_FRAME:
      break;
    case DRAGOMAN_NEED:
      if (f.need <= n || f.need > head_bytes_max_) {
        lie("codec: need out of range");
        return 0;
      }
      if (f.kind != 0 && !is_unsized(f) && f.total_len > options_.frame_bytes_max) {  // known already
        f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, n));
        refuse(Reason::kFrameTooLarge, "frame over the limit", p, n, f);
        return 0;
      }
      need_ = f.need;
      return 0;
    case DRAGOMAN_NOT_MINE:
      f.kind = 0;
      refuse(Reason::kMalformed, "not this protocol", p, n, f);
      return 0;
    case DRAGOMAN_MALFORMED:
      refuse(Reason::kMalformed, f.reason, p, n, f);
      return 0;
    case DRAGOMAN_TOO_BIG:
      refuse(Reason::kFrameTooLarge, f.reason, p, n, f);
      return 0;
    case DRAGOMAN_UNSUPPORTED:
      if (f.total_len == 0) {
        refuse(Reason::kUnsupported, f.reason, p, n, f);
        return 0;
      }
      supported = false;
      break;
    default:
      lie("codec: unknown verdict");
      return 0;
  }
  if (const char* fault = frame_fault(f)) {
    lie(fault);
    return 0;
  }
  // Control frames are acted on when they are complete, so they must be no longer than a head.
  bool control = supported && !is_request(f) && f.kind != DRAGOMAN_RESPONSE;
  uint64_t whole = control ? f.total_len : f.head_len;
  if ((!is_unsized(f) && f.total_len > options_.frame_bytes_max) || f.head_len > options_.frame_bytes_max ||
      whole > head_bytes_max_) {
    f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, n));
    refuse(Reason::kFrameTooLarge, "frame over the limit", p, n, f);
    return 0;
  }
  if (n < whole) {
    need_ = whole;
    return 0;
  }

  if (is_unsized(f)) {
    size_t used = 0;
    body_read_ = 0;
    if (Reason why = measure(f, p + f.head_len, n - f.head_len, used); why != Reason::kNone) {
      if (!broken_) refuse(why, "", p, n, f);
      return 0;
    }
    if (!unsized_) unsized_ = std::make_unique<dragoman_frame>();
    *unsized_ = f;
    n = f.head_len + used;
  }
  auto here = static_cast<size_t>(std::min<uint64_t>(n, f.total_len));
  crc_.active = false;
  if (options_.verify_checksums && f.checksum != DRAGOMAN_CHECKSUM_NONE) {
    bool right = true;
    if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
      right = table_.checksum(table_.context, conn(), const_cast<uint8_t*>(p), &f, 0) == 1;
    } else {
      crc_ = {true, 0, 0, f.checksum_offset};
      crc_.update(p, here);
      right = here < f.total_len || crc_.sum == crc_.field;
    }
    if (!right) {  // the whole frame is here and nobody has seen it
      if (f.kind == DRAGOMAN_REQUEST) last_words(p, f, Reason::kChecksum, nullptr);
      break_connection(Reason::kChecksum, "checksum mismatch",
                       f.kind == DRAGOMAN_RESPONSE ? find_answered(p, f, false) : nullptr);
      return 0;
    }
  }
  if (!is_unsized(f)) body_left_ = f.total_len - here;
  reading_ = nullptr;

  if (!supported && !is_request(f)) {
    events_.on_event(CodecEvent::kUnsupported);
    if (f.kind == DRAGOMAN_RESPONSE && role_ == Role::kClient) refuse_answer(p, f);
    return here;
  }
  switch (f.kind) {
    case DRAGOMAN_REQUEST:
    case DRAGOMAN_ONEWAY:
      on_request(p, here, f, supported);
      break;
    case DRAGOMAN_RESPONSE:
      on_response(p, here, f);
      break;
    case DRAGOMAN_HEARTBEAT:
      on_heartbeat(p, f);
      break;
    case DRAGOMAN_HEARTBEAT_ACK:
      on_heartbeat_ack(p, f);
      break;
    case DRAGOMAN_GOAWAY:
      events_.on_event(CodecEvent::kGoAway);
      if (goaway_) {
        events_.on_event(CodecEvent::kGlitch);
      } else {
        goaway_ = true;
        events_.on_goaway();
        maybe_finished();
      }
      break;
    default:
      refuse(Reason::kUnsupported, "stream frames are not supported", p, n, f);
      return 0;
  }
  return here;
}

/// Asks where a frame of unknown length ends. Sets body_left_ to 0 when it does within the `n` bytes at `p`.
Reason FramedCodec::measure(const dragoman_frame& f, const uint8_t* p, size_t n, size_t& used) {
  used = 0;
  body_left_ = DRAGOMAN_LENGTH_UNKNOWN;
  if (n == 0) return Reason::kNone;
  uint64_t taken = UINT64_MAX;
  int verdict = table_.extent(table_.context, conn(), &f, body_read_, p, n, &taken);
  if (verdict == DRAGOMAN_TOO_BIG) return Reason::kFrameTooLarge;
  if (verdict == DRAGOMAN_MALFORMED || verdict == DRAGOMAN_NOT_MINE) return Reason::kMalformed;
  if (verdict == DRAGOMAN_UNSUPPORTED) return Reason::kUnsupported;
  if (taken > n || (verdict == DRAGOMAN_NEED ? taken != n : verdict != DRAGOMAN_FRAME)) {
    lie("codec: extent out of range");
    return Reason::kInternal;
  }
  used = static_cast<size_t>(taken);
  body_read_ += used;
  if (f.head_len + body_read_ > options_.frame_bytes_max) return Reason::kFrameTooLarge;
  if (verdict == DRAGOMAN_FRAME) body_left_ = 0;
  return Reason::kNone;
}

/// More of the body of the frame being read.
size_t FramedCodec::read_body(const uint8_t* p, size_t n) {
  FramedExchange* x = reading_;
  size_t k = 0;
  if (body_left_ == DRAGOMAN_LENGTH_UNKNOWN) {
    if (Reason why = measure(*unsized_, p, n, k); why != Reason::kNone) {
      if (broken_) return 0;
      if (x && !x->ours && x->out == Part::kNone) last_words(x->head.wire.data(), x->head.frame, why, x);
      break_connection(by_role(why), "bad body", x);
      return 0;
    }
  } else {
    k = static_cast<size_t>(std::min<uint64_t>(n, body_left_));
    body_left_ -= k;
  }
  bool last = body_left_ == 0;
  if (crc_.active) {
    crc_.update(p, k);
    if (last && crc_.sum != crc_.field) {
      if (x && !x->ours && x->out == Part::kNone)
        last_words(x->head.wire.data(), x->head.frame, Reason::kChecksum, x);
      break_connection(Reason::kChecksum, "checksum mismatch", x);
      return 0;
    }
  }
  if (x) {
    if (last) {
      x->in = Part::kDone;
      reading_ = nullptr;
    }
    x->sink->on_body({p, k}, last);
  }
  return k;
}

void FramedCodec::on_request(const uint8_t* p, size_t here, const dragoman_frame& f, bool supported) {
  Reason refusal = Reason::kNone;
  if (!supported) {
    events_.on_event(CodecEvent::kUnsupported);
    refusal = Reason::kUnsupported;
  } else if (open_ >= options_.streams_max) {
    events_.on_event(CodecEvent::kStreamsOverflow);
    refusal = Reason::kStreamsOverflow;
  }
  if (refusal != Reason::kNone) return turn_away(p, f, refusal);

  FramedExchange& x = create(false);
  x.one_way = f.kind == DRAGOMAN_ONEWAY;
  if (x.one_way) x.out = Part::kDone;
  if (const Understood head = fill_head(x, p, f); head.fault || head.refusal != Reason::kNone) {
    destroy(x);
    if (!head.honest)
      lie(head.fault);
    else if (head.fault)
      refuse(Reason::kMalformed, head.fault, p, f.head_len, f);
    else
      turn_away(p, f, head.refusal);
    return;
  }
  if (is_duplicate(x)) events_.on_event(CodecEvent::kDuplicateId);
  if (role_ == Role::kServer) variant_ = f.variant;
  x.ordered = !x.one_way && is_ordered(f);
  if (x.ordered) answers_.push_back(x);
  MessageSink* sink = events_.on_exchange(x);
  if (!sink) {
    bool dead = x.closed;
    destroy(x);
    // A server's request that nobody here can take, or an owner that is closing.
    if (!dead) turn_away(p, f, role_ == Role::kClient ? Reason::kNoRoute : Reason::kDraining);
    return;
  }
  x.sink = sink;
  if (x.closed) return sink->on_reset(broken_reason_);  // the owner broke the connection meanwhile
  deliver(x, p, here, f);
}

/// Whether the peer uses the id of a request that still waits for its answer. Ids that grow cost a comparison; of others
/// only the last requests are looked at.
bool FramedCodec::is_duplicate(const FramedExchange& x) {
  constexpr int kLooksMax = 256;
  const dragoman_frame& f = x.head.frame;
  if (!has_number(f) || f.id_len == 0 || x.one_way || (f.flags & DRAGOMAN_FRAME_ORDERED)) return false;
  const uint32_t unused = 64 - 8 * table_.id_len;  // so that the sign is that of ids which wrap around
  const bool grows = !has_newest_id_ || static_cast<int64_t>((f.id - newest_id_) << unused) > 0;
  if (grows) {
    newest_id_ = f.id;
    has_newest_id_ = true;
    return false;
  }
  int looks = 0;
  for (FramedExchange* other = live_.back(); other && looks < kLooksMax;
       other = live_.previous(*other), ++looks)
    if (other != &x && !other->ours && !other->one_way && other->out != Part::kDone &&
        other->head.frame.id == f.id)
      return true;
  return false;
}

/// Answers a request that gets no exchange; the connection goes on.
void FramedCodec::turn_away(const uint8_t* p, const dragoman_frame& f, Reason reason) {
  if (role_ == Role::kClient) events_.on_event(CodecEvent::kGlitch);
  if (f.kind != DRAGOMAN_REQUEST) return;
  FramedExchange* turn = is_ordered(f) && !answers_.empty() ? take_turn() : nullptr;
  Answer made = answer(p, f, reason, {}, turn);
  if (turn) hold(*turn);
  if (made == Answer::kFailed) lie("codec: reply failed");
  if (made == Answer::kNone) break_connection(by_role(reason), "no answer in this protocol");
}

void FramedCodec::on_response(const uint8_t* p, size_t here, const dragoman_frame& f) {
  const bool passes_on = table_.abilities & DRAGOMAN_ONLY_BOUND;
  FramedExchange* x = find_answered(p, f, !passes_on);
  if (!x && passes_on) {
    dragoman_frame message = f;
    message.kind = DRAGOMAN_ONEWAY;
    return on_request(p, here, message, true);
  }
  if (!x) {
    // The next request of this connection must not get it.
    if (is_ping_pong() && !broken_ && !expected_miss_)
      break_connection(Reason::kUpstreamProtocolError, "answer that nobody waits for");
    return;
  }
  const Understood head = fill_head(*x, p, f);
  if (head.fault)
    return break_connection(head.honest ? by_role(Reason::kMalformed) : Reason::kInternal, head.fault, x);
  if (head.refusal != Reason::kNone) {  // only this call fails; the rest of the frame is skipped
    x->in = Part::kDone;
    close(*x);
    return x->sink->on_reset(by_role(head.refusal));
  }
  deliver(*x, p, here, f);
}

/// Gives head and present body to the sink. `x` may be gone afterwards.
void FramedCodec::deliver(FramedExchange& x, const uint8_t* p, size_t here, const dragoman_frame& f) {
  bool bodiless = f.total_len == f.head_len;  // never when unsized
  x.in = bodiless ? Part::kDone : Part::kOpen;
  reading_ = bodiless ? nullptr : &x;
  MessageSink* sink = x.sink;
  sink->on_head(x.head, bodiless);
  bool last = body_left_ == 0;
  if (reading_ != &x || (here == f.head_len && !last)) return;  // gone meanwhile, or nothing more here
  if (last) {
    x.in = Part::kDone;
    reading_ = nullptr;
  }
  sink->on_body({p + f.head_len, here - f.head_len}, last);
}

/// Copies the head into the exchange and describes it.
FramedCodec::Understood FramedCodec::fill_head(FramedExchange& x, const uint8_t* p, const dragoman_frame& f) {
  Head& h = x.head;
  auto* copy = h.arena.allocate_array<uint8_t>(f.head_len);
  std::memcpy(copy, p, f.head_len);
  h.wire = {copy, f.head_len};
  h.frame = f;
  h.frame.reason = nullptr;  // it may be gone before the head is
  h.table = &table_;
  h.is_request = is_request(f);
  h.one_way = f.kind == DRAGOMAN_ONEWAY;
  h.content_length = is_unsized(f) ? -1 : static_cast<int64_t>(f.total_len - f.head_len);
  if (h.is_request) {
    h.timeout_ms = f.timeout_ms > 0 ? f.timeout_ms : -1;
  } else {
    h.status = static_cast<uint32_t>(f.status);
    uint32_t outcome = table_.outcome(table_.context, conn(), copy, &f);
    h.outcome =
        outcome < static_cast<uint32_t>(kOutcomeCount) ? static_cast<Outcome>(outcome) : Outcome::kUnknown;
    dragoman_bytes text{};
    if (table_.status_text) {
      h.status = 0;
      h.status_text = "";
      if (table_.status_text(table_.context, conn(), copy, &f, &text) == 0) {
        ViewCollector collector(h, table_, 0);
        if (!collector.inside(text)) return {.fault = "codec: a status outside of the head", .honest = false};
        h.status_text = text_of(text);
      }
    }
  }
  h.hops_unread = h.is_request && !(head_want() & DRAGOMAN_WANT_HEADERS);
  const bool hops = find_hops_ && h.is_request && !(want_ & DRAGOMAN_WANT_HEADERS);
  if (!want_) {
    if (hops) read_hops(h, copy, f);
    return {};
  }

  ViewCollector collector(h, table_, options_.headers_max);
  dragoman_view v{};
  v.size = sizeof v;
  v.header = want_ & DRAGOMAN_WANT_HEADERS ? ViewCollector::on_header : nullptr;
  v.attribute = want_ & DRAGOMAN_WANT_HEADERS ? ViewCollector::on_attribute : nullptr;
  v.ctx = &collector;
  if (table_.view(table_.context, conn(), copy, &f, want_, &v) != 0) return {.fault = "head not understood"};
  h.service = collector.copied(v.service, conn_.get());
  h.method = collector.copied(v.method, conn_.get());
  h.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
  if (h.opaque) h.headers.clear();
  if (v.flags & DRAGOMAN_VIEW_UNREAD) {
    events_.on_event(CodecEvent::kBodyUnread);
    if (options_.refuse_unread && h.is_request) return {.refusal = Reason::kUnsupported};
  }
  if (!collector.honest) return {.fault = "codec: view of what is not there", .honest = false};
  if (collector.too_many && !h.opaque) {
    events_.on_event(CodecEvent::kHeadersOverflow);
    return {.refusal = Reason::kTooManyHeaders};
  }
  if (collector.contradicts && !h.opaque && h.is_request) {
    events_.on_event(CodecEvent::kHeadersContradict);
    return {.refusal = Reason::kMalformed};
  }
  collector.add_attributes();
  if (hops) [[unlikely]]
    read_hops(h, copy, f);
  return {};
}

// What is odd about headers that nobody wanted is no reason to refuse the message: it passes uncounted.
void FramedCodec::read_hops(Head& h, const uint8_t* copy, const dragoman_frame& f) {
  ViewCollector collector(h, table_, options_.headers_max);
  dragoman_view v{};
  v.size = sizeof v;
  v.header = ViewCollector::on_header;
  v.attribute = ViewCollector::on_attribute;
  v.ctx = &collector;
  const bool read = table_.view(table_.context, conn(), copy, &f, DRAGOMAN_WANT_HEADERS, &v) == 0;
  h.hops_unread = !read || !collector.honest || (v.flags & DRAGOMAN_VIEW_OPAQUE);
  std::string_view hops;
  for (const Header& header : h.headers)
    if (header.id == HeaderId::kHops) hops = header.value;
  h.headers.clear();
  if (!h.hops_unread && !hops.empty()) h.headers.push(kHopsHeader, hops, HeaderId::kHops);
}

/// The number in our own id of an answer; false when it can't be one of ours.
bool FramedCodec::table_id(const uint8_t* p, const dragoman_frame& f, uint64_t& id) const {
  if (has_number(f)) {
    id = f.id;
    return true;
  }
  if (f.id_type != DRAGOMAN_ID_BYTES || f.id_len < kHexIdBytes) return false;
  id = 0;
  for (uint32_t i = 0; i < f.id_len; ++i) {
    uint8_t c = p[f.id_offset + i];
    bool digit = c >= '0' && c <= '9';
    if (i >= kHexIdBytes ? c != '0' : !digit && !(c >= 'a' && c <= 'f')) return false;
    if (i < kHexIdBytes) id = id << 4 | (digit ? c - '0' : c - 'a' + 10);
  }
  return true;
}

/// The oldest request under way whose id, not ours, the answer has.
FramedExchange* FramedCodec::find_passed(const uint8_t* p, const dragoman_frame& f) {
  for (FramedExchange* x = live_.front(); x; x = live_.next(*x)) {
    if (!x->ours || !x->written || x->in != Part::kNone || x->own_id) continue;
    if (f.id_type == DRAGOMAN_ID_NONE) return x;
    if (f.id_type == DRAGOMAN_ID_BYTES
            ? std::ranges::equal(x->id_bytes, std::span<const uint8_t>(p + f.id_offset, f.id_len))
            : x->id == f.id)
      return x;
  }
  return nullptr;
}

/// The only request under way, if nothing else sent here can still be answered.
FramedExchange* FramedCodec::find_only_one() {
  if (is_shared() && ids_.quarantined() > 0) return nullptr;
  if (loose_sent_) return nullptr;
  FramedExchange* only = nullptr;
  for (FramedExchange* x = live_.front(); x; x = live_.next(*x)) {
    if (!x->ours || !x->written || x->in != Part::kNone) continue;
    if (only) return nullptr;
    only = x;
  }
  return only && only->loose ? only : nullptr;
}

/// An answer in a form that can't be passed on: whom it is for hears so.
void FramedCodec::refuse_answer(const uint8_t* p, const dragoman_frame& f) {
  FramedExchange* x = find_answered(p, f, true);
  if (is_ping_pong()) return break_connection(Reason::kUpstreamProtocolError, "answer not supported", x);
  if (!x) return;
  x->in = Part::kDone;
  close(*x);
  x->sink->on_reset(Reason::kUpstreamProtocolError);
}

/// The exchange that an answer is for; null when there is none, which is counted if `count`.
FramedExchange* FramedCodec::find_answered(const uint8_t* p, const dragoman_frame& f, bool count) {
  CodecEvent miss = CodecEvent::kUnknownId;
  expected_miss_ = false;
  if (!is_shared())
    if (FramedExchange* x = find_passed(p, f)) {
      // That id was the request's own: once more, it would be a second answer and not another's that lacks its id.
      if (f.flags & DRAGOMAN_FRAME_LOOSE) loose_sent_ = true;
      return x;
    }
  if (f.kind == DRAGOMAN_RESPONSE && (f.flags & DRAGOMAN_FRAME_LOOSE))
    if (FramedExchange* x = find_only_one()) return x;
  if (gives_ids()) {
    uint64_t id = 0;
    if (table_id(p, f, id)) {
      auto found = ids_.find(id);
      using Match = IdTable<FramedExchange>::Match;
      switch (found.match) {
        case Match::kLive:
          if (!found.value->written) break;  // its request is still being collected: a guess
          if (found.value->in == Part::kNone) return found.value;
          miss = CodecEvent::kLateAnswer;  // a second answer
          break;
        case Match::kLate:
          miss = CodecEvent::kLateAnswer;
          if (count && ids_.quarantined() > 0) {
            const bool full = capacity() == 0;
            ids_.answered_late(id);
            if (full && capacity() > 0) events_.on_capacity();
          }
          break;
        case Match::kOneWay:
          miss = CodecEvent::kOneWayAnswered;
          expected_miss_ = true;
          break;
        case Match::kHeartbeat:
          expected_miss_ = true;
          if (count) on_heartbeat_ack(p, f);
          return nullptr;
        case Match::kUnknown:
          break;
      }
    }
  }
  if (count) events_.on_event(miss);
  return nullptr;
}

void FramedCodec::on_heartbeat(const uint8_t* p, const dragoman_frame& f) {
  const auto second = static_cast<uint32_t>(events_.now_ms() / 1000);
  if (second != heartbeat_second_) {
    heartbeat_second_ = second;
    heartbeats_in_second_ = 0;
  }
  if (++heartbeats_in_second_ > options_.heartbeats_per_second_max) return fail(Reason::kHeartbeatFlood);
  if (!table_.heartbeat_reply) return;
  FramedExchange* turn = !has_ids() && !answers_.empty() ? take_turn() : nullptr;
  Answer made = make(turn, [&](uint8_t* out, uint64_t cap) {
    return table_.heartbeat_reply(table_.context, conn(), p, &f, out, cap);
  });
  if (turn) hold(*turn);
  if (made == Answer::kFailed) return lie("codec: heartbeat reply failed");
  events_.on_event(CodecEvent::kHeartbeatAnswered);
}

void FramedCodec::on_heartbeat_ack(const uint8_t* p, const dragoman_frame& f) {
  uint32_t left = heartbeats_missed_;  // still unanswered after this one
  uint64_t id = 0;
  if (heartbeats_missed_ > 0) {
    if (f.id_type == DRAGOMAN_ID_NONE)
      left = heartbeats_missed_ - 1;
    else if (table_id(p, f, id))
      left = std::min<uint32_t>(ids_.heartbeats_after(id), heartbeats_missed_);
  }
  if (left == heartbeats_missed_) return events_.on_event(CodecEvent::kHeartbeatUnexpected);
  heartbeats_missed_ = left;
  events_.on_event(CodecEvent::kHeartbeatAck);
}

void FramedCodec::on_eof() {
  if (broken_ || eof_) return;
  if (!stash_.empty() || body_left_) {
    break_connection(by_role(Reason::kDownstreamTruncated), "closed inside a frame", reading_);
    return;
  }
  eof_ = true;
  for (FramedExchange* x = live_.front(); x; x = live_.next(*x)) {
    if (x->ours && x->in != Part::kDone) {
      break_connection(by_role(Reason::kDownstreamReset), "closed with answers owed");
      return;
    }
  }
  maybe_finished();
}

void FramedCodec::on_transport_closed(Reason reason) {
  if (!give_up(reason)) return;
  if (FramedExchange* x = reading_) {
    close(*x);
    x->sink->on_reset(by_role(Reason::kDownstreamTruncated));
  }
  reset_all(reason);
}

void FramedCodec::on_write_blocked(bool blocked) {
  blocked_ = blocked;
  // A shared connection may have thousands of exchanges, and comes here many times a second.
  if (role_ == Role::kServer || !is_shared() || filling_ || told_blocked_) {
    told_blocked_ = blocked;
    visiting_.splice(live_);
    while (FramedExchange* x = visiting_.pop_front()) {
      live_.push_back(*x);
      if (x->sink) x->sink->on_write_blocked(blocked);
    }
  }
  if (!blocked_ && !broken_ && is_shared()) events_.on_capacity();
}

ReadPhase FramedCodec::phase() const {
  if (!stash_.empty()) return ReadPhase::kHead;
  return body_left_ ? ReadPhase::kBody : ReadPhase::kIdle;
}

}  // namespace dragoman::framed
