// The life of one exchange as a table of legal transitions.
#pragma once

#include <cstdint>
#include <string_view>

namespace dragoman {

enum class StreamState : uint8_t {
  kNew,        // created, head not here yet
  kFiltering,  // head in the filter chain (perhaps paused)
  kRouted,     // a target cluster is known; between tries
  kWaiting,    // for a connection, or for the back-off before the next try
  kSending,    // the request goes upstream, no final answer yet
  kAnswering,  // the final head went downstream; body follows
  kTunnel,     // both sides are raw bytes after 101
  kDone,       // over; only destruction is left
};
inline constexpr int kStreamStateCount = 8;

std::string_view stream_state_name(StreamState state);

/// Whether a stream may go from `from` to `to`.
constexpr bool stream_may_go(StreamState from, StreamState to) {
  using S = StreamState;
  switch (from) {
    case S::kNew:
      return to == S::kFiltering || to == S::kDone;
    case S::kFiltering:
      return to == S::kRouted || to == S::kDone;
    case S::kRouted:
      return to == S::kWaiting || to == S::kDone;
    case S::kWaiting:
      return to == S::kSending || to == S::kRouted || to == S::kDone;
    case S::kSending:
      return to == S::kAnswering || to == S::kTunnel || to == S::kRouted || to == S::kDone;
    case S::kAnswering:
    case S::kTunnel:
      return to == S::kDone;
    case S::kDone:
      return false;
  }
  return false;
}

}  // namespace dragoman
