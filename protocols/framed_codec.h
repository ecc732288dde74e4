// Inside of framed.h: the exchange and the connection of the framed host. Only framed*.cc may include this.
//   framed.cc         exchanges, their ends, and the end of the connection
//   framed_input.cc   bytes -> frames -> exchanges
//   framed_output.cc  exchanges -> frames -> bytes
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "protocols/checksum.h"
#include "protocols/exchange.h"
#include "protocols/id_table.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/base/object_pool.h"

namespace dragoman::framed {

inline constexpr size_t kReplyBytesMax = 64 * 1024;  // replies, heartbeats, goaways made by a table
inline constexpr size_t kHexIdBytes = 16;            // length of our ids in protocols with opaque ids

class FramedCodec;
struct AnswerOrder;
struct Unsent;

/// One direction of an exchange.
enum class Part : uint8_t { kNone, kOpen, kDone };

struct FramedExchange final : public Exchange,
                              public ListLink<>,
                              public ListLink<AnswerOrder>,
                              public ListLink<Unsent> {
  FramedExchange(FramedCodec& owner, bool is_ours)
      : codec(&owner), ours(is_ours), buffer(is_ours ? MemoryOwner::kRequests : MemoryOwner::kAnswers) {}

  Reason send_head(Head& h, bool end) override;
  void send_body(std::span<const uint8_t> chunk, bool end) override;
  void send_trailers(HeaderList& trailers) override;
  void send_reply(const Head& request, const LocalReply& reply) override;
  void reset(Reason reason) override;
  void pause_reading() override;
  void resume_reading() override;
  void release() override;
  void want_answer(Want want) override;
  void no_answer() override;
  size_t buffered_bytes() const override { return buffer.size(); }

  /// Both messages ended on the wire. Says nothing about its holder, who may still wait: every sink of an
  /// exchange that is not released hears of the connection's end.
  bool messages_ended() const { return in == Part::kDone && out == Part::kDone; }
  /// Answered, behind answers that are not.
  bool waits_for_turn() const {
    return out == Part::kDone && static_cast<const ListLink<AnswerOrder>*>(this)->linked();
  }

  FramedCodec* codec;  // null once the connection's codec is gone
  MessageSink* sink = nullptr;
  Head head;  // what the peer sends; its arena also holds the head we send

  const bool ours;  // we send the request
  Part in = Part::kNone;
  Part out = Part::kNone;
  bool closed = false;  // reset by either side: nothing more is sent or delivered
  bool paused = false;
  bool one_way = false;
  bool holds_id = false;  // `id` is live in the id table
  bool written = false;   // bytes of our frame were given to the transport
  bool ordered = false;   // theirs: the answer waits for those before it
  bool unsized = false;   // the length of our frame shows at its end
  bool released = false;  // only waits for its turn in the answer order
  bool patches = false;   // the frame's checksum is to be changed by `mask`
  bool held = false;      // its answer counts among those that wait for their turn
  bool own_id = false;    // ours: `id` is from the id table
  bool loose = false;     // ours: the answer may come without its id
  uint8_t mask[4] = {};

  uint64_t id = 0;                    // ours: integer id on the wire
  std::span<const uint8_t> id_bytes;  // ours: opaque id on the wire
  std::span<const uint8_t> staged;    // head to send, not yet written or in `buffer`
  ByteChain buffer;                   // our frame while it is incomplete, or until its turn comes
  const Head* foreign = nullptr;      // read by another version: `buffer` collects its frame as it came
  uint64_t out_left = 0;              // body bytes of our frame still to come
  uint64_t sent_at = 0;               // ours: where our frame begins in all that was given to the transport
  uint64_t sent_bytes = 0;            // ours: its length there
  uint64_t reserved = 0;              // theirs: bytes of our answer that count as kept while it comes in
};

using Exchanges = ObjectPool<FramedExchange>;

inline bool is_integer_id(const dragoman_frame& f) {
  return f.id_type == DRAGOMAN_ID_BE || f.id_type == DRAGOMAN_ID_LE;
}

inline bool has_number(const dragoman_frame& f) {
  return is_integer_id(f) || f.id_type == DRAGOMAN_ID_CODED;
}

inline bool is_unsized(const dragoman_frame& f) { return f.total_len == DRAGOMAN_LENGTH_UNKNOWN; }

inline bool is_request(const dragoman_frame& f) {
  return f.kind == DRAGOMAN_REQUEST || f.kind == DRAGOMAN_ONEWAY;
}

inline std::string_view text_of(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

inline dragoman_bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class FramedCodec final : public ConnectionCodec {
 public:
  FramedCodec(const Protocol& protocol, Role role, ByteSink& out, ConnectionEvents& events,
              const FramedOptions& options);
  ~FramedCodec() override;

  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  void on_transport_closed(Reason reason) override;
  void on_write_blocked(bool blocked) override;
  Exchange* open(MessageSink& answers) override;
  uint32_t capacity() const override;
  uint32_t open_exchanges() const override { return open_; }
  ReadPhase phase() const override;
  void fail(Reason reason) override;
  void drain() override;
  bool heartbeat() override;
  uint32_t heartbeats_missed() const override { return heartbeats_missed_; }

  // What a FramedExchange passes on.
  Reason send_head(FramedExchange& x, Head& head, bool end);
  void send_body(FramedExchange& x, std::span<const uint8_t> chunk, bool end);
  void send_reply(FramedExchange& x, const Head& request, const LocalReply& reply);
  void reset(FramedExchange& x, Reason reason);
  void set_paused(FramedExchange& x, bool paused);
  void release(FramedExchange& x);
  void want_answers(Want want) { want_ |= want; }
  void find_hops() override { find_hops_ = table_.edit != nullptr; }
  void no_answer(FramedExchange& x);

 private:
  /// What came of asking the table for bytes.
  enum class Answer : uint8_t { kMade, kNone, kFailed };

  /// Receiving side of a checksummed frame.
  struct Crc {
    bool active = false;
    uint32_t sum = 0;
    uint32_t field = 0;    // bytes of the checksum field seen so far
    uint64_t covered = 0;  // bytes still to come before the field

    void update(const uint8_t* p, size_t n) {
      auto k = static_cast<size_t>(std::min<uint64_t>(n, covered));
      sum = crc32_of(p, k, sum);
      covered -= k;
      for (size_t i = k; i < n; ++i) field = field << 8 | p[i];
    }
  };

  // Many exchanges of different owners share the connection.
  bool is_shared() const { return shared_; }
  bool is_ping_pong() const { return ping_pong_; }
  // Our requests get ids of our own; elsewhere ids pass through, and answers are matched by the ids of requests.
  bool gives_ids() const {
    return is_shared() || (is_ping_pong() && (table_.abilities & DRAGOMAN_CAN_MULTIPLEX));
  }
  bool streams_requests() const { return role_ == Role::kClient && !is_shared(); }
  bool has_ids() const { return table_.id_len > 0 || table_.set_id; }
  void* conn() { return conn_.get(); }
  uint32_t from() const {
    if (options_.mode == PoolMode::kBound) return DRAGOMAN_FROM_UNKNOWN;
    return role_ == Role::kServer ? DRAGOMAN_FROM_CLIENT : DRAGOMAN_FROM_SERVER;
  }
  Reason by_role(Reason reason) const;

  size_t read_frame(const uint8_t* p, size_t n);
  size_t read_body(const uint8_t* p, size_t n);
  Reason measure(const dragoman_frame& f, const uint8_t* p, size_t n, size_t& used);
  const char* frame_fault(const dragoman_frame& f) const;
  void on_request(const uint8_t* p, size_t here, const dragoman_frame& f, bool supported);
  bool is_duplicate(const FramedExchange& x);
  void turn_away(const uint8_t* p, const dragoman_frame& f, Reason reason);
  void on_response(const uint8_t* p, size_t here, const dragoman_frame& f);
  void on_heartbeat(const uint8_t* p, const dragoman_frame& f);
  void on_heartbeat_ack(const uint8_t* p, const dragoman_frame& f);
  /// What became of a head that was shown to the table.
  struct Understood {
    const char* fault = nullptr;     // why it can't be understood
    bool honest = true;              // false: with the table
    Reason refusal = Reason::kNone;  // why this one message is not passed on
  };
  Understood fill_head(FramedExchange& x, const uint8_t* p, const dragoman_frame& f);
  void read_hops(Head& h, const uint8_t* copy, const dragoman_frame& f);
  /// What a head that is read now must be long enough for.
  Want head_want() const { return find_hops_ ? want_ | DRAGOMAN_WANT_HEADERS : want_; }
  void deliver(FramedExchange& x, const uint8_t* p, size_t here, const dragoman_frame& f);
  FramedExchange* find_answered(const uint8_t* p, const dragoman_frame& f, bool count);
  FramedExchange* find_passed(const uint8_t* p, const dragoman_frame& f);
  FramedExchange* find_only_one();
  void refuse_answer(const uint8_t* p, const dragoman_frame& f);
  void read_all(uint8_t* data, size_t n);
  bool table_id(const uint8_t* p, const dragoman_frame& f, uint64_t& id) const;

  bool is_attribute(std::string_view name) const;
  bool edit_head(FramedExchange& x, const Head& head, dragoman_frame& f, std::span<uint8_t>& bytes);
  bool make_edits(FramedExchange& x, const Head& head, dragoman_frame& f, std::span<uint8_t>& bytes,
                  bool optional);
  Reason rewrite_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes,
                    std::span<const uint8_t> id);
  Reason rewrite_number(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes);
  Reason send_foreign(FramedExchange& x);
  /// A copy of what the connection remembers of its input, for questions that must not touch that.
  class Memory {
   public:
    Memory(const void* conn, size_t bytes) : there_(bytes > 0) {
      if (there_) std::memcpy(bytes_, conn, bytes);
    }
    void* get() { return there_ ? bytes_ : nullptr; }

   private:
    const bool there_;
    alignas(16) uint8_t bytes_[DRAGOMAN_CONN_STATE_MAX];  // not cleared
  };
  bool probe_aside(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now,
                   Memory& memory);
  bool read_again(std::span<const uint8_t> frame, const dragoman_frame& was, dragoman_frame& now);
  bool same_frame(std::span<const uint8_t> bytes, const dragoman_frame& was, dragoman_frame& now,
                  bool same_id);
  Reason assign_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes);
  Reason assign_own_id(FramedExchange& x, dragoman_frame& f, std::span<uint8_t>& bytes);
  void put(const FramedExchange* x, const uint8_t* p, size_t n);
  void put_all(ByteChain& bytes);
  void give_out(const uint8_t* p, size_t n);
  void give_out(ByteChain& bytes);
  void put_body(FramedExchange& x, std::span<const uint8_t> chunk, bool buffered);
  void end_output(FramedExchange& x);
  void flush_answers();
  bool is_ordered(const dragoman_frame& f) const { return !has_ids() || (f.flags & DRAGOMAN_FRAME_ORDERED); }
  FramedExchange* take_turn();
  void keep_answer(FramedExchange& x);
  void absorb(FramedExchange& into, FramedExchange& x);
  void drop_answers();
  void hold(FramedExchange& x);
  void unhold(FramedExchange& x);
  void look_at_held();
  bool is_over(uint64_t more) const;
  void unreserve(FramedExchange& x);
  void withdraw(FramedExchange& x);
  void spend();
  bool last_words(const uint8_t* head, const dragoman_frame& f, Reason reason, FramedExchange* x);
  template <class Make>
  Answer make(FramedExchange* into, Make&& f);
  Answer answer(const uint8_t* head, const dragoman_frame& f, Reason reason, std::string_view text = {},
                FramedExchange* into = nullptr, std::string_view tell = {});
  void add_reason(std::vector<uint8_t>& frame, std::string_view tell);
  void answer_partial(Reason reason);

