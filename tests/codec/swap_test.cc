// Codecs are swapped and unloaded in a running proxy, under load, and no call fails.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "proxy/base/cursor.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/source_dir.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

namespace fs = std::filesystem;

std::string parcel(uint8_t kind, uint32_t id, std::string_view headers, std::string_view body) {
  std::string bytes(18, '\0');
  auto* p = reinterpret_cast<uint8_t*>(bytes.data());
  std::memcpy(p, "PC\1", 3);
  p[3] = kind;
  store_be<uint32_t>(p + 4, id);
  store_be<uint16_t>(p + 12, static_cast<uint16_t>(headers.size()));
  store_be<uint32_t>(p + 14, static_cast<uint32_t>(body.size()));
  return bytes.append(headers).append(body);
}

/// One frame; "" when there is none.
std::string read_parcel(TestSocket& socket) {
  std::string bytes = socket.read(18);
  if (bytes.size() < 18) return "";
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  return bytes + socket.read(load_be<uint16_t>(p + 12) + size_t{load_be<uint32_t>(p + 14)});
}

/// Answers every request with its own body, status 0.
void echo(TestSocket& socket) {
  for (;;) {
    std::string frame = read_parcel(socket);
    if (frame.empty()) return;
    const auto* p = reinterpret_cast<const uint8_t*>(frame.data());
    uint32_t id = load_be<uint32_t>(p + 4);
    if (p[3] == 4) socket.send(parcel(5, id, "", ""));
    if (p[3] == 1) socket.send(parcel(3, id, "", frame.substr(18 + load_be<uint16_t>(p + 12))));
  }
}

bool call(TestSocket& socket, uint32_t id) {
  std::string body = "call " + std::to_string(id);
  socket.send(parcel(1, id, "service=shop.Cart\nmethod=add\n", body));
  return read_parcel(socket) == parcel(3, id, "", body);
}

class Swap : public ServerTest {
 protected:
  Swap() {
    std::string name = fs::temp_directory_path() / "dragoman-swap-XXXXXX";
    folder = mkdtemp(name.data());
    put("parcel1");
  }
  void TearDown() override {
    ServerTest::TearDown();
    fs::remove_all(folder);
  }
  /// As a deployment does: a new file under the old name.
  void put(const std::string& version) {
    fs::copy_file(std::string(DRAGOMAN_TEST_PLUGINS) + "/" + version + ".so", folder / "next.so");
    fs::rename(folder / "next.so", folder / "libparcel.so");
  }
  std::string yaml() const {
    return "codecs: [{name: parcel, path: ./libparcel.so}]\n"
           "listeners: [{name: in, address: 127.0.0.1:0, protocol: parcel, routes: all}]\n"
           "routes: [{name: all, routes: [{match: {service: shop.Cart, method: add}, cluster: shop}]}]\n"
           "clusters: [{name: shop, endpoints: ['" + backend.address() + "']}]\n";
  }
  TestServer& run(const std::string& text) {
    TestServer::Options options;
    options.file = folder / "dragoman.yaml";
    return start(text, options);
  }
  ::testing::AssertionResult codecs_become(const std::string& wanted) {
    std::string text;
    bool ok = eventually([&] {
      text = server().admin("GET", "/codecs").body;
      std::string states;
      for (size_t at = 0; (at = text.find("version=", at)) != text.npos; ++at) {
        size_t state = text.find("state=", at);
        states += text.substr(at + 8, 1) + (text.compare(state + 6, 2,
                                                         "in") == 0 ? " in use, " : " leaving, ");
      }
      return states == wanted;
    });
    return ok ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << text;
  }
  fs::path folder;
  ScriptedBackend backend{echo};
};

TEST_F(Swap, ALibraryThatHangsIsToldOfOnce) {
  put("hang_later");
  TestServer::Options options;
  options.file = folder / "dragoman.yaml";
  options.workers = 2;
  options.stall_ms = 300;
  ASSERT_TRUE(start(yaml(), options).serving());
  constexpr const char* kStalls = "dragoman_worker_stalls_total";
  EXPECT_EQ(server().metric(kStalls), 0);
  const fs::path go_on = folder / "go-on";
  for (int stall = 1; stall <= 2; ++stall) {
    TestSocket socket = connect();
    const std::string headers = "service=shop.Cart\nmethod=add\n";
    socket.send(parcel(1, 1, "the-mark=" + go_on.string() + "\n" + headers, "b"));
    EXPECT_TRUE(server().becomes(stall, kStalls));
    EXPECT_EQ(server().metric(kStalls), stall) << "once for each time";
    std::ofstream(go_on).close();
    EXPECT_EQ(read_parcel(socket), parcel(3, 1, "", "b")) << "it goes on";
    fs::remove(go_on);
  }
}

