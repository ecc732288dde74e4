#include "proxy/tls/peer_name.h"

#include <algorithm>

#include "proxy/tls/openssl.h"

namespace dragoman {
namespace {

constexpr std::string_view kSpiffe = "spiffe://";

/// The text of an IA5String, or nothing when it holds a byte that no name has. Its length counts, never a NUL.
std::string_view clean_text(const ASN1_IA5STRING* text) {
  std::string_view view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                        static_cast<size_t>(std::max(0, ASN1_STRING_length(text))));
  for (char c : view)
    if (c <= ' ' || c >= 0x7f) return {};
  return view;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

PeerNames PeerNames::of(X509* certificate) {
  PeerNames names;
  UniqueNames list(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!list) return names;
  int spiffe = 0;
  for (int i = 0; i < sk_GENERAL_NAME_num(list.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(list.get(), i);
    if (name->type == GEN_URI) {
      const ASN1_IA5STRING* raw = name->d.uniformResourceIdentifier;
      std::string_view whole(reinterpret_cast<const char*>(ASN1_STRING_get0_data(raw)),
                             static_cast<size_t>(std::max(0, ASN1_STRING_length(raw))));
      spiffe += whole.starts_with(kSpiffe) ? 1 : 0;  // a broken one counts as one, too
      std::string_view text = clean_text(raw);
      if (!text.empty()) names.uris.emplace_back(text);
    } else if (name->type == GEN_DNS) {
      std::string_view text = clean_text(name->d.dNSName);
      if (!text.empty()) names.dns.push_back(lower(text));
    }
  }
  if (spiffe > 1) {
    names.ambiguous = true;
    names.uris.clear();
  }
  return names;
}

std::string_view PeerNames::identity() const {
  for (const std::string& uri : uris)
    if (uri.starts_with(kSpiffe)) return uri;
  if (!uris.empty()) return uris[0];
  return dns.empty() ? std::string_view{} : std::string_view(dns[0]);
}

Result<PeerRule> PeerRule::parse(std::string_view text) {
  PeerRule rule;
  if (text.starts_with(kSpiffe) && text.size() > kSpiffe.size()) {
    rule.uri_ = true;
    rule.open_ended_ = text.ends_with("/*");
    rule.text_ = rule.open_ended_ ? text.substr(0, text.size() - 1) : text;
    return rule;
  }
  if (text.starts_with("dns:") && text.size() > 4) {
    text.remove_prefix(4);
    rule.open_ended_ = text.starts_with("*.");
    rule.text_ = lower(rule.open_ended_ ? text.substr(1) : text);
    return rule;
  }
  return unexpected("a peer name is spiffe://... or dns:..., not " + std::string(text));
}

bool PeerRule::allows(const PeerNames& names) const {
  if (uri_) {
    return std::any_of(names.uris.begin(), names.uris.end(), [this](const std::string& uri) {
      return open_ended_ ? uri.starts_with(text_) && uri.size() > text_.size() : uri == text_;
    });
  }
  // A wildcard in the peer's own certificate says nothing about which host it is.
  return std::any_of(names.dns.begin(), names.dns.end(), [this](const std::string& dns) {
    if (dns.starts_with('*')) return false;
    return open_ended_ ? dns.ends_with(text_) && dns.size() > text_.size() : dns == text_;
  });
}

}  // namespace dragoman