  FramedExchange& create(bool ours);
  void destroy(FramedExchange& x);
  void set_out(FramedExchange& x, Part out) {
    if (x.ours) filling_ += (out == Part::kOpen) - (x.out == Part::kOpen);
    x.out = out;
  }
  void close(FramedExchange& x);
  void give_id_back(FramedExchange& x);
  const char* why_reset_breaks(FramedExchange& x) const;
  void refuse(Reason reason, const char* detail, const uint8_t* p, size_t n, const dragoman_frame& f);
  void lie(const char* detail) { break_connection(Reason::kInternal, detail); }
  bool give_up(Reason reason);
  void break_connection(Reason reason, std::string_view detail, FramedExchange* culprit = nullptr);
  void reset_all(Reason reason);
  void maybe_finished();

  const std::shared_ptr<const void> owner_;  // of table_
  const dragoman_codec& table_;
  ByteSink& out_;
  ConnectionEvents& events_;
  const FramedOptions options_;
  Want want_;  // grows in the client role
  const uint32_t head_bytes_max_;
  std::unique_ptr<uint8_t[]> conn_;

  // Input.
  ByteChain stash_{MemoryOwner::kInput};  // the beginning of an incomplete head
  uint64_t need_ = 0;                  // with a stash: bytes before it is worth asking again
  uint64_t body_left_ = 0;             // of the frame being read; LENGTH_UNKNOWN: extent() will tell
  uint64_t body_read_ = 0;             // of such a frame
  std::unique_ptr<dragoman_frame> unsized_;  // that frame
  FramedExchange* reading_ = nullptr;  // who gets that body; null: it is skipped
  Crc crc_;

