// gRPC-Web (gRPC's PROTOCOL-WEB document): clients that can't read HTTP/2 trailers, browsers above all, call gRPC backends.
// Requests become gRPC before the routes see them. Of an answer the trailers become the last message of its body; one that is
// trailers alone stays as it is. In the text form both bodies are base64.
#include <charconv>
#include <cstring>
#include <new>
#include <vector>

#include "filters/builtin.h"
#include "protocols/http/grpc.h"
#include "protocols/http/rules.h"
#include "proxy/base/base64.h"
#include "proxy/base/thread_start.h"

namespace dragoman {
namespace {

constexpr std::string_view kBinary = "application/grpc-web";
constexpr std::string_view kText = "application/grpc-web-text";
constexpr uint8_t kTrailersFlag = 0x80;

/// Whether `value` is media type `type`, alone or with "+format" or parameters, which are left in `rest`.
bool is_type(std::string_view value, std::string_view type, std::string_view& rest) {
  if (!starts_with_ignore_case(value, type)) return false;
  rest = value.substr(type.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';';
}

std::vector<uint8_t>& thread_bytes() {
  static thread_local std::vector<uint8_t> bytes;
  return bytes;
}
const AtThreadStart at_thread_start{[] { thread_bytes(); }};

/// Memory for `n` bytes of a body written anew, until the next call on this thread. As large as the largest piece there was.
uint8_t* scratch(size_t n) {
  std::vector<uint8_t>& bytes = thread_bytes();
  if (bytes.size() < n) bytes.resize(n);
  return bytes.data();
}

/// A message of trailers, in memory of an arena: flag, length, lines as in HTTP/1.
class TrailersMessage {
 public:
  TrailersMessage(size_t bytes_max, Arena& arena)
      : start_(arena.allocate_array<char>(kHead + bytes_max)), at_(start_ + kHead) {}

  void add(std::string_view name, std::string_view value) {
    for (char c : name) *at_++ = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    put(": ");
    put(value);
    put("\r\n");
  }
  void add_status(int32_t status) {
    char digits[12];
    add("grpc-status",
        {digits, static_cast<size_t>(std::to_chars(digits, digits + sizeof digits, status).ptr - digits)});
  }
  std::string_view finish() {
    const auto size = static_cast<uint32_t>(at_ - start_ - kHead);
    start_[0] = static_cast<char>(kTrailersFlag);
    for (int i = 0; i < 4; ++i) start_[1 + i] = static_cast<char>(size >> (24 - 8 * i));
    return {start_, kHead + size};
  }
  /// What a field needs.
  static size_t size(std::string_view name, std::string_view value) { return name.size() + value.size() + 4; }
  static constexpr size_t kStatusBytes = 32;

 private:
  static constexpr size_t kHead = 5;
  void put(std::string_view text) {
    if (!text.empty()) std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  char* start_;
  char* at_;
};

class GrpcWebFilter final : public Filter {
 public:
  FilterVerdict on_request_head(FilterContext&, Head& head, bool) override {
    Header* type = nullptr;
    for (Header& h : head.headers)
      if (h.id == HeaderId::kContentType) type = &h;
    if (!head.is_http || head.method != "POST" || head.upgrade || !type) return FilterVerdict::kContinue;
    text_request_ = is_type(type->value, kText, format_);
    if (!text_request_ && !is_type(type->value, kBinary, format_)) return FilterVerdict::kContinue;
    call_ = true;
    text_answer_ = wants_text(head);
    type->value = head.arena.concat(grpc::kContentType, format_);
    head.content_length = -1;
    head.te_trailers = true;
    grpc::read_request(head);
    return FilterVerdict::kContinue;
  }

  void on_request_body(FilterContext& ctx, BodyChunk& chunk) override {
    if (!text_request_) return;
    uint8_t* out = scratch(Base64Decoder::bytes_max(chunk.data.size()));
    size_t written = 0;
    if (!decoder_.decode(chunk.data, out, written) || (chunk.end && !decoder_.complete())) {
      LocalReply reply;
      reply.reason = Reason::kMalformed;
      reply.text = "the body is not base64";
      return ctx.answer(reply);  // nothing of `this` is used after it
    }
    chunk.data = {out, written};
  }

  void on_response_head(FilterContext&, Head& head, bool end) override {
    if (!call_) return;
    for (Header& h : head.headers) {
      if (h.id != HeaderId::kContentType || !grpc::is_content_type(h.value)) continue;
      h.value = head.arena.concat(text_answer_ ? kText : kBinary, h.value.substr(grpc::kContentType.size()));
      head.content_length = -1;
      if (!end) answer_ = &head;
      return;
    }
    // Something else answered, in HTTP's words: so it stays.
  }

  void on_response_body(FilterContext& ctx, BodyChunk& chunk) override {
    if (!answer_) return;
    std::string_view last;
    if (chunk.end && !answer_->headers.find(HeaderId::kGrpcStatus)) {  // no trailers came
      TrailersMessage message(TrailersMessage::kStatusBytes, ctx.request().arena);
      message.add_status(result());
      last = message.finish();
    }
    encode(chunk, last);
  }

  void on_response_trailers(FilterContext& ctx, HeaderList& trailers, BodyChunk& rest) override {
    if (!answer_) return;
    auto passed_on = [](const Header& h) {
      return !connection_field(h.id) && clean_name(h.name) && clean_value(h.value);
    };
    size_t bytes = TrailersMessage::kStatusBytes;
    for (const Header& h : trailers)
      if (passed_on(h)) bytes += TrailersMessage::size(h.name, h.value);
    TrailersMessage message(bytes, ctx.request().arena);
    for (const Header& h : trailers)
      if (passed_on(h)) message.add(h.name, h.value);
    if (!trailers.find(HeaderId::kGrpcStatus) && !answer_->headers.find(HeaderId::kGrpcStatus))
      message.add_status(result());
    trailers.clear();
    encode(rest, message.finish());
  }

  void on_local_reply(FilterContext& ctx, LocalReply& reply) override {
    if (!call_) return;
    Arena& arena = ctx.request().arena;
    const std::string_view status = arena.copy(std::to_string(reply.grpc_status()));
    const std::string_view text = grpc::encode_message(arena.copy(reply.text), arena);
    auto* fields = arena.allocate_array<Header>(reply.headers.size() + 3);
    size_t n = 0;
    for (const Header& h : reply.headers) fields[n++] = h;
    fields[n++] = {"content-type", arena.concat(text_answer_ ? kText : kBinary, format_),
                   HeaderId::kContentType};
    fields[n++] = {"grpc-status", status, HeaderId::kGrpcStatus};
    if (!text.empty()) fields[n++] = {"grpc-message", text};
    reply.http_status = 200;
    reply.text = reply.content_type = {};
    reply.headers = {fields, n};
  }

  void on_response_failed(FilterContext& ctx, const LocalReply& reply, BodyChunk& rest) override {
    if (!answer_) return;
    Arena& arena = ctx.request().arena;
    const std::string_view text = grpc::encode_message(arena.copy(reply.text), arena);
    TrailersMessage message(TrailersMessage::kStatusBytes + TrailersMessage::size("grpc-message", text),
                            arena);
    message.add_status(static_cast<int32_t>(reply.grpc_status()));
    if (!text.empty()) message.add("grpc-message", text);
    encode(rest, message.finish());
    rest.end = true;
  }

 private:
  /// The form the client asks for, else that of its request. What it says about this hop goes no further.
  bool wants_text(Head& head) const {
    const Header* accept = head.headers.find(HeaderId::kAccept);
    std::string_view ignored;
    if (!accept) return text_request_;
    const bool text = is_type(accept->value, kText, ignored);
    if (!text && !is_type(accept->value, kBinary, ignored)) return text_request_;
    head.headers.remove(HeaderId::kAccept);
    return text;
  }
  int32_t result() const { return answer_->rpc_status >= 0 ? answer_->rpc_status : 2; }

  /// `chunk` and then `last`, in the answer's form. Each piece is a whole base64 text, so that no byte of a message waits for
  /// the next one.
  void encode(BodyChunk& chunk, std::string_view last) const {
    const std::span<const uint8_t> end(reinterpret_cast<const uint8_t*>(last.data()), last.size());
    const std::span<const uint8_t> body = chunk.data;
    if (!text_answer_) {
      if (end.empty()) return;
      uint8_t* out = scratch(body.size() + end.size());
      if (!body.empty()) std::memcpy(out, body.data(), body.size());
      std::memcpy(out + body.size(), end.data(), end.size());
      chunk.data = {out, body.size() + end.size()};
      return;
    }
    const size_t body_size = base64_size(body.size());
    uint8_t* out = scratch(body_size + base64_size(end.size()));
    base64_encode(body, reinterpret_cast<char*>(out));
    base64_encode(end, reinterpret_cast<char*>(out + body_size));
    chunk.data = {out, body_size + base64_size(end.size())};
  }

  bool call_ = false;
  bool text_request_ = false;
  bool text_answer_ = false;
  std::string_view format_;       // what follows the media type's name in the request, like "+proto"
  const Head* answer_ = nullptr;  // whose body is written anew
  Base64Decoder decoder_;
};

class GrpcWebFactory final : public FilterFactory {
 public:
  std::string_view name() const override { return "grpc_web"; }
  Want wants() const override { return 0; }
  Filter* create(Arena& arena) const override {
    return new (arena.allocate(sizeof(GrpcWebFilter))) GrpcWebFilter;
  }
};

}  // namespace

std::unique_ptr<FilterFactory> make_grpc_web_filter() { return std::make_unique<GrpcWebFactory>(); }

}  // namespace dragoman
