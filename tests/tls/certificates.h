// A certificate authority for tests: EC keys, made in memory, written to a folder that goes away.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct evp_pkey_st;
struct x509_st;

namespace dragoman::testing {

/// PEM texts.
struct Issued {
  std::string chain;
  std::string key;
};

struct CertificateOptions {
  std::string common_name = "someone";
  std::vector<std::string> dns{};
  std::vector<std::string> uris{};  // taken with their length: a NUL inside stays
  std::vector<std::string> ips{};   // dotted
  int64_t starts_s = -3600;         // from now
  int64_t ends_s = 86400;
};

class TestCa {
 public:
  explicit TestCa(const std::string& name = "test CA");
  ~TestCa();
  const std::string& pem() const { return pem_; }
  Issued issue(const CertificateOptions& options) const;
  /// A list of revoked certificates, PEM; it ends so long from now.
  std::string crl(const std::vector<Issued>& revoked, int64_t ends_s = 3600) const;
  /// An OCSP response, DER: `of` is valid; it ends so long from now.
  std::string ocsp(const Issued& of, int64_t ends_s) const;

 private:
  evp_pkey_st* key_;
  x509_st* certificate_;
  std::string pem_;
};

/// A folder for PEM files, removed at the end.
class PemFolder {
 public:
  PemFolder();
  ~PemFolder();
  /// Writes it by rename, as rotation does; gives the path.
  std::string write(const std::string& name, const std::string& text) const;
  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  /// Writes NAME.pem and NAME.key; gives "{chain: ..., key: ...}" for a configuration.
  std::string write_pair(const std::string& name, const Issued& issued) const;

 private:
  std::string folder_;
};

}  // namespace dragoman::testing