  // Output.
  FramedExchange* streaming_ = nullptr;  // its frame is partly written
  ByteChain deferred_;                   // frames that wait for the end of the streaming one
  IntrusiveList<FramedExchange, AnswerOrder>
      answers_;  // protocols without ids: exchanges in the order of answers, released ones too until they are sent

  IntrusiveList<FramedExchange, Unsent> unsent_;  // ours, shared: their frames are not known to have left

  IntrusiveList<FramedExchange> live_;
  IntrusiveList<FramedExchange> visiting_;  // part of live_ during a walk with callbacks
  IntrusiveList<FramedExchange> closed_;    // reset, not yet released
  mutable IdTable<FramedExchange> ids_;     // asking for room ends old quarantines
  uint32_t open_ = 0;
  uint32_t ours_open_ = 0;
  uint32_t filling_ =
      0;                 // of ours, those whose request is not whole yet: the ones that can stop for the peer
  uint32_t paused_ = 0;  // exchanges with paused set
  uint64_t newest_id_ = 0;   // of the peer's requests, in the order in which ids grow
  uint64_t given_out_ = 0;   // bytes, in all
  uint64_t held_bytes_ = 0;  // memory of answers that wait for their turn
  uint64_t reserved_ = 0;    // answers that are coming in

  uint32_t variant_;
  uint32_t heartbeats_missed_ = 0;
  uint32_t heartbeats_in_second_ = 0;
  uint32_t heartbeat_second_ = 0;

