// Names: literals, /etc/hosts, name servers.
#include "proxy/net/resolver.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <fstream>

#include "tests/net/net_fixture.h"
#include "tests/support/fake_dns.h"

namespace dragoman {
namespace {

using testing::FakeDns;

class ResolveTest : public NetTest {
 protected:
  void SetUp() override {
    char name[] = "/tmp/dragoman-names-XXXXXX";
    folder_ = ::mkdtemp(name);
    write("resolv.conf", "nameserver 127.0.0.1\n");
    write("hosts", "127.0.0.7  Known.test alias.test # comment\n::7 known.test\nnonsense here\n");
  }
  void TearDown() override {
    resolver_.reset();
    NetTest::TearDown();
    for (const char* file : {"/resolv.conf", "/hosts"}) std::remove((folder_ + file).c_str());
    std::remove(folder_.c_str());
  }
  void write(const std::string& file, const std::string& text) {
    std::ofstream(folder_ + "/" + file) << text;
  }

  Resolver& resolver(int64_t timeout_ms = 2'000, uint32_t tries = 3) {
    if (!resolver_) {
      ResolverOptions options;
      options.servers = {*Address::parse(dns_.address())};
      options.timeout_ms = timeout_ms;
      options.tries = tries;
      options.hosts_path = folder_ + "/hosts";
      options.config_path = folder_ + "/resolv.conf";
      resolver_ = Resolver::create(*loop, options);
    }
    return *resolver_;
  }

