// MySQL and MariaDB, observed: what recorded and made-up connections are told to have said, at every cut, and what bytes that lie
// can do.
#include "protocols/mysql/observer.h"

#include <gtest/gtest.h>

#include "tests/support/observed.h"

namespace dragoman::mysql {
namespace {

using namespace std::string_literals;
using namespace testing;

struct Names {
  static std::string of(Command c) { return std::string(kCommandNames[static_cast<size_t>(c)]); }
  static std::string of(Error e) { return std::string(kErrors[static_cast<size_t>(e)].name); }
};
using Recorder = Recording<Observer, Events, Command, Error, Names>;

using Words = std::vector<std::string>;

Told watch(const std::vector<Step>& steps, size_t outstanding_max = 1000) {
  return watch_cut<Recorder>(steps, outstanding_max);
}

std::string packet(int sequence, const std::string& payload) {
  std::string bytes = {static_cast<char>(payload.size()), static_cast<char>(payload.size() >> 8),
                       static_cast<char>(payload.size() >> 16), static_cast<char>(sequence)};
  return bytes + payload;
}
/// Packets numbered from `sequence`.
std::string packets(int sequence, std::initializer_list<std::string> payloads) {
  std::string bytes;
  for (const std::string& payload : payloads) bytes += packet(sequence++, payload);
  return bytes;
}
std::string number(uint64_t value, size_t bytes) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

constexpr uint32_t kBase = 0x200 | 0x8000;  // 4.1, secure connection
constexpr uint32_t kDeprecateEof = 1u << 24;
constexpr uint32_t kOptionalMetadata = 1u << 25;
constexpr uint32_t kCompress = 0x20, kZstd = 1u << 26;
constexpr uint32_t kMysql = 1;

std::string greeting(uint32_t flags, uint32_t mariadb_flags = 0) {
  return packet(0, "\x0a"s + "8.0.35\0"s + number(7, 4) + "12345678\0"s + number(flags & 0xffff, 2) +
                       "\x21"s + number(2, 2) + number(flags >> 16, 2) + "\x15"s + std::string(6, '\0') +
                       number(mariadb_flags, 4) + "123456789012\0mysql_native_password\0"s);
}
std::string login(uint32_t flags, uint32_t mariadb_flags = 0) {
  return packet(1, number(flags, 4) + number(1 << 24, 4) + "\x21"s + std::string(19, '\0') +
                       number(mariadb_flags, 4) + "app\0\x14"s + std::string(20, 'x') +
                       "db\0mysql_native_password\0"s);
}
std::string ok(uint16_t status = 2, const std::string& first = "\0"s) {
  return first + "\0\0"s + number(status, 2) + "\0\0"s;
}
/// The end of rows of whoever has DEPRECATE_EOF.
std::string ok_of_rows(uint16_t status = 2) { return ok(status, "\xfe"); }
std::string eof(uint16_t status = 2) { return "\xfe\0\0"s + number(status, 2); }
std::string err(uint16_t code) { return "\xff"s + number(code, 2) + "#HY000no"; }
constexpr uint16_t kMore = 0x0008, kCursor = 0x0040;
const std::string kColumn =
    "\x03"
    "def\x04"
    "demo\x01t\x01t\x02id\x02id\x0c\x3f\0\x0b\0\0\0\x03\x03P\0\0\0"s;
const std::string kRow =
    "\x02"
    "42\x01x"s;
Step command(const std::string& payload) { return client(packet(0, payload)); }
const Step kQuery = command("\x03SELECT 1");

/// A connection that has got as far as commands, with `flags` on both sides.
std::vector<Step> connection(uint32_t flags, std::vector<Step> rest, uint32_t mariadb_flags = 0) {
  std::vector<Step> steps = {server(greeting(kBase | flags, mariadb_flags)),
                             client(login(kBase | flags, mariadb_flags)), server(packet(2, ok()))};
  steps.insert(steps.end(), rest.begin(), rest.end());
  return steps;
}
/// What such a connection tells after its login.
Words told_by(uint32_t flags, std::vector<Step> rest, uint32_t mariadb_flags = 0) {
  Words words = watch(connection(flags, std::move(rest), mariadb_flags)).words;
  EXPECT_EQ((Words{words.begin(), words.begin() + 2}), (Words{"connect", "connect after 10"}));
  return {words.begin() + 2, words.end()};
}

TEST(Observer, ClientsWithoutAServerAreToldSo) {
  Recorder recorder;
  const Observer observer(recorder, 1);
  EXPECT_EQ(observer.refusal(Reason::kNoHealthyUpstream), vector_bytes("mysql", "hijack-connect"));
  for (Reason why : {Reason::kNoHealthyUpstream, Reason::kConnectFailure, Reason::kConnectTimeout,
                     Reason::kTlsHandshakeTimeout, Reason::kConnectionOverflow})
    EXPECT_EQ(watch({server(std::string(observer.refusal(why)))}).words, (Words{"error con_count_error"}))
        << static_cast<int>(why);
}

TEST(Observer, Mysql2WithMariadb) {
  const std::string sent = vector_bytes("mysql", "session-c2s"),
                    answered = vector_bytes("mysql", "session-s2c");
  // The server speaks first; its greeting and the client's login are the first 104 and 138 bytes, the OK is 20.
  const Told told =
      watch({server(answered.substr(0, 104)), client(sent.substr(0, 138)), server(answered.substr(104, 20)),
             client(sent.substr(138)), server(answered.substr(124))});
  EXPECT_EQ(told.words,
            (Words{"connect", "connect after 10", "query", "query", "query", "stmt_prepare", "stmt_execute",
                   "ping", "query after 10", "query after 10", "error parse_error", "query after 10",
                   "stmt_prepare after 10", "stmt_execute after 10", "ping after 10"}));
}

TEST(Observer, RecordedPieces) {
  const std::string hello = vector_bytes("mysql", "server-greeting");
  EXPECT_EQ(watch({server(hello), client(vector_bytes("mysql", "sslrequest")), client("\x16\x03\x01")}).words,
            (Words{"stop tls"}));
  EXPECT_EQ(watch({server(vector_bytes("mysql", "hijack-connect"))}).words, (Words{"error con_count_error"}));
  EXPECT_EQ(watch({server(hello), client(login(kBase)), server(vector_bytes("mysql", "reply-access-denied"))})
                .words,
            (Words{"connect", "error access_denied_error", "connect after 10"}));
  for (const char* name : {"com-query-0", "com-query-1", "com-query-2"})
    EXPECT_EQ(
        told_by(0, {client(vector_bytes("mysql", name)), server(vector_bytes("mysql", "reply-err-1064"))}),
        (Words{"query", "error parse_error", "query after 10"}));
  for (const char* name : {"stmt_prepare-3", "stmt_execute-4"}) {
    const std::string command = std::string(name).substr(0, std::string_view(name).find('-'));
    EXPECT_EQ(told_by(0, {client(vector_bytes("mysql", "com-" + std::string(name))),
                          server(vector_bytes("mysql", "reply-err-1064"))}),
              (Words{command, "error parse_error", command + " after 10"}));
  }
  EXPECT_EQ(told_by(0, {client(vector_bytes("mysql", "com-ping-5")),
                        server(vector_bytes("mysql", "hijack-timeout"))}),
            (Words{"ping", "error other", "ping after 10"}));
}

TEST(Observer, LoginsMayTakeSeveralRounds) {
  EXPECT_EQ(watch({server(greeting(kBase | kMysql)), client(login(kBase)),
                   server(packet(2,
                                 "\xfe"
                                 "caching_sha2_password\0abc"s)),
                   client(packet(3, "hash")), server(packet(4, "\x01\x04")), client(packet(5, "\x02")),
                   server(packet(6, "\x01key")), client(packet(7, "secret")), server(packet(8, ok())), kQuery,
                   server(packet(1, ok()))})
                .words,
            (Words{"connect", "connect after 70", "query", "query after 10"}));
}

TEST(Observer, WhatIsEncryptedOrCompressedStopsIt) {
  for (uint32_t flag : {kCompress, kZstd}) {
    EXPECT_EQ(watch(connection(flag | kMysql, {client("\x0a\0\0\0\0\0\0"s)})).words,
              (Words{"connect", "connect after 10", "stop compression"}));
    // Asked for by one side only, it is not used.
    EXPECT_EQ(watch({server(greeting(kBase)), client(login(kBase | flag)), server(packet(2, ok())), kQuery,
                     server(packet(1, ok()))})
                  .words.back(),
              "query after 10");
  }
}

TEST(Observer, ResultSets) {
  const Words one = {"query", "query after 10"};
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\x02", kColumn, kColumn, eof(), kRow, kRow, eof()}))}),
            one);
  EXPECT_EQ(
      told_by(kDeprecateEof, {kQuery, server(packets(1, {"\x02", kColumn, kColumn, kRow, ok_of_rows()}))}),
      one);
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\x01", kColumn, eof(), err(1317)}))}),
            (Words{"query", "error query_interrupted", "query after 10"}));
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\x01", err(1317)})), kQuery, server(packet(1, ok()))}),
            (Words{"query", "error query_interrupted", "query after 10", "query", "query after 10"}));
  // 256 columns: a number of three bytes.
  std::string wide = packet(1, "\xfc\0\1"s);
  for (int i = 0; i < 256; ++i) wide += packet(i, kColumn);
  EXPECT_EQ(told_by(kDeprecateEof, {kQuery, server(wide + packet(2, ok_of_rows()))}), one);
  // A row may begin with 0xfe when it is long.
  EXPECT_EQ(told_by(0, {kQuery,
                        server(packets(1, {"\x01", kColumn, eof(), "\xfe" + std::string(20, 'x'), eof()}))}),
            one);
}

