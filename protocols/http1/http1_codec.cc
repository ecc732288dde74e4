#include "protocols/http1/http1_codec.h"

#include <algorithm>
#include <cstring>

#include "protocols/http1/codec.h"
#include "proxy/base/object_pool.h"

namespace dragoman {
namespace http1 {
namespace {

using Exchanges = ObjectPool<Http1Exchange>;

}  // namespace

// --- The exchange passes on ---------------------------------------------------------------------------------------

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
    Exchanges::destroy(this);
}
size_t Http1Exchange::buffered_bytes() const { return codec ? codec->buffered_bytes() : 0; }

// --- Input --------------------------------------------------------------------------------------------------------

Http1Codec::~Http1Codec() {
  if (current_) {
    if (current_->sink)
      current_->codec = nullptr;  // its holder's release() frees it
    else
      Exchanges::destroy(current_);
  }
  reap();
}

void Http1Codec::on_data(uint8_t* data, size_t n) {
  if (broken_ || finished_) return;
  Scope scope(*this);
  if (!stash_.empty() || consuming_) {
    stash_.append(data, n);
    if (!consuming_) pump();
    return;
  }
  size_t used = consume({data, n}, 0);
  if (used < n && !broken_ && !finished_) stash_.append(data + used, n - used);
  update_pause();
}

size_t Http1Codec::consume(Bytes in, size_t after) {
  consuming_ = true;
  size_t at = 0;
  while (at < in.size() && !broken_ && !finished_) {
    Bytes rest = in.subspan(at);
    size_t used = 0;
    after_ = after;
    bool go;
    if (!current_) {
      go = begin(rest, used);
    } else if (current_->reading == Reading::kDone || current_->reading == Reading::kHeld) {
      go = after_message(*current_, rest, used);
    } else if (current_->paused && current_->reading != Reading::kHead) {
      go = false;
    } else {
      go = read(*current_, rest, used);
    }
    at += used;
    if (!go) break;
  }
  consuming_ = false;
  return at;
}

void Http1Codec::pump() {
  if (consuming_) return;
  Scope scope(*this);
  while (!stash_.empty() && !broken_ && !finished_) {
    Bytes piece = stash_.front();
    size_t used = consume(piece, stash_.size() - piece.size());
    stash_.consume(used);
    if (used < piece.size()) break;
  }
  if (broken_ || finished_) stash_.clear();
  if (eof_ && stash_.empty() && !broken_ && !finished_) at_eof();
  update_pause();
}

void Http1Codec::update_pause() {
  if (broken_ || finished_) return;
  bool want = !stash_.empty() || (current_ && current_->paused && !current_->dead);
  if (want == paused_) return;
  paused_ = want;
  if (want)
    events_.pause_reading();
  else
    events_.resume_reading();
}

bool Http1Codec::read(Http1Exchange& x, Bytes in, size_t& used) {
  switch (x.reading) {
    case Reading::kHead:
    case Reading::kTrailers:
      return read_block(x, in, used);
    case Reading::kLength:
    case Reading::kUntilClose:
    case Reading::kTunnel:
      read_body(x, in, used);
      return true;
    case Reading::kChunked:
      read_chunked(x, in, used);
      return true;
    case Reading::kHeld:
    case Reading::kDone:
      break;
  }
  return false;
}

bool Http1Codec::read_block(Http1Exchange& x, Bytes in, size_t& used) {
  const bool trailers = x.reading == Reading::kTrailers;
  BlockLimits limits{trailers ? 0 : options_.uri_bytes_max + kStartLineSlack,
                     trailers ? kTrailerBytesMax : options_.header_bytes_max, options_.headers_max};
  // Usually the whole block is here: look at it in place and copy exactly that. Otherwise collect it in small steps,
  // so that what follows the block is never copied twice.
  const bool fresh = x.block_size == 0;
  size_t step = fresh ? in.size() : std::min<size_t>(in.size(), 1024);
  auto keep = [&x](const uint8_t* p, size_t n) {
    if (x.block_capacity - x.block_size < n) {
      uint32_t capacity = std::max<uint32_t>(x.block_capacity * 2, static_cast<uint32_t>(x.block_size + n));
      char* bigger = static_cast<char*>(x.head.arena.allocate(capacity));
      if (x.block_size) std::memcpy(bigger, x.block, x.block_size);
      x.block = bigger;
      x.block_capacity = capacity;
    }
    std::memcpy(x.block + x.block_size, p, n);
    x.block_size += static_cast<uint32_t>(n);
  };
  LineScanner::Verdict verdict;
  if (fresh) {
    verdict = x.scanner.scan(in.data(), step, limits);
  } else {
    keep(in.data(), step);
    verdict = x.scanner.scan(reinterpret_cast<const uint8_t*>(x.block), x.block_size, limits);
  }
  switch (verdict) {
    case LineScanner::Verdict::kMore:
      if (fresh) keep(in.data(), step);
      used = step;
      return true;
    case LineScanner::Verdict::kEnd: {
      size_t size = x.scanner.size();
      if (fresh) {
        keep(in.data(), size);
        used = size;
      } else {
        used = step - (x.block_size - size);
      }
      x.block_size = 0;
      x.scanner = {};
      bool more = in.size() > used || after_ > 0;
      if (trailers)
        on_trailer_block(x, size, more);
      else
        on_head_block(x, size, more);
      return true;
    }
    case LineScanner::Verdict::kBareLf:
      refuse({Reason::kMalformed, 0, "a line does not end with CRLF"});
      return false;
    case LineScanner::Verdict::kFolded:
      refuse({Reason::kMalformed, 0, "folded header line"});
      return false;
    case LineScanner::Verdict::kStartLineTooLong:
      refuse({Reason::kUriTooLong, 0, "request line too long"});
      return false;
    case LineScanner::Verdict::kFieldsTooLong:
      refuse({Reason::kHeadTooLarge, 0, "header fields too long"});
      return false;
    case LineScanner::Verdict::kTooManyFields:
      refuse({Reason::kHeadTooLarge, 0, "too many header fields"});
      return false;
  }
  return false;
}

void Http1Codec::on_trailer_block(Http1Exchange& x, size_t size, bool) {
  x.trailers.clear();
  if (Refusal refusal = parse_trailers(x.block, size, x.trailers)) return refuse(refusal);
  x.reading = Reading::kDone;
  if (!x.sink || x.dead) return;
  if (x.trailers.empty())
    x.sink->on_body({}, true);
  else
    x.sink->on_trailers(x.trailers);
}

void Http1Codec::read_body(Http1Exchange& x, Bytes in, size_t& used) {
  if (x.reading != Reading::kLength) {
    used = in.size();
    deliver(x, in, false);
    return;
  }
  used = static_cast<size_t>(std::min<uint64_t>(x.read_left, in.size()));
  x.read_left -= used;
  bool end = x.read_left == 0;
  if (end) x.reading = Reading::kDone;
  deliver(x, in.first(used), end);
}

void Http1Codec::read_chunked(Http1Exchange& x, Bytes in, size_t& used) {
  while (used < in.size()) {
    size_t n = 0;
    Bytes data;
    ChunkDecoder::Verdict verdict = x.chunks.decode(in.subspan(used), n, data);
    used += n;
    switch (verdict) {
      case ChunkDecoder::Verdict::kMore:
        return;
      case ChunkDecoder::Verdict::kBad:
        return refuse({Reason::kMalformed, 0, "bad chunk"});
      case ChunkDecoder::Verdict::kLast:
        x.reading = Reading::kTrailers;
        x.block = nullptr;
        x.block_size = x.block_capacity = 0;
        return;
      case ChunkDecoder::Verdict::kData:
        if (!deliver(x, data, false) || !is_current(x) || x.paused) return;
        break;
    }
  }
}

bool Http1Codec::deliver(Http1Exchange& x, Bytes chunk, bool end) {
  x.body_bytes += chunk.size();
  if (options_.body_bytes_max != 0 && x.reading != Reading::kTunnel && x.body_bytes > options_.body_bytes_max) {
    refuse({Reason::kBodyTooLarge, 0, "body too large"});
    return false;
  }
  if (x.sink && !x.dead) x.sink->on_body(chunk, end);
  return true;
}

bool Http1Codec::set_reading(Http1Exchange& x, const Framing& framing, bool no_body) {
  x.reading = Reading::kDone;
  if (no_body) return true;
  if (framing.chunked) {
    x.reading = Reading::kChunked;
    return false;
  }
  if (x.head.content_length < 0) {
    x.reading = Reading::kUntilClose;
    x.keep_alive = false;
    return false;
  }
  x.read_left = static_cast<uint64_t>(x.head.content_length);
  if (x.read_left == 0) return true;
  x.reading = Reading::kLength;
  return false;
}

void Http1Codec::on_eof() {
  if (broken_ || finished_) return;
  Scope scope(*this);
  eof_ = true;
  if (current_) current_->keep_alive = false;
  if (stash_.empty()) at_eof();
}

void Http1Codec::on_transport_closed(Reason reason) {
  Scope scope(*this);
  broken_ = true;
  stash_.clear();
  if (!current_) return;
  Http1Exchange& x = *current_;
  if (!x.sink) {
    current_ = nullptr;
    retire(x);
    return;
  }
  if (x.dead) return;
  x.dead = true;
  x.sink->on_reset(reason);
}

void Http1Codec::on_write_blocked(bool blocked) {
  Scope scope(*this);
  if (current_ && current_->sink && !current_->dead) current_->sink->on_write_blocked(blocked);
}

ReadPhase Http1Codec::phase() const {
  if (!current_) return ReadPhase::kIdle;
  switch (current_->reading) {
    case Reading::kHead:
      return ReadPhase::kHead;
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

// --- Output -------------------------------------------------------------------------------------------------------

void Http1Codec::send_body(Http1Exchange& x, Bytes chunk, bool end) {
  Scope scope(*this);
  switch (x.writing) {
    case Writing::kLength: {
      size_t n = static_cast<size_t>(std::min<uint64_t>(chunk.size(), x.write_left));
      if (n < chunk.size()) x.keep_alive = false;  // more than was announced: the rest has no place
      if (n > 0) out_.write(chunk.data(), n);
      x.write_left -= n;
      if (!end) return;
      if (x.write_left > 0) return break_connection(Reason::kInternal, "body shorter than its length");
      break;
    }
    case Writing::kChunked:
      encode_chunk(chunk, end, out_);
      out_.wrote();
      break;
    case Writing::kUntilClose:
    case Writing::kTunnel:
      if (!chunk.empty()) out_.write(chunk.data(), chunk.size());
      break;
    case Writing::kDropped:
    case Writing::kHeld:
      break;
    case Writing::kHead:
    case Writing::kDone:
      return;
  }
  if (end) message_written(x);
}

void Http1Codec::send_trailers(Http1Exchange& x, const HeaderList& trailers) {
  if (x.writing != Writing::kChunked || !x.te_trailers) return send_body(x, {}, true);
  encode_trailers(trailers, out_.out);
  out_.wrote();
  message_written(x);
}

void Http1Codec::message_written(Http1Exchange& x) {
  const bool tunnel = x.writing == Writing::kTunnel;
  x.writing = Writing::kDone;
  if (tunnel) finish();  // one side of the tunnel is over: flush and close, the other side follows
}

void Http1Codec::reset(Http1Exchange& x, Reason reason) {
  Scope scope(*this);
  x.dead = true;
  if (&x == current_) break_connection(reason, "exchange aborted");
}

void Http1Codec::set_paused(Http1Exchange& x, bool paused) {
  Scope scope(*this);
  x.paused = paused;
  if (!paused && &x == current_) pump();
  update_pause();
}

void Http1Codec::release(Http1Exchange& x) {
  Scope scope(*this);
  --open_;
  if (&x != current_) return retire(x);
  current_ = nullptr;
  retire(x);
  if (broken_) return;
  after_release(x);
  pump();
}

void Http1Codec::break_connection(Reason reason, std::string_view text) {
  if (broken_) return;
  Scope scope(*this);
  broken_ = true;
  if (current_) {
    Http1Exchange& x = *current_;
    if (!x.sink) {
      current_ = nullptr;
      retire(x);
    } else if (!x.dead) {
      x.dead = true;
      x.sink->on_reset(reason);
    }
  }
  events_.on_broken(reason, text);
}

void Http1Codec::finish() {
  if (finished_ || broken_) return;
  finished_ = true;
  events_.on_finished();
}

Http1Exchange* Http1Codec::create_exchange() {
  current_ = Exchanges::create(*this);
  current_->head.is_http = true;
  return current_;
}

void Http1Codec::retire(Http1Exchange& x) {
  x.sink = nullptr;
  x.dead = true;
  x.codec = nullptr;
  x.next = retired_;
  retired_ = &x;
}

void Http1Codec::reap() {
  while (retired_) {
    Http1Exchange* x = retired_;
    retired_ = x->next;
    Exchanges::destroy(x);
  }
}

}  // namespace http1

std::unique_ptr<ConnectionCodec> make_http1_codec(const Protocol&, Role role, ByteSink& out, ConnectionEvents& events,
                                                  const CodecOptions& options) {
  return role == Role::kServer ? http1::make_server(out, events, options) : http1::make_client(out, events, options);
}

size_t live_http1_exchanges() { return ObjectPool<http1::Http1Exchange>::live(); }

}  // namespace dragoman