  struct Told {
    std::unique_ptr<Lookup> lookup;
    bool done = false;
    std::string text;  // addresses, or the error
    int64_t ttl_ms = 0;
  };
  std::unique_ptr<Told> ask(const std::string& host) {
    auto told = std::make_unique<Told>();
    told->lookup = resolver().name(host, [told = told.get()](Result<ResolvedName> result) {
      EXPECT_FALSE(told->done) << "twice";
      told->done = true;
      if (!result) {
        told->text = result.error();
        return;
      }
      told->ttl_ms = result->ttl_ms;
      for (const Address& a : result->addresses) told->text += (told->text.empty() ? "" : " ") + a.host();
    });
    EXPECT_FALSE(told->done) << "told inside the call";
    return told;
  }
  std::string resolved(const std::string& host) {
    auto told = ask(host);
    EXPECT_TRUE(run_until([&] { return told->done; }, 20'000)) << host;
    return told->text;
  }

  /// Files are looked at once a second.
  bool comes_to(const std::string& host, const std::string& text) {
    for (int i = 0; i < 100; ++i) {
      if (resolved(host) == text) return true;
      run_until([] { return false; }, 50);
    }
    return false;
  }

  FakeDns dns_;
  std::string folder_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolveTest, LiteralsAndKnownNamesAskNobody) {
  EXPECT_EQ(resolved("127.0.0.1"), "127.0.0.1");
  EXPECT_EQ(resolved("::1"), "::1");
  EXPECT_EQ(resolved("KNOWN.test"), "127.0.0.7 ::7");
  EXPECT_EQ(resolved("known.test."), "127.0.0.7 ::7");
  EXPECT_EQ(resolved("alias.test"), "127.0.0.7");
  EXPECT_EQ(resolved("localhost"), "127.0.0.1 ::1");
  EXPECT_EQ(resolved("a.localhost"), "127.0.0.1 ::1");
  EXPECT_EQ(dns_.asked(), 0);
  EXPECT_EQ(loop->live_handles(), 0u);
}

TEST_F(ResolveTest, AddressesOfBothFamiliesAndTheirTtl) {
  dns_.set("both.test", {"127.0.0.2", "127.0.0.3", "::1"}, 17);
  auto told = ask("both.test");
  ASSERT_TRUE(run_until([&] { return told->done; }));
  EXPECT_EQ(told->ttl_ms, 17'000);
  for (const char* part : {"127.0.0.2", "127.0.0.3", "::1"})
    EXPECT_NE(told->text.find(part), std::string::npos) << told->text;
  dns_.set("four.test", {"127.0.0.4"});
  dns_.set("six.test", {"::6"});
  EXPECT_EQ(resolved("four.test"), "127.0.0.4");
  EXPECT_EQ(resolved("six.test"), "::6");
}

TEST_F(ResolveTest, FailuresAreSentencesWithTheName) {
  dns_.set("empty.test", {});
  for (const char* name : {"gone.test", "empty.test", "not a host name"})
    EXPECT_NE(resolved(name).find("can't resolve '" + std::string(name) + "'"), std::string::npos) << name;
}

TEST_F(ResolveTest, NamesWithoutAnAnswerHoldNobodyUp) {
  resolver(5'000, 3);
  dns_.ignore(".dead");
  std::vector<std::unique_ptr<Told>> dead, good;
  for (int i = 0; i < 1'000; ++i) dead.push_back(ask("n" + std::to_string(i) + ".dead"));
  for (int i = 0; i < 300; ++i) {
    dns_.set("n" + std::to_string(i) + ".good", {"127.0.0.5"});
    good.push_back(ask("n" + std::to_string(i) + ".good"));
  }
  // Far sooner than the first of the others gives up, even on a slow machine.
  EXPECT_TRUE(run_until(
      [&] { return std::all_of(good.begin(), good.end(), [](auto& t) { return t->done; }); }, 60'000));
  for (const auto& t : good) EXPECT_EQ(t->text, "127.0.0.5");
  EXPECT_TRUE(std::none_of(dead.begin(), dead.end(), [](auto& t) { return t->done; }));
  // And the end waits for nobody.
  resolver_.reset();
  dead.clear();
  EXPECT_TRUE(run_until([&] { return loop->live_handles() == 0; }, 2'000));
}

TEST_F(ResolveTest, OneQuestionForAllWhoWantToKnow) {
  dns_.set("one.test", {"127.0.0.5"});
  std::vector<std::unique_ptr<Told>> all;
  for (int i = 0; i < 100; ++i) all.push_back(ask("one.test"));
  EXPECT_TRUE(
      run_until([&] { return std::all_of(all.begin(), all.end(), [](auto& t) { return t->done; }); }));
  EXPECT_EQ(dns_.asked("one.test"), 2) << "A and AAAA";
  EXPECT_EQ(resolved("one.test"), "127.0.0.5");
  EXPECT_EQ(dns_.asked("one.test"), 4) << "nothing is kept";
}

TEST_F(ResolveTest, ATimeoutIsAFailure) {
  resolver(30, 2);
  dns_.ignore(".dead");
  EXPECT_NE(resolved("a.dead").find("can't resolve 'a.dead'"), std::string::npos);
  EXPECT_GE(dns_.asked("a.dead"), 2);
}

TEST_F(ResolveTest, Services) {
  dns_.set_srv("_bolt._tcp.test", {{10, 5, 12200, "one.test"}, {20, 0, 12201, "two.test"}}, 9);
  bool done = false;
  auto lookup = resolver().service("_bolt._tcp.test", [&](Result<ResolvedService> result) {
    done = true;
    ASSERT_TRUE(result) << result.error();
    EXPECT_EQ(result->ttl_ms, 9'000);
    ASSERT_EQ(result->targets.size(), 2u);
    EXPECT_EQ(result->targets[0].host, "one.test");
    EXPECT_EQ(result->targets[0].port, 12200);
    EXPECT_EQ(result->targets[0].priority, 10);
    EXPECT_EQ(result->targets[0].weight, 5);
    EXPECT_EQ(result->targets[1].host, "two.test");
  });
  EXPECT_TRUE(run_until([&] { return done; }));
  done = false;
  lookup = resolver().service("_gone._tcp.test", [&](Result<ResolvedService> result) {
    done = true;
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().find("_gone._tcp.test"), std::string::npos);
  });
  EXPECT_TRUE(run_until([&] { return done; }));
}

TEST_F(ResolveTest, DestroyingCancelsAlsoInTheCallback) {
  dns_.set("one.test", {"127.0.0.5"});
  bool told = false;
  for (const char* name : {"one.test", "127.0.0.1", "alias.test"})
    resolver().name(name, [&](auto) { told = true; }).reset();
  auto kept = ask("one.test");
  EXPECT_TRUE(run_until([&] { return kept->done; }));
  EXPECT_FALSE(told);
  std::unique_ptr<Lookup> own;
  own = resolver().name("one.test", [&](auto) {
    own.reset();
    resolver_.reset();
    told = true;
  });
  EXPECT_TRUE(run_until([&] { return told; }));
}

TEST_F(ResolveTest, FilesAreReadAgainWhenTheyChange) {
  EXPECT_EQ(resolved("alias.test"), "127.0.0.7");
  write("hosts", "127.0.0.8 alias.test and.others.test\n");
  EXPECT_TRUE(comes_to("alias.test", "127.0.0.8"));
  dns_.set("one.test", {"127.0.0.5"});
  EXPECT_EQ(resolved("one.test"), "127.0.0.5");
  write("resolv.conf", "nameserver 127.0.0.1\nsearch test\noptions ndots:1\n");
  EXPECT_TRUE(comes_to("one", "127.0.0.5")) << "the search list counts";
}

}  // namespace
}  // namespace dragoman
