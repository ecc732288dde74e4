// The command line. Exit codes: 0 ok, 1 invalid configuration or failure at run time, 2 wrong usage.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dragoman {

int cli_main(int argc, char** argv);

/// How this program was started, for commands that users copy.
std::string program_path();

/// "dragoman 0.1.0 (commit, compiler)"; `json` for programs.
std::string version_text(bool json);

struct CallOptions {
  std::string protocol;  // "bolt"
  std::string address;
  std::string service = "demo.Echo:1.0";
  std::string method = "echo";
  std::string data = "hello";
  std::vector<std::string> headers;  // "key=value"
  int64_t timeout_ms = 3000;
  uint32_t count = 1;
};
/// Makes calls one after the other and prints each answer. 0 when all were answered with success.
int run_call(const CallOptions& options);

struct DemoOptions {
  uint16_t port_base = 0;  // 0 = any free ports
};
/// Echo services, two sidecars, routes; serves until a signal.
int run_demo(const DemoOptions& options);

}  // namespace dragoman
