#include "proxy/cli/echo_service.h"

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "protocols/bolt/bolt.h"
#include "protocols/exchange.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

constexpr size_t kKeepBytesMax = 64 << 20;

class EchoConnection : public Retired, public ListLink<EchoConnection>, protected TransportEvents {
 public:
  EchoConnection(Loop& loop, int fd) : loop_(loop), transport_(Transport::adopt(loop, fd, *this, {})) {}
  void close(bool flush) {
    if (closed_) return;
    closed_ = true;
    on_end();
    if (flush)
      transport_->close_after_flush();
    else
      transport_->close();
    ListLink<EchoConnection>::unlink();
    loop_.retire(this);
  }

 protected:
  virtual void on_end() {}
  void on_closed(Reason) override { close(false); }
  void on_eof() override { close(true); }
  void on_write_blocked(bool blocked) override {
    blocked ? transport_->pause_read(kPauseSelfFull) : transport_->resume_read(kPauseSelfFull);
  }
  Loop& loop_;
  std::unique_ptr<Transport> transport_;
  bool closed_ = false;
};

// Any HTTP request is answered 200 with its body, or with one line about itself when it had none.
class HttpEcho final : public EchoConnection, private ConnectionEvents {
 public:
  HttpEcho(Loop& loop, int fd, std::atomic<uint64_t>& served) : EchoConnection(loop, fd), served_(served) {
    const Protocol& http = *find_protocol("http1");
    codec_ = http.create(http, Role::kServer, *transport_, *this, {});
  }

 private:
  struct Answer final : Retired, MessageSink {
    Answer(HttpEcho& c, Exchange& e) : connection(c), exchange(&e) {}
    void on_head(Head& h, bool end) override {
      head = &h;
      if (end) answer();
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      if (body.size() + chunk.size() <= kKeepBytesMax) body.append(reinterpret_cast<const char*>(chunk.data()), chunk.size());
      if (end) answer();
    }
    void on_trailers(HeaderList&) override { answer(); }
    void on_reset(Reason) override { finish(); }
    void on_write_blocked(bool) override {}
    void answer() {
      if (!exchange) return;
      connection.served_.fetch_add(1, std::memory_order_relaxed);
      if (body.empty()) body = std::string(head->method) + " " + std::string(head->path) + "\n";
      response.is_request = false;
      response.is_http = true;
      response.status = 200;
      response.content_length = static_cast<int64_t>(body.size());
      const Header* type = head->headers.find(HeaderId::kContentType);
      response.headers.add("content-type", type ? type->value : "text/plain");
      response.headers.add("x-echo", "dragoman");
      if (const Header* id = head->headers.find(HeaderId::kXRequestId)) response.headers.add("x-request-id", id->value);
      if (exchange->send_head(response, false) == Reason::kNone && exchange)
        exchange->send_body({reinterpret_cast<const uint8_t*>(body.data()), body.size()}, true);
      finish();
    }
    void finish() {
      if (!exchange) return;
      connection.loop_.retire(this);
      std::exchange(exchange, nullptr)->release();
    }
    HttpEcho& connection;
    Exchange* exchange;
    Head* head = nullptr;
    Head response;
    std::string body;
  };

  void on_end() override { codec_->on_transport_closed(Reason::kDownstreamReset); }
  void on_data(uint8_t* data, size_t n) override { codec_->on_data(data, n); }
  void on_eof() override {
    codec_->on_eof();
    close(true);
  }
  MessageSink* on_exchange(Exchange& exchange) override { return new Answer(*this, exchange); }
  void on_goaway() override {}
  void on_broken(Reason, std::string_view) override { close(true); }
  void on_finished() override { close(true); }
  void on_capacity() override {}
  void pause_reading() override { transport_->pause_read(kPauseCodec); }
  void resume_reading() override { transport_->resume_read(kPauseCodec); }
  void on_event(CodecEvent) override {}
  uint64_t now_ms() const override { return loop_.now_ms(); }

  std::unique_ptr<ConnectionCodec> codec_;
  std::atomic<uint64_t>& served_;
};

// Answers every Bolt request with a SofaResponse-shaped frame of the same content; heartbeats with their ack.
class BoltEcho final : public EchoConnection {
 public:
  BoltEcho(Loop& loop, int fd, std::atomic<uint64_t>& served)
      : EchoConnection(loop, fd), served_(served), state_(bolt_codec()->conn_state_size) {}

