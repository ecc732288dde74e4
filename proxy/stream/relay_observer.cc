#include "proxy/stream/relay_observer.h"

#include "protocols/mysql/observer.h"
#include "protocols/redis/observer.h"

namespace dragoman {
namespace {

/// An observer and its events; ends with the connection, or frees what it has when it stops.
template <class Observer, class Events, class Command, class Error, class Metrics>
class Relayed : public StreamObserver, protected Events {
 public:
  Relayed(const ListenerRuntime& runtime, const Metrics& metrics)
      : metrics_(metrics),
        stopped_(runtime.observer.stopped),
        observer_(*this, runtime.spec->settings.observe.outstanding_max) {}
  void on_client(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_client(bytes, now_us);
  }
  void on_server(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_server(bytes, now_us);
  }
  std::string_view refusal(Reason why) const override { return observer_.refusal(why); }

 protected:
  void on_command(Command command) override { metrics_.commands.inc(command); }
  void on_answer(Command command, uint32_t us) override { metrics_.durations.observe_us(command, us); }
  void on_error(Error error) override { metrics_.errors.inc(error); }
  void on_stop(ObserverStop why) override { stopped_.inc(why); }

  const Metrics& metrics_;

 private:
  const CounterBy<ObserverStop>& stopped_;
  Observer observer_;
};

class RedisRelay final
    : public Relayed<redis::Observer, redis::Events, redis::Command, redis::Error, RedisMetrics> {
 public:
  explicit RedisRelay(const ListenerRuntime& runtime) : Relayed(runtime, runtime.redis) {}

 private:
  void on_push() override { metrics_.pushes.inc(); }
};

using MysqlRelay = Relayed<mysql::Observer, mysql::Events, mysql::Command, mysql::Error, MysqlMetrics>;

}  // namespace

std::unique_ptr<StreamObserver> make_relay_observer(const ListenerRuntime& runtime) {
  const std::string& protocol = runtime.spec->settings.protocol;
  if (protocol == "redis") return std::make_unique<RedisRelay>(runtime);
  if (protocol == "mysql") return std::make_unique<MysqlRelay>(runtime, runtime.mysql);
  return nullptr;
}

}  // namespace dragoman
