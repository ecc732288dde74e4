#include "protocols/either_codec.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "protocols/http/rules.h"
#include "protocols/http1/http1_codec.h"
#include "protocols/http2/http2_codec.h"

namespace dragoman {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view kPrefaceLine = kPreface.substr(0, 16);
constexpr size_t kLineKept = 256;  // of a first line that is odd

std::string_view text_of(const uint8_t* data, size_t n) { return {reinterpret_cast<const char*>(data), n}; }

// A first line that is not the preface's. The target decides at once for nearly all clients of HTTP/1. HTTP/1 has an answer for whoever
// speaks it wrongly, too; a line that has neither a target nor a version of it comes from somebody who does not.
HttpVersion version_of_line(std::string_view text) {
  const size_t method_end = text.find_first_of(" \t\r\n");
  const std::string_view method = text.substr(0, method_end);
  if (method.empty() || !std::all_of(method.begin(), method.end(), token_char)) return HttpVersion::kHttp1;
  if (method_end == std::string_view::npos) return HttpVersion::kUndecided;
  if (text[method_end] != ' ') return HttpVersion::kHttp1;
  const std::string_view rest = text.substr(method_end + 1);
  if (rest.empty()) return HttpVersion::kUndecided;
  const std::string_view target = rest.substr(0, rest.find_first_of(" \r\n"));
  if (target.empty() || target[0] == '/' || target[0] == '*' || target.find(':') != std::string_view::npos)
    return HttpVersion::kHttp1;
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return HttpVersion::kUndecided;
  const std::string_view line = text.substr(0, end);
  const bool has_version =
      line.find(" HTTP/") != std::string_view::npos || std::count(line.begin(), line.end(), ' ') < 2;
  return has_version ? HttpVersion::kHttp1 : HttpVersion::kHttp2;
}

class EitherCodec final : public ConnectionCodec, private H2cTaker {
 public:
  EitherCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
      : out_(out), events_(events), options_(options) {}

  void become_http1() { inner_ = make_http1_server(out_, events_, options_, *this); }

  void on_data(uint8_t* data, size_t n) override {
    before_.reset();
    if (!inner_) {
      if (!kept_.empty()) kept_.append(text_of(data, n));
      const HttpVersion version =
          http_version_of(kept_.empty() ? std::span<const uint8_t>(data, n) : bytes_of(kept_));
      if (version == HttpVersion::kUndecided) {
        if (kept_.empty()) kept_ = text_of(data, n);
        return;
      }
      decide(version);
      if (!kept_.empty()) return feed_kept();
    }
    inner_->on_data(data, n);
  }
  void on_eof() override {
    if (!inner_ && kept_.empty()) return events_.on_finished();
    if (!inner_) decide_by_prefix();
    inner_->on_eof();
  }
  void on_transport_closed(Reason reason) override {
    if (inner_) inner_->on_transport_closed(reason);
  }
  void on_write_blocked(bool blocked) override {
    if (inner_) inner_->on_write_blocked(blocked);
  }
  Exchange* open(MessageSink& answers) override { return inner_ ? inner_->open(answers) : nullptr; }
  uint32_t capacity() const override { return inner_ ? inner_->capacity() : 0; }
  uint32_t open_exchanges() const override { return inner_ ? inner_->open_exchanges() : 0; }
  bool cut() const override { return inner_ && inner_->cut(); }
  ReadPhase phase() const override {
    if (inner_) return inner_->phase();
    return kept_.empty() ? ReadPhase::kIdle : ReadPhase::kHead;
  }
  void fail(Reason reason) override {
    if (!inner_) decide_by_prefix();
    inner_->fail(reason);
  }
  void drain() override {
    if (inner_) return inner_->drain();
    if (kept_.empty()) return events_.on_finished();
    draining_ = true;
  }
  void farewell() override {
    if (inner_) inner_->farewell();
  }
  int64_t tick() override { return inner_ ? inner_->tick() : -1; }
  bool heartbeat() override { return inner_ && inner_->heartbeat(); }
  uint32_t heartbeats_missed() const override { return inner_ ? inner_->heartbeats_missed() : 0; }

 private:
  void decide(HttpVersion version) {
    if (version == HttpVersion::kHttp2)
      inner_ = make_http2_codec(Protocol{}, Role::kServer, out_, events_, options_);
    else
      become_http1();
    if (draining_) inner_->drain();
  }
  // The client has said too little and will say no more: HTTP/1 has words for that, unless it has chosen HTTP/2.
  void decide_by_prefix() {
    decide(kept_.starts_with(kPrefaceLine) ? HttpVersion::kHttp2 : HttpVersion::kHttp1);
    if (!kept_.empty()) feed_kept();
  }
  static std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  }
  void feed_kept() {
    const std::string kept = std::exchange(kept_, {});
    feed(bytes_of(kept).data(), kept.size());
  }
  void feed(const uint8_t* data, size_t n) {
    auto memory = std::make_unique_for_overwrite<uint8_t[]>(kHeadroom + n);
    std::memcpy(memory.get() + kHeadroom, data, n);
    inner_->on_data(memory.get() + kHeadroom, n);
  }

  // HTTP/1 may have come here from any of its methods (a release that let the next request of a pipeline begin), and what
  // serves the request may end the connection: HTTP/2 is in its place before either can happen.
  bool take_over(Head& request, std::string_view settings) override {
    auto http2 = make_http2_after_upgrade(out_, events_, options_, settings, request.method == "HEAD");
    if (!http2) return false;
    before_ = std::exchange(inner_, std::move(http2));
    serve_upgraded(*inner_, request);
    return true;
  }
  void go_on(const ByteChain& rest, bool eof) override {
    rest.for_each([this](const uint8_t* p, size_t n) { feed(p, n); });
    if (eof) inner_->on_eof();
  }

  ByteSink& out_;
  ConnectionEvents& events_;
  const CodecOptions options_;
  std::unique_ptr<ConnectionCodec> inner_;
  std::unique_ptr<ConnectionCodec> before_;  // HTTP/1 after an upgrade; on the stack at most until bytes come
  std::string kept_;                         // the first bytes, while they say nothing
  bool draining_ = false;
};

}  // namespace

HttpVersion http_version_of(std::span<const uint8_t> first) {
  const std::string_view text = text_of(first.data(), first.size());
  if (kPreface.starts_with(text))
    return text.size() == kPreface.size() ? HttpVersion::kHttp2 : HttpVersion::kUndecided;
  if (text.starts_with(kPrefaceLine)) return HttpVersion::kHttp2;
  const HttpVersion version = version_of_line(text);
  return version == HttpVersion::kUndecided && text.size() > kLineKept ? HttpVersion::kHttp1 : version;
}

std::unique_ptr<ConnectionCodec> make_either_codec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<EitherCodec>(out, events, options);
}

std::unique_ptr<ConnectionCodec> make_http1_or_h2c_codec(ByteSink& out, ConnectionEvents& events,
                                                         const CodecOptions& options) {
  auto codec = std::make_unique<EitherCodec>(out, events, options);
  codec->become_http1();
  return codec;
}

}  // namespace dragoman
