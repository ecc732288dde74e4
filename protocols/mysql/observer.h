// Watches a MySQL or MariaDB connection: commands by name, errors by number, how long answers take. See README.md.
#pragma once

#include "protocols/mysql/names.h"
#include "protocols/mysql/packet.h"
#include "protocols/observer.h"
#include "proxy/base/cursor.h"

namespace dragoman::mysql {

/// What an observer tells.
class Events {
 public:
  /// A command was sent; kConnect: a login.
  virtual void on_command(Command command) = 0;
  /// Its whole answer was sent, so long after the command was. Not for commands without an answer.
  virtual void on_answer(Command command, uint32_t duration_us) = 0;
  /// The server answered with an error, or ended the connection with one.
  virtual void on_error(Error error) = 0;
  /// The last event.
  virtual void on_stop(ObserverStop why) = 0;

 protected:
  ~Events() = default;
};

class Observer final : public StreamObserver {
 public:
  /// `outstanding_max`: commands without an answer, 8 bytes each.
  Observer(Events& events, size_t outstanding_max) : events_(events), outstanding_(outstanding_max) {}

  void on_client(std::span<const uint8_t> bytes, uint32_t now_us) override;
  void on_server(std::span<const uint8_t> bytes, uint32_t now_us) override;
  std::string_view refusal(Reason why) const override;

 private:
  enum class Phase : uint8_t { kGreeting, kLogin, kAuthentication, kCommands };
  /// Where in the answer to the first outstanding command.
  enum class Part : uint8_t {
    kFirst,    // its first packet, or that of another result
    kUpload,   // the client sends a file
    kColumns,  // descriptions, columns_ of them
    kColumnsEnd,
    kRows,
    kPrepared,  // descriptions, prepared_ packets of them
    kExchange,  // authentication
  };
  struct Entry {
    uint32_t start_us;
    Command command;
  };

  void greeted();
  void logged_in(uint32_t now_us);
  void commanded(uint32_t now_us);
  void authenticated(uint32_t now_us);
  /// A packet of the answer to the first outstanding command.
  void answered(uint32_t now_us);
  void begun(uint32_t now_us);
  void prepared(uint32_t now_us);
  void result_set();
  void rows_or_end() { part_ = has(kDeprecateEof) ? Part::kRows : Part::kColumnsEnd; }
  /// The result that ends with the server's packet is over: the next one comes, or this was the answer.
  void end_result(uint32_t now_us);
  /// The status flags of the server's packet, an OK or EOF; stops when they are not there.
  uint16_t status();
  void failed(uint32_t now_us);
  void finish(uint32_t now_us);
  void stop(ObserverStop why);
  bool has(uint32_t capability) const { return (capabilities_ & capability) != 0; }

  // Capability flags: of MySQL, and above bit 32, counted from there, MariaDB's own.
  static constexpr uint32_t kMysql = 1;  // not set: a MariaDB with flags of its own
  static constexpr uint32_t kCompress = 0x20;
  static constexpr uint32_t kProtocol41 = 0x200;
  static constexpr uint32_t kSsl = 0x800;
  static constexpr uint32_t kDeprecateEof = uint32_t{1} << 24;
  static constexpr uint32_t kOptionalMetadata = uint32_t{1} << 25;
  static constexpr uint32_t kZstd = uint32_t{1} << 26;
  static constexpr uint32_t kMariadbCacheMetadata = 1 << 4;

  Events& events_;
  Outstanding<Entry> outstanding_;
  uint32_t capabilities_ = 0;          // of the server; after the login, of both
  uint32_t mariadb_capabilities_ = 0;  // the same
  uint64_t columns_ = 0;
  uint32_t prepared_ = 0;
  Phase phase_ = Phase::kGreeting;
  Part part_ = Part::kFirst;
  bool stopped_ = false;
  PacketReader client_;
  PacketReader server_;
};

}  // namespace dragoman::mysql
