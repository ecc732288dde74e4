// Kinds of route tables, and requests for them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/route/route_makers.h"

namespace dragoman::test {

struct Workload {
  const char* what;
  /// Route `i`, and the request that it takes; its texts are the last argument.
  config::Match (*match)(int i);
  std::unique_ptr<Head> (*request)(int i, std::string& text);
  /// One more route at the end takes what the others leave, and all requests are such.
  bool last = false;
};

inline std::string number(const char* before, int i, const char* after = "") {
  return before + std::to_string(i) + after;
}

inline std::unique_ptr<Head> get(std::string_view target) { return http_request("GET", target); }

/// As many fields as browsers and meshes send.
inline std::unique_ptr<Head> get(std::string_view target, const std::string& name, const std::string& value) {
  return http_request("GET", target, "a.test",
                      {{"user-agent", "Mozilla/5.0"},
                       {"accept", "*/*"},
                       {"x-request-id", "1"},
                       {"x-forwarded-for", "10.0.0.1"},
                       {"cookie", "a=b"},
                       {name, value},
                       {"content-type", "text/plain"},
                       {"x-b3-traceid", "12"}});
}

inline config::Match with_header(config::Match match, const std::string& name, std::string value) {
  config::HeaderMatch h;
  h.name = name;
  h.exact = std::move(value);
  match.headers.push_back(h);
  return match;
}

inline std::vector<Workload> route_workloads() {
  return {
      {"exact path", [](int i) { return path(number("/api/v1/things/", i)); },
       [](int i, std::string& text) { return get(text = number("/api/v1/things/", i, "?q=1")); }},
      {"prefix", [](int i) { return prefix(number("/api/v1/things/", i, "/")); },
       [](int i, std::string& text) { return get(text = number("/api/v1/things/", i, "/rest/of/it?q=1")); }},
      {"expression with a literal start",
       [](int i) { return regex(number("/api/v1/things/", i, "/[a-z]+")); },
       [](int i, std::string& text) { return get(text = number("/api/v1/things/", i, "/rest")); }},
      {"expression with a literal inside", [](int i) { return regex(number("/[a-z]+/things/", i, "/.*")); },
       [](int i, std::string& text) { return get(text = number("/abc/things/", i, "/rest")); }},
      {"expression with a literal end", [](int i) { return regex(number("/.*-", i)); },
       [](int i, std::string& text) { return get(text = number("/some/longer/path/with-words-", i)); }},
      {"expressions that do not match", [](int i) { return regex(number("/.*-", i)); },
       [](int, std::string& text) { return get(text = "/some/longer/path/with-words"); }, true},
      {"service", [](int i) { return service(number("com.example.Service", i, ":1.0")); },
       [](int i, std::string& text) {
         return rpc_request(text = number("com.example.Service", i, ":1.0"), "b");
       }},
      {"service and method",
       [](int i) {
         return service(number("com.example.Service", i), {"a", "b"});
       },
       [](int i, std::string& text) { return rpc_request(text = number("com.example.Service", i), "b"); }},
      {"methods of one service", [](int i) { return service("com.example.Service", {number("method", i)}); },
       [](int i, std::string& text) {
         return rpc_request("com.example.Service", text = number("method", i));
       }},
      {"service prefix", [](int i) { return service(number("com.example.x", i, ".*")); },
       [](int i, std::string& text) {
         return rpc_request(text = number("com.example.x", i, ".Service:1.0"), "b");
       }},
      {"a header under one prefix",
       [](int i) { return with_header(prefix("/"), "x-user", number("user-", i)); },
       [](int i, std::string& text) { return get(text = "/some/path", "x-user", number("user-", i)); }},
      {"headers that do not match",
       [](int i) { return with_header(prefix("/"), "x-user", number("user-", i)); },
       [](int, std::string& text) { return get(text = "/some/path", "x-user", "none"); }, true},
      {"another header each", [](int i) { return with_header({}, number("x-user-", i), "1"); },
       [](int i, std::string& text) { return get(text = "/some/path", number("x-user-", i), "1"); }},
      {"prefix and header in all combinations",
       [](int i) {
         return with_header(prefix(number("/api/", i / 100, "/")), "x-user", number("user-", i % 100));
       },
       [](int i, std::string& text) {
         return get(text = number("/api/", i / 100, "/rest"), "x-user", number("user-", i % 100));
       }},
  };
}

}  // namespace dragoman::test