 private:
  void on_data(uint8_t* data, size_t n) override {
    in_.append(reinterpret_cast<const char*>(data), n);
    size_t at = 0;
    const dragoman_codec* codec = bolt_codec();
    while (at < in_.size()) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(in_.data()) + at;
      dragoman_frame f{};
      f.size = sizeof f;
      int verdict = codec->probe(codec->context, state_.data(), bytes, in_.size() - at, &f);
      if (verdict == DRAGOMAN_NEED) break;
      if (verdict != DRAGOMAN_FRAME || f.total_len > kKeepBytesMax) return close(false);
      if (in_.size() - at < f.total_len) break;
      answer(*codec, bytes, f);
      at += f.total_len;
    }
    in_.erase(0, at);
  }
  void answer(const dragoman_codec& codec, const uint8_t* bytes, const dragoman_frame& f) {
    uint8_t small[64];
    if (f.kind == DRAGOMAN_HEARTBEAT) {
      int64_t len = codec.heartbeat_reply(codec.context, state_.data(), bytes, &f, small, sizeof small);
      if (len > 0 && len <= static_cast<int64_t>(sizeof small)) transport_->write(small, static_cast<size_t>(len));
    }
    if (f.kind != DRAGOMAN_REQUEST) return;
    served_.fetch_add(1, std::memory_order_relaxed);
    // A header-only success is not legal Bolt: take the reply's fixed part, set status 0, and add class and content.
    int64_t len = codec.reply(codec.context, state_.data(), bytes, &f, DRAGOMAN_OUTCOME_UNKNOWN, {}, small,
                              sizeof small);
    if (len < 20 || len > static_cast<int64_t>(sizeof small)) return;
    static constexpr std::string_view kClass = "com.alipay.sofa.rpc.core.response.SofaResponse";
    const size_t tail = static_cast<size_t>(len) - 10;  // status, class length, header length, content length
    const uint64_t content = f.total_len - f.head_len - (f.checksum != DRAGOMAN_CHECKSUM_NONE ? 4 : 0);
    auto put = [&](size_t off, uint64_t value, int width) {
      for (int i = width; i-- > 0;) small[off++] = static_cast<uint8_t>(value >> (8 * i));
    };
    put(tail, 0, 2);
    put(tail + 2, kClass.size(), 2);
    put(tail + 4, 0, 2);
    put(tail + 6, content, 4);
    transport_->write(small, static_cast<size_t>(len));
    transport_->write(kClass);
    transport_->write(bytes + f.head_len, content);
  }

  std::atomic<uint64_t>& served_;
  std::vector<uint8_t> state_;
  std::string in_;
};

}  // namespace

struct EchoService::Impl {
  template <class Connection>
  struct Port final : AcceptEvents {
    explicit Port(Impl& i) : impl(i) {}
    bool listen() {
      auto fd = listen_socket(*Address::parse("127.0.0.1:0"), 1024, false);
      if (!fd) return false;
      port = bound_address(*fd).port();
      acceptor = Acceptor::create(impl.loop, *fd, *this, 64);
      return true;
    }
    void on_accept(int fd, const Address&) override { impl.connections.push_back(*new Connection(impl.loop, fd, served)); }
    void on_accept_failed(int) override {}
    Impl& impl;
    std::unique_ptr<Acceptor> acceptor;
    uint16_t port = 0;
    std::atomic<uint64_t> served{0};
  };

  Loop loop;
  IntrusiveList<EchoConnection, EchoConnection> connections;
  Port<HttpEcho> http{*this};
  Port<BoltEcho> bolt{*this};
  std::thread thread;
};

EchoService::EchoService() : impl_(std::make_unique<Impl>()) {}
EchoService::~EchoService() { stop(); }

bool EchoService::start() {
  std::promise<bool> listening;
  auto result = listening.get_future();
  impl_->thread = std::thread([this, &listening] {
    impl_->loop.post([this, &listening] { listening.set_value(impl_->http.listen() && impl_->bolt.listen()); });
    impl_->loop.run();
  });
  return result.get();
}

void EchoService::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->loop.post([this] {
    impl_->http.acceptor.reset();
    impl_->bolt.acceptor.reset();
    while (EchoConnection* c = impl_->connections.front()) c->close(false);
    impl_->loop.stop();
  });
  impl_->thread.join();
}

uint16_t EchoService::http_port() const { return impl_->http.port; }
uint16_t EchoService::bolt_port() const { return impl_->bolt.port; }
uint64_t EchoService::http_requests() const { return impl_->http.served.load(std::memory_order_relaxed); }
uint64_t EchoService::bolt_requests() const { return impl_->bolt.served.load(std::memory_order_relaxed); }

}  // namespace dragoman
