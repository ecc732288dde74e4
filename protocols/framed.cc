#include "protocols/framed.h"

#include "protocols/framed_codec.h"

namespace dragoman {
namespace framed {

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
      role_(role),
      out_(out),
      events_(events),
      options_(options),
      want_(options.want),
      head_bytes_max_(std::min<uint32_t>(table_.head_bytes_max, kHeadroom)),
      variant_(options.variant) {
  if (table_.conn_state_size) conn_ = std::make_unique<uint8_t[]>(table_.conn_state_size);
  // Twice the live ones, so that given-up requests in quarantine don't eat the connection's capacity at once.
  ids_.configure(table_.id_bits  ? table_.id_bits
                 : table_.id_len ? table_.id_len * 8
                                 : 64,
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
void FramedCodec::refuse(Reason reason, const char* detail, const uint8_t* p, size_t n,
                         const dragoman_frame& f) {
  if (f.kind == DRAGOMAN_REQUEST && f.head_len > 0 && f.head_len <= n) answer(p, f, reason);
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
  f.want = want_;
  f.from = from();
  int verdict = table_.probe(table_.context, conn(), head.data(), head.size(), &f);
  if (verdict != DRAGOMAN_FRAME || f.kind != DRAGOMAN_REQUEST) return;
  f.head_len = static_cast<uint32_t>(std::min<size_t>(f.head_len, head.size()));
  answer(head.data(), f, reason);
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
