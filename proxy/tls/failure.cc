// OpenSSL's words for what went wrong, as our reasons.
#include "proxy/tls/context.h"

namespace dragoman {
namespace {

Reason of_verify(long result) {
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Reason::kTlsPeerExpired;
    case X509_V_ERR_CERT_REVOKED: return Reason::kTlsPeerRevoked;
    case X509_V_ERR_APPLICATION_VERIFICATION:
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return Reason::kTlsPeerName;
    default:
      return Reason::kTlsPeerUntrusted;
  }
}

}  // namespace

Reason tls_failure(unsigned long code, long verify_result) {
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return Reason::kTlsMalformed;
  const int reason = ERR_GET_REASON(code);
  // The peer's own alert, fatal ones are this constant plus the alert (RFC 8446 section 6).
  if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) return Reason::kTlsPeerAlert;
  switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return of_verify(verify_result);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return Reason::kTlsNoPeerCertificate;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
      return Reason::kTlsVersion;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CIPHERS_AVAILABLE:
      return Reason::kTlsCipher;
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return Reason::kTlsAlpn;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
      return Reason::kTlsNotTls;
    default:
      return Reason::kTlsMalformed;
  }
}

}  // namespace dragoman
