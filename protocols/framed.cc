#include "protocols/framed.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "protocols/checksum.h"
#include "protocols/id_table.h"
#include "proxy/base/cursor.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/base/object_pool.h"

namespace dragoman {
namespace {

constexpr size_t kReplyBytesMax = 64 * 1024;  // replies, heartbeats, goaways made by a table
constexpr size_t kHexIdBytes = 16;            // length of our ids in protocols with opaque ids

class FramedCodec;
struct AnswerOrder;

/// One direction of an exchange.
enum class Part : uint8_t { kNone, kOpen, kDone };

struct FramedExchange final : public Exchange, public ListLink<>, public ListLink<AnswerOrder> {
  FramedExchange(FramedCodec& owner, bool is_ours) : codec(&owner), ours(is_ours) {}

  Reason send_head(Head& h, bool end) override;
  void send_body(std::span<const uint8_t> chunk, bool end) override;
  void send_trailers(HeaderList& trailers) override;
  void send_reply(const Head& request, const LocalReply& reply) override;
  void reset(Reason reason) override;
  void pause_reading() override;
  void resume_reading() override;
  void release() override;
  size_t buffered_bytes() const override { return buffer.size(); }

  bool finished() const { return in == Part::kDone && out == Part::kDone; }

  FramedCodec* codec;  // null once the connection's codec is gone
  MessageSink* sink = nullptr;
  Head head;           // what the peer sends; its arena also holds the head we send

  const bool ours;     // we send the request
  Part in = Part::kNone;
  Part out = Part::kNone;
  bool closed = false;    // reset by either side: nothing more is sent or delivered
  bool paused = false;
  bool one_way = false;
  bool holds_id = false;  // `id` is live in the id table
  bool written = false;   // bytes of our frame were given to the transport
  bool released = false;  // only waits for its turn in the answer order
  bool patches = false;   // the frame's checksum is to be changed by `mask`
  uint8_t mask[4] = {};

  uint64_t id = 0;                     // ours: integer id on the wire
  std::span<const uint8_t> id_bytes;   // ours: opaque id on the wire
  std::span<const uint8_t> staged;     // head to send, not yet written or in `buffer`
  ByteChain buffer;                    // our frame while it is incomplete, or until its turn comes
  uint64_t out_left = 0;               // body bytes of our frame still to come
};

using Exchanges = ObjectPool<FramedExchange>;

void store_id(uint8_t* p, uint32_t len, bool big_endian, uint64_t id) {
  for (uint32_t i = 0; i < len; ++i, id >>= 8) p[big_endian ? len - 1 - i : i] = static_cast<uint8_t>(id);
}

bool is_integer_id(const dragoman_frame& f) { return f.id_type == DRAGOMAN_ID_BE || f.id_type == DRAGOMAN_ID_LE; }

bool is_request(const dragoman_frame& f) { return f.kind == DRAGOMAN_REQUEST || f.kind == DRAGOMAN_ONEWAY; }

std::string_view text_of(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

dragoman_bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// Takes what view() finds into a head.
struct ViewCollector {
  Head& head;
  bool honest = true;

  bool inside(dragoman_bytes b) {
    if (b.len == 0) return true;
    auto begin = reinterpret_cast<uintptr_t>(head.wire.data());
    auto at = reinterpret_cast<uintptr_t>(b.data);
    if (at >= begin && b.len <= head.wire.size() && at - begin <= head.wire.size() - b.len) return true;
    honest = false;
    return false;
  }
  static void on_header(void* ctx, dragoman_bytes name, dragoman_bytes value) {
    auto& self = *static_cast<ViewCollector*>(ctx);
    if (!self.inside(name) || !self.inside(value)) return;
    self.head.headers.push(text_of(name), text_of(value), header_id(text_of(name)));
  }
};

class FramedCodec final : public ConnectionCodec {
 public:
  FramedCodec(const dragoman_codec& table, Role role, ByteSink& out, ConnectionEvents& events,
              const FramedOptions& options);
  ~FramedCodec() override;

  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  void on_transport_closed(Reason reason) override;
  void on_write_blocked(bool blocked) override;
  Exchange* open(MessageSink& answers) override;
  uint32_t capacity() const override;
  uint32_t open_exchanges() const override { return open_; }
  ReadPhase phase() const override;
  void fail(Reason reason) override;
  void drain() override;
  bool heartbeat() override;
  uint32_t heartbeats_missed() const override { return heartbeats_missed_; }

  // What a FramedExchange passes on.
  Reason send_head(FramedExchange& x, Head& head, bool end);
  void send_body(FramedExchange& x, std::span<const uint8_t> chunk, bool end);
  void send_reply(FramedExchange& x, const Head& request, const LocalReply& reply);
  void reset(FramedExchange& x, Reason reason);
  void set_paused(FramedExchange& x, bool paused);
  void release(FramedExchange& x);

 private:
  /// Receiving side of a checksummed frame.
  struct Crc {
    bool active = false;
    uint32_t sum = 0;
    uint32_t field = 0;    // bytes of the checksum field seen so far
    uint64_t covered = 0;  // bytes still to come before the field

    void update(const uint8_t* p, size_t n) {
      auto k = static_cast<size_t>(std::min<uint64_t>(n, covered));
      sum = crc32_of(p, k, sum);
      covered -= k;
      for (size_t i = k; i < n; ++i) field = field << 8 | p[i];
    }
  };

  // Ids pass through unchanged, and answers are matched by the ids of the exchanges themselves.
  bool passes_ids() const { return role_ == Role::kServer || options_.mode != PoolMode::kMultiplex; }
  bool streams_requests() const { return role_ == Role::kClient && options_.mode != PoolMode::kMultiplex; }
  bool has_ids() const { return table_.id_len > 0 || table_.set_id; }
  void* conn() { return conn_.get(); }
  Reason by_role(Reason reason) const;

  size_t read_frame(const uint8_t* p, size_t n);
  size_t read_body(const uint8_t* p, size_t n);
  const char* frame_fault(const dragoman_frame& f) const;
  void on_request(const uint8_t* p, size_t here, const dragoman_frame& f, bool supported);
  void turn_away(const uint8_t* p, const dragoman_frame& f, Reason reason);
  void on_response(const uint8_t* p, size_t here, const dragoman_frame& f);
  void on_heartbeat(const uint8_t* p, const dragoman_frame& f);
  void on_heartbeat_ack(const uint8_t* p, const dragoman_frame& f);
  const char* fill_head(FramedExchange& x, const uint8_t* p, const dragoman_frame& f, bool& honest);
  void deliver(FramedExchange& x, const uint8_t* p, size_t here, const dragoman_frame& f);
  FramedExchange* find_answered(const uint8_t* p, const dragoman_frame& f, bool count);
  bool table_id(const uint8_t* p, const dragoman_frame& f, uint64_t& id) const;

  Reason edit_head(FramedExchange& x, const Head& head, dragoman_frame& f, std::span<uint8_t>& bytes);
  Reason rewrite_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes, std::span<const uint8_t> id);
  bool same_frame(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now, bool same_id);
  Reason assign_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes);
  void put(const FramedExchange* x, const uint8_t* p, size_t n);
  void put_body(FramedExchange& x, std::span<const uint8_t> chunk, bool buffered);
  void end_output(FramedExchange& x);
  void flush_answers();
  template <class Make>
  bool make(FramedExchange* into, Make&& f);
  bool answer(const uint8_t* head, const dragoman_frame& f, Reason reason, std::string_view text = {},
              FramedExchange* into = nullptr);
  void answer_partial(Reason reason);