  const Role role_;
  const bool shared_ : 1 = role_ == Role::kClient && options_.mode == PoolMode::kMultiplex;
  const bool ping_pong_ : 1 = role_ == Role::kClient && options_.mode == PoolMode::kPingPong;
  bool has_newest_id_ : 1 = false;
  bool eof_ : 1 = false;
  bool draining_ : 1 = false;
  bool goaway_ : 1 = false;
  bool spent_ : 1 = false;       // no more exchanges, though the connection is whole
  bool loose_sent_ : 1 = false;  // something went out, and is over, that an answer without an id could be for
  bool holding_ : 1 = false;     // too much waits for its turn: reading is paused
  bool broken_ = false;
  Reason broken_reason_ = Reason::kNone;
  bool blocked_ = false;        // the transport's output is over its watermark
  bool told_blocked_ = false;   // so were exchanges told
  bool expected_miss_ = false;  // of find_answered(): the answer is for nobody, and known to be
  bool in_read_ = false;
  bool find_hops_ = false;     // of requests whose headers nobody wants
  bool capacity_due_ = false;  // ping-pong: an exchange ended inside a read
};
static_assert(sizeof(FramedCodec) <= 512, "each idle connection has one: a size class of the allocator");

/// Lets the table write something. kFailed: it can't, or lies. `into`: it becomes part of that exchange's
/// buffer.
template <class Make>
FramedCodec::Answer FramedCodec::make(FramedExchange* into, Make&& f) {
  uint8_t small[512] = {};
  std::vector<uint8_t> large;
  const uint8_t* bytes = small;
  int64_t n = f(small, sizeof small);
  if (n == 0) return Answer::kNone;
  if (n < 0 || n > static_cast<int64_t>(kReplyBytesMax)) return Answer::kFailed;
  if (n > static_cast<int64_t>(sizeof small)) {
    large.resize(static_cast<size_t>(n));
    if (f(large.data(), large.size()) != n) return Answer::kFailed;
    bytes = large.data();
  }
  if (into)
    into->buffer.append(bytes, static_cast<size_t>(n));
  else
    put(nullptr, bytes, static_cast<size_t>(n));
  return Answer::kMade;
}

}  // namespace dragoman::framed