TEST_F(Swap, UnderLoadByReloadAndByPostWithoutAFailedCall) {
  ASSERT_TRUE(run(yaml()).serving());
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> calls{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      for (uint32_t id = 1; !stop;) {
        TestSocket socket = connect();
        // Some stay for long, so that old and new versions serve side by side.
        for (uint32_t n = c == 0 ? 2000 : 20; n > 0 && !stop; --n, ++id, ++calls) failed += call(socket,
                                                                                                 id) ? 0 : 1;
      }
    });
  }
  for (int round = 0; round < (kSanitized ? 10 : 30); ++round) {
    put(round % 2 ? "parcel1" : "parcel2");
    HttpMessage answer = server().admin("POST", round % 3 ? "/codecs/reload" : "/reload");
    EXPECT_EQ(answer.status, 200) << answer.body;
    uint64_t before = calls;
    EXPECT_TRUE(eventually([&] { return calls > before + 100; }));
  }
  stop = true;
  for (auto& c : clients) c.join();
  EXPECT_EQ(failed, 0u) << "of " << calls;
  put("parcel2");
  server().admin("POST", "/codecs/reload");
  EXPECT_TRUE(codecs_become("2 in use, ")) << "the others are unloaded";
}

TEST_F(Swap, OldConnectionsKeepTheirVersion) {
  ASSERT_TRUE(run(yaml()).serving());
  TestSocket old = connect();
  ASSERT_TRUE(call(old, 1));
  put("parcel2");
  HttpMessage answer = server().admin("POST", "/codecs/reload");
  EXPECT_NE(answer.body.find("codec parcel: version 2 takes over from version 1\n"),
            std::string::npos) << answer.body;
  TestSocket fresh = connect();
  EXPECT_TRUE(call(fresh, 1));
  EXPECT_TRUE(call(old, 2));
  EXPECT_TRUE(codecs_become("1 leaving, 2 in use, "));
  old.close();
  EXPECT_TRUE(codecs_become("2 in use, "));
  EXPECT_TRUE(call(fresh, 2));
  fresh.close();
}