TEST(Observer, SeveralResultsAreOneAnswer) {
  for (uint32_t flags : {0u, kDeprecateEof}) {
    const auto end = [&](uint16_t status) { return flags ? ok_of_rows(status) : eof(status); };
    std::string answer = flags ? packets(1, {"\x01", kColumn, kRow, end(2 | kMore)})
                               : packets(1, {"\x01", kColumn, eof(), kRow, end(2 | kMore)});
    answer += packet(5, ok(2 | kMore));
    answer += flags ? packets(6, {"\x01", kColumn, end(2)}) : packets(6, {"\x01", kColumn, eof(), end(2)});
    EXPECT_EQ(told_by(flags, {kQuery, server(answer), kQuery, server(packets(1, {ok(kMore), err(1064)}))}),
              (Words{"query", "query after 10", "query", "error parse_error", "query after 10"}));
  }
}

TEST(Observer, PreparedStatements) {
  const auto prepare_ok = [](int columns, int parameters, const std::string& more = "") {
    return "\0"s + number(1, 4) + number(static_cast<uint64_t>(columns), 2) +
           number(static_cast<uint64_t>(parameters), 2) + "\0\0\0"s + more;
  };
  const Step prepare = command("\x16SELECT ?"), execute = command("\x17\1\0\0\0\0\1\0\0\0"s);
  const Words one = {"stmt_prepare", "stmt_prepare after 10"};
  EXPECT_EQ(told_by(0, {prepare, server(packets(1, {prepare_ok(1, 1), kColumn, eof(), kColumn, eof()}))}),
            one);
  EXPECT_EQ(told_by(0, {prepare, server(packets(1, {prepare_ok(0, 2), kColumn, kColumn, eof()}))}), one);
  EXPECT_EQ(told_by(0, {prepare, server(packet(1, prepare_ok(0, 0)))}), one);
  EXPECT_EQ(
      told_by(kDeprecateEof, {prepare, server(packets(1, {prepare_ok(2, 1), kColumn, kColumn, kColumn}))}),
      one);
  EXPECT_EQ(told_by(kMysql | kOptionalMetadata, {prepare, server(packet(1, prepare_ok(2, 1, "\0"s)))}), one);
  EXPECT_EQ(told_by(kMysql | kOptionalMetadata | kDeprecateEof,
                    {prepare, server(packets(1, {prepare_ok(1, 0, "\1"), kColumn}))}),
            one);
  EXPECT_EQ(told_by(0, {prepare, server(packet(1, err(1064)))}),
            (Words{"stmt_prepare", "error parse_error", "stmt_prepare after 10"}));
  // Sent without waiting, as some clients do; no answers to the last two.
  EXPECT_EQ(told_by(kDeprecateEof, {prepare, execute, command("\x18\1\0\0\0\0\0data"s),
                                    command("\x19\1\0\0\0"s), server(packets(1, {prepare_ok(1, 0), kColumn})),
                                    server(packets(1, {"\x01", kColumn, "\0\0\x2a"s, ok_of_rows()})),
                                    command("\x1a\1\0\0\0"s), server(packet(1, ok()))}),
            (Words{"stmt_prepare", "stmt_execute", "stmt_send_long_data", "stmt_close",
                   "stmt_prepare after 40", "stmt_execute after 40", "stmt_reset", "stmt_reset after 10"}));
}