  FramedExchange& create(bool ours);
  void destroy(FramedExchange& x);
  void close(FramedExchange& x);
  void give_id_back(FramedExchange& x);
  const char* why_reset_breaks(FramedExchange& x) const;
  void refuse(Reason reason, const char* detail, const uint8_t* p, size_t n, const dragoman_frame& f);
  void lie(const char* detail) { break_connection(Reason::kInternal, detail); }
  void break_connection(Reason reason, std::string_view detail, FramedExchange* culprit = nullptr);
  void reset_all(Reason reason);
  void maybe_finished();

  const dragoman_codec& table_;
  const Role role_;
  ByteSink& out_;
  ConnectionEvents& events_;
  const FramedOptions options_;
  const uint32_t head_bytes_max_;
  std::unique_ptr<uint8_t[]> conn_;

  // Input.
  ByteChain stash_;                     // the beginning of an incomplete head
  uint64_t need_ = 0;                   // with a stash: bytes before it is worth asking again
  uint64_t body_left_ = 0;              // of the frame being read
  FramedExchange* reading_ = nullptr;   // who gets that body; null: it is skipped
  Crc crc_;

  // Output.
  FramedExchange* streaming_ = nullptr;  // its frame is partly written
  ByteChain deferred_;                   // frames that wait for the end of the streaming one
  IntrusiveList<FramedExchange, AnswerOrder> answers_;  // protocols without ids: exchanges in the order of answers

  IntrusiveList<FramedExchange> live_;
  IntrusiveList<FramedExchange> visiting_;  // part of live_ during a walk with callbacks
  IntrusiveList<FramedExchange> closed_;    // reset, not yet released
  mutable IdTable<FramedExchange> ids_;  // asking for room ends old quarantines
  uint32_t open_ = 0;
  uint32_t ours_open_ = 0;
  uint32_t paused_ = 0;  // exchanges with paused set

  uint32_t variant_;
  uint32_t heartbeats_missed_ = 0;
  uint32_t heartbeats_in_second_ = 0;
  uint64_t heartbeat_second_ = 0;

