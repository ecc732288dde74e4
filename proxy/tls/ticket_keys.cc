#include "proxy/tls/ticket_keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <initializer_list>

namespace dragoman {
namespace {

void forget(std::optional<TicketKeys::Key>& key) {
  if (key) OPENSSL_cleanse(&*key, sizeof(*key));
  key.reset();
}

}  // namespace

TicketKeys::~TicketKeys() {
  forget(current_);
  forget(previous_);
}

bool TicketKeys::rotate(uint64_t now_ms) {
  if (previous_ && now_ms - previous_->born_ms >= 2 * lifetime_ms_) forget(previous_);
  if (current_ && now_ms - current_->born_ms < lifetime_ms_) return true;
  Key next;
  next.born_ms = now_ms;
  if (RAND_bytes(next.name.data(), static_cast<int>(next.name.size())) != 1 ||
      RAND_priv_bytes(next.cipher.data(), static_cast<int>(next.cipher.size())) != 1 ||
      RAND_priv_bytes(next.mac.data(), static_cast<int>(next.mac.size())) != 1)
    return false;
  forget(previous_);
  if (current_ && now_ms - current_->born_ms < 2 * lifetime_ms_) previous_ = current_;
  forget(current_);
  current_ = next;
  OPENSSL_cleanse(&next, sizeof(next));
  return true;
}

std::optional<TicketKeys::Key> TicketKeys::sealing(uint64_t now_ms) {
  std::lock_guard lock(mutex_);
  if (!rotate(now_ms)) return std::nullopt;
  return current_;
}

std::optional<TicketKeys::Key> TicketKeys::opening(const uint8_t* name, uint64_t now_ms, bool& stale) {
  std::lock_guard lock(mutex_);
  if (!rotate(now_ms)) return std::nullopt;
  for (const std::optional<Key>* key : {&current_, &previous_}) {
    if (!*key || !std::equal((*key)->name.begin(), (*key)->name.end(), name)) continue;
    stale = key == &previous_;
    return *key;
  }
  return std::nullopt;
}

}  // namespace dragoman
