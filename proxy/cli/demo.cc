// `dragoman run --demo`: two echo services (HTTP and Bolt), and a pair of sidecars between which the calls travel, all
// in one process on loopback. The client's sidecar sends to the service's sidecar, which sends to the service. Without Bolt
// where that is not linked in.
#include <cstdio>
#include <future>
#include <thread>

#include "config/protocols.h"
#include "proxy/cli/cli.h"
#include "proxy/cli/echo_service.h"
#include "proxy/server/server.h"

namespace dragoman {
namespace {

const bool kBolt = config::find_protocol("bolt") != nullptr;
std::string if_bolt(std::string text) { return kBolt ? text : ""; }

std::string port(const DemoOptions& options, uint16_t offset) {
  return std::to_string(options.port_base == 0 ? 0 : options.port_base + offset);
}

// The service's sidecar: in front of the two echo services.
std::string service_side(const DemoOptions& options, uint16_t http_echo, uint16_t bolt_echo) {
  return "workers: 1\n"
         "log: {level: warn}\n"
         "admin: {address: '127.0.0.1:" +
         port(options, 3) +
         "'}\n"
         "listeners:\n"
         "  - {name: http-in, address: '127.0.0.1:0', protocol: http1, cluster: http-echo}\n" +
         if_bolt("  - {name: bolt-in, address: '127.0.0.1:0', protocol: bolt, cluster: bolt-echo}\n") +
         "clusters:\n"
         "  - {name: http-echo, endpoints: ['127.0.0.1:" +
         std::to_string(http_echo) + "']}\n" +
         if_bolt("  - {name: bolt-echo, endpoints: ['127.0.0.1:" + std::to_string(bolt_echo) +
                 "'], health_check: {type: heartbeat}}\n");
}

// The client's sidecar: routes to the service's sidecar, answers some paths itself.
std::string client_side(const DemoOptions& options, uint16_t http_in, uint16_t bolt_in) {
  return "workers: 1\n"
         "log: {level: warn}\n"
         "admin: {address: '127.0.0.1:" +
         port(options, 2) +
         "'}\n"
         "listeners:\n"
         "  - {name: http, address: '127.0.0.1:" +
         port(options, 0) + "', protocol: http1, routes: web}\n" +
         if_bolt("  - {name: bolt, address: '127.0.0.1:" + port(options, 1) +
                 "', protocol: bolt, routes: rpc}\n") +
         "routes:\n"
         "  - name: web\n"
         "    routes:\n"
         "      - {match: {path: /hello}, direct_response: {status: 200, body: \"hello from the "
         "sidecar\\n\"}}\n"
         "      - {match: {path: /old}, redirect: {path: /echo, status: 302}}\n"
         "      - {match: {prefix: /}, cluster: http, retry: {attempts: 1}}\n" +
         if_bolt(
             "  - name: rpc\n"
             "    routes:\n"
             "      - {match: {service: 'demo.*'}, cluster: bolt, timeout: 3s}\n") +
         "clusters:\n"
         "  - {name: http, endpoints: ['127.0.0.1:" +
         std::to_string(http_in) + "']}\n" +
         if_bolt("  - {name: bolt, endpoints: ['127.0.0.1:" + std::to_string(bolt_in) + "']}\n");
}

}  // namespace

int run_demo(const DemoOptions& options) {
  EchoService echo;
  if (!echo.start()) {
    std::fprintf(stderr, "dragoman: the echo services can't listen on loopback\n");
    return 1;
  }
  std::promise<std::pair<uint16_t, uint16_t>> service_ports;
  auto service_started = service_ports.get_future();
  ServerOptions inner;
  inner.config_text = service_side(options, echo.http_port(), echo.bolt_port());
  inner.handle_signals = false;
  inner.on_started = [&](Server& s) {
    const auto bolt = s.listener_address("bolt-in");
    service_ports.set_value({s.listener_address("http-in")->port(), bolt ? bolt->port() : uint16_t{0}});
  };
  Server service(std::move(inner));
  int service_exit = 0;
  std::thread service_thread([&] {
    service_exit = service.run();
    if (service_exit != 0) service_ports.set_exception(std::make_exception_ptr(1));
  });
  int exit_code = 1;
  std::pair<uint16_t, uint16_t> in{0, 0};
  bool up = true;
  try {
    in = service_started.get();
  } catch (...) {
    up = false;
  }
  if (up) {
    ServerOptions outer;
    outer.config_text = client_side(options, in.first, in.second);
    outer.on_started = [](Server& s) {
      std::string http = s.listener_address("http")->to_string();
      const auto bolt = s.listener_address("bolt");
      const std::string call = bolt ? "  " + std::string(program_path()) + " call bolt " + bolt->to_string() +
                                          " --service demo.Echo:1.0 --method echo --data 'some text'\n"
                                    : "";
      std::printf(
          "\nDragoman's demo is up: client sidecar -> service sidecar -> echo services.\n"
          "  admin:  http://%s/   (stats, clusters, metrics: /help)\n\n"
          "Try, in another terminal:\n"
          "  curl -i http://%s/echo -d 'some text'\n"
          "  curl -i http://%s/hello\n"
          "%s\n"
          "Ctrl-C ends it.\n",
          s.admin_address().to_string().c_str(), http.c_str(), http.c_str(), call.c_str());
      std::fflush(stdout);
    };
    Server client(std::move(outer));
    exit_code = client.run();
    service.shutdown();
    service.shutdown();
  }
  service_thread.join();
  echo.stop();
  return exit_code != 0 ? exit_code : service_exit;
}

}  // namespace dragoman
