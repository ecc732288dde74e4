// What is wrong with the files of a `tls` block is told at the line that names them, and no dump holds a key.
#include <gtest/gtest.h>

#include "config/load.h"
#include "proxy/server/checks.h"
#include "tests/tls/certificates.h"

namespace dragoman {
namespace {

using testing::PemFolder;
using testing::TestCa;

const DeclaredProtocols none;

class TlsFiles : public ::testing::Test {
 protected:
  config::LoadResult load(const std::string& tls) {
    return config::load_string("listeners:\n  - name: in\n    address: 127.0.0.1:0\n    protocol: http1\n"
                               "    cluster: c\n    tls:\n" +
                                   tls + "clusters: [{name: c, endpoints: ['127.0.0.1:1']}]\n",
                               "t.yaml", config::process_environment(), {}, config_check(none));
  }
  /// "line:column path: message" of the only fault.
  std::string fault(const std::string& tls) {
    config::LoadResult result = load(tls);
    if (result.diagnostics.size() != 1) return config::render_text(result.diagnostics, result.source);
    const config::Diagnostic& d = result.diagnostics[0];
    return std::to_string(d.line) + ":" + std::to_string(d.column) + " " + d.path + ": " + d.message;
  }
  std::string pair(const std::string& chain_file, const std::string& key_file) {
    return "      certificates:\n        - chain: " + chain_file + "\n          key: " + key_file + "\n";
  }

  TestCa ca;
  PemFolder folder;
  testing::Issued one = ca.issue({.dns = {"a"}});
  testing::Issued two = ca.issue({.dns = {"b"}});
  std::string chain = folder.write("one.pem", one.chain);
  std::string key = folder.write("one.key", one.key);
};

TEST_F(TlsFiles, GoodOnesLoad) { EXPECT_TRUE(load(pair(chain, key)).ok()); }

TEST_F(TlsFiles, FaultsStandAtTheirLine) {
  const std::string at = "listeners[0].tls.certificates[0]";
  EXPECT_EQ(fault(pair("/nowhere.pem", key)),
            "8:18 " + at + ".chain: /nowhere.pem: can't be opened: No such file or directory");
  EXPECT_EQ(fault(pair(chain, "/nowhere.key")),
            "9:16 " + at + ".key: /nowhere.key: can't be opened: No such file or directory");
  const std::string other = folder.write("two.key", two.key);
  EXPECT_EQ(fault(pair(chain, other)), "9:16 " + at + ".key: " + other + ": is not the key of the certificate in " + chain);
  const std::string half = folder.write("half.pem", one.chain.substr(0, one.chain.size() / 2));
  EXPECT_TRUE(fault(pair(half, key)).starts_with("8:18 " + at + ".chain: " + half + ": holds no certificate"))
      << fault(pair(half, key));
  const std::string cut = folder.write("cut.pem", one.chain + one.chain.substr(0, one.chain.size() / 2));
  EXPECT_TRUE(fault(pair(cut, key)).starts_with("8:18 " + at + ".chain: " + cut + ": is broken"))
      << fault(pair(cut, key));
  const std::string half_key = folder.write("half.key", one.key.substr(0, one.key.size() / 2));
  EXPECT_TRUE(fault(pair(chain, half_key)).starts_with("9:16 " + at + ".key: " + half_key + ": holds no private key"));
  EXPECT_EQ(fault(pair(chain, key) + "      client_certificate: require\n      ca: /nowhere.pem\n"),
            "11:11 listeners[0].tls.ca: /nowhere.pem: can't be opened: No such file or directory");
  EXPECT_EQ(fault(pair(chain, key) + "      ciphers: NOSUCH\n"),
            "10:16 listeners[0].tls.ciphers: OpenSSL knows none of these ciphers");
  EXPECT_EQ(fault(pair(chain, key) + "      cipher_suites: NOSUCH\n"),
            "10:22 listeners[0].tls.cipher_suites: OpenSSL does not know these cipher suites");
}

TEST_F(TlsFiles, ClustersAndTheAdminPortAreCheckedToo) {
  config::LoadResult result = config::load_string(
      "admin: {tls: {certificates: [{chain: /x, key: /y}]}}\n"
      "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
      "clusters: [{name: c, endpoints: ['127.0.0.1:1'], tls: {ca: /z}}]\n",
      "t.yaml", config::process_environment(), {}, config_check(none));
  ASSERT_EQ(result.diagnostics.size(), 2u);
  EXPECT_EQ(result.diagnostics[0].path, "admin.tls.certificates[0].chain");
  EXPECT_EQ(result.diagnostics[1].path, "clusters[0].tls.ca");
}

TEST_F(TlsFiles, ADumpNamesFilesAndHoldsNoKey) {
  config::LoadResult result = load(pair(chain, key));
  ASSERT_TRUE(result.ok());
  const std::string dump = config::dump_json(*result.config);
  EXPECT_NE(dump.find("one.key"), std::string::npos);
  EXPECT_EQ(dump.find("PRIVATE"), std::string::npos);
}

}  // namespace
}  // namespace dragoman
