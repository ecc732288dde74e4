#include "tests/tls/certificates.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace dragoman::testing {
namespace {

std::atomic<long> next_serial{1000};

template <class Write>
std::string to_pem(Write&& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio);
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(n));
  BIO_free(bio);
  return text;
}

X509* make(const std::string& common_name, EVP_PKEY* key, int64_t starts_s, int64_t ends_s) {
  X509* x = X509_new();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), next_serial++);
  X509_gmtime_adj(X509_getm_notBefore(x), static_cast<long>(starts_s));
  X509_gmtime_adj(X509_getm_notAfter(x), static_cast<long>(ends_s));
  X509_set_pubkey(x, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  return x;
}

void extend(X509* x, int nid, const char* value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, x, x, nullptr, nullptr, 0);
  X509_EXTENSION* e = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value);
  X509_add_ext(x, e, -1);
  X509_EXTENSION_free(e);
}

void add_name(GENERAL_NAMES* names, int type, const std::string& value) {
  GENERAL_NAME* name = GENERAL_NAME_new();
  ASN1_STRING* text = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
  if (type == GEN_IPADD) {
    in_addr address;
    inet_pton(AF_INET, value.c_str(), &address);
    ASN1_STRING_set(text, &address, sizeof(address));
  } else {
    ASN1_STRING_set(text, value.data(), static_cast<int>(value.size()));
  }
  GENERAL_NAME_set0_value(name, type, text);
  sk_GENERAL_NAME_push(names, name);
}

}  // namespace

TestCa::TestCa(const std::string& name) : key_(EVP_EC_gen("P-256")) {
  certificate_ = make(name, key_, -86400, 30 * 86400);
  X509_set_issuer_name(certificate_, X509_get_subject_name(certificate_));
  extend(certificate_, NID_basic_constraints, "critical,CA:TRUE");
  extend(certificate_, NID_key_usage, "critical,keyCertSign,cRLSign");
  extend(certificate_, NID_subject_key_identifier, "hash");
  X509_sign(certificate_, key_, EVP_sha256());
  pem_ = to_pem([this](BIO* bio) { PEM_write_bio_X509(bio, certificate_); });
}

TestCa::~TestCa() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

Issued TestCa::issue(const CertificateOptions& options) const {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* x = make(options.common_name, key, options.starts_s, options.ends_s);
  X509_set_issuer_name(x, X509_get_subject_name(certificate_));
  GENERAL_NAMES* names = GENERAL_NAMES_new();
  for (const std::string& name : options.dns) add_name(names, GEN_DNS, name);
  for (const std::string& name : options.uris) add_name(names, GEN_URI, name);
  for (const std::string& name : options.ips) add_name(names, GEN_IPADD, name);
  if (sk_GENERAL_NAME_num(names) > 0) X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0);
  GENERAL_NAMES_free(names);
  X509_sign(x, key_, EVP_sha256());
  Issued issued;
  issued.chain = to_pem([x](BIO* bio) { PEM_write_bio_X509(bio, x); });
  issued.key = to_pem([key](BIO* bio) { PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
  X509_free(x);
  EVP_PKEY_free(key);
  return issued;
}

namespace {

X509* read(const Issued& issued) {
  BIO* bio = BIO_new_mem_buf(issued.chain.data(), static_cast<int>(issued.chain.size()));
  X509* x = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return x;
}

}  // namespace

std::string TestCa::crl(const std::vector<Issued>& revoked, int64_t ends_s) const {
  X509_CRL* crl = X509_CRL_new();
  X509_CRL_set_version(crl, 1);
  X509_CRL_set_issuer_name(crl, X509_get_subject_name(certificate_));
  ASN1_TIME* time = ASN1_TIME_new();
  X509_gmtime_adj(time, -7200);
  X509_CRL_set1_lastUpdate(crl, time);
  for (const Issued& issued : revoked) {
    X509* x = read(issued);
    X509_REVOKED* entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(x));
    X509_REVOKED_set_revocationDate(entry, time);
    X509_CRL_add0_revoked(crl, entry);
    X509_free(x);
  }
  X509_gmtime_adj(time, static_cast<long>(ends_s));
  X509_CRL_set1_nextUpdate(crl, time);
  ASN1_TIME_free(time);
  X509_CRL_sort(crl);
  X509_CRL_sign(crl, key_, EVP_sha256());
  std::string pem = to_pem([crl](BIO* bio) { PEM_write_bio_X509_CRL(bio, crl); });
  X509_CRL_free(crl);
  return pem;
}

std::string TestCa::ocsp(const Issued& of, int64_t ends_s) const {
  X509* x = read(of);
  OCSP_BASICRESP* basic = OCSP_BASICRESP_new();
  ASN1_TIME* begin = X509_gmtime_adj(nullptr, -7200);
  ASN1_TIME* end = X509_gmtime_adj(nullptr, static_cast<long>(ends_s));
  OCSP_CERTID* id = OCSP_cert_to_id(nullptr, x, certificate_);
  OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, nullptr, begin, end);
  OCSP_basic_sign(basic, certificate_, key_, EVP_sha256(), nullptr, 0);
  OCSP_RESPONSE* response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
  unsigned char* bytes = nullptr;
  const int n = i2d_OCSP_RESPONSE(response, &bytes);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(n));
  OPENSSL_free(bytes);
  OCSP_RESPONSE_free(response);
  OCSP_CERTID_free(id);
  ASN1_TIME_free(begin);
  ASN1_TIME_free(end);
  OCSP_BASICRESP_free(basic);
  X509_free(x);
  return der;
}

PemFolder::PemFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "dragoman-pem-XXXXXX").string();
  folder_ = ::mkdtemp(name.data());
}

PemFolder::~PemFolder() { std::filesystem::remove_all(folder_); }

std::string PemFolder::write(const std::string& name, const std::string& text) const {
  const std::string next = path(name) + ".next";
  std::ofstream(next, std::ios::binary) << text;
  std::rename(next.c_str(), path(name).c_str());
  return path(name);
}

std::string PemFolder::write_pair(const std::string& name, const Issued& issued) const {
  return "{chain: " + write(name + ".pem", issued.chain) + ", key: " + write(name + ".key", issued.key) + "}";
}

}  // namespace dragoman::testing
