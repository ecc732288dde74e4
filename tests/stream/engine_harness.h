// One worker's engine without a server: a loop on a thread of its own, one listener with filters that a test
// made, one cluster. For what no configuration can say.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/stream/stream.h"
#include "tests/support/test_socket.h"

namespace dragoman::testing {

/// Both null: no TLS.
struct EngineTls {
  std::shared_ptr<TlsIdentity> downstream{}, upstream{};
};

class EngineHarness {
 public:
  EngineHarness(const std::string& protocol, const std::vector<std::string>& endpoints,
                std::vector<std::unique_ptr<FilterFactory>> filters, config::Cluster settings = {},
                config::Listener listener = {})
      : EngineHarness(find_protocol(protocol), endpoints, std::move(filters), std::move(settings),
                      std::move(listener)) {}
  /// `own` outlives the harness; null: bytes are relayed.
  EngineHarness(const Protocol* own, const std::vector<std::string>& endpoints,
                std::vector<std::unique_ptr<FilterFactory>> filters = {}, config::Cluster settings = {},
                config::Listener listener = {}, const EngineTls& tls = {}) {
    const std::shared_ptr<const Protocol> wire(std::shared_ptr<void>(), own);
    const std::string protocol(own ? own->name : "tcp");
    auto spec = std::make_shared<ListenerSpec>();
    listener.name = "in";
    listener.protocol = protocol;
    spec->settings = std::move(listener);
    spec->protocol = wire;
    spec->routes = RouteTable::single_cluster("c");
    for (const auto& f : filters) spec->codec.framed.want |= f->wants();
    spec->filters = std::move(filters);
    spec->shared = std::make_shared<ListenerShared>(1);
    spec->tls = tls.downstream;
    settings.name = "c";
    settings.protocol = protocol;
    auto shared = std::make_shared<SharedCluster>(settings, wire, 1, tls.upstream);
    std::vector<std::pair<Address, uint32_t>> wanted;
    for (const std::string& e : endpoints) wanted.emplace_back(*Address::parse(e), 1);
    shared->set_endpoints(wanted);
    auto fd = listen_socket(*Address::parse("127.0.0.1:0"), 64, false);
    port_ = bound_address(*fd).port();
    run([&] {
      auto binding = std::make_shared<MetricsBinding>(registry_, 0);
      ClusterMetrics metrics = binding->cluster("c");
      cluster_ = Ref<Cluster>(new Cluster(context_, shared, binding, metrics));
      Ref<ListenerRuntime> runtime(new ListenerRuntime(context_, spec, MetricsBinding(registry_, 0)));
      runtime->metrics = runtime->binding.listener("in");
      if (spec->settings.tls) runtime->tls = runtime->binding.tls("listener", "in");
      runtime->unrouted.metrics = runtime->binding.request("in", "-", "-", protocol);
      RouteRuntime route;
      route.targets.push_back({cluster_.get(), runtime->binding.request("in", "r", "c", protocol)});
      runtime->routes.push_back(std::move(route));
      slot_ = Ref<ListenerSlot>(new ListenerSlot(context_, runtime, *fd));
    });
  }
  ~EngineHarness() {
    run([&] {
      slot_->drain();
      slot_->abort();
      slot_ = {};
      cluster_->drain();
      cluster_ = {};
    });
    loop_.stop();
    thread_.join();
    EXPECT_EQ(streams_left_, 0u);
    EXPECT_EQ(loop_.live_handles(), 0u);
    EXPECT_EQ(chunks_left_, 0u);
    for (const std::string& gauge : registry_.left()) ADD_FAILURE() << gauge << " when nothing is there";
  }

  uint16_t port() const { return port_; }
  TestSocket connect() { return TestSocket::connect(port_); }
  Loop& loop() { return loop_; }
  Cluster& cluster() { return *cluster_; }  // inside run()
  /// Runs `work` on the loop's thread and waits.
  void run(const std::function<void()>& work) {
    std::promise<void> done;
    loop_.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

 private:
  MetricRegistry registry_{1};
  Loop loop_;
  WorkerContext context_{loop_, 0, 1, Random(1)};
  Ref<Cluster> cluster_;
  Ref<ListenerSlot> slot_;
  uint16_t port_ = 0;
  size_t streams_left_ = 0, chunks_left_ = 0;
  std::thread thread_{[this] {
    loop_.run();
    streams_left_ = Stream::live();
    chunks_left_ = live_chunks();
  }};
};

}  // namespace dragoman::testing
