// Header edits of answers, in a protocol whose heads stop early unless somebody wants more.
#include <gtest/gtest.h>

#include "tests/stream/dubbo_calls.h"
#include "tests/stream/stream_support.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

std::string dubbo(const std::string& name) {
  return read_hex(source_dir() + "/tests/vectors/dubbo/" + name + ".hex");
}

class AnswerEdits : public ServerTest {
 protected:
  const std::string call_ = dubbo("dubbo-java27-request-hello-attachments");
  const std::string result_ = dubbo("dubbo-java27-response-value-attachments");
  ScriptedBackend backend_{[this](TestSocket& s) {
    for (std::string call; (call = read_dubbo(s)).size() >= 16;) {
      std::string answer = result_;
      answer.replace(4, 8, call.substr(4, 8));
      s.send(answer);
    }
  }};

  void SetUp() override {
    TestServer::Options options;
    options.workers = 1;  // both routes share the connection to the backend
    start(fill_in("listeners:\n"
                  "  - {name: edited, address: '127.0.0.1:0', protocol: dubbo, routes: edited}\n"
                  "  - {name: plain, address: '127.0.0.1:0', protocol: dubbo, cluster: c}\n"
                  "routes:\n"
                  "  - name: edited\n"
                  "    routes: [{match: {service: '*'}, cluster: c,\n"
                  "              response_headers: {set: {shade: teal}, add: {zone: north}}}]\n"
                  "clusters: [{name: c, endpoints: ['$UP'], pool: {connections: 1}}]\n",
                  {{"UP", backend_.address()}}),
          options);
  }
  std::string call(const char* listener) {
    TestSocket s = connect(listener);
    s.send(call_);
    return read_dubbo(s);
  }
};

TEST_F(AnswerEdits, AreMadeWhereTheRouteHasThemAndNowhereElse) {
  const auto expected = [&](const std::string& answer) { return answer.substr(0, 4) + call_.substr(4, 8) + answer.substr(12); };
  EXPECT_EQ(call("plain"), expected(result_)) << "before any edit";
  for (int i = 0; i < 2; ++i) {
    const std::string answer = call("edited");
    EXPECT_EQ(answer.find("navy"), std::string::npos);
    EXPECT_NE(answer.find("shade\x04teal"), std::string::npos) << answer;
    EXPECT_NE(answer.find("zone\x05north"), std::string::npos) << answer;
    EXPECT_EQ(call("plain"), expected(result_)) << "after an edit, on the same connection to the backend";
  }
  EXPECT_EQ(backend_.connections(), 1);
}

}  // namespace
}  // namespace dragoman::testing