  bool broken_ = false;
  Reason broken_reason_ = Reason::kNone;
  bool eof_ = false;
  bool draining_ = false;
  bool goaway_ = false;
};

// ---------------------------------------------------------------------------------------------------------------------

Reason FramedExchange::send_head(Head& h, bool end) { return codec ? codec->send_head(*this, h, end) : Reason::kNone; }
void FramedExchange::send_body(std::span<const uint8_t> chunk, bool end) {
  if (codec) codec->send_body(*this, chunk, end);
}
void FramedExchange::send_trailers(HeaderList&) {
  if (codec) codec->send_body(*this, {}, true);  // framed protocols have none
}
void FramedExchange::send_reply(const Head& request, const LocalReply& reply) {
  if (codec) codec->send_reply(*this, request, reply);
}
void FramedExchange::reset(Reason reason) {
  if (codec) codec->reset(*this, reason);
}
void FramedExchange::pause_reading() {
  if (codec) codec->set_paused(*this, true);
}
void FramedExchange::resume_reading() {
  if (codec) codec->set_paused(*this, false);
}
void FramedExchange::release() {
  if (codec)
    codec->release(*this);
  else
    Exchanges::destroy(this);
}

// ---------------------------------------------------------------------------------------------------------------------

FramedCodec::FramedCodec(const dragoman_codec& table, Role role, ByteSink& out, ConnectionEvents& events,
                         const FramedOptions& options)
    : table_(table),
      role_(role),
      out_(out),
      events_(events),
      options_(options),
      head_bytes_max_(std::min<uint32_t>(table.head_bytes_max, kHeadroom)),
      variant_(options.variant) {
  if (table_.conn_state_size) conn_ = std::make_unique<uint8_t[]>(table_.conn_state_size);
  // Twice the live ones, so that given-up requests in quarantine don't eat the connection's capacity at once.
  ids_.configure(table_.id_len ? table_.id_len * 8 : 64,
                 static_cast<uint32_t>(std::min<uint64_t>(uint64_t{2} * options_.streams_max, UINT32_MAX)));
}

FramedCodec::~FramedCodec() {
  live_.splice(visiting_);
  live_.splice(closed_);
  while (FramedExchange* x = live_.pop_front()) {
    x->codec = nullptr;  // the holder's release() frees it
    x->closed = true;
    static_cast<ListLink<AnswerOrder>*>(x)->unlink();
  }
  while (FramedExchange* x = answers_.pop_front()) Exchanges::destroy(x);
}

Reason FramedCodec::by_role(Reason reason) const {
  if (role_ == Role::kServer) return reason;
  switch (reason) {
    case Reason::kMalformed:
    case Reason::kUnsupported:
      return Reason::kUpstreamProtocolError;
    case Reason::kFrameTooLarge:
      return Reason::kUpstreamTooLarge;
    case Reason::kDownstreamTruncated:
      return Reason::kUpstreamTruncated;
    case Reason::kDownstreamReset:
      return Reason::kUpstreamReset;
    default:
      return reason;
  }
}

// --- Input -----------------------------------------------------------------------------------------------------------

void FramedCodec::on_data(uint8_t* data, size_t n) {
  if (broken_) return;
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
  if (f.head_len == 0 || f.head_len > f.total_len) return "codec: head length out of range";
  if (f.kind < DRAGOMAN_REQUEST || f.kind > DRAGOMAN_STREAM_CANCEL) return "codec: unknown frame kind";
  if (f.id_type > DRAGOMAN_ID_BYTES) return "codec: unknown id type";
  if (f.id_type != DRAGOMAN_ID_NONE) {
    if (f.id_offset > f.head_len || f.id_len > f.head_len - f.id_offset) return "codec: id outside the head";
    if (is_integer_id(f) ? f.id_len != table_.id_len : f.id_len == 0) return "codec: id length out of range";
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

/// Reads the frame at `p`: its head and what is there of its body. Returns how many bytes it took; 0 when more are
/// needed (see need_) or the connection broke.
size_t FramedCodec::read_frame(const uint8_t* p, size_t n) {
  dragoman_frame f{};
  f.size = sizeof f;
  bool supported = true;
  switch (table_.probe(conn(), p, n, &f)) {
    case DRAGOMAN_FRAME:
      break;
    case DRAGOMAN_NEED:
      if (f.need <= n || f.need > head_bytes_max_) {
        lie("codec: need out of range");
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
  if (f.total_len > options_.frame_bytes_max || whole > head_bytes_max_) {
    f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, n));
    refuse(Reason::kFrameTooLarge, "frame over the limit", p, n, f);
    return 0;
  }
  if (n < whole) {
    need_ = whole;
    return 0;
  }

  auto here = static_cast<size_t>(std::min<uint64_t>(n, f.total_len));
  crc_.active = false;
  if (options_.verify_checksums && f.checksum != DRAGOMAN_CHECKSUM_NONE) {
    bool right = true;
    if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
      right = table_.checksum(conn(), const_cast<uint8_t*>(p), &f, 0) == 1;
    } else {
      crc_ = {true, 0, 0, f.checksum_offset};
      crc_.update(p, here);
      right = here < f.total_len || crc_.sum == crc_.field;
    }
    if (!right) {  // the whole frame is here and nobody has seen it
      if (f.kind == DRAGOMAN_REQUEST) answer(p, f, Reason::kChecksum);
      break_connection(Reason::kChecksum, "checksum mismatch",
                       f.kind == DRAGOMAN_RESPONSE ? find_answered(p, f, false) : nullptr);
      return 0;
    }
  }
  body_left_ = f.total_len - here;
  reading_ = nullptr;

  if (!supported && !is_request(f)) {
    events_.on_event(CodecEvent::kUnsupported);
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
      if (!goaway_) {
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

/// More of the body of the frame being read.
size_t FramedCodec::read_body(const uint8_t* p, size_t n) {
  auto k = static_cast<size_t>(std::min<uint64_t>(n, body_left_));
  body_left_ -= k;
  bool last = body_left_ == 0;
  FramedExchange* x = reading_;
  if (crc_.active) {
    crc_.update(p, k);
    if (last && crc_.sum != crc_.field) {
      if (x && !x->ours && x->out == Part::kNone) answer(x->head.wire.data(), x->head.frame, Reason::kChecksum);
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
  bool honest = true;
  if (const char* fault = fill_head(x, p, f, honest)) {
    destroy(x);
    if (honest)
      refuse(Reason::kMalformed, fault, p, f.head_len, f);
    else
      lie(fault);
    return;
  }
  if (role_ == Role::kServer) variant_ = f.variant;
  if (!has_ids() && !x.one_way) answers_.push_back(x);
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

/// Answers a request that gets no exchange; the connection goes on.
void FramedCodec::turn_away(const uint8_t* p, const dragoman_frame& f, Reason reason) {
  if (f.kind != DRAGOMAN_REQUEST) return;
  FramedExchange* turn = nullptr;
  if (!answers_.empty()) {  // without ids, behind the earlier answers
    turn = Exchanges::create(*this, false);
    turn->out = Part::kDone;
    turn->released = true;
    answers_.push_back(*turn);
  }
  if (!answer(p, f, reason, {}, turn)) lie("codec: reply failed");
}

void FramedCodec::on_response(const uint8_t* p, size_t here, const dragoman_frame& f) {
  FramedExchange* x = find_answered(p, f, true);
  if (!x) return;
  bool honest = true;
  if (const char* fault = fill_head(*x, p, f, honest)) {
    break_connection(honest ? by_role(Reason::kMalformed) : Reason::kInternal, fault, x);
    return;
  }
  deliver(*x, p, here, f);
}

/// Gives head and present body to the sink. `x` may be gone afterwards.
void FramedCodec::deliver(FramedExchange& x, const uint8_t* p, size_t here, const dragoman_frame& f) {
  bool bodiless = f.total_len == f.head_len;
  x.in = bodiless ? Part::kDone : Part::kOpen;
  reading_ = bodiless ? nullptr : &x;
  MessageSink* sink = x.sink;
  sink->on_head(x.head, bodiless);
  if (reading_ != &x || here == f.head_len) return;  // released or reset meanwhile, or nothing more here
  bool last = body_left_ == 0;
  if (last) {
    x.in = Part::kDone;
    reading_ = nullptr;
  }
  sink->on_body({p + f.head_len, here - f.head_len}, last);
}

/// Copies the head into the exchange and describes it. Returns null, or what is wrong; `honest` = false: with the table.
const char* FramedCodec::fill_head(FramedExchange& x, const uint8_t* p, const dragoman_frame& f, bool& honest) {
  Head& h = x.head;
  auto* copy = h.arena.allocate_array<uint8_t>(f.head_len);
  std::memcpy(copy, p, f.head_len);
  h.wire = {copy, f.head_len};
  h.frame = f;
  h.is_request = is_request(f);
  h.one_way = f.kind == DRAGOMAN_ONEWAY;
  h.content_length = static_cast<int64_t>(f.total_len - f.head_len);
  if (h.is_request) {
    h.timeout_ms = f.timeout_ms > 0 ? f.timeout_ms : -1;
  } else {
    h.status = static_cast<uint32_t>(f.status);
    uint32_t outcome = table_.outcome(conn(), copy, &f);
    h.outcome = outcome < static_cast<uint32_t>(kOutcomeCount) ? static_cast<Outcome>(outcome) : Outcome::kUnknown;
  }
  if (!options_.want) return nullptr;

  ViewCollector collector{h};
  dragoman_view v{};
  v.size = sizeof v;
  v.header = options_.want & DRAGOMAN_WANT_HEADERS ? ViewCollector::on_header : nullptr;
  v.ctx = &collector;
  if (table_.view(conn(), copy, &f, options_.want, &v) != 0) return "head not understood";
  if (collector.inside(v.service)) h.service = text_of(v.service);
  if (collector.inside(v.method)) h.method = text_of(v.method);
  h.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
  if (h.opaque) h.headers.clear();
  honest = collector.honest;
  return honest ? nullptr : "codec: view outside the head";
}

/// The number in our own id of an answer; false when it can't be one of ours.
bool FramedCodec::table_id(const uint8_t* p, const dragoman_frame& f, uint64_t& id) const {
  if (is_integer_id(f)) {
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

/// The exchange that an answer is for; null when there is none, which is counted if `count`.
FramedExchange* FramedCodec::find_answered(const uint8_t* p, const dragoman_frame& f, bool count) {
  CodecEvent miss = CodecEvent::kUnknownId;
  if (passes_ids()) {
    for (FramedExchange* x = live_.front(); x; x = live_.next(*x)) {
      if (!x->ours || !x->written || x->in != Part::kNone) continue;
      if (f.id_type == DRAGOMAN_ID_NONE) return x;
      if (f.id_type == DRAGOMAN_ID_BYTES
              ? std::ranges::equal(x->id_bytes, std::span<const uint8_t>(p + f.id_offset, f.id_len))
              : x->id == f.id)
        return x;
    }
  } else {
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
          if (count) ids_.answered_late(id);
          miss = CodecEvent::kLateAnswer;
          break;
        case Match::kOneWay:
          miss = CodecEvent::kOneWayAnswered;
          break;
        case Match::kHeartbeat:
        case Match::kUnknown:
          break;
      }
    }
  }
  if (count) events_.on_event(miss);
  return nullptr;
}

void FramedCodec::on_heartbeat(const uint8_t* p, const dragoman_frame& f) {
  uint64_t second = events_.now_ms() / 1000;
  if (second != heartbeat_second_) {
    heartbeat_second_ = second;
    heartbeats_in_second_ = 0;
  }
  if (++heartbeats_in_second_ > options_.heartbeats_per_second_max) return fail(Reason::kHeartbeatFlood);
  if (!table_.heartbeat_reply) return;
  if (!make(nullptr, [&](uint8_t* out, uint64_t cap) { return table_.heartbeat_reply(conn(), p, &f, out, cap); }))
    return lie("codec: heartbeat reply failed");
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
  if (broken_) return;
  broken_ = true;
  broken_reason_ = reason;
  stash_.clear();
  deferred_.clear();
  body_left_ = 0;
  streaming_ = nullptr;
  if (FramedExchange* x = reading_) {
    close(*x);
    x->sink->on_reset(by_role(Reason::kDownstreamTruncated));
  }
  reset_all(reason);
}

void FramedCodec::on_write_blocked(bool blocked) {
  visiting_.splice(live_);
  while (FramedExchange* x = visiting_.pop_front()) {
    live_.push_back(*x);
    if (x->sink) x->sink->on_write_blocked(blocked);
  }
}

ReadPhase FramedCodec::phase() const {
  if (!stash_.empty()) return ReadPhase::kHead;
  return body_left_ ? ReadPhase::kBody : ReadPhase::kIdle;
}

// --- Output ----------------------------------------------------------------------------------------------------------

Exchange* FramedCodec::open(MessageSink& answers) {
  if (capacity() == 0) return nullptr;
  FramedExchange& x = create(true);
  x.sink = &answers;
  return &x;
}

uint32_t FramedCodec::capacity() const {
  if (broken_ || goaway_ || draining_ || eof_) return 0;
  if (role_ == Role::kClient && options_.mode == PoolMode::kPingPong) return ours_open_ == 0 ? 1 : 0;
  uint32_t room = open_ < options_.streams_max ? options_.streams_max - open_ : 0;
  return passes_ids() || room == 0 ? room : std::min(room, ids_.room(events_.now_ms()));
}

Reason FramedCodec::send_head(FramedExchange& x, Head& head, bool end) {
  if (x.closed || x.one_way) return Reason::kNone;  // a one-way request from the peer takes no answer
  dragoman_frame f = head.frame;
  if (x.out != Part::kNone || head.wire.empty() || head.wire.size() != f.head_len || f.total_len < f.head_len ||
      is_request(f) != x.ours || (end && f.total_len != f.head_len))
    return Reason::kInternal;

  std::span<uint8_t> bytes;
  if (head.edits) {
    if (Reason why = edit_head(x, head, f, bytes); why != Reason::kNone) return why;
  } else {
    bytes = {x.head.arena.allocate_array<uint8_t>(f.head_len), f.head_len};
    std::memcpy(bytes.data(), head.wire.data(), bytes.size());
  }
  const dragoman_frame edited = f;
  if (Reason why = assign_id(x, f, bytes); why != Reason::kNone) return why;

  if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
    if (table_.checksum(conn(), bytes.data(), &f, 1) != 1) {
      give_id_back(x);
      return Reason::kEditFailed;
    }
  } else if (f.checksum == DRAGOMAN_CHECKSUM_CRC32) {
    // Only the part up to the id changed when nothing was edited; the mask is over what follows it.
    bool same_layout = !head.edits && f.head_len == edited.head_len;
    size_t now = same_layout ? f.id_offset + f.id_len : f.head_len;
    size_t was = same_layout ? now : head.wire.size();
    if (now != was || std::memcmp(bytes.data(), head.wire.data(), now) != 0) {
      store_be(x.mask, crc32_change(crc32_of(head.wire.data(), was), crc32_of(bytes.data(), now),
                                    f.checksum_offset - now));
      x.patches = true;
    }
  }

  if (f.kind == DRAGOMAN_ONEWAY) {
    x.one_way = true;
    x.in = Part::kDone;
  }
  x.out = Part::kOpen;
  x.out_left = f.total_len - f.head_len;
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

/// Makes `bytes` the head with its edits applied, and `f` its description.
Reason FramedCodec::edit_head(FramedExchange& x, const Head& head, dragoman_frame& f, std::span<uint8_t>& bytes) {
  if (!table_.edit) return Reason::kEditFailed;
  uint32_t count = 0;
  size_t cap = head.wire.size() + 64;
  for (const HeaderEdit* e = head.edits; e; e = e->next) {
    ++count;
    cap += e->name.size() + e->value.size() + 16;
  }
  Arena& arena = x.head.arena;
  auto* edits = arena.allocate_array<dragoman_edit>(count);
  uint32_t i = 0;
  for (const HeaderEdit* e = head.edits; e; e = e->next)
    edits[i++] = {static_cast<uint32_t>(e->op), 0, bytes_of(e->name), bytes_of(e->value)};

  cap = std::min<size_t>(cap, head_bytes_max_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto* out = arena.allocate_array<uint8_t>(cap);
    int64_t n = table_.edit(conn(), head.wire.data(), &f, edits, count, out, cap);
    if (n <= 0 || n > static_cast<int64_t>(head_bytes_max_)) return Reason::kEditFailed;
    if (n > static_cast<int64_t>(cap)) {
      cap = static_cast<size_t>(n);
      continue;
    }
    bytes = {out, static_cast<size_t>(n)};
    dragoman_frame now{};
    if (!same_frame(bytes, f, now, true)) return Reason::kEditFailed;
    f = now;
    return Reason::kNone;
  }
  return Reason::kEditFailed;
}

/// Makes `bytes` the head with opaque id `id`.
Reason FramedCodec::rewrite_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes,
                               std::span<const uint8_t> id) {
  size_t cap = bytes.size() + id.size() + 64;
  auto* out = x.head.arena.allocate_array<uint8_t>(cap);
  int64_t n = table_.set_id ? table_.set_id(conn(), bytes.data(), &f, {id.data(), id.size()}, out, cap) : -1;
  if (n <= 0 || n > static_cast<int64_t>(cap)) return Reason::kEditFailed;
  bytes = {out, static_cast<size_t>(n)};
  dragoman_frame now{};
  if (!same_frame(bytes, f, now, false) || !std::ranges::equal(bytes.subspan(now.id_offset, now.id_len), id))
    return Reason::kEditFailed;
  f = now;
  return Reason::kNone;
}

/// Whether a head that the table changed still describes the same frame, with the same body after it.
bool FramedCodec::same_frame(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now,
                             bool same_id) {
  alignas(16) uint8_t scratch[256];  // asking must not touch what the connection remembers of its input
  void* memory = nullptr;
  if (table_.conn_state_size) {
    memory = scratch;
    std::memcpy(scratch, conn(), table_.conn_state_size);
  }
  now.size = sizeof now;
  return table_.probe(memory, bytes.data(), bytes.size(), &now) == DRAGOMAN_FRAME && !frame_fault(now) &&
         now.kind == was.kind && now.head_len == bytes.size() && now.total_len <= options_.frame_bytes_max &&
         now.total_len - now.head_len == was.total_len - was.head_len && now.checksum == was.checksum &&
         now.id_type == was.id_type && (!same_id || (now.id == was.id && now.id_len == was.id_len));
}

/// Puts the id for this connection into a head about to be sent.
Reason FramedCodec::assign_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes) {
  if (x.ours && passes_ids()) {
    x.id = f.id;
    if (f.id_type == DRAGOMAN_ID_BYTES) x.id_bytes = bytes.subspan(f.id_offset, f.id_len);
    return Reason::kNone;
  }
  const dragoman_frame& asked = x.head.frame;
  if (!x.ours) {  // the id the peer gave its request
    if (asked.id_type != f.id_type) return Reason::kInternal;
    if (f.id_type == DRAGOMAN_ID_NONE) return Reason::kNone;
    if (f.id_type == DRAGOMAN_ID_BYTES)
      return rewrite_id(x, f, bytes, x.head.wire.subspan(asked.id_offset, asked.id_len));
    x.id = asked.id;
  } else {
    if (f.id_type == DRAGOMAN_ID_NONE) return Reason::kUnsupported;  // can't share a connection
    if (f.kind == DRAGOMAN_ONEWAY) {
      x.id = ids_.next_one_way();
    } else {
      if (!ids_.acquire(&x, events_.now_ms(), x.id)) return Reason::kUpstreamRefused;
      x.holds_id = true;
    }
    if (f.id_type == DRAGOMAN_ID_BYTES) {
      size_t len = std::max<size_t>(f.id_len, kHexIdBytes);
      auto* text = x.head.arena.allocate_array<uint8_t>(len);
      for (size_t i = 0; i < kHexIdBytes; ++i) text[i] = "0123456789abcdef"[x.id >> (60 - 4 * i) & 15];
      std::fill(text + kHexIdBytes, text + len, uint8_t{'0'});
      Reason why = rewrite_id(x, f, bytes, {text, len});
      if (why != Reason::kNone) give_id_back(x);
      return why;
    }
  }
  store_id(bytes.data() + f.id_offset, f.id_len, f.id_type == DRAGOMAN_ID_BE, x.id);
  f.id = x.id;
  return Reason::kNone;
}

void FramedCodec::send_body(FramedExchange& x, std::span<const uint8_t> chunk, bool end) {
  if (x.closed || x.out != Part::kOpen) return;
  if (chunk.size() > x.out_left || (end && chunk.size() != x.out_left)) {
    // Not the body its head announced. Nothing of it was written unless it streams.
    MessageSink* sink = x.sink;
    const char* why = why_reset_breaks(x);
    close(x);
    sink->on_reset(Reason::kInternal);
    if (why) break_connection(Reason::kInternal, why);
    return;
  }
  if (streaming_ == &x) {
    put_body(x, chunk, false);
    if (end) end_output(x);
    return;
  }
  bool ordered = !x.ours && !has_ids();
  if (end && x.buffer.empty() && !ordered) {  // the common case: the whole frame is here
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
  if (!ordered) {
    if (streaming_) {
      deferred_.splice(x.buffer);
    } else {
      out_.out.splice(x.buffer);
      out_.wrote();
    }
  }
  end_output(x);
}

/// Writes to the connection, or behind the frame that is streaming.
void FramedCodec::put(const FramedExchange* x, const uint8_t* p, size_t n) {
  if (n == 0) return;
  if (streaming_ && streaming_ != x)
    deferred_.append(p, n);
  else
    out_.write(p, n);
}

/// Writes body bytes, or collects them, with the checksum at the frame's end changed by the mask.
void FramedCodec::put_body(FramedExchange& x, std::span<const uint8_t> chunk, bool buffered) {
  auto give = [&](const uint8_t* p, size_t n) { buffered ? x.buffer.append(p, n) : put(&x, p, n); };
  size_t plain = chunk.size();
  if (x.patches) plain = static_cast<size_t>(std::min<uint64_t>(plain, x.out_left > 4 ? x.out_left - 4 : 0));
  give(chunk.data(), plain);
  x.out_left -= plain;
  if (size_t rest = chunk.size() - plain; rest > 0) {  // <= 4
    uint8_t tail[4];
    for (size_t i = 0; i < rest; ++i) tail[i] = chunk[plain + i] ^ x.mask[4 - x.out_left + i];
    give(tail, rest);
    x.out_left -= rest;
  }
}

void FramedCodec::end_output(FramedExchange& x) {
  x.out = Part::kDone;
  if (streaming_ == &x) {
    streaming_ = nullptr;
    if (!deferred_.empty()) {
      out_.out.splice(deferred_);
      out_.wrote();
    }
  }
  if (!x.ours && !has_ids()) flush_answers();
}

/// Protocols without ids: writes the answers whose turn has come.
void FramedCodec::flush_answers() {
  while (FramedExchange* x = answers_.front()) {
    if (x->out != Part::kDone) return;
    answers_.pop_front();
    if (!x->buffer.empty()) {
      if (streaming_) {
        deferred_.splice(x->buffer);
      } else {
        out_.out.splice(x->buffer);
        out_.wrote();
      }
    }
    if (x->released) Exchanges::destroy(x);
  }
}

/// Lets the table write something; false when it can't or lies. `into`: it becomes part of that exchange's buffer.
template <class Make>
bool FramedCodec::make(FramedExchange* into, Make&& f) {
  uint8_t small[512] = {};
  std::vector<uint8_t> large;
  const uint8_t* bytes = small;
  int64_t n = f(small, sizeof small);
  if (n <= 0 || n > static_cast<int64_t>(kReplyBytesMax)) return false;
  if (n > static_cast<int64_t>(sizeof small)) {
    large.resize(static_cast<size_t>(n));
    if (f(large.data(), large.size()) != n) return false;
    bytes = large.data();
  }
  if (into)
    into->buffer.append(bytes, static_cast<size_t>(n));
  else
    put(nullptr, bytes, static_cast<size_t>(n));
  return true;
}

/// Answers a request in the protocol's own words; false when the table could not.
bool FramedCodec::answer(const uint8_t* head, const dragoman_frame& f, Reason reason, std::string_view text,
                         FramedExchange* into) {
  auto outcome = static_cast<uint32_t>(reason_row(reason).outcome);
  return make(into, [&](uint8_t* out, uint64_t cap) {
    return table_.reply(conn(), head, &f, outcome, bytes_of(text), out, cap);
  });
}

void FramedCodec::send_reply(FramedExchange& x, const Head& request, const LocalReply& reply) {
  if (x.closed) return;
  if (x.ours || (x.out != Part::kNone && !x.one_way)) return reset(x, reply.reason);
  if (!x.one_way) {
    bool ordered = !has_ids();
    if (!answer(request.wire.data(), request.frame, reply.reason, reply.text, ordered ? &x : nullptr)) {
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
  if (!make(nullptr, [&](uint8_t* out, uint64_t cap) { return table_.heartbeat(conn(), variant_, id, out, cap); })) {
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
      !make(nullptr, [&](uint8_t* out, uint64_t cap) { return table_.goaway(conn(), variant_, out, cap); }))
    return lie("codec: goaway failed");
  maybe_finished();
}

// --- Exchanges and the end ---------------------------------------------------------------------------------------------

FramedExchange& FramedCodec::create(bool ours) {
  FramedExchange* x = Exchanges::create(*this, ours);
  live_.push_back(*x);
  ++open_;
  if (ours) ++ours_open_;
  return *x;
}

void FramedCodec::destroy(FramedExchange& x) {
  --open_;
  if (x.ours) --ours_open_;
  Exchanges::destroy(&x);
}

/// Ends all dealings with an exchange but its memory. No callbacks to its sink.
void FramedCodec::close(FramedExchange& x) {
  x.closed = true;
  if (reading_ == &x) reading_ = nullptr;  // the rest of its frame is skipped
  set_paused(x, false);
  give_id_back(x);
  x.staged = {};
  static_cast<ListLink<AnswerOrder>&>(x).unlink();
  x.buffer.clear();
  closed_.push_back(x);
}

void FramedCodec::give_id_back(FramedExchange& x) {
  if (!x.holds_id) return;
  x.holds_id = false;
  if (x.written && x.in == Part::kNone)
    ids_.quarantine(x.id, events_.now_ms());
  else
    ids_.release(x.id);
}

void FramedCodec::set_paused(FramedExchange& x, bool paused) {
  if (x.paused == paused || (paused && (x.closed || !passes_ids()))) return;
  x.paused = paused;
  if (paused) {
    if (paused_++ == 0) events_.pause_reading();
  } else {
    if (--paused_ == 0) events_.resume_reading();
  }
}

/// Null when the connection survives that an exchange is given up now.
const char* FramedCodec::why_reset_breaks(FramedExchange& x) const {
  if (streaming_ == &x) return "request cut";
  if (static_cast<ListLink<AnswerOrder>&>(x).linked() && x.out != Part::kDone) return "answer skipped";
  if (x.ours && x.written && x.in != Part::kDone && passes_ids() &&
      (options_.mode == PoolMode::kPingPong || !has_ids()))
    return "answer abandoned";
  return nullptr;
}

void FramedCodec::reset(FramedExchange& x, Reason reason) {
  if (x.closed) return;
  const char* why = why_reset_breaks(x);
  close(x);
  if (why) break_connection(reason, why);
}

void FramedCodec::release(FramedExchange& x) {
  bool ours = x.ours;
  if (!x.closed && !x.finished()) reset(x, by_role(Reason::kDownstreamReset));
  set_paused(x, false);
  give_id_back(x);
  if (static_cast<ListLink<AnswerOrder>&>(x).linked()) {  // answered, waiting for its turn
    x.released = true;
    x.sink = nullptr;
    static_cast<ListLink<>&>(x).unlink();
    --open_;
  } else {
    destroy(x);
  }
  if (broken_) return;
  if (ours) events_.on_capacity();
  maybe_finished();
}

/// Breaks the connection on the bytes of a frame, after answering it if it is a request that can be answered.
void FramedCodec::refuse(Reason reason, const char* detail, const uint8_t* p, size_t n, const dragoman_frame& f) {
  if (f.kind == DRAGOMAN_REQUEST && f.head_len > 0 && f.head_len <= n) answer(p, f, reason);
  bool answers = f.kind == DRAGOMAN_RESPONSE && f.head_len > 0 && f.head_len <= n && !frame_fault(f);
  break_connection(by_role(reason), detail ? detail : "", answers ? find_answered(p, f, false) : nullptr);
}

/// `culprit`, if any, is the exchange whose frame caused it: in the client role the others only lost a connection.
void FramedCodec::break_connection(Reason reason, std::string_view detail, FramedExchange* culprit) {
  if (broken_) return;
  broken_ = true;
  broken_reason_ = reason;
  stash_.clear();
  deferred_.clear();
  body_left_ = 0;
  streaming_ = nullptr;
  if (culprit) {
    close(*culprit);
    culprit->sink->on_reset(reason);
  }
  reset_all(culprit && role_ == Role::kClient ? Reason::kUpstreamReset : reason);
  events_.on_broken(reason, detail);
}

void FramedCodec::reset_all(Reason reason) {
  live_.splice(visiting_);
  while (FramedExchange* x = live_.front()) {
    bool tell = !x->finished() && x->sink;
    close(*x);
    if (tell) x->sink->on_reset(reason);
  }
  while (FramedExchange* x = answers_.pop_front()) Exchanges::destroy(x);  // released ones
}

void FramedCodec::fail(Reason reason) {
  if (broken_) return;
  FramedExchange* x = reading_;
  if (x && !x->ours && x->out == Part::kNone)
    answer(x->head.wire.data(), x->head.frame, reason);
  else if (!stash_.empty())
    answer_partial(reason);
  bool of_the_frame = reason == Reason::kFrameTimeout || reason == Reason::kHeadTimeout || reason == Reason::kBodyTimeout;
  break_connection(reason, "", of_the_frame ? x : nullptr);
}

/// Answers the request of which only the beginning is there.
void FramedCodec::answer_partial(Reason reason) {
  std::vector<uint8_t> head(stash_.size());
  stash_.copy_to(head.data());
  dragoman_frame f{};
  f.size = sizeof f;
  if (table_.probe(conn(), head.data(), head.size(), &f) != DRAGOMAN_FRAME || f.kind != DRAGOMAN_REQUEST) return;
  f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, head.size()));
  answer(head.data(), f, reason);
}

void FramedCodec::maybe_finished() {
  if (open_ == 0 && !broken_ && (eof_ || draining_ || (goaway_ && role_ == Role::kClient))) events_.on_finished();
}

}  // namespace

Result<void> check_codec(const dragoman_codec& t) {
  if (t.abi_major != DRAGOMAN_ABI_MAJOR || t.size < sizeof(dragoman_codec))
    return unexpected("codec built for ABI " + std::to_string(t.abi_major) + "." + std::to_string(t.abi_minor) +
                      ", this program has " + std::to_string(DRAGOMAN_ABI_MAJOR) + "." +
                      std::to_string(DRAGOMAN_ABI_MINOR));
  if (!t.name || !t.version) return unexpected("codec without name or version");
  std::string name = t.name;
  bool good_name = !name.empty() && name.size() <= 32 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  if (!good_name) return unexpected("codec name '" + name.substr(0, 64) + "' is not [a-z0-9_]{1,32}");
  auto wrong = [&name](const char* what) { return unexpected("codec " + name + ": " + what); };
  if (!t.probe || !t.view || !t.outcome || !t.reply) return wrong("probe, view, outcome and reply are required");
  if (t.conn_state_size > 256) return wrong("conn_state_size is over 256");
  if (t.head_bytes_max == 0 || t.head_bytes_max > ConnectionCodec::kHeadroom)
    return wrong("head_bytes_max is not in 1..131072");
  if (t.detect_bytes_max == 0 || t.detect_bytes_max > t.head_bytes_max)
    return wrong("detect_bytes_max is not in 1..head_bytes_max");
  if (t.id_len != 0 && t.id_len != 1 && t.id_len != 2 && t.id_len != 4 && t.id_len != 8)
    return wrong("id_len is not 0, 1, 2, 4 or 8");
  auto has = [&t](uint64_t ability) { return (t.abilities & ability) != 0; };
  if (has(DRAGOMAN_CAN_EDIT) != (t.edit != nullptr)) return wrong("CAN_EDIT and edit don't go together");
  if (has(DRAGOMAN_CAN_HEARTBEAT) != (t.heartbeat != nullptr) ||
      has(DRAGOMAN_CAN_HEARTBEAT) != (t.heartbeat_reply != nullptr))
    return wrong("CAN_HEARTBEAT, heartbeat and heartbeat_reply don't go together");
  if (has(DRAGOMAN_CAN_GOAWAY) != (t.goaway != nullptr)) return wrong("CAN_GOAWAY and goaway don't go together");
  if (has(DRAGOMAN_CAN_CHECKSUM) != (t.checksum != nullptr))
    return wrong("CAN_CHECKSUM and checksum don't go together");
  if (has(DRAGOMAN_CAN_MULTIPLEX) != (t.id_len > 0 || t.set_id))
    return wrong("CAN_MULTIPLEX needs id_len or set_id, and they need it");
  if (t.id_len > 0 && t.set_id) return wrong("id_len is for integer ids, set_id for opaque ones");
  return {};
}

std::unique_ptr<ConnectionCodec> make_framed_codec(const Protocol& protocol, Role role, ByteSink& out,
                                                   ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<FramedCodec>(*protocol.table, role, out, events, options.framed);
}

size_t live_framed_exchanges() { return Exchanges::live(); }

}  // namespace dragoman
