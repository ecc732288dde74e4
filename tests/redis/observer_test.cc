// Redis, observed: what recorded and made-up connections are told to have said, at every cut, and what bytes that lie can do.
#include "protocols/redis/observer.h"

#include <gtest/gtest.h>

#include "tests/support/observed.h"

namespace dragoman::redis {
namespace {

using namespace std::string_literals;
using namespace testing;

struct Names {
  static std::string of(Command c) { return std::string(kCommandNames[static_cast<size_t>(c)]); }
  static std::string of(Error e) { return std::string(kErrorNames[static_cast<size_t>(e)]); }
};
struct Recorder final : Recording<Observer, Events, Command, Error, Names> {
  void on_push() override { told.add("push"); }
};

Told watch(const std::vector<Step>& steps, size_t outstanding_max = 1000) {
  return watch_cut<Recorder>(steps, outstanding_max);
}

/// A command as clients send it.
Step command(std::initializer_list<std::string> arguments) {
  std::string bytes = "*" + std::to_string(arguments.size()) + "\r\n";
  for (const std::string& a : arguments) bytes += "$" + std::to_string(a.size()) + "\r\n" + a + "\r\n";
  return client(bytes);
}
/// An array of strings.
std::string array(std::initializer_list<std::string> elements, char type = '*') {
  std::string bytes = command(elements).bytes;
  bytes[0] = type;
  return bytes;
}
/// What Redis says to (un)subscribing.
std::string confirm(const std::string& what, const std::string& channel, int count, char type = '*') {
  return type + "3\r\n$"s + std::to_string(what.size()) + "\r\n" + what + "\r\n" +
         (channel.empty() ? (type == '>' ? "_\r\n"s : "$-1\r\n"s)
                          : "$" + std::to_string(channel.size()) + "\r\n" + channel + "\r\n") +
         ":" + std::to_string(count) + "\r\n";
}

using Words = std::vector<std::string>;

TEST(Observer, ClientsWithoutAServerAreToldSo) {
  Recorder recorder;
  const Observer observer(recorder, 1);
  const std::map<std::string, Reason> words = {{"hijack-noupstream", Reason::kNoHealthyUpstream},
                                               {"hijack-overload", Reason::kConnectionOverflow},
                                               {"hijack-timeout", Reason::kConnectTimeout}};
  for (const auto& [name, why] : words) EXPECT_EQ(observer.refusal(why), vector_bytes("redis", name));
  EXPECT_EQ(observer.refusal(Reason::kConnectFailure), observer.refusal(Reason::kNoHealthyUpstream));
  // It is an error like any other to a client and to who watches.
  EXPECT_EQ(watch({command({"PING"}), server(vector_bytes("redis", "hijack-noupstream"))}).words,
            (Words{"ping", "error CLUSTERDOWN", "ping after 10"}));
}

TEST(Observer, Ioredis) {
  const Told told =
      watch({client(vector_bytes("redis", "ioredis-c2s")), server(vector_bytes("redis", "ioredis-s2c"))});
  EXPECT_EQ(told.count, (std::map<std::string, int>{{"hello", 1},
                                                    {"client", 2},
                                                    {"set", 1},
                                                    {"get", 1},
                                                    {"lpush", 1},
                                                    {"multi", 1},
                                                    {"incr", 1},
                                                    {"hset", 1},
                                                    {"exec", 1},
                                                    {"mget", 1},
                                                    {"hello after 10", 1},
                                                    {"client after 10", 2},
                                                    {"set after 10", 1},
                                                    {"get after 10", 1},
                                                    {"lpush after 10", 1},
                                                    {"multi after 10", 1},
                                                    {"incr after 10", 1},
                                                    {"hset after 10", 1},
                                                    {"exec after 10", 1},
                                                    {"mget after 10", 1},
                                                    {"error ERR", 2},
                                                    {"error WRONGTYPE", 1}}));
}

TEST(Observer, Resp3WithSubscriptions) {
  const Told told = watch(
      {client(vector_bytes("redis", "resp3-pubsub-c2s")), server(vector_bytes("redis", "resp3-pubsub-s2c"))});
  EXPECT_EQ(told.words,
            (Words{"hello", "hset", "hgetall", "subscribe", "publish", "hello after 10", "hset after 10",
                   "hgetall after 10", "subscribe after 10", "push", "publish after 10"}));
}

TEST(Observer, Inline) {
  const Told told =
      watch({client(vector_bytes("redis", "inline-c2s")), server(vector_bytes("redis", "inline-s2c"))});
  EXPECT_EQ(told.words, (Words{"ping", "set", "get", "get", "other", "ping after 10", "set after 10",
                               "get after 10", "get after 10", "error ERR", "other after 10"}));
  EXPECT_EQ(watch({client("\r\n  \n*0\r\n*-1\r\nPING\n"), server("+PONG\r\n")}).words,
            (Words{"ping", "ping after 10"}));
}

TEST(Observer, OtherRecordedPieces) {
  const std::pair<const char*, const char*> pairs[] = {{"cli-resp3-hgetall-c2s", "cli-resp3-hgetall-s2c"},
                                                       {"cli-set-c2s", "cli-set-s2c"},
                                                       {"ping", "pong"},
                                                       {"ping", "reply-attribute"},
                                                       {"ping", "reply-mixed-resp3"},
                                                       {"ping", "reply-null-resp3"},
                                                       {"ping", "reply-moved"},
                                                       {"binary-safe-set", "cli-set-s2c"}};
  for (const auto& [sent, answered] : pairs) {
    const Told told = watch({client(vector_bytes("redis", sent)), server(vector_bytes("redis", answered))});
    const size_t expected =
        (std::string_view(sent).starts_with("cli-resp3") ? 4u : 2u) + (answered == "reply-moved"s);
    EXPECT_EQ(told.words.size(), expected) << answered;
    EXPECT_TRUE(told.words.back().ends_with(" after 10")) << answered << ": " << told.words.back();
  }
  EXPECT_EQ(watch({client(vector_bytes("redis", "ping")),
                   server(vector_bytes("redis", "reply-moved"))})["error MOVED"],
            1);
}

TEST(Observer, WhatIsNoRedisStopsIt) {
  for (const char* name : {"bad-bulk-negative", "bad-multibulk-over-limit"})
    EXPECT_EQ(watch({client(vector_bytes("redis", name)), command({"PING"})}).words,
              (Words{"stop malformed"}))
        << name;
  for (const std::string& bytes :
       {"*1\r\n+PING\r\n"s, "*x\r\n"s, "*1\r\n$99999999999999999999\r\n"s, "\x01\x02\x03\n"s, "GET\0 x\r\n"s,
        "*1\n$4\r\nPING\r\n"s, std::string(70'000, 'a')})
    EXPECT_EQ(watch({client(bytes), command({"PING"})}).words, (Words{"stop malformed"}))
        << bytes.substr(0, 30);
  for (const std::string& bytes :
       {"hello\r\n"s, "$x\r\n"s, "$-2\r\n"s, "*99999999999999\r\n"s, "%-3\r\n"s, "$?\r\n"s})
    EXPECT_EQ(watch({command({"PING"}), server(bytes), server("+PONG\r\n")}).words,
              (Words{"ping", "stop malformed"}))
        << bytes;
}

TEST(Observer, TlsIsNotReadAsText) {
  EXPECT_EQ(watch({client("\x16\x03\x01\x02\x00\x01"s), server("\x16\x03\x03"s)}).words, (Words{"stop tls"}));
  // Stopped already, it says nothing more.
  EXPECT_EQ(watch({server("+OK\r\n"), client("\x16\x03\x01"s)}).words, (Words{"stop unexpected"}));
}

TEST(Observer, MessagesToASubscriberOfResp2AreNoAnswers) {
  const Told told = watch(
      {command({"get", "list"}), command({"SUBSCRIBE", "a", "b"}),
       server(array({"message", "x", "y"}) + confirm("subscribe", "a", 1) + confirm("subscribe", "b", 2)),
       server(array({"message", "a", "hi"})), command({"PSUBSCRIBE", "n?ws"}),
       server(array({"message", "b", "1"}) + confirm("psubscribe", "n?ws", 3)), command({"PING"}),
       server(array({"pmessage", "n?ws", "news", "2"}) + array({"pong", ""})), command({"UNSUBSCRIBE"}),
       server(confirm("unsubscribe", "a", 2) + array({"pmessage", "n?ws", "news", "3"})),
       server(confirm("unsubscribe", "b", 1)), command({"PUNSUBSCRIBE", "n?ws"}),
       server(confirm("punsubscribe", "n?ws", 0)), command({"LRANGE", "l", "0", "-1"}),
       server(array({"message", "no", "more"})), command({"UNSUBSCRIBE"}),
       server(confirm("unsubscribe", "", 0))});
  EXPECT_EQ(told.words, (Words{"get",           "subscribe",
                               "get after 20",  "subscribe after 10",
                               "push",          "psubscribe",
                               "push",          "psubscribe after 10",
                               "ping",          "push",
                               "ping after 10", "unsubscribe",
                               "push",          "unsubscribe after 20",
                               "punsubscribe",  "punsubscribe after 10",
                               "lrange",        "lrange after 10",
                               "unsubscribe",   "unsubscribe after 10"}));
}

TEST(Observer, SubscribingMayFailAndServersMayEndIt) {
  const Told told = watch({command({"SUBSCRIBE", "a"}), server("-NOPERM no\r\n"),
                           command({"SSUBSCRIBE", "s"}), server(confirm("ssubscribe", "s", 1, '>')),
                           server(confirm("sunsubscribe", "s", 0, '>')), command({"PING"}),
                           server("+PONG\r\n"), command({"SUBSCRIBE"}), server("-ERR wrong number\r\n")});
  EXPECT_EQ(told.words,
            (Words{"subscribe", "error NOPERM", "subscribe after 10", "ssubscribe", "ssubscribe after 10",
                   "push", "ping", "ping after 10", "subscribe", "error ERR", "subscribe after 10"}));
  EXPECT_EQ(watch({command({"SUBSCRIBE", "a"}), server("+OK\r\n")}).words,
            (Words{"subscribe", "stop unexpected"}));
}

TEST(Observer, ResetEndsSubscriptionsAndResp3) {
  const Told told =
      watch({command({"HELLO", "3"}), server("%0\r\n"), command({"SUBSCRIBE", "a"}),
             server(confirm("subscribe", "a", 1, '>')), command({"LRANGE", "l", "0", "-1"}),
             server(array({"message", "in", "a list"})), command({"RESET"}), server("+RESET\r\n"),
             command({"SUBSCRIBE", "b"}), server(confirm("subscribe", "b", 1)),
             server(array({"message", "b", "hi"})), command({"RESET"}), server("+RESET\r\n"),
             command({"LRANGE", "l", "0", "-1"}), server(array({"message", "in", "a list"}))});
  EXPECT_EQ(told["push"], 1);
  EXPECT_EQ(told["lrange after 10"], 2);
  EXPECT_EQ(told.words.back(), "lrange after 10");
}

TEST(Observer, ErrorsInsideTransactionsCount) {
  const Told told =
      watch({command({"MULTI"}), command({"INCR", "a"}), command({"NOSUCH"}), command({"EXEC"}),
             server("+OK\r\n+QUEUED\r\n-ERR unknown command\r\n-EXECABORT discarded\r\n"), command({"MULTI"}),
             command({"INCR", "a"}), command({"LRANGE", "a", "0", "1"}), command({"EXEC"}),
             server("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n-WRONGTYPE Operation against\r\n"),
             command({"EVAL", "return x", "0"}), server("*2\r\n:1\r\n-ERR inside a script\r\n"),
             command({"WATCH", "a"}), command({"MULTI"}), command({"EXEC"}), server("+OK\r\n+OK\r\n*-1\r\n"),
             command({"MULTI"}), command({"EXEC"}), server("+OK\r\n*2\r\n!9\r\nOOM no way\r\n\n:1\r\n")});
  EXPECT_EQ(told["error ERR"], 1);
  EXPECT_EQ(told["error EXECABORT"], 1);
  EXPECT_EQ(told["error WRONGTYPE"], 1);
  EXPECT_EQ(told["error OOM"], 1);
  EXPECT_EQ(told["exec"], 4);
}

TEST(Observer, RepliesMayBeTurnedOff) {
  const Told told =
      watch({command({"CLIENT", "REPLY", "SKIP"}), command({"SET", "a", "1"}), command({"GET", "a"}),
             server("$1\r\n1\r\n"), command({"client", "reply", "off"}), command({"SET", "a", "2"}),
             command({"CLIENT", "REPLY", "SKIP"}), command({"CLIENT", "REPLY", "ON"}), server("+OK\r\n"),
             command({"PING"}), server("+PONG\r\n"), command({"CLIENT", "GETNAME"}), server("$-1\r\n")});
  EXPECT_EQ(told.words, (Words{"client", "set", "get", "get after 10", "client", "set", "client", "client",
                               "client after 10", "ping", "ping after 10", "client", "client after 10"}));
}

TEST(Observer, WaitingOnPurposeIsNotTimed) {
  const Told told = watch({command({"BLPOP", "l", "0"}), server(array({"l", "x"})),
                           command({"XREAD", "COUNT", "2", "BLOCK", "1000", "STREAMS", "s", "$"}),
                           server("*-1\r\n"), command({"XREAD", "STREAMS", "block", "0"}), server("*-1\r\n"),
                           command({"XREADGROUP", "GROUP", "g", "c", "block", "5", "STREAMS", "s", ">"}),
                           server("_\r\n"), command({"PING"}), server("+PONG\r\n"),
                           client("XREAD BLOCK 5 STREAMS s 0\r\n"), server("*-1\r\n")});
  EXPECT_EQ(told.words, (Words{"blpop", "xread", "xread", "xread after 10", "xreadgroup", "ping",
                               "ping after 10", "xread"}));
}

TEST(Observer, WhatIsNoSeriesOfAnswersStopsIt) {
  EXPECT_EQ(
      watch({command({"PING"}), command({"MONITOR"}), server("+PONG\r\n+OK\r\n+1.2 \"GET\"\r\n")}).words,
      (Words{"ping", "monitor", "ping after 20", "stop stream"}));
  EXPECT_EQ(watch({command({"PSYNC", "?", "-1"}), server("+FULLRESYNC x 0\r\n$5\r\nabcde")}).words,
            (Words{"psync", "stop stream"}));
  EXPECT_EQ(watch({command({"SYNC"}), server("\n\n$5\r\nabcde")}).words, (Words{"sync", "stop stream"}));
  EXPECT_EQ(watch({command({"MULTI"}), command({"SUBSCRIBE", "a"}), server("+OK\r\n")}).words,
            (Words{"multi", "subscribe", "stop unsupported"}));
  EXPECT_EQ(watch({client("SUBSCRIBE \"a b\"\r\n")}).words, (Words{"subscribe", "stop unsupported"}));
  EXPECT_EQ(watch({client("SET \"a b\" 1\r\n"), server("+OK\r\n")}).words, (Words{"set", "set after 10"}));
}

TEST(Observer, AnswersThatNobodyAskedFor) {
  EXPECT_EQ(watch({server("-ERR max number of clients reached\r\n")}).words, (Words{"error ERR"}));
  EXPECT_EQ(watch({server("+OK\r\n"), command({"PING"})}).words, (Words{"stop unexpected"}));
  EXPECT_EQ(
      watch({server(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"), command({"PING"}), server("+PONG\r\n")})
          .words,
      (Words{"push", "ping", "ping after 10"}));
}

TEST(Observer, CommandsThatWaitAreBounded) {
  std::vector<Step> steps(5, command({"PING"}));
  EXPECT_EQ(watch(steps, 4).words, (Words{"ping", "ping", "ping", "ping", "ping", "stop outstanding"}));
  steps.assign(4, command({"PING"}));
  steps.push_back(server("+PONG\r\n+PONG\r\n"));
  steps.push_back(command({"GET", "a"}));
  steps.push_back(command({"GET", "a"}));
  steps.push_back(server("+PONG\r\n-NOPERM x\r\n$0\r\n\r\n$1\r\nx\r\n"));
  const Told told = watch(steps, 4);
  EXPECT_EQ(told["stop outstanding"], 0);
  EXPECT_EQ(told["get after 10"], 1);
  EXPECT_EQ(told["get after 20"], 1);
}

TEST(Observer, ManyCommandsAtOnce) {
  std::string sent, answered;
  for (int i = 0; i < 20'000; ++i) {
    sent += command({i % 2 ? "SET" : "GET", "key" + std::to_string(i), "v"}).bytes;
    answered += i % 2 ? "+OK\r\n" : "$3\r\n\r\n+\r\n";
  }
  const Told told = testing::watch<Recorder>({client(sent), server(answered)}, 1000, 1'000'000);
  EXPECT_EQ(told["get after 10"], 10'000);
  EXPECT_EQ(told["set after 10"], 10'000);
}

TEST(Observer, ValuesOfAnySizeAndDepth) {
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "*1\r\n";
  EXPECT_EQ(testing::watch<Recorder>({command({"EVAL", "x"}), server(deep + ":1\r\n")}, 1000).words,
            (Words{"eval", "eval after 10"}));
  const std::string big(5 << 20, '$');
  EXPECT_EQ(testing::watch<Recorder>({command({"SET", "k", big}), server("+OK\r\n"), command({"GET", "k"}),
                                      server("$" + std::to_string(big.size()) + "\r\n" + big + "\r\n")},
                                     60'000)
                .words,
            (Words{"set", "set after 10", "get", "get after 10"}));
  // A map that says 2^32 pairs is walked as far as there are bytes.
  EXPECT_EQ(watch({command({"PING"}), server("%4294967296\r\n:1\r\n:2\r\n"), command({"PING"})}).words,
            (Words{"ping", "ping"}));
  std::string wide;
  for (int i = 0; i < 400; ++i) wide += "%4294967296\r\n";
  EXPECT_EQ(watch({command({"PING"}), server(wide)}).words, (Words{"ping", "stop malformed"}));
  EXPECT_LT(sizeof(Observer), 512u);
}

TEST(Observer, NamesAreNeverThePeers) {
  const Told told = watch(
      {command({std::string(100'000, 'x')}), command({"get", std::string(70'000, 'k')}),
       command({"ZREMRANGEBYSCORE", "a"}), command({"zremrangebyscoreX", "a"}), command({""}),
       server("-" + std::string(5000, 'E') + " x\r\n-\r\n-ERR\r\n-MASTERDOWN x\r\n-NOMASTERLINKX y\r\n")});
  EXPECT_EQ(told["other"], 3);
  EXPECT_EQ(told["get"], 1);
  EXPECT_EQ(told["zremrangebyscore"], 1);
  EXPECT_EQ(told["error other"], 3);
  EXPECT_EQ(told["error ERR"], 1);
  EXPECT_EQ(told["error MASTERDOWN"], 1);
}

TEST(Observer, EveryNameIsFound) {
  for (size_t i = 1; i < kCommandNames.size(); ++i) {
    EXPECT_EQ(find_command(kCommandNames[i]), static_cast<Command>(i));
    EXPECT_LE(kCommandNames[i].size(), kCommandNameMax);
  }
  for (size_t i = 1; i < kErrorNames.size(); ++i) {
    EXPECT_EQ(find_error(kErrorNames[i]), static_cast<Error>(i));
    EXPECT_LE(kErrorNames[i].size(), kErrorNameMax);
  }
}

}  // namespace
}  // namespace dragoman::redis