TEST(Observer, Cursors) {
  const Step execute = command("\x17\1\0\0\0\1\1\0\0\0"s), fetch = command("\x1c\1\0\0\0\2\0\0\0"s);
  for (uint32_t flags : {0u, kDeprecateEof}) {
    const std::string end = flags ? ok_of_rows(2 | kCursor) : eof(2 | kCursor);
    EXPECT_EQ(told_by(flags, {execute, server(packets(1, {"\x01", kColumn, end})), fetch,
                              server(packets(1, {kRow, kRow, end})), fetch, server(packet(1, err(1243)))}),
              (Words{"stmt_execute", "stmt_execute after 10", "stmt_fetch", "stmt_fetch after 10",
                     "stmt_fetch", "error unknown_stmt_handler", "stmt_fetch after 10"}));
  }
}

TEST(Observer, DescriptionsMayBeLeftOut) {
  const Words one = {"query", "query after 10"};
  EXPECT_EQ(told_by(kMysql | kOptionalMetadata, {kQuery, server(packets(1, {"\2\0"s, eof(), kRow, eof()}))}),
            one);
  EXPECT_EQ(told_by(kMysql | kOptionalMetadata,
                    {kQuery, server(packets(1, {"\1\1", kColumn, eof(), kRow, eof()}))}),
            one);
  constexpr uint32_t kCache = 1 << 4;
  EXPECT_EQ(told_by(kDeprecateEof, {kQuery, server(packets(1, {"\2\0"s, kRow, ok_of_rows()}))}, kCache), one);
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\1\1"s, kColumn, eof(), kRow, eof()}))}, kCache), one);
}

