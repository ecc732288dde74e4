#include <cstring>

#include "filters/builtin.h"

namespace dragoman {
namespace {

constexpr std::string_view kForwardedFor = "x-forwarded-for";
constexpr std::string_view kForwardedProto = "x-forwarded-proto";
constexpr std::string_view kRequestId = "x-request-id";

/// The eight hexadecimal digits of `value`, the first in the lowest byte.
uint64_t hex_digits(uint32_t value) {
  // A digit in each byte, the last one in the lowest; then in the order of the text.
  uint64_t x = value;
  x = (x | x << 16) & 0x0000ffff0000ffff;
  x = (x | x << 8) & 0x00ff00ff00ff00ff;
  x = (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
  x = __builtin_bswap64(x);
  const uint64_t letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101;  // of ten and more
  return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

/// A random UUID (RFC 9562 section 5.4) as text, in memory of `arena`.
std::string_view make_uuid(uint64_t high, uint64_t low, Arena& arena) {
  constexpr size_t kLength = 36;
  high = (high & ~uint64_t{0xf000}) | 0x4000;              // version 4
  low = (low & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);  // variant 10
  const uint64_t digits[4] = {
      hex_digits(static_cast<uint32_t>(high >> 32)), hex_digits(static_cast<uint32_t>(high)),
      hex_digits(static_cast<uint32_t>(low >> 32)), hex_digits(static_cast<uint32_t>(low))};
  const auto* halves = reinterpret_cast<const char*>(digits);  // of four digits
  auto* text = arena.allocate_array<char>(kLength);
  std::memcpy(text, halves, 8);
  text[8] = '-';
  std::memcpy(text + 9, halves + 8, 4);
  text[13] = '-';
  std::memcpy(text + 14, halves + 12, 4);
  text[18] = '-';
  std::memcpy(text + 19, halves + 16, 4);
  text[23] = '-';
  std::memcpy(text + 24, halves + 20, 4);
  std::memcpy(text + 28, halves + 24, 8);
  return {text, kLength};
}

Header* last(HeaderList& headers, HeaderId id) {
  for (size_t i = headers.size(); i-- > 0;)
    if (headers[i].id == id) return &headers[i];
  return nullptr;
}

class ForwardedFilter final : public Filter {
 public:
  explicit ForwardedFilter(const config::ListenerHttp& settings)
      : mode_(settings.x_forwarded),
        request_id_(settings.request_id),
        remove_server_(settings.server_header == config::ServerHeader::kRemove) {}

  FilterVerdict on_request_head(FilterContext& ctx, Head& head, bool) override {
    if (mode_ != config::XForwarded::kOff) forward(ctx, head);
    if (request_id_) {
      Header* id = last(head.headers, HeaderId::kXRequestId);
      if (!id || id->value.empty()) {
        uint64_t high = ctx.random();
        std::string_view uuid = make_uuid(high, ctx.random(), head.arena);
        if (id)
          id->value = uuid;
        else
          head.headers.push(kRequestId, uuid, HeaderId::kXRequestId);
      }
    }
    return FilterVerdict::kContinue;
  }
  void on_response_head(FilterContext&, Head& head, bool) override {
    if (remove_server_) head.headers.remove(HeaderId::kServer);
  }

 private:
  static void add_peer(Head& head, std::string_view peer) {
    if (peer.starts_with("unix:")) return;  // a program on this host, without an address
    Header* before = last(head.headers, HeaderId::kXForwardedFor);
    if (before && !before->value.empty())
      before->value = head.arena.concat(before->value, ", ", peer);
    else if (before)
      before->value = head.arena.copy(peer);
    else
      head.headers.push(kForwardedFor, head.arena.copy(peer), HeaderId::kXForwardedFor);
  }

  void forward(FilterContext& ctx, Head& head) {
    HeaderList& headers = head.headers;
    if (mode_ == config::XForwarded::kSet) {  // nothing the client says about itself is believed
      headers.remove(HeaderId::kXForwardedFor);
      headers.remove(HeaderId::kXForwardedProto);
    }
    add_peer(head, ctx.peer_host());
    if (!headers.find(HeaderId::kXForwardedProto))
      headers.push(kForwardedProto, ctx.downstream_tls() ? "https" : "http", HeaderId::kXForwardedProto);
  }

  const config::XForwarded mode_;
  const bool request_id_;
  const bool remove_server_;
};

class ForwardedFactory final : public FilterFactory {
 public:
  explicit ForwardedFactory(const config::ListenerHttp& settings) : filter_(settings) {}
  std::string_view name() const override { return "forwarded"; }
  Want wants() const override { return 0; }
  Filter* create(Arena&) const override { return &filter_; }

 private:
  mutable ForwardedFilter filter_;  // has no state
};

}  // namespace

std::unique_ptr<FilterFactory> make_forwarded_filter(const config::ListenerHttp& settings) {
  return std::make_unique<ForwardedFactory>(settings);
}

}  // namespace dragoman
