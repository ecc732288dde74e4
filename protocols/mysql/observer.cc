#include "protocols/mysql/observer.h"

namespace dragoman::mysql {
namespace {

constexpr uint8_t kOk = 0x00;
constexpr uint8_t kMoreData = 0x01;
constexpr uint8_t kLocalInfile = 0xfb;
constexpr uint8_t kEof = 0xfe;
constexpr uint8_t kErr = 0xff;
constexpr uint16_t kProgressReport = 0xffff;  // MariaDB: an ERR that is none
constexpr uint16_t kCursorExists = 0x0040;    // status flags
constexpr uint16_t kMoreResults = 0x0008;
constexpr size_t kEofBytesMax = 8;

/// By the first byte of a command packet.
constexpr auto kCommands = [] {
  std::array<Command, 256> commands{};
  commands[0x01] = Command::kQuit;
  commands[0x02] = Command::kInitDb;
  commands[0x03] = Command::kQuery;
  commands[0x04] = Command::kFieldList;
  commands[0x05] = Command::kCreateDb;
  commands[0x06] = Command::kDropDb;
  commands[0x07] = Command::kRefresh;
  commands[0x08] = Command::kShutdown;
  commands[0x09] = Command::kStatistics;
  commands[0x0a] = Command::kProcessInfo;
  commands[0x0c] = Command::kProcessKill;
  commands[0x0d] = Command::kDebug;
  commands[0x0e] = Command::kPing;
  commands[0x11] = Command::kChangeUser;
  commands[0x12] = Command::kBinlogDump;
  commands[0x13] = Command::kTableDump;
  commands[0x15] = Command::kRegisterReplica;
  commands[0x16] = Command::kStmtPrepare;
  commands[0x17] = Command::kStmtExecute;
  commands[0x18] = Command::kStmtSendLongData;
  commands[0x19] = Command::kStmtClose;
  commands[0x1a] = Command::kStmtReset;
  commands[0x1b] = Command::kSetOption;
  commands[0x1c] = Command::kStmtFetch;
  commands[0x1e] = Command::kBinlogDumpGtid;
  commands[0x1f] = Command::kResetConnection;
  commands[0xfa] = Command::kStmtBulkExecute;
  return commands;
}();

/// An integer of one to nine bytes.
uint64_t length_encoded(ByteReader& in) {
  const uint8_t first = in.u8();
  switch (first) {
    case 0xfc: return in.le<uint16_t>();
    case 0xfd: {
      const uint64_t low = in.le<uint16_t>();
      return low | uint64_t{in.u8()} << 16;
    }
    case 0xfe: return in.le<uint64_t>();
    default: return first;
  }
}

}  // namespace

void Observer::stop(ObserverStop why) {
  stopped_ = true;
  outstanding_.clear();
  events_.on_stop(why);
}

void Observer::on_client(std::span<const uint8_t> bytes, uint32_t now_us) {
  if (!stopped_ && phase_ == Phase::kGreeting && !bytes.empty())
    return stop(ObserverStop::kMalformed);  // the server is first
  while (!stopped_ && client_.next(bytes)) {
    switch (phase_) {
      case Phase::kGreeting: break;
      case Phase::kLogin: logged_in(now_us); break;
      case Phase::kAuthentication: break;
      case Phase::kCommands: commanded(now_us); break;
    }
  }
}

void Observer::on_server(std::span<const uint8_t> bytes, uint32_t now_us) {
  while (!stopped_ && server_.next(bytes)) {
    if (server_.size() == 0) return stop(ObserverStop::kMalformed);
    // A server may refuse or end a connection with an error at any time.
    if (outstanding_.empty() && server_.kept()[0] == kErr) {
      failed(now_us);
      continue;
    }
    switch (phase_) {
      case Phase::kGreeting: greeted(); break;
      case Phase::kLogin: return stop(ObserverStop::kUnexpected);
      case Phase::kAuthentication: authenticated(now_us); break;
      case Phase::kCommands:
        if (outstanding_.empty()) return stop(ObserverStop::kUnexpected);
        answered(now_us);
        break;
    }
  }
}

// --- the beginning --------------------------------------------------------------------------------------------------

void Observer::greeted() {
  ByteReader in(server_.kept());
  if (in.u8() != 10) return stop(ObserverStop::kMalformed);
  while (in.ok() && in.u8() != 0) {
  }
  in.skip(4 + 8 + 1);  // connection id, the first part of the scramble
  capabilities_ = in.le<uint16_t>();
  in.skip(1 + 2);  // character set, status
  capabilities_ |= uint32_t{in.le<uint16_t>()} << 16;
  in.skip(1 + 6);
  mariadb_capabilities_ = in.le<uint32_t>();
  if (!in.ok()) return stop(ObserverStop::kUnsupported);
  if (has(kMysql)) mariadb_capabilities_ = 0;
  phase_ = Phase::kLogin;
}

void Observer::logged_in(uint32_t now_us) {
  constexpr size_t kFixed = 32;
  ByteReader in(client_.kept());
  const bool mariadb = !has(kMysql);
  const auto wanted = in.le<uint32_t>();
  if (!(wanted & kProtocol41)) return stop(ObserverStop::kUnsupported);
  in.skip(4 + 1 + 19);  // longest packet, character set
  const auto wanted_of_mariadb = in.le<uint32_t>();
  if (!in.ok()) return stop(ObserverStop::kMalformed);
  if (client_.size() == kFixed && (wanted & kSsl)) return stop(ObserverStop::kTls);
  capabilities_ &= wanted;
  mariadb_capabilities_ &= mariadb ? wanted_of_mariadb : 0;
  events_.on_command(Command::kConnect);
  phase_ = Phase::kAuthentication;
  if (!outstanding_.push({now_us, Command::kConnect})) stop(ObserverStop::kOutstanding);
}

void Observer::authenticated(uint32_t now_us) {
  switch (server_.kept()[0]) {
    case kOk:
      phase_ = Phase::kCommands;
      finish(now_us);
      if (has(kCompress) || has(kZstd)) stop(ObserverStop::kCompression);
      return;
    case kErr: return failed(now_us);
    case kMoreData:
    case kEof:  // here: another method
      return;
    default: return stop(ObserverStop::kMalformed);
  }
}

// --- commands -------------------------------------------------------------------------------------------------------

void Observer::commanded(uint32_t now_us) {
  if (part_ == Part::kUpload) {  // ends with an empty packet
    if (client_.size() == 0) part_ = Part::kFirst;
    return;
  }
  if (part_ == Part::kExchange) return;
  if (client_.size() == 0 || client_.sequence() != 0) return stop(ObserverStop::kMalformed);
  const Command command = kCommands[client_.kept()[0]];
  events_.on_command(command);
  switch (command) {
    case Command::kOther: return stop(ObserverStop::kUnsupported);
    case Command::kBinlogDump:
    case Command::kBinlogDumpGtid:
    case Command::kTableDump: return stop(ObserverStop::kStream);
    case Command::kQuit:
    case Command::kStmtClose:
    case Command::kStmtSendLongData: return;  // no answer
    default:
      if (!outstanding_.push({now_us, command})) stop(ObserverStop::kOutstanding);
  }
}

// --- answers --------------------------------------------------------------------------------------------------------

void Observer::answered(uint32_t now_us) {
  const uint8_t first = server_.kept()[0];
  if (first == kErr) return failed(now_us);
  switch (part_) {
    case Part::kFirst:
    case Part::kExchange: return begun(now_us);
    case Part::kUpload: return stop(ObserverStop::kUnexpected);
    case Part::kColumns:
      if (--columns_ == 0) rows_or_end();
      return;
    case Part::kColumnsEnd:
      if (first != kEof || server_.size() > kEofBytesMax) return stop(ObserverStop::kMalformed);
      if (status() & kCursorExists) return end_result(now_us);  // rows are fetched
      part_ = Part::kRows;
      return;
    case Part::kRows:
      // A row may begin with the same byte, but is longer then.
      if (first == kEof && server_.size() < (has(kDeprecateEof) ? 0xffffff : kEofBytesMax + 1))
        end_result(now_us);
      return;
    case Part::kPrepared:
      if (--prepared_ == 0) finish(now_us);
      return;
  }
}

/// The first packet of an answer or of one of its results.
void Observer::begun(uint32_t now_us) {
  const uint8_t first = server_.kept()[0];
  switch (outstanding_.front().command) {
    case Command::kStatistics:  // text
      return finish(now_us);
    case Command::kFieldList:
    case Command::kStmtFetch: part_ = Part::kRows; return answered(now_us);
    case Command::kChangeUser:
      if (first == kOk) return finish(now_us);
      if (first != kMoreData && first != kEof) return stop(ObserverStop::kMalformed);
      part_ = Part::kExchange;
      return;
    case Command::kStmtPrepare: return first == kOk ? prepared(now_us) : stop(ObserverStop::kMalformed);
    default: break;
  }
  if (first == kOk || first == kEof) return end_result(now_us);
  if (first != kLocalInfile) return result_set();
  part_ = Part::kUpload;
}

void Observer::prepared(uint32_t now_us) {
  ByteReader in(server_.kept());
  in.skip(1 + 4);  // the statement's id
  const uint32_t columns = in.le<uint16_t>();
  const uint32_t parameters = in.le<uint16_t>();
  if (!in.ok()) return stop(ObserverStop::kMalformed);
  in.skip(1 + 2);
  if (has(kOptionalMetadata) && in.remaining() > 0 && in.u8() == 0) return finish(now_us);
  prepared_ = columns + parameters;
  if (!has(kDeprecateEof)) prepared_ += (columns > 0) + (parameters > 0);
  if (prepared_ == 0) return finish(now_us);
  part_ = Part::kPrepared;
}

void Observer::result_set() {
  ByteReader in(server_.kept());
  columns_ = length_encoded(in);
  bool described = true;
  if (has(kOptionalMetadata) || (mariadb_capabilities_ & kMariadbCacheMetadata)) described = in.u8() != 0;
  if (!in.ok() || columns_ == 0) return stop(ObserverStop::kMalformed);
  if (described)
    part_ = Part::kColumns;
  else
    rows_or_end();
}

uint16_t Observer::status() {
  ByteReader in(server_.kept());
  const bool eof = in.u8() == kEof && !has(kDeprecateEof);
  if (eof) {
    in.skip(2);  // warnings
  } else {
    length_encoded(in);  // rows, inserted id
    length_encoded(in);
  }
  const auto flags = in.le<uint16_t>();
  if (!in.ok()) stop(ObserverStop::kMalformed);
  return flags;
}

void Observer::end_result(uint32_t now_us) {
  const bool more = (status() & kMoreResults) != 0;
  if (stopped_) return;
  if (!more) return finish(now_us);
  part_ = Part::kFirst;
}

void Observer::failed(uint32_t now_us) {
  ByteReader in(server_.kept());
  in.skip(1);
  const auto code = in.le<uint16_t>();
  if (!in.ok()) return stop(ObserverStop::kMalformed);
  if (code == kProgressReport && !outstanding_.empty()) return;
  events_.on_error(find_error(code));
  if (!outstanding_.empty()) finish(now_us);
}

void Observer::finish(uint32_t now_us) {
  const Entry entry = outstanding_.front();
  outstanding_.pop();
  part_ = Part::kFirst;
  events_.on_answer(entry.command, now_us - entry.start_us);
}

std::string_view Observer::refusal(Reason why) const {
  using namespace std::string_view_literals;
  switch (why) {
    case Reason::kConnectionOverflow: return "\x20\0\0\0\xff\x10\4#08004mesh: upstream overflow"sv;
    case Reason::kConnectTimeout:
    case Reason::kTlsHandshakeTimeout: return "\x1f\0\0\0\xff\x10\4#08004mesh: upstream timeout"sv;
    default: return "\x22\0\0\0\xff\x10\4#08004mesh: no healthy upstream"sv;
  }
}

}  // namespace dragoman::mysql