TEST(Observer, Files) {
  EXPECT_EQ(told_by(0, {kQuery,
                        server(packet(1,
                                      "\xfb"
                                      "file.csv")),
                        client(packets(2,
                                       {
                                           "1,2\n3,4\n",
                                           "",
                                       })),
                        server(packet(4, ok())), kQuery, server(packet(1, ok()))}),
            (Words{"query", "query after 30", "query", "query after 10"}));
  // The numbers of its packets wrap, and then they look like commands.
  std::string file;
  for (int i = 2; i < 600; ++i) file += packet(i, "\1\1");
  EXPECT_EQ(told_by(0, {kQuery,
                        server(packet(1,
                                      "\xfb"
                                      "file.csv")),
                        client(file + packet(600, "")), server(packet(601, err(1062)))}),
            (Words{"query", "error dup_entry", "query after 30"}));
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\xfb"
                                                   "file.csv",
                                                   ok()}))}),
            (Words{"query", "stop unexpected"}));
}

TEST(Observer, OtherCommands) {
  for (const auto& [byte, name] : {std::pair{'\x02', "init_db"},
                                   {'\x05', "create_db"},
                                   {'\x06', "drop_db"},
                                   {'\x07', "refresh"},
                                   {'\x08', "shutdown"},
                                   {'\x0c', "process_kill"},
                                   {'\x0e', "ping"},
                                   {'\x15', "register_replica"},
                                   {'\x1f', "reset_connection"},
                                   {'\xfa', "stmt_bulk_execute"}})
    EXPECT_EQ(told_by(0, {command(std::string(1, byte) + "x"), server(packet(1, ok()))}),
              (Words{name, name + " after 10"s}));
  for (const auto& [byte, name] : {std::pair{'\x0d', "debug"}, {'\x1b', "set_option"}}) {
    EXPECT_EQ(told_by(0, {command(std::string(1, byte) + "x"), server(packet(1, eof()))}),
              (Words{name, name + " after 10"s}));
    EXPECT_EQ(told_by(kDeprecateEof, {command(std::string(1, byte) + "x"), server(packet(1, ok_of_rows()))}),
              (Words{name, name + " after 10"s}));
  }
  EXPECT_EQ(told_by(0, {command("\x09"), server(packet(1, "Uptime: 7"))}),
            (Words{"statistics", "statistics after 10"}));
  EXPECT_EQ(told_by(0, {command("\x04t\0"s), server(packets(1, {kColumn, kColumn, eof()}))}),
            (Words{"field_list", "field_list after 10"}));
  EXPECT_EQ(told_by(0, {command("\x0a"), server(packets(1, {"\x01", kColumn, eof(), kRow, eof()}))}),
            (Words{"process_info", "process_info after 10"}));
  EXPECT_EQ(told_by(0, {command("\x11other\0"s),
                        server(packet(1,
                                      "\xfe"
                                      "method\0"s)),
                        client(packet(2, "hash")), server(packet(3, ok())), kQuery, server(packet(1, ok()))}),
            (Words{"change_user", "change_user after 30", "query", "query after 10"}));
  EXPECT_EQ(told_by(0, {command("\x11other\0"s), server(packet(1, err(1045)))}),
            (Words{"change_user", "error access_denied_error", "change_user after 10"}));
  EXPECT_EQ(told_by(0, {command("\x01")}), (Words{"quit"}));
  for (const auto& [byte, name] :
       {std::pair{'\x12', "binlog_dump"}, {'\x1e', "binlog_dump_gtid"}, {'\x13', "table_dump"}})
    EXPECT_EQ(told_by(0, {command(std::string(1, byte) + "x"), server(packet(1, "\0events"s))}),
              (Words{name, "stop stream"}));
  EXPECT_EQ(told_by(0, {command("\x77x")}), (Words{"other", "stop unsupported"}));
}

