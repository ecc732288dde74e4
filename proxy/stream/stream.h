// One exchange across both sides: from the client's head through the filter chain and the router to an endpoint, and
// the answer back. Every protocol goes this way.
#pragma once

#include <new>

#include "filters/filter.h"
#include "proxy/route/retry.h"
#include "proxy/stream/downstream.h"
#include "proxy/stream/stream_state.h"
#include "proxy/upstream/connection.h"

namespace dragoman {

class Stream final : public Retired, private FilterContext, private PoolWaiter {
 public:
  Stream(DownstreamConnection& connection, Exchange& exchange);
  ~Stream() override;

  /// Where the downstream codec delivers the request.
  MessageSink& request_sink() { return down_sink_; }
  StreamState state() const { return state_; }

  static void* operator new(size_t size);
  static void operator delete(void* memory);
  static size_t live();

 private:
  struct DownSink final : MessageSink {
    explicit DownSink(Stream& s) : stream(s) {}
    void on_head(Head& head, bool end) override { stream.on_request_head(head, end); }
    void on_body(std::span<const uint8_t> chunk, bool end) override { stream.on_request_body(chunk, end); }
    void on_trailers(HeaderList& trailers) override { stream.on_request_trailers(trailers); }
    void on_reset(Reason reason) override { stream.on_downstream_reset(reason); }
    void on_write_blocked(bool blocked) override { stream.on_downstream_blocked(blocked); }
    Stream& stream;
  };
  // Called from a backend's connection, which has no part in what becomes of this stream.
  struct UpSink final : MessageSink {
    explicit UpSink(Stream& s) : stream(s) {}
    void on_head(Head& head, bool end) override {
      stream.guarded([&] { stream.on_response_head(head, end); });
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      stream.guarded([&] { stream.on_response_body(chunk, end); });
    }
    void on_trailers(HeaderList& trailers) override {
      stream.guarded([&] { stream.on_response_trailers(trailers); });
    }
    void on_reset(Reason reason) override {
      stream.guarded([&] { stream.on_upstream_reset(reason); });
    }
    void on_write_blocked(bool blocked) override {
      stream.guarded([&] { stream.on_upstream_blocked(blocked); });
    }
    Stream& stream;
  };

  // FilterContext
  Head& request() override { return *request_; }
  void resume() override;
  void answer(const LocalReply& reply) override;
  TimerWheel& timers() override { return connection_->loop().timers(); }
  uint64_t random() override { return runtime_->worker.random.next(); }
  std::string_view peer_host() override { return connection_->peer_host(); }
  bool downstream_tls() override { return connection_->tls() != nullptr; }
  uint64_t wall_us() override { return start_wall_us_; }
  // PoolWaiter
  MessageSink& answers() override { return up_sink_; }
  void on_pool_ready(Exchange& exchange, UpstreamConnection& connection, bool reused) override;
  void on_pool_failed(Reason reason) override;

  // request side
  void on_request_head(Head& head, bool end);
  void on_request_body(std::span<const uint8_t> chunk, bool end);
  void on_request_trailers(HeaderList& trailers);
  void on_downstream_reset(Reason reason);
  void on_downstream_blocked(bool blocked);
  // response side
  void on_response_head(Head& head, bool end);
  void on_response_body(std::span<const uint8_t> chunk, bool end);
  void on_response_trailers(HeaderList& trailers);
  void on_upstream_reset(Reason reason);
  void on_upstream_blocked(bool blocked);

