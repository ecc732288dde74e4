#include "protocols/http1/codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocols/http1/http1_codec.h"
#include "proxy/base/object_pool.h"

namespace dragoman::http1 {
namespace {

using Exchanges = ObjectPool<Http1Exchange>;

constexpr uint32_t kFirstBlockBytes = 512;  // of a head that comes in pieces

Refusal refusal_of(LineScanner::Verdict verdict) {
  switch (verdict) {
    case LineScanner::Verdict::kBareLf:
      return {Reason::kMalformed, 0, "line not ended by CRLF"};
    case LineScanner::Verdict::kFolded:
      return {Reason::kMalformed, 0, "folded field line"};
    case LineScanner::Verdict::kStartLineTooLong:
      return {Reason::kUriTooLong, 0, "start line too long"};
    case LineScanner::Verdict::kFieldsTooLong:
      return {Reason::kHeadTooLarge, 0, "header fields too large"};
    case LineScanner::Verdict::kTooManyFields:
      return {Reason::kTooManyHeaders, 0, "too many header fields"};
    case LineScanner::Verdict::kMore:
    case LineScanner::Verdict::kEnd:
      break;
  }
  return {};
}

}  // namespace

// --- Exchange --------------------------------------------------------------------------------------------------------

Reason Http1Exchange::send_head(Head& message, bool end) {
  return codec && !dead ? codec->send_head(*this, message, end) : Reason::kNone;
}
void Http1Exchange::send_body(std::span<const uint8_t> chunk, bool end) {
  if (codec && !dead) codec->send_body(*this, chunk, end);
}
void Http1Exchange::send_trailers(HeaderList& list) {
  if (codec && !dead) codec->send_trailers(*this, list);
}
void Http1Exchange::send_reply(const Head&, const LocalReply& reply) {
  if (codec && !dead) codec->send_reply(*this, reply);
}
void Http1Exchange::reset(Reason reason) {
  if (codec && !dead) codec->reset(*this, reason);
}
void Http1Exchange::pause_reading() {
  if (codec && !dead) codec->set_paused(*this, true);
}
void Http1Exchange::resume_reading() {
  if (codec && !dead) codec->set_paused(*this, false);
}
void Http1Exchange::release() {
  if (codec)
    codec->release(*this);
  else
    Exchanges::destroy(this);  // outlived its connection
}
size_t Http1Exchange::buffered_bytes() const { return codec ? codec->buffered_bytes() : 0; }

// --- Life ------------------------------------------------------------------------------------------------------------

Http1Codec::~Http1Codec() {
  reap();
  if (!current_) return;
  current_->codec = nullptr;
  if (!current_->sink) Exchanges::destroy(current_);
}

Http1Exchange* Http1Codec::create_exchange() { return current_ = Exchanges::create(*this); }

void Http1Codec::retire(Http1Exchange& x) {
  current_ = nullptr;
  if (x.sink) --open_;
  x.codec = nullptr;
  x.next = retired_;
  retired_ = &x;
}

void Http1Codec::reap() {
  while (Http1Exchange* x = retired_) {
    retired_ = x->next;
    Exchanges::destroy(x);
  }
}

void Http1Codec::settle() {
  reap();
  if (broken_ || finished_) {
    stash_.clear();
    return;  // the owner closes; no more pausing
  }
  if (handed_over_) return on_handed_over();
  bool pause = !stash_.empty() || (current_ && current_->paused && current_->reading != Reading::kDone);
  if (pause == paused_) return;
  paused_ = pause;
  if (pause)
    events_.pause_reading();
  else
    events_.resume_reading();
}

void Http1Codec::let_read() {
  if (std::exchange(paused_, false)) events_.resume_reading();
}

void Http1Codec::break_connection(Reason reason, std::string_view text) {
  if (broken_ || finished_) return;
  broken_ = true;
  abandon(reason);
  events_.on_broken(reason, text);
}

// How far the message had come says nothing about its holder: whoever has not released the exchange is told.
void Http1Codec::abandon(Reason reason) {
  Http1Exchange* x = current_;
  if (!x) return;
  cut_ = x->writing == Writing::kUntilClose || x->writing == Writing::kTunnel ||
         x->writing == Writing::kChunked || (x->writing == Writing::kLength && x->write_left > 0);
  if (!x->sink) return retire(*x);
  if (!std::exchange(x->dead, true)) x->sink->on_reset(reason);
}

void Http1Codec::finish() {
  if (broken_ || finished_) return;
  finished_ = true;
  events_.on_finished();
}

void Http1Codec::on_transport_closed(Reason reason) {
  if (broken_) return;
  Scope scope(*this);
  broken_ = true;
  Http1Exchange* x = current_;
  if (!x) return;
  bool cut = received(*x) && x->reading != Reading::kDone && x->reading != Reading::kHeld && x->reading != Reading::kTunnel;
  if (cut && reason == Reason::kDownstreamReset) reason = Reason::kDownstreamTruncated;
  if (cut && reason == Reason::kUpstreamReset) reason = Reason::kUpstreamTruncated;
  abandon(reason);
}

void Http1Codec::on_write_blocked(bool blocked) {
  Scope scope(*this);
  blocked_ = blocked;
  if (current_ && current_->sink && !current_->dead) current_->sink->on_write_blocked(blocked);
  if (!blocked && !current_ && !broken_ && !finished_) pump();
}

ReadPhase Http1Codec::phase() const {
  if (!current_ || broken_ || finished_) return ReadPhase::kIdle;
  switch (current_->reading) {
    case Reading::kHead:
      return received(*current_) ? ReadPhase::kHead : ReadPhase::kIdle;
    case Reading::kLength:
    case Reading::kChunked:
    case Reading::kTrailers:
    case Reading::kUntilClose:
      return ReadPhase::kBody;
    case Reading::kHeld:
    case Reading::kTunnel:
    case Reading::kDone:
      break;
  }
  return ReadPhase::kIdle;
}

// --- Input -----------------------------------------------------------------------------------------------------------

void Http1Codec::on_data(uint8_t* data, size_t n) {
  if (broken_ || finished_) return;
  Scope scope(*this);
  if (!stash_.empty()) {
    stash_.append(data, n);
    return pump();
  }
  consuming_ = true;
  size_t used = consume({data, n}, 0);
  consuming_ = false;
  stash_.append(data + used, n - used);
}

void Http1Codec::on_eof() {
  if (broken_ || finished_ || eof_) return;
  Scope scope(*this);
  eof_ = true;
  pump();
}

void Http1Codec::pump() {
  if (consuming_) return;
  consuming_ = true;
  while (!stash_.empty()) {
    Bytes piece = stash_.front();
    size_t used = consume(piece, stash_.size() - piece.size());
    stash_.consume(used);
    if (used < piece.size()) break;
  }
  consuming_ = false;
  if (eof_ && stash_.empty() && !broken_ && !finished_) at_eof();
}

// Returns how many bytes were used; all of them when nobody will want them any more.
size_t Http1Codec::consume(Bytes in, size_t after) {
  size_t used = 0;
  while (used < in.size() && !broken_ && !finished_) {
    if (depth_ == 1) reap();  // nothing below us on the stack holds one
    after_ = after;
    size_t taken = 0;
    Bytes rest = in.subspan(used);
    bool go_on = current_ ? read(*current_, rest, taken) : begin(rest, taken);
    used += taken;
    if (!go_on) break;
  }
  return broken_ || finished_ ? in.size() : used;
}

bool Http1Codec::read(Http1Exchange& x, Bytes in, size_t& used) {
  if (x.paused && x.reading != Reading::kDone) return false;
  switch (x.reading) {
    case Reading::kHead:
    case Reading::kTrailers:
      return read_block(x, in, used);
    case Reading::kChunked:
      read_chunked(x, in, used);
      return true;
    case Reading::kLength:
    case Reading::kUntilClose:
    case Reading::kTunnel:
      read_body(x, in, used);
      return true;
    case Reading::kHeld:
      return false;
    case Reading::kDone:
      return after_message(x, in, used);
  }
  return false;
}

void Http1Codec::start_block(Http1Exchange& x) {
  x.scanner = {};
  x.block = nullptr;
  x.block_size = x.block_capacity = 0;
}

// Collects a block of lines. One that is complete in this read is copied once; pieces are kept in a growing buffer.
bool Http1Codec::read_block(Http1Exchange& x, Bytes in, size_t& used) {
  bool is_head = x.reading == Reading::kHead;
  BlockLimits limits{is_head ? options_.uri_bytes_max + kStartLineSlack : 0,
                     is_head ? options_.header_bytes_max : kTrailerBytesMax, options_.headers_max};
  if (role_ == Role::kClient && is_head && !x.block && (in[0] != 'H' || x.writing == Writing::kHead)) {
    refuse({Reason::kMalformed, 0, x.writing == Writing::kHead ? "answer without a request" : "not an HTTP answer"});
    return false;
  }
  LineScanner::Verdict verdict;
  if (!x.block) {
    verdict = x.scanner.scan(in.data(), in.size(), limits);
    bool whole = verdict == LineScanner::Verdict::kEnd;
    if (whole || verdict == LineScanner::Verdict::kMore) {
      used = whole ? x.scanner.size() : in.size();
      x.block_capacity = static_cast<uint32_t>(whole ? used : std::max<size_t>(2 * used, kFirstBlockBytes));
      x.block = x.head.arena.allocate_array<char>(x.block_capacity);
      std::memcpy(x.block, in.data(), used);
      x.block_size = static_cast<uint32_t>(used);
    }
  } else {
    // No more than it takes for the scanner to see that a limit is passed.
    size_t most = size_t{limits.start_line_bytes} + limits.fields_bytes + 1;
    size_t n = std::min(in.size(), most - x.block_size);
    if (x.block_size + n > x.block_capacity) {
      x.block_capacity = std::max<uint32_t>(2 * x.block_capacity, static_cast<uint32_t>(x.block_size + n));
      char* larger = x.head.arena.allocate_array<char>(x.block_capacity);
      std::memcpy(larger, x.block, x.block_size);
      x.block = larger;
    }
    std::memcpy(x.block + x.block_size, in.data(), n);
    verdict = x.scanner.scan(reinterpret_cast<const uint8_t*>(x.block), x.block_size + n, limits);
    used = verdict == LineScanner::Verdict::kEnd ? x.scanner.size() - x.block_size : n;
    x.block_size += static_cast<uint32_t>(used);
  }
  if (verdict == LineScanner::Verdict::kMore) return true;
  if (verdict != LineScanner::Verdict::kEnd) {
    refuse(refusal_of(verdict));
    return false;
  }
  bool more = used < in.size() || after_ > 0;
  if (is_head)
    on_head_block(x, x.block_size, more);
  else
    on_trailer_block(x, x.block_size, more);
  return true;
}

void Http1Codec::on_trailer_block(Http1Exchange& x, size_t size, bool more) {
  if (size > 2) {
    uint32_t dropped = 0;
    if (Refusal refusal = parse_trailers(x.block, size, x.trailers, dropped)) return refuse(refusal);
    while (dropped--) events_.on_event(CodecEvent::kFieldDropped);
  }
  if (x.trailers.empty()) return deliver(x, {}, true, more);
  end_message(x, more);
  x.sink->on_trailers(x.trailers);
}

bool Http1Codec::set_reading(Http1Exchange& x, const Framing& framing, bool no_body) {
  if (no_body || (!framing.chunked && x.head.content_length == 0)) {
    x.reading = Reading::kDone;
  } else if (framing.chunked) {
    x.reading = Reading::kChunked;
  } else if (x.head.content_length > 0) {
    x.reading = Reading::kLength;
    x.read_left = static_cast<uint64_t>(x.head.content_length);
  } else {
    x.reading = Reading::kUntilClose;
  }
  return x.reading == Reading::kDone;
}

void Http1Codec::read_body(Http1Exchange& x, Bytes in, size_t& used) {
  if (x.reading != Reading::kLength) {
    used = in.size();
    return deliver(x, in, false, false);
  }
  used = std::min<uint64_t>(in.size(), x.read_left);
  x.read_left -= used;
  deliver(x, in.first(used), x.read_left == 0, used < in.size() || after_ > 0);
}

void Http1Codec::read_chunked(Http1Exchange& x, Bytes in, size_t& used) {
  Bytes data;
  switch (x.chunks.decode(in, used, data)) {
    case ChunkDecoder::Verdict::kMore:
      return;
    case ChunkDecoder::Verdict::kData:
      return deliver(x, data, false, false);
    case ChunkDecoder::Verdict::kLast:
      x.reading = Reading::kTrailers;
      return start_block(x);
    case ChunkDecoder::Verdict::kBad: return refuse({Reason::kMalformed, 0, x.chunks.why()});
  }
}

void Http1Codec::deliver(Http1Exchange& x, Bytes chunk, bool end, bool more) {
  uint64_t max = x.reading == Reading::kTunnel ? 0 : options_.body_bytes_max;
  if (max && chunk.size() > max - x.body_bytes) {
    Bytes within = chunk.first(max - x.body_bytes);
    x.body_bytes = max;
    if (!within.empty()) x.sink->on_body(within, false);
    if (is_current(x)) refuse({Reason::kBodyTooLarge, 0, "body too large"});
    return;
  }
  x.body_bytes += chunk.size();
  if (end) end_message(x, more);
  x.sink->on_body(chunk, end);
}

void Http1Codec::end_message(Http1Exchange& x, bool more) {
  x.reading = Reading::kDone;
  // Bytes that nobody asked for must not become the answer to the next request.
  if (more && role_ == Role::kClient) x.keep_alive = false;
}

// --- Output ----------------------------------------------------------------------------------------------------------

void Http1Codec::send_body(Http1Exchange& x, std::span<const uint8_t> chunk, bool end) {
  Scope scope(*this);
  switch (x.writing) {
    case Writing::kLength: {
      bool fits = chunk.size() <= x.write_left;
      if (!fits) chunk = chunk.first(x.write_left);
      if (!chunk.empty()) out_.write(chunk.data(), chunk.size());
      x.write_left -= chunk.size();
      if (!fits || (end && x.write_left)) return break_connection(Reason::kInternal, "body differs from its Content-Length");
      break;
    }
    case Writing::kChunked:
      x.envelopes.see(chunk);
      encode_chunk(chunk, end, out_);
      break;
    case Writing::kUntilClose:
    case Writing::kTunnel:
      if (!chunk.empty()) out_.write(chunk.data(), chunk.size());
      break;
    case Writing::kDropped:
      break;
    case Writing::kHead:
    case Writing::kHeld:
      return break_connection(Reason::kInternal, "body before it may be sent");
    case Writing::kDone:
      return;
  }
  if (!end) return;
  bool half_closed = x.writing == Writing::kTunnel && x.reading != Reading::kDone;
  x.writing = Writing::kDone;
  if (half_closed) events_.on_output_end();
}

void Http1Codec::send_trailers(Http1Exchange& x, const HeaderList& trailers) {
  if (x.writing != Writing::kChunked || !x.te_trailers) return send_body(x, {}, true);
  const bool underscores = role_ == Role::kServer || options_.underscores == Underscores::kPass;
  if (!underscores && has_underscores(trailers)) events_.on_event(CodecEvent::kFieldDropped);
  encode_trailers(trailers, underscores, out_.out);
  out_.wrote();
  x.writing = Writing::kDone;
}

void Http1Codec::reset(Http1Exchange& x, Reason reason) {
  // A complete answer stands, and a request that was never begun leaves no trace.
  if (role_ == Role::kServer && x.writing == Writing::kDone) return;
  if (role_ == Role::kClient && x.reading == Reading::kDone && x.writing == Writing::kDone) return;
  if (role_ == Role::kClient && x.writing == Writing::kHead && !received(x)) return;
  Scope scope(*this);
  x.dead = true;
  break_connection(reason, "exchange given up");
}

void Http1Codec::set_paused(Http1Exchange& x, bool paused) {
  Scope scope(*this);
  x.paused = paused;
  if (!paused) pump();
}

void Http1Codec::release(Http1Exchange& x) {
  Scope scope(*this);
  retire(x);
  if (!broken_ && !finished_) after_release(x);
}

}  // namespace dragoman::http1

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http1_codec(const Protocol&, Role role, ByteSink& out, ConnectionEvents& events,
                                                  const CodecOptions& options) {
  return role == Role::kServer ? http1::make_server(out, events, options) : http1::make_client(out, events, options);
}

size_t live_http1_exchanges() { return ObjectPool<http1::Http1Exchange>::live(); }

}  // namespace dragoman
