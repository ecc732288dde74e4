// Who holds exchanges of a connection. Every holder hears exactly one end: normally from the codec. What a codec forgets, the
// connection says itself before it dies, when nobody is inside the codec any more, and counts it (CodecEvent::kEndUntold): it is the
// codec's fault, and without that call the holder would go on with an exchange whose memory is gone.
#pragma once

#include "protocols/exchange.h"
#include "proxy/base/intrusive_list.h"

namespace dragoman {

/// Exchanges of this thread that no codec had ended when their connection closed.
inline thread_local size_t untold_exchanges = 0;

/// A member of the holder: linked from when it has the exchange until it releases it.
class ExchangeHold : public ListLink<ExchangeHold> {
 public:
  explicit ExchangeHold(MessageSink& sink) : sink_(&sink) {}

  /// Goes on when the client sends its FIN: a one-way request, a tunnel.
  bool outlives_fin = false;

 private:
  friend class ExchangeHolds;
  MessageSink* sink_;
};

/// A connection's.
class ExchangeHolds {
 public:
  void add(ExchangeHold& hold) { list_.push_back(hold); }
  bool outlive_fin() {
    for (ExchangeHold* h = list_.front(); h; h = list_.next(*h))
      if (h->outlives_fin) return true;
    return false;
  }
  /// Resets those that do not go on after a FIN.
  void reset_for_fin(Reason reason) {
    IntrusiveList<ExchangeHold, ExchangeHold> all;
    all.splice(list_);
    while (ExchangeHold* h = all.pop_front()) {
      list_.push_back(*h);
      if (!h->outlives_fin) h->sink_->on_reset(reason);
    }
  }
  /// The codec had no memory on its way to the end: it can't be blamed for those whom it did not tell.
  void reset_forgotten(Reason reason) {
    while (ExchangeHold* h = list_.pop_front()) h->sink_->on_reset(reason);
  }
  /// The connection has closed, and its codec said so to everybody who is not here any more. Returns how many are.
  size_t reset_untold(Reason reason) {
    size_t n = 0;
    for (; ExchangeHold* h = list_.pop_front(); ++n) h->sink_->on_reset(reason);
    untold_exchanges += n;
    return n;
  }

 private:
  IntrusiveList<ExchangeHold, ExchangeHold> list_;
};

}  // namespace dragoman
