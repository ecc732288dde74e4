// What one `tls` block describes: certificates, trust, rules. Keeps contexts of OpenSSL for each thread and replaces
// them when the files changed.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "config/config.h"
#include "proxy/base/file.h"
#include "proxy/base/result.h"

namespace dragoman {

class TlsContext;
struct TlsSettings;
using TlsContextRef = std::shared_ptr<const TlsContext>;

/// Why a `tls` block can't be used.
struct TlsFault {
  enum class Part : uint8_t { kChain, kKey, kStaple, kCa, kCrl, kCiphers, kCipherSuites, kPeerNames };
  Part part = Part::kChain;
  size_t index = 0;  // of the certificate
  std::string text;  // with the file's name
};

class TlsIdentity {
 public:
  using Made = Result<std::shared_ptr<TlsIdentity>, TlsFault>;
  /// `alpn` in the order of preference, empty = not negotiated. `name` keeps the sessions of one listener from being
  /// resumed at another. `threads`: how many take contexts.
  static Made server(const config::ListenerTls& settings, std::vector<std::string> alpn, std::string name,
                     int threads);
  /// `sni` as in SSL: sent, and what the certificate must be for unless the settings have peer_names. When it is empty the
  /// certificate must be for the address.
  static Made client(const config::ClusterTls& settings, std::vector<std::string> alpn, std::string sni,
                     int threads);
  ~TlsIdentity();

  /// The contexts of `thread` (0 .. threads - 1), to be called on that thread only. Valid until its next call.
  const TlsContextRef& current(int thread);
  /// Reads the files again. On error everything stays as it is. Control thread.
  Result<void, TlsFault> reload();
  const std::vector<std::string>& files() const { return files_; }
  /// The state of each file that is in use. Control thread.
  const std::map<std::string, FileStamp>& stamps() const { return stamps_; }
  /// When the first of the own certificates ends, seconds since 1970; 0 without certificates. Control thread.
  int64_t expires_s() const { return expires_s_; }

 private:
  struct alignas(64) Slot {
    uint64_t generation = 0;
    TlsContextRef context;
  };
  TlsIdentity(std::unique_ptr<TlsSettings> settings, int threads);
  static Made make(std::unique_ptr<TlsSettings> settings, int threads);

  const std::unique_ptr<TlsSettings> settings_;
  std::vector<std::string> files_;
  std::vector<Slot> slots_;
  std::atomic<uint64_t> generation_{0};
  std::mutex mutex_;
  std::vector<TlsContextRef> latest_;  // by thread; guarded by mutex_
  std::map<std::string, FileStamp> stamps_;
  int64_t expires_s_ = 0;
};

}  // namespace dragoman