TEST(Observer, ErrorsThatNobodyAskedFor) {
  EXPECT_EQ(told_by(0, {server(packet(0, err(4031)))}), (Words{"error client_interaction_timeout"}));
  EXPECT_EQ(told_by(0, {server(packet(0, ok())), kQuery}), (Words{"stop unexpected"}));
  // MariaDB's progress report is none.
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\xff\xff\xff\1\1\1"s, ok()}))}),
            (Words{"query", "query after 10"}));
}

TEST(Observer, PacketsOf16MiBAreContinued) {
  std::string insert = "\x03INSERT "s + std::string(0xffffff - 8, 'x');
  std::string sent = packet(0, insert) + packet(1, "y"),
              row = packet(4, std::string(0xffffff, '\xfe')) + packet(5, "");
  EXPECT_EQ(testing::watch<Recorder>(
                connection(0, {client(sent), server(packet(2, ok())), kQuery,
                               server(packets(1, {"\x01", kColumn, eof()}) + row + packet(6, eof()))}),
                65'536)
                .words,
            (Words{"connect", "connect after 10", "query", "query after 10", "query", "query after 10"}));
}

TEST(Observer, WhatIsNoMysqlStopsIt) {
  EXPECT_EQ(watch({client("\x03\0\0\0\x0e"s), client("\0\0\0\0"s)}).words, (Words{"stop malformed"}));
  EXPECT_EQ(watch({server(packet(0,
                                 "\x09"
                                 "3.20\0"s))})
                .words,
            (Words{"stop malformed"}));
  EXPECT_EQ(watch({server(packet(0, "\x0a"s + std::string(400, 'v')))}).words, (Words{"stop unsupported"}));
  EXPECT_EQ(watch({server(packet(0,
                                 "\x0a"
                                 "4.0\0"s +
                                     number(7, 4) + "12345678\0"s))})
                .words,
            (Words{"stop unsupported"}));
  EXPECT_EQ(watch({server("HTTP/1.1 400 Bad Request\r\n" + std::string(6'000'000, 'x'))}).words,
            (Words{"stop malformed"}));
  EXPECT_EQ(watch({server(greeting(kBase)), server(packet(1, ok()))}).words, (Words{"stop unexpected"}));
  EXPECT_EQ(
      watch({server(greeting(kBase)), client(packet(1, number(0x8000, 4) + std::string(40, 'x')))}).words,
      (Words{"stop unsupported"}));
  EXPECT_EQ(watch({server(greeting(kBase)), client(packet(1, number(kBase, 4)))}).words,
            (Words{"stop malformed"}));
  EXPECT_EQ(watch({server(greeting(kBase)), client(login(kBase)), server(packet(2, "\x07"))}).words,
            (Words{"connect", "stop malformed"}));
  EXPECT_EQ(told_by(0, {client(packet(1, "\x03SELECT"))}), (Words{"stop malformed"}));
  EXPECT_EQ(told_by(0, {command("")}), (Words{"stop malformed"}));
  for (const std::string& answer : {""s, "\0"s, "\xff"s, "\xfc"s, "\0\xfe\1"s})
    EXPECT_EQ(told_by(0, {kQuery, server(packet(1, answer))}), (Words{"query", "stop malformed"}))
        << answer.size();
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\x01", kColumn, kRow}))}),
            (Words{"query", "stop malformed"}));
  EXPECT_EQ(told_by(0, {command("\x16x"), server(packet(1, "\0\1\2"s))}),
            (Words{"stmt_prepare", "stop malformed"}));
}

TEST(Observer, CommandsThatWaitAreBounded) {
  EXPECT_EQ(watch(connection(0, {kQuery, kQuery, kQuery}), 2).words,
            (Words{"connect", "connect after 10", "query", "query", "query", "stop outstanding"}));
  // As many columns as a number can say are waited for; nothing is kept of them.
  EXPECT_EQ(told_by(0, {kQuery, server(packets(1, {"\xfe" + std::string(8, '\xff'), kColumn, kColumn}))}),
            (Words{"query"}));
  EXPECT_LT(sizeof(Observer), 768u);
}

TEST(Observer, EveryNameIsFound) {
  for (size_t i = 1; i < kErrors.size(); ++i) {
    EXPECT_EQ(find_error(kErrors[i].code), static_cast<Error>(i));
    if (i > 1) {
      EXPECT_LT(kErrors[i - 1].code, kErrors[i].code);
    }
  }
  EXPECT_EQ(find_error(1), Error{});
}

}  // namespace
}  // namespace dragoman::mysql