/// A call of several shapes: bodies of no byte, of some, of more than one read brings.
::testing::AssertionResult calls(TestSocket& socket, uint32_t& id) {
  for (size_t size : {size_t{0}, size_t{7}, size_t{100'000}}) {
    std::string body(size, 'b');
    socket.send(parcel(1, ++id, "service=shop.Cart\nmethod=add\n", body));
    std::string answer = read_parcel(socket);
    if (answer != parcel(3, id, "", body))
      return ::testing::AssertionFailure()
             << "body of " << size << ": answer of " << answer.size() << " bytes, status "
             << (answer.size() > 11 ? int{answer[11]} : -1);
  }
  return ::testing::AssertionSuccess();
}

/// What serves first and what takes over: libraries, or the same protocol described in YAML.
struct Pair {
  const char* before;
  const char* after;
};

class SwapOfVersions : public Swap {
 protected:
  void use(const std::string& version) {
    const bool described = version == "descriptor";
    text = yaml();
    if (!described) put(version);
    if (described)
      text.replace(text.find("path: ./libparcel.so"), 20,
                   "descriptor: " + source_dir() + "/protocols/example/parcel.yaml");
  }
  std::string with_pool(const char* mode) const {
    std::string changed = text;
    return changed.insert(changed.rfind('}'), std::string(", pool: {mode: ") + mode + "}");
  }
  std::string text;
};

TEST_F(SwapOfVersions, LiveConnectionsGoOnWhateverTakesOver) {
  const Pair pairs[] = {{"parcel1", "descriptor"}, {"descriptor", "parcel1"}, {"parcel1", "whole"},
                        {"whole", "parcel1"},      {"parcel1", "lean"},       {"lean", "descriptor"},
                        {"descriptor", "whole"}};
  for (const char* mode : {"multiplex", "ping_pong", "bound"}) {
    for (const Pair& pair : pairs) {
      SCOPED_TRACE(std::string(mode) + ": " + pair.before + " then " + pair.after);
      use(pair.before);
      // Versions that read no more than the fixed part have no service to route by.
      text.replace(text.find("match: {service: shop.Cart, method: add}"), 40, "match: {}");
      ASSERT_TRUE(run(with_pool(mode)).serving());
      uint32_t id = 0;
      TestSocket old = connect();
      ASSERT_TRUE(calls(old, id));
      use(pair.after);
      text.replace(text.find("match: {service: shop.Cart, method: add}"), 40, "match: {}");
      server().write_file(with_pool(mode));
      ASSERT_EQ(server().admin("POST", "/reload").status, 200);
      TestSocket fresh = connect();
      for (int round = 0; round < 3; ++round) {
        EXPECT_TRUE(calls(old, id)) << "old";
        EXPECT_TRUE(calls(fresh, id)) << "new";
      }
      old.close();
      fresh.close();
      ServerTest::TearDown();
    }
  }
}

TEST_F(SwapOfVersions, OneThatReadsAnotherWireIsToldApartByAnAnswerAndAnEnd) {
  for (const char* before : {"parcel1", "descriptor"}) {
    SCOPED_TRACE(before);
    use(before);
    ASSERT_TRUE(run(text).serving());
    TestSocket old = connect();
    ASSERT_TRUE(call(old, 1));
    use("other_wire");
    server().write_file(text);
    ASSERT_EQ(server().admin("POST", "/reload").status, 200);
    old.send(parcel(1, 2, "service=shop.Cart\nmethod=add\n", "x"));
    std::string answer = read_parcel(old);
    ASSERT_GE(answer.size(), 18u) << "an answer in the client's own version";
    EXPECT_EQ(answer[3], 3);
    EXPECT_EQ(answer[7], 2);
    EXPECT_NE(answer[11], 0);
    EXPECT_EQ(read_parcel(old), "") << "the next connection has the version that the cluster has";
    old.close();
    ServerTest::TearDown();
  }
}

TEST_F(Swap, ABadVersionLeavesTheOldOneServing) {
  ASSERT_TRUE(run(yaml()).serving());
  put("abi2");
  HttpMessage answer = server().admin("POST", "/codecs/reload");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("dragoman.yaml:"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("was built for codec ABI 2."), std::string::npos) << answer.body;
  TestSocket client = connect();
  EXPECT_TRUE(call(client, 1));
  EXPECT_TRUE(codecs_become("1 in use, "));
}

TEST_F(Swap, AVersionThatLacksWhatTheConfigurationAsksForIsRefused) {
  std::string asks = yaml();
  asks.replace(asks.find("cluster: shop}]}]"), 13, "cluster: shop, request_headers: {set: {zone: a}}");
  ASSERT_TRUE(run(asks).serving());
  put("no_edit");
  HttpMessage answer = server().admin("POST", "/codecs/reload");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("protocol parcel can't change headers"), std::string::npos) << answer.body;
  TestSocket client = connect();
  EXPECT_TRUE(call(client, 1));
}

TEST_F(Swap, UnloadByReloadAndByPost) {
  ASSERT_TRUE(run(yaml()).serving());
  TestSocket client = connect();
  ASSERT_TRUE(call(client, 1));
  EXPECT_EQ(server().admin("GET", "/codecs/unload?name=parcel").status, 405);
  EXPECT_EQ(server().admin("POST", "/codecs/unload?name=other").status, 404);
  HttpMessage used = server().admin("POST", "/codecs/unload?name=parcel");
  EXPECT_EQ(used.status, 409);
  EXPECT_EQ(used.body, "in use by listener in\nin use by cluster shop\n");

  // Declared, but nothing uses it: POST unloads it.
  const std::string unused = "codecs: [{name: parcel, path: ./libparcel.so}]\n"
                             "listeners: [{name: in, address: 127.0.0.1:0, protocol: tcp, cluster: shop}]\n"
                             "clusters: [{name: shop, endpoints: ['" + backend.address() + "']}]\n";
  server().write_file(unused);
  EXPECT_EQ(server().admin("POST", "/reload").status, 200);
  client.close();
  EXPECT_TRUE(codecs_become("1 in use, "));
  EXPECT_EQ(server().admin("POST", "/codecs/unload?name=parcel").status, 200);
  EXPECT_TRUE(codecs_become(""));
  EXPECT_EQ(server().admin("GET", "/codecs?format=json").body, "{\"codecs\":[]}\n");

  // The file still has it: a reload brings it back; one without it takes it away.
  EXPECT_EQ(server().admin("POST", "/reload").status, 200);
  EXPECT_TRUE(codecs_become("1 in use, "));
  server().write_file(unused.substr(unused.find('\n') + 1));
  EXPECT_EQ(server().admin("POST", "/reload").status, 200);
  EXPECT_TRUE(codecs_become(""));
}

TEST_F(Swap, TwoVersionsInOneConfiguration) {
  fs::copy_file(std::string(DRAGOMAN_TEST_PLUGINS) + "/parcel2.so", folder / "second.so");
  ASSERT_TRUE(run("codecs: [{name: parcel, path: libparcel.so}, {name: parcel_next, path: second.so, codec: parcel}]\n"
                  "listeners:\n"
                  "  - {name: in, address: 127.0.0.1:0, protocol: parcel, cluster: a}\n"
                  "  - {name: next, address: 127.0.0.1:0, protocol: parcel_next, cluster: b}\n"
                  "clusters:\n"
                  "  - {name: a, endpoints: ['" + backend.address() + "']}\n"
                  "  - {name: b, endpoints: ['" + backend.address() + "']}\n").serving());
  TestSocket a = connect("in"), b = connect("next");
  EXPECT_TRUE(call(a, 1));
  EXPECT_TRUE(call(b, 1));
  EXPECT_TRUE(codecs_become("1 in use, 2 in use, "));
}

TEST_F(Swap, RepliesMadeHereAreInTheCodecsWords) {
  ASSERT_TRUE(run(yaml()).serving());
  TestSocket client = connect();
  client.send(parcel(1, 5, "service=other\n", ""));
  std::string answer = read_parcel(client);
  ASSERT_GE(answer.size(), 18u);
  EXPECT_EQ(answer[3], 3);
  EXPECT_EQ(answer[11], 2) << "no such service";
}

}  // namespace
}  // namespace dragoman::testing
