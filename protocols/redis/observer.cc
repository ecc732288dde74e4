#include "protocols/redis/observer.h"

namespace dragoman::redis {
namespace {

constexpr uint8_t kTlsHandshakeRecord = 22;  // RFC 8446 section 5.1

constexpr Command kBlocking[] = {
    find_command("blmove"),     find_command("blmpop"),  find_command("blpop"),    find_command("brpop"),
    find_command("brpoplpush"), find_command("bzmpop"),  find_command("bzpopmax"), find_command("bzpopmin"),
    find_command("wait"),       find_command("waitaof"),
};
constexpr Command kSubscribes[] = {find_command("subscribe"), find_command("psubscribe"),
                                   find_command("ssubscribe")};
constexpr Command kUnsubscribes[] = {find_command("unsubscribe"), find_command("punsubscribe"),
                                     find_command("sunsubscribe")};
constexpr Command kStreams[] = {find_command("monitor"), find_command("psync"), find_command("sync")};
constexpr Command kClient = find_command("client");
constexpr Command kDiscard = find_command("discard");
constexpr Command kExec = find_command("exec");
constexpr Command kHello = find_command("hello");
constexpr Command kMulti = find_command("multi");
constexpr Command kReset = find_command("reset");

template <size_t N>
bool is_one_of(Command command, const Command (&list)[N]) {
  return std::find(std::begin(list), std::end(list), command) != std::end(list);
}

}  // namespace

Observer::Kind Observer::kind_of(Command command) {
  static const auto kKinds = [] {
    std::array<Kind, kCommandNames.size()> kinds{};
    const auto set = [&](auto& list, Kind kind) {
      for (Command c : list) kinds[static_cast<size_t>(c)] = kind;
    };
    set(kBlocking, Kind::kBlocking);
    set(kSubscribes, Kind::kSubscribe);
    set(kUnsubscribes, Kind::kUnsubscribe);
    set(kStreams, Kind::kStream);
    kinds[static_cast<size_t>(kHello)] = Kind::kHello;
    kinds[static_cast<size_t>(kReset)] = Kind::kReset;
    kinds[static_cast<size_t>(kExec)] = Kind::kExec;
    return kinds;
  }();
  return kKinds[static_cast<size_t>(command)];
}

void Observer::stop(ObserverStop why) {
  stopped_ = true;
  outstanding_.clear();
  events_.on_stop(why);
}

// --- commands -------------------------------------------------------------------------------------------------------

void Observer::on_client(std::span<const uint8_t> bytes, uint32_t now_us) {
  if (stopped_) return;
  if (!begun_ && !bytes.empty()) {
    begun_ = true;
    if (bytes[0] == kTlsHandshakeRecord) return stop(ObserverStop::kTls);
  }
  while (!stopped_) {
    const Read read = commands_.next(bytes);
    if (read == Read::kMore) return;
    if (read == Read::kMalformed) return stop(ObserverStop::kMalformed);
    commanded(now_us);
  }
}

bool Observer::reply_mode() {
  const std::string_view mode = commands_.argument(2);
  if (mode == "on") replies_off_ = false;
  if (mode == "off") replies_off_ = true;
  if (mode == "skip") skip_next_ = !replies_off_;
  return mode == "off" || mode == "skip" || replies_off_;
}

void Observer::commanded(uint32_t now_us) {
  const Command command = commands_.command();
  Kind kind = kind_of(command);
  const bool subscribes = kind == Kind::kSubscribe || kind == Kind::kUnsubscribe;
  const bool replies = command == kClient && commands_.argument(1) == "reply";
  events_.on_command(command);
  if (!commands_.clear_cut() && (subscribes || command == kClient)) return stop(ObserverStop::kUnsupported);
  // The answers of these in a transaction are no array of one answer each.
  if (in_multi_ && (subscribes || replies || kind == Kind::kStream)) return stop(ObserverStop::kUnsupported);
  if (command == kMulti) in_multi_ = true;
  if (command == kExec || command == kDiscard || command == kReset) in_multi_ = false;
  if (command == kReset) replies_off_ = skip_next_ = false;
  if (replies) {
    if (reply_mode()) return;
  } else if (skip_next_ || replies_off_) {
    skip_next_ = false;
    return;
  }
  if (commands_.blocks()) kind = Kind::kBlocking;
  uint32_t left = 1;
  if (subscribes) left = commands_.arguments() - 1;
  if (kind == Kind::kSubscribe && left == 0) left = 1;  // an error
  if (!outstanding_.push({now_us, left, command, kind})) stop(ObserverStop::kOutstanding);
}

// --- answers --------------------------------------------------------------------------------------------------------

void Observer::on_server(std::span<const uint8_t> bytes, uint32_t now_us) {
  while (!stopped_ && (!bytes.empty() || answers_.has_more())) {
    if (answers_.idle() && !outstanding_.empty() && outstanding_.front().kind == Kind::kStream)
      return stop(ObserverStop::kStream);
    switch (answers_.next(bytes)) {
      case Read::kMore: return;
      case Read::kMalformed: return stop(ObserverStop::kMalformed);
      case Read::kError:
        if (!outstanding_.empty() && outstanding_.front().kind == Kind::kExec)
          events_.on_error(answers_.error());
        break;
      case Read::kOne: answered(now_us); break;
    }
  }
}

bool Observer::is_message() const {
  const std::string_view first = answers_.first();
  return first == "message" || first == "pmessage" || first == "smessage";
}

void Observer::answered(uint32_t now_us) {
  const bool push = answers_.type() == '>';
  const bool in_band =
      answers_.type() == '*' && !resp3_;  // RESP2 has no pushes, but arrays between the answers
  if (push || (in_band && subscriptions() > 0 && is_message())) {
    if (!push || !confirmed(now_us)) events_.on_push();
    return;
  }
  if (answers_.is_error()) events_.on_error(answers_.error());
  if (outstanding_.empty()) {
    // An error may come for the connection itself: too many clients, no leave to connect.
    if (!answers_.is_error()) stop(ObserverStop::kUnexpected);
    return;
  }
  Entry& entry = outstanding_.front();
  const bool ok = !answers_.is_error();
  switch (entry.kind) {
    case Kind::kSubscribe:
    case Kind::kUnsubscribe:
      if (!ok) return finish(now_us);
      if (!in_band || !confirmed(now_us)) stop(ObserverStop::kUnexpected);
      return;
    case Kind::kHello:
      if (answers_.type() == '%' || answers_.type() == '*') resp3_ = answers_.type() == '%';
      break;
    case Kind::kReset:
      if (ok) {
        channels_ = patterns_ = shards_ = 0;
        resp3_ = false;
      }
      break;
    default: break;
  }
  finish(now_us);
}

bool Observer::confirmed(uint32_t now_us) {
  const Command command = find_command(answers_.first());
  const bool on = is_one_of(command, kSubscribes);
  if (!on && !is_one_of(command, kUnsubscribes)) return false;
  // The number in it is of channels and patterns together, or of shard channels.
  const bool sharded = command == kSubscribes[2] || command == kUnsubscribes[2];
  const bool pattern = command == kSubscribes[1] || command == kUnsubscribes[1];
  int64_t& count = sharded ? shards_ : pattern ? patterns_ : channels_;
  const int64_t before = count;
  const int64_t others = sharded ? 0 : pattern ? channels_ : patterns_;
  count = std::max<int64_t>(answers_.last_integer() - others, 0);
  if (outstanding_.empty() || outstanding_.front().command != command) {
    events_.on_push();  // a server may end subscriptions by itself
    return true;
  }
  Entry& entry = outstanding_.front();
  if (entry.left == 0) entry.left = static_cast<uint32_t>(std::clamp<int64_t>(before, 1, UINT32_MAX));
  if (--entry.left == 0) finish(now_us);
  return true;
}

void Observer::finish(uint32_t now_us) {
  const Entry entry = outstanding_.front();
  outstanding_.pop();
  if (entry.kind != Kind::kBlocking) events_.on_answer(entry.command, now_us - entry.start_us);
}

std::string_view Observer::refusal(Reason why) const {
  switch (why) {
    case Reason::kConnectionOverflow: return "-ERR mesh: upstream overflow\r\n";
    case Reason::kConnectTimeout:
    case Reason::kTlsHandshakeTimeout: return "-ERR mesh: upstream timeout\r\n";
    default: return "-CLUSTERDOWN mesh: no healthy upstream\r\n";
  }
}

}  // namespace dragoman::redis
