// Names in certificates and the rules they are matched against.
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include "proxy/base/server_name.h"
#include "proxy/tls/openssl.h"
#include "proxy/tls/peer_name.h"
#include "tests/tls/certificates.h"

namespace dragoman {
namespace {

using namespace std::string_literals;
using testing::CertificateOptions;
using testing::TestCa;

PeerNames names_of(const CertificateOptions& options) {
  const testing::Issued issued = TestCa().issue(options);
  UniqueBio bio(BIO_new_mem_buf(issued.chain.data(), -1));
  UniqueX509 x(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  return PeerNames::of(x.get());
}

bool allows(std::string_view rule, const CertificateOptions& options) {
  auto parsed = PeerRule::parse(rule);
  EXPECT_TRUE(parsed.has_value()) << rule;
  return parsed->allows(names_of(options));
}

TEST(PeerName, RulesMatchWholeNames) {
  const CertificateOptions peer{.common_name = "cn.example",
                                .dns = {"API.example.org"},
                                .uris = {"spiffe://td/ns/prod/sa/api"}};
  struct Row {
    std::string_view rule;
    bool allowed;
  };
  for (const Row& row : {Row{"spiffe://td/ns/prod/sa/api", true}, Row{"spiffe://td/ns/prod/sa/ap", false},
                         Row{"spiffe://td/ns/prod/sa/api2", false}, Row{"spiffe://td/ns/prod/*", true},
                         Row{"spiffe://td/ns/pro/*", false}, Row{"spiffe://td/*", true}, Row{"spiffe://t/*", false},
                         Row{"spiffe://td/ns/prod/sa/api/*", false}, Row{"dns:api.example.org", true},
                         Row{"dns:API.EXAMPLE.ORG", true}, Row{"dns:*.example.org", true}, Row{"dns:*.org", true},
                         Row{"dns:*.pi.example.org", false}, Row{"dns:example.org", false},
                         Row{"dns:cn.example", false}})  // the subject's common name is nobody's name
    EXPECT_EQ(allows(row.rule, peer), row.allowed) << row.rule;
}

TEST(PeerName, ExactlyOneSpiffeId) {
  const CertificateOptions two{.uris = {"spiffe://td/a", "spiffe://td/b"}};
  EXPECT_FALSE(allows("spiffe://td/a", two));
  EXPECT_FALSE(allows("spiffe://td/*", two));
  EXPECT_TRUE(names_of(two).ambiguous);
  EXPECT_EQ(names_of(two).identity(), "");
  // Another URI beside it is no second one.
  const CertificateOptions other{.uris = {"https://x/", "spiffe://td/a"}};
  EXPECT_TRUE(allows("spiffe://td/a", other));
  EXPECT_EQ(names_of(other).identity(), "spiffe://td/a");
}

TEST(PeerName, EmbeddedNulEndsNothing) {
  const CertificateOptions uri{.uris = {"spiffe://td/a\0.evil"s}};
  EXPECT_FALSE(allows("spiffe://td/a", uri));
  EXPECT_FALSE(allows("spiffe://td/*", uri));
  EXPECT_EQ(names_of(uri).identity(), "");
  // A broken one still counts against the good one.
  EXPECT_FALSE(allows("spiffe://td/b", {.uris = {"spiffe://td/b", "spiffe://td/a\0"s}}));
  const CertificateOptions dns{.dns = {"good.example\0.evil.example"s}};
  EXPECT_FALSE(allows("dns:good.example", dns));
  EXPECT_FALSE(allows("dns:*.example", dns));
}

TEST(PeerName, WildcardCertificatesAreNoIdentity) {
  EXPECT_FALSE(allows("dns:a.example", {.dns = {"*.example"}}));
  EXPECT_FALSE(allows("dns:*.example", {.dns = {"*.example"}}));
}

TEST(PeerName, IdentityPrefersSpiffe) {
  EXPECT_EQ(names_of({.dns = {"a.example"}, .uris = {"spiffe://td/a"}}).identity(), "spiffe://td/a");
  EXPECT_EQ(names_of({.dns = {"a.example"}, .uris = {"urn:x"}}).identity(), "urn:x");
  EXPECT_EQ(names_of({.dns = {"a.example"}}).identity(), "a.example");
  EXPECT_EQ(names_of({.common_name = "only a common name"}).identity(), "");
}

TEST(PeerName, BadRulesAreRefused) {
  for (std::string_view rule : {"", "spiffe://", "dns:", "cn:x", "a.example"})
    EXPECT_FALSE(PeerRule::parse(rule).has_value()) << rule;
}

TEST(ServerName, WildcardCoversOneLabel) {
  EXPECT_TRUE(server_name_covers("a.example", "a.example"));
  EXPECT_FALSE(server_name_covers("a.example", "b.example"));
  EXPECT_TRUE(server_name_covers("*.example", "b.example"));
  EXPECT_FALSE(server_name_covers("*.example", "a.b.example"));
  EXPECT_FALSE(server_name_covers("*.example", ".example"));
  EXPECT_FALSE(server_name_covers("*.example", "example"));
  EXPECT_FALSE(server_name_covers("*.example", ""));
}

}  // namespace
}  // namespace dragoman
