#include "protocols/either_codec.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "protocols/http1/http1_codec.h"
#include "protocols/http2/http2_codec.h"

namespace dragoman {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class EitherCodec final : public ConnectionCodec, private H2cTaker {
 public:
  EitherCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
      : out_(out), events_(events), options_(options) {}

  void become_http1() { inner_ = make_http1_server(out_, events_, options_, *this); }

  void on_data(uint8_t* data, size_t n) override {
    before_.reset();
    if (!inner_) {
      // What has matched so far is known without having been kept.
      size_t compared = std::min(n, kPreface.size() - matched_);
      bool same = std::memcmp(data, kPreface.data() + matched_, compared) == 0;
      if (same && matched_ + compared < kPreface.size()) {
        matched_ += compared;
        return;
      }
      size_t before = matched_;
      decide(same);
      data -= before;  // into the headroom
      std::memcpy(data, kPreface.data(), before);
      n += before;
    }
    inner_->on_data(data, n);
  }
  void on_eof() override {
    if (!inner_ && matched_ == 0) return events_.on_finished();
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
    return matched_ ? ReadPhase::kHead : ReadPhase::kIdle;
  }
  void fail(Reason reason) override {
    if (!inner_) decide_by_prefix();
    inner_->fail(reason);
  }
  void drain() override {
    if (inner_) return inner_->drain();
    if (matched_ == 0) return events_.on_finished();
    draining_ = true;
  }
  void farewell() override {
    if (inner_) inner_->farewell();
  }
  int64_t tick() override { return inner_ ? inner_->tick() : -1; }
  bool heartbeat() override { return inner_ && inner_->heartbeat(); }
  uint32_t heartbeats_missed() const override { return inner_ ? inner_->heartbeats_missed() : 0; }

 private:
  void decide(bool http2) {
    if (http2)
      inner_ = make_http2_codec(Protocol{}, Role::kServer, out_, events_, options_);
    else
      become_http1();
    if (draining_) inner_->drain();
  }
  // The client has said too little and will say no more: HTTP/1 has words for that.
  void decide_by_prefix() {
    decide(false);
    if (matched_) feed(reinterpret_cast<const uint8_t*>(kPreface.data()), std::exchange(matched_, 0));
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
  size_t matched_ = 0;  // bytes of the preface
  bool draining_ = false;
};

}  // namespace

HttpVersion http_version_of(std::span<const uint8_t> first) {
  size_t n = std::min(first.size(), kPreface.size());
  if (n && std::memcmp(first.data(), kPreface.data(), n) != 0) return HttpVersion::kHttp1;
  return n == kPreface.size() ? HttpVersion::kHttp2 : HttpVersion::kUndecided;
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
