#include "proxy/stream/relay_observer.h"

#include "protocols/mysql/observer.h"
#include "protocols/redis/observer.h"

namespace dragoman {
namespace {

/// An observer and its events; ends with the connection, or frees what it has when it stops.
class RedisRelay final : public StreamObserver, private redis::Events {
 public:
  explicit RedisRelay(const ListenerRuntime& runtime)
      : metrics_(runtime.redis),
        stopped_(runtime.observer.stopped),
        observer_(*this, runtime.spec->settings.observe.outstanding_max) {}
  void on_client(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_client(bytes, now_us);
  }
  void on_server(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_server(bytes, now_us);
  }

 private:
  void on_command(redis::Command command) override { metrics_.commands.inc(command); }
  void on_answer(redis::Command command, uint32_t us) override { metrics_.durations.observe_us(command, us); }
  void on_error(redis::Error error) override { metrics_.errors.inc(error); }
  void on_push() override { metrics_.pushes.inc(); }
  void on_stop(ObserverStop why) override { stopped_.inc(why); }

  const RedisMetrics& metrics_;
  const CounterBy<ObserverStop>& stopped_;
  redis::Observer observer_;
};

class MysqlRelay final : public StreamObserver, private mysql::Events {
 public:
  explicit MysqlRelay(const ListenerRuntime& runtime)
      : metrics_(runtime.mysql),
        stopped_(runtime.observer.stopped),
        observer_(*this, runtime.spec->settings.observe.outstanding_max) {}
  void on_client(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_client(bytes, now_us);
  }
  void on_server(std::span<const uint8_t> bytes, uint32_t now_us) override {
    observer_.on_server(bytes, now_us);
  }

 private:
  void on_command(mysql::Command command) override { metrics_.commands.inc(command); }
  void on_answer(mysql::Command command, uint32_t us) override { metrics_.durations.observe_us(command, us); }
  void on_error(mysql::Error error) override { metrics_.errors.inc(error); }
  void on_stop(ObserverStop why) override { stopped_.inc(why); }

  const MysqlMetrics& metrics_;
  const CounterBy<ObserverStop>& stopped_;
  mysql::Observer observer_;
};

}  // namespace

std::unique_ptr<StreamObserver> make_relay_observer(const ListenerRuntime& runtime) {
  const std::string& protocol = runtime.spec->settings.protocol;
  if (protocol == "redis") return std::make_unique<RedisRelay>(runtime);
  if (protocol == "mysql") return std::make_unique<MysqlRelay>(runtime);
  return nullptr;
}

}  // namespace dragoman
