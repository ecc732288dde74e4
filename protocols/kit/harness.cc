#include "protocols/kit/harness.h"

#include <cstring>

#include "protocols/kit/run.h"

namespace dragoman::kit {

void Sink::release() {
  Exchange* x = std::exchange(exchange, nullptr);
  head = nullptr;
  if (x) x->release();
}

std::string Sink::text() const {
  if (!head) return "(nothing)";
  std::string out = head->is_request ? "request" : "answer";
  out += " kind=" + std::to_string(head->frame.kind) + " id=" + std::to_string(head->frame.id);
  out += " service=" + std::string(head->service) + " method=" + std::string(head->method);
  for (const Header& h : head->headers) out += " " + std::string(h.name) + "=" + std::string(h.value);
  out += " status=" + std::to_string(head->status) + " timeout=" + std::to_string(head->timeout_ms);
  out += " body=" + body + (ended ? " ended" : "") + (was_reset ? " reset" : "");
  return out;
}

void Sink::on_head(Head& h, bool end) {
  head = &h;
  ended = end;
  if (!other || !other->exchange) return;
  if (other->exchange->send_head(h, end) == Reason::kNone) {
    forwarding = true;
  } else if (h.is_request) {
    LocalReply reply;
    reply.reason = Reason::kUnsupported;
    exchange->send_reply(h, reply);
  }
}

void Sink::on_body(std::span<const uint8_t> chunk, bool end) {
  body.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
  ended = end;
  if (forwarding && other && other->exchange) other->exchange->send_body(chunk, end);
}

void Sink::on_reset(Reason) { was_reset = true; }

Side::Side(const dragoman_codec& table, Role role, PoolMode mode, uint32_t variant) {
  Protocol protocol;
  protocol.table = &table;
  CodecOptions options;
  options.framed.mode = mode;
  options.framed.variant = variant;
  options.framed.goaway = true;
  options.framed.want = kWantAll;
  options.framed.frame_bytes_max = 1 << 20;
  codec = make_framed_codec(protocol, role, *this, *this, options);
}

Side::~Side() {
  for (auto& s : accepted) s->release();
  for (auto& s : answers_) s->release();
}

void Side::feed(const std::string& bytes) {
  if (bytes.empty() || broken_) return;
  if (capacity_ < bytes.size()) {
    capacity_ = bytes.size();
    buffer_ = std::make_unique_for_overwrite<uint8_t[]>(ConnectionCodec::kHeadroom + capacity_);
  }
  uint8_t* data = buffer_.get() + ConnectionCodec::kHeadroom;
  std::memcpy(data, bytes.data(), bytes.size());
  codec->on_data(data, bytes.size());
}

std::string Side::take() {
  std::string text(out.size(), '\0');
  out.copy_to(reinterpret_cast<uint8_t*>(text.data()));
  out.clear();
  return text;
}

std::string Side::transcript() {
  std::string text;
  for (const auto& s : accepted) text += s->text() + "\n";
  text += "written " + hex_text(take(), 1 << 20) + "\n";
  for (uint64_t n : events_) text += std::to_string(n) + " ";
  text += std::to_string(goaways_) + " goaways" + (broken_ ? ", broken: " + detail_ : "") + "\n";
  return text;
}

MessageSink* Side::on_exchange(Exchange& exchange) {
  accepted.push_back(std::make_unique<Sink>());
  Sink* request = accepted.back().get();
  request->exchange = &exchange;
  if (hop_to) {
    hop_to->answers_.push_back(std::make_unique<Sink>());
    Sink* answer = hop_to->answers_.back().get();
    answer->exchange = hop_to->codec->open(*answer);
    answer->other = request;
    request->other = answer;
  }
  return request;
}

void Side::on_broken(Reason reason, std::string_view detail) {
  broken_ = true;
  reason_ = reason;
  detail_ = detail;
}

}  // namespace dragoman::kit
