#include "protocols/http/websocket.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include "proxy/base/base64.h"

namespace dragoman {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// FIPS 180-4 6.1, one block at a time. Only here: it is no longer fit for anything that needs a strong hash.
class Sha1 {
 public:
  void block(const uint8_t* p) {
    uint32_t w[80];
    for (int i = 0; i < 16; ++i)
      w[i] = uint32_t{p[4 * i]} << 24 | uint32_t{p[4 * i + 1]} << 16 | uint32_t{p[4 * i + 2]} << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; ++i) w[i] = std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3], e = state_[4];
    for (int i = 0; i < 80; ++i) {
      uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
      uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
      uint32_t next = std::rotl(a, 5) + f + e + k + w[i];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
    state_[0] += a;
    state_[1] += b;
    state_[2] += c;
    state_[3] += d;
    state_[4] += e;
  }
  void digest(uint8_t* out) const {
    for (int i = 0; i < 20; ++i) out[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  }

 private:
  uint32_t state_[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
};

template <size_t N>
std::array<char, base64_size(N)> base64(const std::array<uint8_t, N>& in) {
  std::array<char, base64_size(N)> out;
  base64_encode(in, out.data());
  return out;
}

}  // namespace

WebsocketKey make_websocket_key() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  std::array<uint8_t, 16> nonce;
  uint64_t halves[2] = {random(), random()};
  std::memcpy(nonce.data(), halves, sizeof halves);
  return base64(nonce);
}

WebsocketAccept websocket_accept(std::string_view key) {
  // Every valid key has 24 characters, so that key, GUID and padding fill two blocks; longer ones are cut, and match nothing.
  uint8_t text[128] = {};
  size_t n = std::min<size_t>(key.size(), 64);
  if (n) std::memcpy(text, key.data(), n);
  std::memcpy(text + n, kGuid.data(), kGuid.size());
  n += kGuid.size();
  text[n] = 0x80;
  size_t blocks = n + 9 <= 64 ? 1 : 2;
  for (int i = 0; i < 8; ++i) text[64 * blocks - 1 - static_cast<size_t>(i)] = static_cast<uint8_t>(n * 8 >> 8 * i);
  Sha1 sha;
  for (size_t i = 0; i < blocks; ++i) sha.block(text + 64 * i);
  std::array<uint8_t, 20> digest;
  sha.digest(digest.data());
  return base64(digest);
}

}  // namespace dragoman
