#include "tests/support/test_server.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace dragoman::testing {

std::string fill_in(std::string text, std::initializer_list<std::pair<std::string_view, std::string>> names) {
  for (const auto& [name, value] : names) {
    const std::string mark = "$" + std::string(name);
    for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size())
      text.replace(at, mark.size(), value);
  }
  return text;
}

std::string TestServer::whole(const std::string& yaml) const {
  std::string drain = options_.drain;
  if (drain.find("lame_duck") == std::string::npos) drain.insert(drain.rfind('}'), ", lame_duck: 0ms");
  const char* level = std::getenv("DRAGOMAN_TEST_LOG");  // to look at a failing test
  return "workers: " + std::to_string(options_.workers) +
         (yaml.starts_with("admin:") ? "" : "\nadmin: {address: 127.0.0.1:0}") +
         "\nlog: {level: " + (level ? level : "error") + ", path: " + (level ? "/dev/stderr" : "/dev/null") +
         "}\ndrain: " + drain + "\n" + yaml;
}

TestServer::TestServer(std::string yaml, Options options) : options_(std::move(options)) {
  ServerOptions o;
  o.handle_signals = false;
  o.resolvers = options_.resolvers;
  o.stall_ms = options_.stall_ms;
  o.on_step = options_.on_step;
  if (options_.file.empty()) {
    o.config_text = whole(yaml);
  } else {
    o.config_path = options_.file;
    write_file(yaml);
  }
  std::promise<void> serving;
  std::promise<void> ended;
  ended_ = ended.get_future();
  auto started = serving.get_future();
  o.on_started = [&](Server& s) {
    admin_port_ = s.admin_address().port();
    serving_ = true;
    serving.set_value();
  };
  server_ = std::make_unique<Server>(std::move(o));
  thread_ = std::thread([this, done = std::move(ended), &serving]() mutable {
    exit_code_ = server_->run();
    if (!serving_) serving.set_value();
    done.set_value();
  });
  started.wait();
}

bool TestServer::wait_ended(int limit_ms) {
  return ended_.wait_for(std::chrono::milliseconds(limit_ms)) == std::future_status::ready;
}

void TestServer::stop() {
  if (!thread_.joinable()) return;
  if (serving_) {
    server_->shutdown();
    server_->shutdown();
  }
  thread_.join();
}

uint16_t TestServer::port(std::string_view listener) {
  std::istringstream lines(admin("GET", "/listeners").body);
  const std::string mark = std::string(listener) + "::";
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(mark)) return static_cast<uint16_t>(std::atoi(line.c_str() + line.rfind(':') + 1));
  return 0;
}

HttpMessage TestServer::admin(std::string_view method, std::string_view target, std::string_view host) {
  TestSocket s = TestSocket::connect(admin_port_);
  std::string request;
  request.append(method).append(" ").append(target).append(" HTTP/1.1\r\nhost: ").append(host);
  request += "\r\nconnection: close\r\n";
  if (method == "POST") request += "content-length: 0\r\n";
  s.send(request + "\r\n");
  return s.read_response(method == "HEAD");
}

double TestServer::metric(std::string_view family, std::initializer_list<std::string_view> labels) {
  std::istringstream lines(admin("GET", "/metrics").body);
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(family)) continue;
    const char after = line.size() > family.size() ? line[family.size()] : ' ';
    if (after != '{' && after != ' ') continue;
    bool all = true;
    for (std::string_view label : labels) all = all && line.find(label) != std::string::npos;
    if (all) sum += std::strtod(line.c_str() + line.rfind(' ') + 1, nullptr);
  }
  return sum;
}

::testing::AssertionResult TestServer::becomes(double value, std::string_view family,
                                               std::initializer_list<std::string_view> labels) {
  double last = 0;
  if (eventually([&] { return (last = metric(family, labels)) == value; }, kDeadlineMs / 2))
    return ::testing::AssertionSuccess();
  auto failure = ::testing::AssertionFailure() << family << "{";
  for (std::string_view label : labels) failure << label << ",";
  return failure << "} is " << last << ", not " << value;
}

::testing::AssertionResult TestServer::comes_to_rest() {
  static constexpr std::string_view kGauges[] = {
      "dragoman_requests_active",
      "dragoman_cluster_requests_active",
      "dragoman_cluster_requests_pending",
      "dragoman_listener_connections_active",
      "dragoman_listener_connections_lingering",
      "dragoman_listener_lingering_bytes",
  };
  for (std::string_view gauge : kGauges)
    if (auto result = becomes(0, gauge); !result) return result;
  return ::testing::AssertionSuccess();
}

void TestServer::write_file(const std::string& yaml) {
  const std::string next = options_.file + ".next";
  std::ofstream(next) << whole(yaml);
  std::rename(next.c_str(), options_.file.c_str());
}

TestServer& ServerTest::start(std::string yaml, TestServer::Options options) {
  stop();
  server_ = std::make_unique<TestServer>(std::move(yaml), std::move(options));
  EXPECT_TRUE(server_->serving());
  return *server_;
}

void ServerTest::stop() {
  if (!server_) return;
  server_->stop();
  const WorkerLeaks& leaks = server_->leaks();
  EXPECT_TRUE(leaks.none()) << leaks.streams << " streams, " << leaks.handles << " handles, " << leaks.chunks
                            << " chunks, " << leaks.untold << " ends untold";
  for (const std::string& gauge : leaks.gauges) ADD_FAILURE() << gauge << " when nothing is there";
  server_.reset();
}

void ServerTest::TearDown() {
  if (server_ && gauges_end_at_zero_) {
    EXPECT_TRUE(server_->comes_to_rest());
  }
  stop();
}

}  // namespace dragoman::testing
