#include "protocols/framed.h"

#include "protocols/framed_codec.h"

namespace dragoman {
namespace framed {
namespace {

uint64_t memory_of(const ByteChain& chain) {
  return (chain.size() + Chunk::kBytes - 1) / Chunk::kBytes * Chunk::kBytes;
}

}  // namespace

Reason FramedExchange::send_head(Head& h, bool end) {
  return codec ? codec->send_head(*this, h, end) : Reason::kNone;
}
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
void FramedExchange::want_answer(Want want) {
  if (codec) codec->want_answers(want);
}
void FramedExchange::no_answer() {
  if (codec) codec->no_answer(*this);
}
void FramedExchange::release() {
  if (codec)
    codec->release(*this);
  else
    Exchanges::destroy(this);
}

FramedCodec::FramedCodec(const Protocol& protocol, Role role, ByteSink& out, ConnectionEvents& events,
                         const FramedOptions& options)
    : owner_(protocol.owner),
      table_(*protocol.table),
      out_(out),
      events_(events),
      options_(options),
      want_(options.want),
      head_bytes_max_(std::min<uint32_t>(table_.head_bytes_max, kHeadroom)),
      variant_(options.variant),
      role_(role) {
  if (table_.conn_state_size) conn_ = std::make_unique<uint8_t[]>(table_.conn_state_size);
  // Twice the live ones, so that given-up requests in quarantine don't eat the connection's capacity at once.
  ids_.configure(table_.id_bits  ? table_.id_bits
                 : table_.id_len ? table_.id_len * 8
                                 : 64,
                 static_cast<uint32_t>(std::min<uint64_t>(uint64_t{2} * options_.streams_max, UINT32_MAX)),
                 options_.id_seed);
}

FramedCodec::~FramedCodec() {
  live_.splice(visiting_);
  live_.splice(closed_);
  drop_answers();
  while (FramedExchange* x = live_.pop_front()) {
    x->codec = nullptr;  // the holder's release() frees it
    x->closed = true;
    static_cast<ListLink<Unsent>*>(x)->unlink();
    if (!x->sink) Exchanges::destroy(x);  // nobody got it: there was no memory for its holder
  }
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
  if (x.ours && x.out == Part::kOpen && !x.closed) --filling_;
  x.closed = true;
  // What comes without an id may be its answer from now on; shared connections know by the quarantine.
  if (x.ours && x.loose && x.written && x.in == Part::kNone && !is_shared()) loose_sent_ = true;
  if (reading_ == &x) reading_ = nullptr;  // the rest of its frame is skipped
  set_paused(x, false);
  withdraw(x);
  unreserve(x);
  give_id_back(x);
  x.staged = {};
  if (!x.waits_for_turn()) {
    static_cast<ListLink<AnswerOrder>&>(x).unlink();
    x.buffer.clear();
  }
  closed_.push_back(x);
}

/// Takes the frame of a request that is given up out of the transport's output, if no byte of it left.
void FramedCodec::withdraw(FramedExchange& x) {
  auto& link = static_cast<ListLink<Unsent>&>(x);
  if (!link.linked()) return;
  const uint64_t left_at = given_out_ - out_.out.size();
  if (broken_ || x.in != Part::kNone || x.sent_at < left_at) return link.unlink();
  for (FramedExchange* later = unsent_.next(x); later; later = unsent_.next(*later))
    later->sent_at -= x.sent_bytes;
  link.unlink();
  out_.out.cut(x.sent_at - left_at, x.sent_bytes);
  given_out_ -= x.sent_bytes;
  x.written = false;
  events_.on_event(CodecEvent::kRequestWithdrawn);
}

void FramedCodec::give_id_back(FramedExchange& x) {
  if (!x.holds_id) return;
  x.holds_id = false;
  if (!x.written || x.in != Part::kNone) return ids_.release(x.id);
  ids_.quarantine(x.id, events_.now_ms());
  if (is_shared() && ids_.spent() && !broken_ && !spent_) {
    events_.on_event(CodecEvent::kIdsSpent);
    spend();
  }
}

/// No more exchanges here: another connection takes over.
void FramedCodec::spend() {
  if (spent_ || broken_) return;
  spent_ = true;
  events_.on_spent();
}

void FramedCodec::set_paused(FramedExchange& x, bool paused) {
  if (x.paused == paused || (paused && (x.closed || is_shared()))) return;
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
  if (x.ours && x.written && x.in != Part::kDone && (is_ping_pong() || (!is_shared() && !has_ids())))
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
  if (!x.closed && !x.messages_ended()) reset(x, by_role(Reason::kDownstreamReset));
  set_paused(x, false);
  give_id_back(x);
  if (x.waits_for_turn())
    keep_answer(x);
  else
    destroy(x);
  if (broken_) return;
  if (ours) {
    // What else this read brought must not meet the next request of a connection without ids.
    if (is_ping_pong() && in_read_)
      capacity_due_ = true;
    else
      events_.on_capacity();
  }
  maybe_finished();
}

// --- answers in order ---

/// Those behind it need not wait for it.
void FramedCodec::no_answer(FramedExchange& x) {
  if (x.closed || x.ours || x.one_way || x.out != Part::kNone) return;
  x.one_way = true;
  x.out = Part::kDone;
  if (!x.ordered) return;
  x.ordered = false;
  static_cast<ListLink<AnswerOrder>&>(x).unlink();
  flush_answers();
}

/// A place behind the earlier answers for one that has no exchange.
FramedExchange* FramedCodec::take_turn() {
  FramedExchange* last = answers_.back();
  if (last && last->released) {
    unhold(*last);
    return last;
  }
  FramedExchange* turn = Exchanges::create(*this, false);
  turn->out = Part::kDone;
  turn->released = true;
  answers_.push_back(*turn);
  return turn;
}

/// Its holder is gone; the answer stays until its turn. Neighbours that wait like it become one.
void FramedCodec::keep_answer(FramedExchange& x) {
  x.released = true;
  x.sink = nullptr;
  static_cast<ListLink<>&>(x).unlink();
  --open_;
  FramedExchange* kept = &x;
  FramedExchange* before = answers_.previous(x);
  if (before && before->released) {
    absorb(*before, x);
    kept = before;
  }
  FramedExchange* after = answers_.next(*kept);
  if (after && after->released) absorb(*kept, *after);
}

void FramedCodec::absorb(FramedExchange& into, FramedExchange& x) {
  unhold(into);
  unhold(x);
  into.buffer.splice(x.buffer);
  Exchanges::destroy(&x);
  hold(into);
}

/// None of them will be sent. What is still held by somebody lives on.
void FramedCodec::drop_answers() {
  while (FramedExchange* x = answers_.pop_front()) {
    unhold(*x);
    if (x->released)
      Exchanges::destroy(x);
    else
      x->buffer.clear();
  }
}

/// An answer begins to wait for its turn.
void FramedCodec::hold(FramedExchange& x) {
  x.held = true;
  held_bytes_ += memory_of(x.buffer);
  look_at_held();
}

void FramedCodec::unhold(FramedExchange& x) {
  if (!x.held) return;
  x.held = false;
  held_bytes_ -= memory_of(x.buffer);
}

void FramedCodec::look_at_held() {
  if (role_ != Role::kServer || broken_) return;
  if (!holding_ && held_bytes_ > options_.held_bytes_max) {
    holding_ = true;
    events_.on_event(CodecEvent::kAnswersHeld);
    if (paused_++ == 0) events_.pause_reading();
  } else if (holding_ && held_bytes_ <= options_.held_bytes_max / 2) {
    holding_ = false;
    if (--paused_ == 0) events_.resume_reading();
  }
}

// --- the end ---

/// Breaks the connection on the bytes of a frame, after answering it if it is a request that can be answered.
void FramedCodec::refuse(Reason reason, const char* detail, const uint8_t* p, size_t n,
                         const dragoman_frame& f) {
  if (f.kind == DRAGOMAN_REQUEST && f.head_len > 0 && f.head_len <= n) last_words(p, f, reason, nullptr);
  bool answers = f.kind == DRAGOMAN_RESPONSE && f.head_len > 0 && f.head_len <= n && !frame_fault(f);
  break_connection(by_role(reason), detail ? detail : "", answers ? find_answered(p, f, false) : nullptr);
}

/// Forgets what was read and not passed on. False when the connection is broken already.
bool FramedCodec::give_up(Reason reason) {
  if (broken_) return false;
  broken_ = true;
  broken_reason_ = reason;
  stash_.clear();
  deferred_.clear();
  drop_answers();
  body_left_ = 0;
  streaming_ = nullptr;
  return true;
}

/// `culprit`, if any, is the exchange whose frame caused it: in the client role the others only lost a
/// connection.
void FramedCodec::break_connection(Reason reason, std::string_view detail, FramedExchange* culprit) {
  if (!give_up(reason)) return;
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
    close(*x);
    if (x->sink) x->sink->on_reset(reason);  // without one: on_request() tells the sink that it gets
  }
}

/// Answers a request on which the connection breaks, unless earlier ones are owed: out of turn it would be taken
/// for theirs. `x`, if any, is the request's exchange.
bool FramedCodec::last_words(const uint8_t* head, const dragoman_frame& f, Reason reason, FramedExchange* x) {
  if (is_ordered(f) && !answers_.empty() && answers_.front() != x) return false;
  return answer(head, f, reason) == Answer::kMade;
}

void FramedCodec::fail(Reason reason) {
  if (broken_) return;
  FramedExchange* x = reading_;
  if (x && !x->ours && x->out == Part::kNone)
    last_words(x->head.wire.data(), x->head.frame, reason, x);
  else if (!stash_.empty())
    answer_partial(reason);
  bool of_the_frame =
      reason == Reason::kFrameTimeout || reason == Reason::kHeadTimeout || reason == Reason::kBodyTimeout;
  break_connection(reason, "", of_the_frame ? x : nullptr);
}

/// Answers the request of which only the beginning is there.
void FramedCodec::answer_partial(Reason reason) {
  std::vector<uint8_t> head(stash_.size());
  stash_.copy_to(head.data());
  dragoman_frame f{};
  f.size = sizeof f;
  f.want = head_want();
  f.from = from();
  int verdict = table_.probe(table_.context, conn(), head.data(), head.size(), &f);
  if (verdict != DRAGOMAN_FRAME || f.kind != DRAGOMAN_REQUEST) return;
  f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, head.size()));
  last_words(head.data(), f, reason, nullptr);
}

void FramedCodec::maybe_finished() {
  if (open_ == 0 && !broken_ && (eof_ || draining_ || (goaway_ && role_ == Role::kClient)))
    events_.on_finished();
}

}  // namespace framed

std::unique_ptr<ConnectionCodec> make_framed_codec(const Protocol& protocol, Role role, ByteSink& out,
                                                   ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<framed::FramedCodec>(protocol, role, out, events, options.framed);
}

size_t live_framed_exchanges() { return framed::Exchanges::live(); }

}  // namespace dragoman