  void run_filters();
  /// What a sidecar at the other end says of its answer is noted. True: it did not touch the request, which now goes elsewhere.
  bool hear_reason(Head& answer);
  /// Adds to `reply` why it is made, for a sidecar at the other end.
  void tell_reason(LocalReply& reply);
  /// From here to its end the request counts as under way.
  void count_active();
  /// Counts this proxy among those that the request has passed. False: they are too many.
  bool count_hop();
  /// Shows `filter`, which just saw the head, the body that came while an earlier one held the request back.
  void replay_body(Filter& filter);
  void route();
  /// `to`: the endpoint, null for the balancer's choice.
  void start_try(Endpoint* to = nullptr);
  void send_request();
  void request_complete();
  /// Arms the deadline that came with the request, as the filters left it (caller_deadline_ms_): it bounds the whole exchange.
  void start_caller_deadline();
  /// Arms the deadline of a request whose caller gave none, unless it runs.
  void start_timeout();
  /// Ends the exchange after so long without a byte; of an answer, or of one that waits without any deadline.
  void start_idle_clock();
  /// Whether the client took some of what it was sent since the last look.
  bool client_takes();
  /// The endpoint's exchange is given back.
  void release_upstream();
  void response_complete();
  /// Status, outcome and reason, as the answer's codec says.
  void take_result(const Head& answer);
  void count_status(const Head& answer);
  void drop_upstream(Reason reason);
  void note_timeout();
  const TryRules& rules() const { return target_->rules; }
  /// A try ended without an answer that counts: repeat it if that is safe and allowed, else answer with `reason`.
  void try_failed(Reason reason);
  void end_try(Reason reason, Outcome outcome);
  /// Whether a repeat after this failure is neither forbidden nor too late.
  bool backend_allows_repeat(const Head& answer) const;
  /// One of the cluster's retries for this stream, until an answer is there; false when they are used up, which is counted.
  bool take_retry();
  void give_retry();
  enum class Repeat : uint8_t { kNone, kFree, kElsewhere, kByPolicy };
  /// How the request may be sent again after a try that ended with `reason`. kFree: the endpoint had not touched it, or closed a
  /// connection that had been idle; kElsewhere: nothing was sent, and there are other endpoints.
  Repeat repeat_after(Reason reason, bool sent, bool replayable) const;
  void fail(Reason reason, std::string_view text = {});
  /// Tells the connection how much kept_ holds. False: its requests keep too much.
  bool count_kept();
  /// The body can't be sent a second time any more.
  void drop_kept();
  /// Tells the client, in place of an answer or of the rest of one.
  void send_reply(LocalReply reply);
  void on_deadline();
  void on_try_timer();
  void try_timer_due();
  /// Runs what an event of others asks of this stream. Without memory for it the client's connection ends, and nobody else's.
  template <class Work>
  void guarded(Work&& work) {
    try {
      work();
    } catch (const std::bad_alloc&) {
      out_of_memory();
    }
  }
  void out_of_memory();
  /// A call into the codec of the backend's connection. Without memory that one ends, whoever else uses it: false, and the stream has heard
  /// of the end, and perhaps tried again.
  template <class Call>
  bool upstream(Call&& call) {
    UpstreamConnection& connection = *up_connection_;
    try {
      call();
      return true;
    } catch (const std::bad_alloc&) {
      connection.out_of_memory();
      return false;
    }
  }
  void pause_down(uint8_t why);
  void resume_down(uint8_t why);
  void go(StreamState to);
  void finish();
  void log();

  DownstreamConnection* connection_;
  Exchange* down_;
  Exchange* up_ = nullptr;
  UpstreamConnection* up_connection_ = nullptr;  // of up_
  DownSink down_sink_{*this};
  UpSink up_sink_{*this};
  ExchangeHold down_hold_{down_sink_};
  ExchangeHold up_hold_{up_sink_};
  Ref<ListenerRuntime> runtime_;
  Head* request_ = nullptr;
  Head* response_ = nullptr;
  HeaderList* request_trailers_ = nullptr;
  const Route* route_ = nullptr;
  const RouteTarget* target_ = nullptr;
  Pool* pool_ = nullptr;          // while waiting in it
  Ref<Endpoint> endpoint_;        // of the current or last try
  Ref<Endpoint> avoid_;           // the endpoint that failed before
  Filter** filters_ = nullptr;
  ByteChain kept_{MemoryOwner::kRequests};  // request body not sent yet, or kept for a repeat
  size_t kept_counted_ = 0;                 // memory of kept_ that the connection knows of
  Timer deadline_;
  Timer try_timer_;               // per-try timeout, back-off, or idle
  uint64_t start_ns_ = 0;
  uint64_t start_wall_us_ = 0;
  uint64_t try_start_ns_ = 0;
  uint64_t try_duration_us_ = 0;
  uint64_t last_activity_ms_ = 0;
  uint64_t taken_seen_ = 0;          // what the client's host had acknowledged at the last look
  int64_t repeat_after_ms_ = -1;     // how long the backend told the next try to wait; -1 = not at all
  uint64_t arrived_ms_ = 0;          // loop time of the request's head
  uint64_t caller_deadline_ms_ = 0;  // loop time; 0 = none came
  uint64_t request_bytes_ = 0;
  uint64_t response_bytes_ = 0;
  uint32_t status_ = 0;
  std::string_view status_text_;  // of protocols whose statuses are texts; in the answer's head
  uint16_t filter_count_ = 0;
  uint16_t filter_at_ = 0;
  uint16_t attempts_ = 0;
  uint16_t sends_ =
      0;  // tries of which something was sent, without those that are known not to have been touched
  StreamState state_ = StreamState::kNew;
  Outcome outcome_ = Outcome::kUnknown;
  Reason reason_ = Reason::kNone;
  uint8_t down_paused_ = 0;
  PeerReason peer_reason_{};        // what a sidecar at the other end said
  uint8_t races_lost_ = 0;          // tries that met a connection which its backend was closing
  uint8_t moves_ = 0;               // endpoints given up since they could not be reached
  bool request_ended_ = false;
  bool request_completed_ = false;  // the route's deadline runs
  bool response_started_ = false;   // the final head was sent downstream
  bool response_ended_ = false;
  bool answer_received_ = false;    // any byte of an answer of this try
  bool body_seen_ = false;          // some of the request's body came, perhaps an empty end
  bool body_sent_ = false;
  bool keep_body_ = false;          // kept_ still holds everything from the start
  bool body_dropped_ = false;       // it was kept until it got too long
  bool grpc_ = false;               // part of a gRPC call; request_ is out of the cache when the answer comes
  bool reused_ = false;             // this try runs on a connection that served before
  bool requests_taken_ = false;
  bool retry_taken_ = false;
  bool filter_paused_ = false;
  bool counted_active_ = false;
};

}  // namespace dragoman
