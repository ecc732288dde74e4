// Watches a Redis connection: commands by name, errors by kind, how long answers take. See README.md.
#pragma once

#include "protocols/observer.h"
#include "protocols/redis/reader.h"

namespace dragoman::redis {

/// What an observer tells.
class Events {
 public:
  /// A command was sent.
  virtual void on_command(Command command) = 0;
  /// Its answer is over, so long after the command was. Not for commands that wait for something to happen, nor for those
  /// without an answer.
  virtual void on_answer(Command command, uint32_t duration_us) = 0;
  /// An answer, or a command's part in the answer of EXEC, is an error.
  virtual void on_error(Error error) = 0;
  /// The server sent something that no command asked for.
  virtual void on_push() = 0;
  /// The last event.
  virtual void on_stop(ObserverStop why) = 0;

 protected:
  ~Events() = default;
};

class Observer final : public StreamObserver {
 public:
  /// `outstanding_max`: commands without an answer, 12 bytes each.
  Observer(Events& events, size_t outstanding_max) : events_(events), outstanding_(outstanding_max) {}

  void on_client(std::span<const uint8_t> bytes, uint32_t now_us) override;
  void on_server(std::span<const uint8_t> bytes, uint32_t now_us) override;
  std::string_view refusal(Reason why) const override;

 private:
  enum class Kind : uint8_t {
    kPlain,
    kBlocking,     // waits on purpose
    kSubscribe,    // one answer for each channel
    kUnsubscribe,  // the same; without a channel, one for each that there is, and one at least
    kHello,
    kReset,
    kExec,
    kStream,  // what follows are no answers
  };
  struct Entry {
    uint32_t start_us;
    uint32_t left;  // answers; kUnsubscribe: 0 = not known yet
    Command command;
    Kind kind;
  };
  static Kind kind_of(Command command);

  void commanded(uint32_t now_us);
  /// CLIENT REPLY. True when it has no answer.
  bool reply_mode();
  void answered(uint32_t now_us);
  /// An answer to (un)subscribing, or a push of that form. False: it is neither.
  bool confirmed(uint32_t now_us);
  bool is_message() const;
  void finish(uint32_t now_us);
  void stop(ObserverStop why);
  int64_t subscriptions() const { return channels_ + patterns_ + shards_; }

  Events& events_;
  CommandReader commands_;
  AnswerReader answers_;
  Outstanding<Entry> outstanding_;
  // Of the server: what is subscribed to.
  int64_t channels_ = 0;
  int64_t patterns_ = 0;
  int64_t shards_ = 0;
  bool resp3_ = false;
  // Of the client.
  bool in_multi_ = false;
  bool replies_off_ = false;
  bool skip_next_ = false;

  bool begun_ = false;
  bool stopped_ = false;
};

}  // namespace dragoman::redis
