// Keys that session tickets are sealed with: one in use, the one before still opens. Shared by the threads of one
// identity; asked once per handshake, so a mutex will do.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

namespace dragoman {

class TicketKeys {
 public:
  struct Key {
    std::array<uint8_t, 16> name{};
    std::array<uint8_t, 32> cipher{};
    std::array<uint8_t, 32> mac{};
    uint64_t born_ms = 0;
  };
  /// A key seals for `lifetime_ms` and opens for twice as long.
  explicit TicketKeys(uint64_t lifetime_ms) : lifetime_ms_(lifetime_ms) {}
  ~TicketKeys();

  /// The key to seal with; made anew when it is due. Nothing when the system gives no random bytes.
  std::optional<Key> sealing(uint64_t now_ms);
  /// The key called `name`, while it still opens. `stale` tells that a new ticket should be given.
  std::optional<Key> opening(const uint8_t* name, uint64_t now_ms, bool& stale);

 private:
  bool rotate(uint64_t now_ms);

  const uint64_t lifetime_ms_;
  std::mutex mutex_;
  std::optional<Key> current_;
  std::optional<Key> previous_;
};

}  // namespace dragoman
