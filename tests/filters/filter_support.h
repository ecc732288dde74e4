// A filter's surroundings in tests: a stream that writes down what the filter asks of it, and a clock moved by hand.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "filters/filter.h"
#include "filters/registry.h"

namespace dragoman::test {

class FakeContext final : public FilterContext {
 public:
  explicit FakeContext(Head& head) : request_(head) {}

  Head& request() override { return request_; }
  void resume() override { ++resumed; }
  void answer(const LocalReply& reply) override {
    EXPECT_FALSE(answered) << "answered twice";
    answered = reply.reason;
    status = reply.http_status;
    text = reply.text;
    if (end_when_answered) end_when_answered->on_stream_end(*this);
  }
  TimerWheel& timers() override { return wheel; }
  uint64_t random() override { return random_at < randoms.size() ? randoms[random_at++] : 0; }
  std::string_view peer_host() override { return peer; }
  bool downstream_tls() override { return tls; }
  uint64_t wall_us() override { return 0; }

  TimerWheel wheel{1'000'000};
  std::vector<uint64_t> randoms;  // given out in order, then zeros
  size_t random_at = 0;
  std::string peer = "10.0.0.1";
  bool tls = false;
  int resumed = 0;
  std::optional<Reason> answered;
  uint32_t status = 0;
  std::string text;
  Filter* end_when_answered = nullptr;  // as the engine does

 private:
  Head& request_;
};

inline std::unique_ptr<Head> http_head(const std::vector<std::pair<std::string, std::string>>& fields = {}) {
  auto head = std::make_unique<Head>();
  head->is_http = true;
  head->method = "GET";
  head->path = "/";
  head->authority = "a.test";
  for (const auto& [name, value] : fields) head->headers.add(name, value);
  return head;
}

inline std::string text(const HeaderList& headers) {
  std::string all;
  for (const Header& h : headers) all += std::string(h.name) + "=" + std::string(h.value) + ";";
  return all;
}

/// A listener's chain; `protocol` "bolt" has no filters but the listed ones.
inline std::vector<std::unique_ptr<FilterFactory>> chain(const config::Listener& listener) {
  auto made = make_filters(listener);
  EXPECT_TRUE(made) << made.error();
  return made ? std::move(*made) : std::vector<std::unique_ptr<FilterFactory>>{};
}

inline std::unique_ptr<FilterFactory> only(config::Filter settings) {
  config::Listener listener;
  listener.protocol = "bolt";
  listener.filters.push_back(std::move(settings));
  auto factories = chain(listener);
  EXPECT_EQ(factories.size(), 1u);
  return std::move(factories.at(0));
}

}  // namespace dragoman::test
