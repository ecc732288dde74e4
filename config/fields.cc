// Every setting, one row each. The loader, the JSON Schema, REFERENCE.md, and the dump all follow these rows;
// defaults are those of the structs in config.h.
#include "config/fields.h"

#include <arpa/inet.h>
#include <re2/re2.h>

#include <algorithm>
#include <cstdlib>

#include "config/protocols.h"

namespace dragoman::config {
namespace {

constexpr int64_t kSecond = 1'000;
constexpr int64_t kHour = 3'600 * kSecond;
constexpr int64_t kDay = 24 * kHour;
constexpr uint64_t kKiB = 1ull << 10;
constexpr uint64_t kMiB = 1ull << 20;
constexpr uint64_t kGiB = 1ull << 30;

// ---------------------------------------------------------------------------------------------- formats of
// texts

std::string check_regex(std::string_view text) {
  RE2::Options options;
  options.set_log_errors(false);
  const RE2 regex(re2::StringPiece(text.data(), text.size()), options);
  return regex.ok() ? "" : "the regular expression is not valid: " + regex.error();
}

/// Without the part that RE2 quotes.
std::string check_hidden_regex(std::string_view text) {
  const std::string problem = check_regex(text);
  constexpr std::string_view kBefore = "the regular expression is not valid: ";
  return problem.substr(0, problem.find(": ", std::min(problem.size(), kBefore.size())));
}

/// Fields that belong to one connection, or that frame the message: the codec writes them.
std::string check_editable_header(std::string_view name) {
  for (std::string_view owned : {"connection", "content-length", "keep-alive", "proxy-connection", "te",
                                 "trailer", "transfer-encoding", "upgrade"}) {
    if (name.size() != owned.size()) continue;
    bool same = true;
    for (size_t i = 0; i < name.size(); ++i)
      same = same && std::tolower(static_cast<unsigned char>(name[i])) == owned[i];
    if (same) return "the header \"" + std::string(name) + "\" belongs to the connection and can't be edited";
  }
  return "";
}

constexpr TextFormat kName{.what = "a name",
                           .pattern = "^[A-Za-z0-9_.-]{1,128}$",
                           .detail = "1 to 128 letters, digits, '_', '.' or '-'"};
constexpr TextFormat kPath{.what = "a path",
                           .pattern = R"(^/[^\x00-\x20\x7f?#]*$)",
                           .detail = "starts with '/', without spaces, '?' or '#'"};
constexpr TextFormat kRedirectPath{.what = "a path",
                                   .pattern = R"(^/[\x21-\x7e]*$)",
                                   .detail = "starts with '/', printable ASCII without spaces"};
constexpr TextFormat kFile{.what = "a file", .pattern = R"(^[^\x00]+$)", .detail = "a path"};
constexpr TextFormat kFileMode{
    .what = "a file mode", .pattern = "^0?[0-7]{3}$", .detail = "octal, such as \"0660\""};

std::string check_ip_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string ip(text.substr(0, slash));
  const bool v6 = ip.find(':') != std::string::npos;
  unsigned char bytes[sizeof(in6_addr)];
  if (inet_pton(v6 ? AF_INET6 : AF_INET, ip.c_str(), bytes) != 1)
    return "\"" + ip + "\" is not an IP address";
  if (slash == std::string_view::npos) return "";
  if (std::atoi(std::string(text.substr(slash + 1)).c_str()) > (v6 ? 128 : 32))
    return std::string("a prefix of ") + (v6 ? "IPv6 has at most 128 bits" : "IPv4 has at most 32 bits");
  return "";
}

constexpr TextFormat kIpPrefix{.what = "an IP address or a prefix",
                               .pattern = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
                               .detail = "such as 10.0.0.0/8 or fd00::1",
                               .check = check_ip_prefix};
constexpr TextFormat kLine{.what = "a line of text",
                           .pattern = R"(^[^\x00-\x08\x0a-\x1f\x7f]+$)",
                           .detail = "without line breaks or control characters"};
constexpr TextFormat kBody{
    .what = "text", .pattern = R"(^[^\x00]*$)", .detail = "without NUL", .bytes_max = 1 << 20};
constexpr TextFormat kHeaderName{.what = "a header name",
                                 .pattern = R"(^[!#$%&'*+.^_`|~0-9A-Za-z-]+$)",
                                 .detail = "letters, digits and !#$%&'*+-.^_`|~"};
constexpr TextFormat kEditedHeader{.what = kHeaderName.what,
                                   .pattern = kHeaderName.pattern,
                                   .detail = kHeaderName.detail,
                                   .check = check_editable_header};
constexpr TextFormat kHeaderValue{.what = "a header value",
                                  .pattern = R"(^[^\x00-\x08\x0a-\x1f\x7f]*$)",
                                  .detail = "without line breaks or control characters",
                                  .secret = true,
                                  .bytes_max = 16 << 10};
constexpr TextFormat kHeaderText{
    .what = "text of a header value", .pattern = kHeaderValue.pattern, .detail = kHeaderValue.detail};
constexpr TextFormat kRegex{
    .what = "a regular expression", .pattern = R"(^[^\x00]+$)", .detail = "RE2 syntax", .check = check_regex};
// What a header must say may be a password.
constexpr TextFormat kMatchedText{.what = kHeaderText.what,
                                  .pattern = kHeaderText.pattern,
                                  .detail = kHeaderText.detail,
                                  .secret = true,
                                  .hidden = true};
constexpr TextFormat kMatchedRegex{.what = kRegex.what,
                                   .pattern = kRegex.pattern,
                                   .detail = kRegex.detail,
                                   .check = check_hidden_regex,
                                   .secret = true,
                                   .hidden = true};
constexpr TextFormat kWord{.what = "a word",
                           .pattern = R"(^[\x21-\x7e]{1,256}$)",
                           .detail = "1 to 256 printable ASCII characters without spaces"};
constexpr TextFormat kToken{
    .what = "a protocol token", .pattern = kHeaderName.pattern, .detail = "such as websocket"};
constexpr TextFormat kHost{.what = "a host",
                           .pattern = R"(^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$)",
                           .detail = "a name or address, with or without a port"};
constexpr TextFormat kDomain{
    .what = "a domain",
    .pattern = R"(^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.\*)"
               R"(|\[[0-9A-Fa-f:.]+\])$)",
    .detail = "a host without port, \"*.suffix\", \"prefix.*\", or \"*\""};

constexpr TextFormat kProtocol{.what = "a protocol",
                               .pattern = "^[a-z0-9_]{1,32}$",
                               .detail = "1 to 32 lower-case letters, digits or '_'"};
constexpr TextFormat kPeerName{
    .what = "a peer name",
    .pattern = R"(^(spiffe://[\x21-\x7e]+|dns:(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$)",
    .detail = "spiffe://domain/path, spiffe://domain/path/*, dns:name or dns:*.suffix"};
constexpr TextFormat kServerName{.what = "a server name",
                                 .pattern = R"(^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$)",
                                 .detail = "a host name, or \"*.suffix\""};
constexpr TextFormat kHostName{.what = "a host name",
                               .pattern = R"(^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$)",
                               .detail = "letters, digits, '-' and '.'"};
constexpr TextFormat kAlpn{.what = "an ALPN name",
                           .pattern = R"(^[\x21-\x7e]{1,64}$)",
                           .detail = "such as h2 or http/1.1"};
constexpr TextFormat kCiphers{.what = "a list of ciphers",
                              .pattern = R"(^[A-Za-z0-9_:+!@=-]+$)",
                              .detail = "in OpenSSL's notation"};


bool is_http(std::string_view name) {
  const Protocol* protocol = find_protocol(name);
  return protocol && protocol->http;
}
template <bool (*Is)(std::string_view)>
bool speaks(const Listener& listener) {
  if (listener.protocol != kAutoProtocol) return Is(listener.protocol);
  return std::any_of(listener.protocols.begin(), listener.protocols.end(),
                     [](const ListenerProtocol& entry) { return entry.protocol != "tls" && Is(entry.protocol); });
}
bool is_http_listener(const Listener& listener) { return speaks<is_http>(listener); }
bool is_framed_listener(const Listener& listener) { return speaks<is_framed>(listener); }
bool is_observed_listener(const Listener& listener) { return speaks<is_observed>(listener); }
bool is_unix_listener(const Listener& listener) { return listener.address.is_unix(); }
bool is_auto_listener(const Listener& listener) { return listener.protocol == kAutoProtocol; }
bool is_http2(std::string_view name) { return name == "http2" || name == "http"; }
bool is_http2_listener(const Listener& listener) { return speaks<is_http2>(listener); }
bool is_http2_cluster(const Cluster& cluster) { return cluster.protocol == "http2"; }
bool is_http_cluster(const Cluster& cluster) {
  const Protocol* protocol = find_protocol(cluster.protocol);
  return protocol && protocol->http;
}
bool is_framed_cluster(const Cluster& cluster) { return is_framed(cluster.protocol); }
bool is_http_check(const HealthCheck& check) { return check.type == HealthCheckType::kHttp; }
bool is_grpc_check(const HealthCheck& check) { return check.type == HealthCheckType::kGrpc; }
bool is_request_check(const HealthCheck& check) { return is_http_check(check) || is_grpc_check(check); }

// ---------------------------------------------------------------------------------------------------------
// blocks

In<Certificate> certificate_block() {
  static const In<Certificate> shared = block<Certificate>(
      "certificate", "A certificate and its key, as PEM files. Changed files are taken up while serving.",
      {
          field<&Certificate::chain>("chain", text(kFile),
                                     "The certificate, followed by those between it and the CA.")
              .must(),
          field<&Certificate::key>("key", text(kFile), "Its private key, without a passphrase.").must(),
          field<&Certificate::ocsp_staple>(
              "ocsp_staple", text(kFile),
              "An OCSP response of its CA (a DER file), sent to clients that ask whether the certificate is "
              "still valid; listeners "
              "only. Something else has to renew the file; a response that is over is not sent."),
      });
  return shared;
}

constexpr const char* kCrlMeaning =
    "Lists of revoked certificates, as a PEM file: one of each CA in the peers' chains. A CA without a list, "
    "or whose list is over, "
    "vouches for nobody, so whatever brings new lists must not fail for longer than they last. A changed "
    "file is taken up while "
    "serving, and ends the resumption of sessions.";

template <class Tls>
std::vector<Field> with_shared_tls_fields(std::vector<Field> fields) {
  fields.push_back(field<&Tls::peer_names>(
      "peer_names", texts(kPeerName, 1),
      "Who the peer's certificate must be for, by its subject alternative names; any of them will do."));
  fields.push_back(
      field<&Tls::alpn>("alpn", texts(kAlpn, 1),
                        "Application protocols to agree on, best first; left out, those of the "
                        "protocol (http/1.1, h2, or both), none for RPC and tcp. A listener for both "
                        "speaks what was agreed on; with clients that offer none the first bytes decide."));
  fields.push_back(field<&Tls::min_version>("min_version", choice<TlsVersion>({"1.2", "1.3"}),
                                            "The oldest version of TLS that is taken."));
  fields.push_back(field<&Tls::max_version>("max_version", choice<TlsVersion>({"1.2", "1.3"}), "The newest."));
  fields.push_back(field<&Tls::ciphers>(
      "ciphers", text(kCiphers),
      "Ciphers of TLS 1.2, as OpenSSL writes them; left out, those with ECDHE and AES-GCM or ChaCha20. Name others for peers that "
      "have none of these; HTTP/2 is never agreed on with ciphers that RFC 9113 forbids (CBC, RSA key exchange)."));
  fields.push_back(
      field<&Tls::cipher_suites>("cipher_suites", text(kCiphers), "Cipher suites of TLS 1.3, as OpenSSL writes them."));
  fields.push_back(field<&Tls::handshake_timeout_ms>(
      "handshake_timeout", duration(100, kHour),
      "How long a connection may take until its handshake is done."));
  return fields;
}

In<ListenerTls> listener_tls_block() {
  static const In<ListenerTls> shared = block<ListenerTls>(
      "listener_tls", "TLS towards clients. A full handshake costs about as much as a hundred requests.",
      with_shared_tls_fields<ListenerTls>({
          field<&ListenerTls::mode>(
              "mode", choice<TlsMode>({"strict", "permissive"}),
              "permissive takes clients without TLS as well, told apart by their first bytes; "
              "for the time of a migration."),
          field<&ListenerTls::certificates>(
              "certificates", list(certificate_block(), 1),
              "Own certificates. Clients get the one that has the server name they ask for, else the first.")
              .must(),
          field<&ListenerTls::client_certificate>(
              "client_certificate", choice<ClientCertificate>({"none", "optional", "require"}),
              "Whether clients are asked for a certificate. One that is shown is always verified."),
          field<&ListenerTls::ca>("ca", text(kFile), "CAs that vouch for clients, as a PEM file."),
          field<&ListenerTls::crl>("crl", text(kFile), kCrlMeaning),
          field<&ListenerTls::ticket_lifetime_ms>("ticket_lifetime", duration(kSecond, 7 * kDay, "none"),
                                                  "How long a session can be taken up again, which saves "
                                                  "most of a handshake. Keys of tickets are "
                                                  "replaced as often."),
      }));
  return shared;
}

In<ClusterTls> cluster_tls_block() {
  return block<ClusterTls>(
      "cluster_tls", "TLS towards the endpoints.",
      with_shared_tls_fields<ClusterTls>({
          field<&ClusterTls::ca>(
              "ca", text(kFile),
              "CAs that vouch for endpoints, as a PEM file; left out, those of the system."),
          field<&ClusterTls::crl>("crl", text(kFile), kCrlMeaning),
          field<&ClusterTls::verify>(
              "verify", boolean(),
              "Whether the endpoint's certificate is checked. Without that, anyone on the "
              "way can read and change everything."),
          field<&ClusterTls::certificate>("certificate", optional(certificate_block()),
                                          "Own certificate, for endpoints that ask for one."),
          field<&ClusterTls::sni>(
              "sni", text(kHostName),
              "The server name that is sent, and that the certificate must be for unless there "
              "are peer_names; left out, the host name when all endpoints have the same. Without a "
              "name the certificate must be for the address."),
          field<&ClusterTls::resume>(
              "resume", boolean(), "Take up earlier sessions again, one kept for each endpoint and worker."),
      }));
}

In<Admin> admin_block() {
  return block<Admin>(
      "admin", "The admin port: health, metrics, the configuration in force, draining.",
      {
          field<&Admin::enabled>(
              "enabled", boolean(),
              "Whether the admin port is opened. Without it there are no metrics and no drain command."),
          field<&Admin::address>("address", address(AddressKind::kListener),
                                 "Where it listens: an IP address with a port (0 takes any free one), or a "
                                 "unix socket. It has no passwords: keep it "
                                 "on a loopback address or a unix socket, or ask for client certificates."),
          field<&Admin::socket_mode>("socket_mode", text(kFileMode),
                                     "The file mode of a unix socket; left out, the umask decides."),
          field<&Admin::tls>("tls", optional(listener_tls_block()), "TLS; left out, plain HTTP."),
          field<&Admin::hosts>(
              "hosts", list(text(kServerName)),
              "Names, without a port, under which clients may ask besides localhost and literal "
              "addresses. Other Host headers are refused, so that no page in a browser reaches the "
              "port by a name of its own."),
          field<&Admin::header_timeout_ms>(
              "header_timeout", duration(10, kHour),
              "How long the head of a request may take, from its first byte or the "
              "connection on."),
      });
}

In<Log> log_block() {
  return block<Log>(
      "log", "The diagnostic log.",
      {
          field<&Log::level>("level", choice<LogLevel>({"trace", "debug", "info", "warn", "error", "off"}),
                             "The least severe level that is written. debug and trace cost throughput."),
          field<&Log::format>("format", choice<LogFormat>({"text", "json"}),
                              "Lines for people or JSON objects for programs."),
          field<&Log::path>("path", text(kFile), "The file that lines are appended to."),
      });
}

In<NameServers> name_servers_block() {
  return block<NameServers>(
      "name_servers", "Who is asked for names of endpoints. /etc/hosts comes first; localhost is this host.",
      {
          field<&NameServers::servers>(
              "servers", list(address(AddressKind::kServer)),
              "Name servers, all asked in turn until one answers; left out, those of /etc/resolv.conf, whose "
              "search list counts in any case."),
          field<&NameServers::timeout_ms>(
              "timeout", duration(10, 60 * kSecond),
              "How long a server may take the first time it is asked; longer each further time."),
          field<&NameServers::tries>(
              "tries", whole(1, 20),
              "How often each is asked. A name without an answer has failed after that, and keeps the "
              "addresses it had."),
      });
}

In<Drain> drain_block() {
  return block<Drain>(
      "drain", "What happens between the order to stop and the end.",
      {
          field<&Drain::deadline_ms>("deadline", duration(0, kHour),
                                     "How long requests under way may go on. After it they are cut off."),
          field<&Drain::idle_grace_ms>("idle_grace", duration(0, kHour),
                                       "How long an idle connection is kept open, so that a request already "
                                       "on its way still gets an answer; "
                                       "an HTTP/2 connection whose client has said GOAWAY, too."),
          field<&Drain::lame_duck_ms>("lame_duck", duration(0, kHour),
                                      "How long, after SIGTERM or POST /drain, everything goes on as before "
                                      "while /ready says 503, so that load "
                                      "balancers and Kubernetes send no more clients before the listeners "
                                      "close. It counts as part of deadline, "
                                      "at most a third of it. SIGINT leaves it out."),
      });
}

In<AccessLog> access_log_block() {
  return block<AccessLog>(
      "access_log", "One line for each request. Left out, none are written and none are formatted.",
      {
          field<&AccessLog::path>("path", text(kFile), "The file that lines are appended to."),
          field<&AccessLog::format>(
              "format", choice<AccessLogLines>({"text", "json", "envoy", "istio"}),
              "Lines from the template, JSON objects with all fields, or the lines that Envoy or Istio write "
              "by default (what is not known here is -)."),
          field<&AccessLog::template_text>(
              "template", text(kLine),
              "The line, with %FIELD%, %REQ(header)% and %RESP(header)% where values go; format text only. "
              "Fewer fields cost less. "
              "proxy/observe/README.md has the fields, and the line that is written without a template."),
          field<&AccessLog::fields>("fields", text_map(kName, kLine),
                                    "Further values by name, each a template: members of the JSON object, or "
                                    "name=\"value\" at the end of other lines."),
          field<&AccessLog::queue_bytes>("queue_bytes", size(4 * kKiB, kGiB),
                                         "Memory for each worker's lines that wait for the disk. When it is "
                                         "full, lines are dropped and counted; requests never wait."),
      });
}

In<Metrics> metrics_block() {
  return block<Metrics>(
      "metrics", "Limits of the metrics.",
      {
          field<&Metrics::series_max>("series_max", whole(100, 10'000'000),
                                      "How many series are kept. Those beyond are summed up under the label "
                                      "\"other\", which bounds memory and the time of a scrape."),
      });
}

In<Buffer> buffer_block() {
  static const In<Buffer> shared = block<Buffer>(
      "buffer", "How much one connection may hold in memory.",
      {
          field<&Buffer::high_bytes>(
              "high", size(4 * kKiB, kGiB),
              "With this much waiting to be written, the other side is no longer read. Worst-case memory is "
              "about this for each connection and direction."),
          field<&Buffer::low_bytes>("low", size(0, kGiB),
                                    "Reading goes on when no more than this waits. Must be below high; the "
                                    "further below, the fewer stops and starts."),
          field<&Buffer::read_budget_bytes>(
              "read_budget", size(4 * kKiB, kGiB),
              "How much is read from one connection before the others of the worker get their turn. More "
              "favours throughput, less favours latency."),
          field<&Buffer::write_stall_timeout_ms>("write_stall_timeout", duration(100, kDay, "never"),
                                                 "A peer that takes no byte for so long is cut off."),
      });
  return shared;
}

In<HeaderEdits> header_edits_block() {
  static const In<HeaderEdits> shared = block<HeaderEdits>(
      "header_edits",
      "Changes to headers: remove, then set, then add. Each costs a search through the headers.",
      {
          field<&HeaderEdits::set>("set", text_map(kEditedHeader, kHeaderValue),
                                   "Headers that get this value, whatever they had."),
          field<&HeaderEdits::add>("add", text_map(kEditedHeader, kHeaderValue),
                                   "Headers that get one more field with this value."),
          field<&HeaderEdits::remove>("remove", texts(kEditedHeader, 0), "Headers that are taken out."),
      });
  return shared;
}

In<HeadersFilter> headers_filter_block() {
  return block<HeadersFilter>(
      "headers_filter", "Edits the headers of every request and response of the listener.",
      {
          field<&HeadersFilter::request>("request", header_edits_block(),
                                         "Edits to requests, seen by later filters and the routes."),
          field<&HeadersFilter::response>("response", header_edits_block(),
                                          "Edits to responses; over HTTP to those made here as well."),
      },
      {.type = "headers"});
}

In<FaultFilter> fault_filter_block() {
  const In<FaultAbort> abort = block<FaultAbort>(
      "fault_abort", "Requests that are answered with an error instead of being sent on.",
      {
          field<&FaultAbort::percent>("percent", percent(), "The share of requests, chosen at random.")
              .must(),
          field<&FaultAbort::status>("status", whole(200, 599),
                                     "The HTTP status of the answer; other protocols answer with their own "
                                     "status for the same kind of failure."),
      });
  const In<FaultDelay> delay = block<FaultDelay>(
      "fault_delay", "Requests that are held back before they are sent on.",
      {
          field<&FaultDelay::percent>("percent", percent(), "The share of requests, chosen at random.")
              .must(),
          field<&FaultDelay::duration_ms>("duration", duration(1, kHour),
                                          "How long. The request's memory is held meanwhile.")
              .must(),
      });
  return block<FaultFilter>(
      "fault_filter", "Makes a share of requests fail or wait, to see how callers bear it.",
      {
          field<&FaultFilter::abort>("abort", optional(abort), "Answers with an error."),
          field<&FaultFilter::delay>("delay", optional(delay), "Holds back."),
      },
      {.groups = {{Pick::kAtLeastOne, {"abort", "delay"}}}, .type = "fault"});
}

In<GrpcWebFilter> grpc_web_filter_block() {
  return block<GrpcWebFilter>("grpc_web_filter",
                              "Turns gRPC-Web, binary and text, of HTTP clients into gRPC for the clusters, "
                              "and the answers back. Other "
                              "requests pass. Filters before it see gRPC-Web. HTTP protocols only.",
                              {}, {.type = "grpc_web"});
}

In<Linger> linger_block() {
  return block<Linger>(
      "linger",
      "A closed connection whose client may still be sending: the last answer is flushed, the connection "
      "half-closed, and what comes "
      "is read and dropped, because a reset could destroy the answer before it was read. It still counts as "
      "a connection of the "
      "listener. What goes over a bound is reset.",
      {
          field<&Linger::timeout_ms>("timeout", duration(1, kHour),
                                     "How long at most, after the last answer was flushed."),
          field<&Linger::idle_timeout_ms>("idle_timeout", duration(1, kHour),
                                          "How long while nothing comes. A client that neither sends nor "
                                          "closes holds a connection so long."),
          field<&Linger::bytes_max>("bytes_max", size(0, 1024 * kGiB),
                                    "How much is read and dropped. Costs the network, not memory."),
          field<&Linger::connections_max>("connections_max", whole(0, 10'000'000),
                                          "How many such connections a worker keeps; for a further one the "
                                          "oldest is reset (limit lingering)."),
      });
}

In<ListenerHttp> listener_http_block() {
  return block<ListenerHttp>(
      "listener_http", "HTTP settings; listeners with an HTTP protocol only.",
      {
          field<&ListenerHttp::header_bytes_max>("header_bytes_max", size(kKiB, 16 * kMiB),
                                                 "Longest head of a request, in total; beyond, 431. A client "
                                                 "can make each connection hold so much."),
          field<&ListenerHttp::headers_max>("headers_max", whole(1, 10'000),
                                            "Most header fields of a request; beyond, 431."),
          field<&ListenerHttp::uri_bytes_max>("uri_bytes_max", size(64, 16 * kMiB),
                                              "Longest request target; beyond, 414."),
          field<&ListenerHttp::body_bytes_max>("body_bytes_max", size(1, 1024 * kGiB, "no limit"),
                                               "Longest body of a request; beyond, 413."),
          field<&ListenerHttp::header_timeout_ms>(
              "header_timeout", duration(100, kHour),
              "How long a client may take from the first byte of a head to its last; then 408."),
          field<&ListenerHttp::body_idle_timeout_ms>(
              "body_idle_timeout", duration(100, kDay, "never"),
              "How long a request body may pause before the exchange is ended."),
          field<&ListenerHttp::normalize_path>(
              "normalize_path", boolean(),
              "Resolve '.', '..', repeated slashes and needless escapes before routing, so that no "
              "spelling of a path gets around a route; the result is what is forwarded. Refused then: "
              "dot segments above the root, beside an encoded slash or with a parameter ('..;x'), or "
              "made by a route's prefix_rewrite; %00; a '%' without two digits."),
          field<&ListenerHttp::encoded_slashes>(
              "encoded_slashes", choice<PathBytes>({"pass", "refuse"}),
              "Paths with %2F or %5C. Routes see them as they are, and so does the server (names of "
              "packages and projects are spelt so). Refuse them (400) when servers decode them and "
              "routes decide who may do what."),
          field<&ListenerHttp::backslashes>("backslashes", choice<PathBytes>({"pass", "refuse"}),
                                            "Paths with a backslash, which is not allowed there. Some "
                                            "servers take it for a slash, and routes do not."),
          field<&ListenerHttp::trace_method>(
              "trace_method", choice<TraceMethod>({"reject", "allow"}),
              "Whether TRACE requests, which echo headers back, are passed on."),
          field<&ListenerHttp::upgrade>(
              "upgrade", texts(kToken, 0),
              "Protocols a client may upgrade to from HTTP/1. websocket: the connection "
              "is relayed as bytes after the server agreed. h2c: the connection goes on "
              "in HTTP/2 here, whatever the server speaks; the request that asks must have "
              "no body (protocols http1 and http; RFC 7540 3.2). An empty "
              "list forbids all; a request that asks is then served without."),
          field<&ListenerHttp::x_forwarded>("x_forwarded", choice<XForwarded>({"append", "set", "off"}),
                                            "Whether the client's address is added to x-forwarded-for, "
                                            "replaces it (where clients can't be trusted), or is left out. "
                                            "Clients on a unix socket have none."),
          field<&ListenerHttp::request_id>("request_id", boolean(),
                                           "Give a request without x-request-id a new random one."),
          field<&ListenerHttp::server_header>("server_header", choice<ServerHeader>({"pass", "remove"}),
                                              "Whether the server header of responses is passed on."),
      });
}

In<ListenerHttp2> listener_http2_block() {
  return block<ListenerHttp2>(
      "listener_http2",
      "HTTP/2 settings; listeners that speak it only. They bound what one connection may take; who goes over "
      "a bound that only an "
      "attack reaches is sent away with ENHANCE_YOUR_CALM and counted in "
      "dragoman_listener_codec_events_total.",
      {
          field<&ListenerHttp2::streams_max>(
              "streams_max", whole(1, 1'000'000),
              "Most requests under way at once on one connection; further ones are refused "
              "(REFUSED_STREAM), so that their clients may repeat them."),
          field<&ListenerHttp2::memory_bytes_max>(
              "memory_bytes_max", size(64 * kKiB, 64 * kGiB),
              "What heads of requests under way and unsent answers of one connection may take together. "
              "Beyond it new requests are "
              "refused as beyond streams_max, and beyond twice that the answer that would add to it is "
              "reset. Also what "
              "requests whose backends do not read may hold beyond connection_window_bytes before the others "
              "wait for them."),
          field<&ListenerHttp2::stream_window_bytes>("stream_window_bytes", size(1 * kKiB, 1 * kGiB),
                                                     "What a client may send ahead on one request. A request "
                                                     "that nobody reads holds so much memory."),
          field<&ListenerHttp2::connection_window_bytes>(
              "connection_window_bytes", size(64 * kKiB, 1 * kGiB),
              "The same for all requests of a connection together, as far as they move."),
          field<&ListenerHttp2::continuations_max>(
              "continuations_max", whole(0, 1'000),
              "Most CONTINUATION frames of one head, if http.header_bytes_max "
              "(four times that, in frames of 16 KiB) needs no more."),
          field<&ListenerHttp2::acks_max>(
              "acks_max", whole(1, 1'000'000),
              "Most answers to SETTINGS and PING that a client may leave unread."),
          field<&ListenerHttp2::resets_burst>(
              "resets_burst", whole(1, 1'000'000'000),
              "How many requests a client may give up at once before they are answered (rapid reset)."),
          field<&ListenerHttp2::resets_per_second>("resets_per_second", whole(0, 1'000'000'000),
                                                   "How many more each second."),
          field<&ListenerHttp2::own_resets_burst>("own_resets_burst", whole(1, 1'000'000'000),
                                                  "How many requests at once may have to be reset for what "
                                                  "the client sent: malformed, over its window, beyond "
                                                  "streams_max."),
          field<&ListenerHttp2::own_resets_per_second>("own_resets_per_second", whole(0, 1'000'000'000),
                                                       "How many more each second."),
          field<&ListenerHttp2::control_burst>(
              "control_burst", whole(100, 1'000'000'000),
              "How many frames may come at once that carry nothing: PRIORITY, empty DATA, WINDOW_UPDATE (1 "
              "each), PING (5), SETTINGS "
              "(20), HEADERS on a stream that was reset (5). What is sent pays for what answers it: a DATA "
              "frame for a PING and "
              "three updates, and for one more update each 512 bytes."),
          field<&ListenerHttp2::control_per_second>("control_per_second", whole(0, 1'000'000'000),
                                                    "How many more each second."),
          field<&ListenerHttp2::stall_timeout_ms>(
              "stall_timeout", duration(100, kDay, "never"),
              "An answer of which the client takes less than 1 KiB in so long is given up, however it "
              "opens its window."),
      });
}

In<Glitches> glitches_block() {
  return block<Glitches>(
      "glitches",
      "Odd things a peer does that its protocol tolerates, of every protocol: answers nobody asked for, ids "
      "used twice, "
      "requests that had to be refused, streams that stood still. A few are bugs; a connection with more "
      "ends: a client's with "
      "reason abuse, an endpoint's as if it had been reset, and both count codec event glitch_flood.",
      {
          field<&Glitches::burst>("burst", whole(1, 1'000'000'000), "How many at once on one connection."),
          field<&Glitches::per_second>("per_second", whole(0, 1'000'000'000), "How many more each second."),
      });
}

In<ListenerRpc> listener_rpc_block() {
  const In<BoltOptions> bolt = block<BoltOptions>(
      "bolt", "Settings of the Bolt protocol; listeners with protocol bolt only.",
      {
          field<&BoltOptions::verify_crc>(
              "verify_crc", boolean(),
              "Check the CRC-32 of frames that carry one. Costs one pass over every such frame's bytes."),
          field<&BoltOptions::read_body>(
              "read_body", boolean(),
              "Look for what SOFARPC clients put into a request's Hessian body only: method, service, and as headers xid, "
              "trace_id and rpc_id. Costs a walk over the beginning of every body, at most 32 KiB of it; "
              "what can't be read is left out and counted (codec event body_unread)."),
      });
  return block<ListenerRpc>(
      "listener_rpc", "Settings for framed RPC; listeners with a framed protocol (bolt) only.",
      {
          field<&ListenerRpc::frame_bytes_max>(
              "frame_bytes_max", size(kKiB, kGiB),
              "Longest frame of a request, whatever the protocol; a longer one is refused and ends the "
              "connection. Raise it where clients send more, as RocketMQ's batches or brpc's "
              "attachments do: protocols have no limit of their own but what their lengths can say. A "
              "frame that waits for its end is kept, so many of them cost so much memory each."),
          field<&ListenerRpc::headers_max>(
              "headers_max", whole(1, 10'000),
              "Most headers (attachments, context, extFields ...) of a request, where something asks "
              "for headers: a route, a filter, a log. One with more is refused and counted (codec "
              "event headers_overflow); the connection goes on. Each costs some 50 bytes while its "
              "request lasts."),
          field<&ListenerRpc::frame_timeout_ms>(
              "frame_timeout", duration(100, kHour, "never"),
              "How long a client may take from the first byte of a frame to its last."),
          field<&ListenerRpc::streams_max>(
              "streams_max", whole(1, 1'000'000),
              "Most requests under way at once on one connection; further ones are answered as overloaded."),
          field<&ListenerRpc::heartbeats_per_second_max>("heartbeats_per_second_max", whole(1, 1'000'000),
                                                         "More heartbeats than this end the connection."),
          field<&ListenerRpc::answers_bytes_max>(
              "answers_bytes_max", size(64 * kKiB, kGiB),
              "How much is kept for a client that does not read its answers (buffer.high is reached). "
              "Calls whose answers would be more get an error instead, counted as codec event "
              "answer_refused. Raise it for clients that ask for many large answers at once and read "
              "slowly; each such client may cost so much memory."),
          field<&ListenerRpc::goaway>(
              "goaway", boolean(),
              "Announce the end of a connection with the protocol's own frame when draining. Only for "
              "clients that understand it, such as other mesh proxies."),
          field<&ListenerRpc::unread_body>(
              "unread_body", choice<Strictness>({"pass", "refuse"}),
              "A request's body may say again, or say only, what routes match: Dubbo's attachments "
              "take the place of the service in front, Bolt's body has names where read_body looks for "
              "them. This is for bodies that can't be read: over 128 KiB, in another serialization, "
              "too deep. pass: such a request is routed by what is in front, and counted (codec event "
              "body_unread). refuse: it is answered as unsupported; for listeners whose routes keep "
              "clients from services. Costs the large calls."),
          field<&ListenerRpc::skipped_removals>(
              "skipped_removals", choice<Strictness>({"pass", "refuse"}),
              "A header of a request that is to be removed and can't be, since the message has no "
              "place for edits or its headers can't be read. pass: the request goes on as it came, and "
              "is counted (codec event edit_skipped). refuse: it is answered with an error "
              "(edit_failed) and not sent; where headers are removed because backends must not see "
              "them."),
          field<&ListenerRpc::bolt>("bolt", bolt, "Settings of the Bolt protocol."),
      });
}

In<ListenerProtocol> listener_protocol_block() {
  return block<ListenerProtocol>(
      "listener_protocol", "A protocol that is told from the others by the first bytes of a connection.",
      {
          field<&ListenerProtocol::protocol>(
              "protocol", text(kProtocol),
              "The protocol; tls passes TLS on to a cluster as it is, for listeners without tls of their own.")
              .must(),
          field<&ListenerProtocol::cluster>("cluster", text(kName), "The cluster that everything of it goes to."),
          field<&ListenerProtocol::routes>("routes", text(kName), "The route table that decides; not for tls."),
          field<&ListenerProtocol::sni>("sni", texts(kServerName, 1),
                                        "Protocol tls: only hellos with one of these server names, exact or "
                                        "\"*.suffix\"; left out, all that no other entry takes."),
      },
      {.groups = {{Pick::kExactlyOne, {"cluster", "routes"}}}});
}

In<Detect> detect_block() {
  return block<Detect>(
      "detect", "How long and how far the first bytes of a connection are looked at.",
      {
          field<&Detect::timeout_ms>(
              "timeout", duration(10, kHour),
              "How long a client that sends nothing is waited for. Clients that wait for the "
              "server to speak first wait so long."),
          field<&Detect::undecided_timeout_ms>(
              "undecided_timeout", duration(10, kHour),
              "How long, from its last byte on, a client is waited for whose bytes can still become "
              "one of the protocols; then what is there decides. Lost segments take up to some "
              "seconds. With silence: wait it is idle_timeout, which in any case bounds the time from "
              "the first byte on."),
          field<&Detect::bytes_max>("bytes_max", size(16, 64 * kKiB), "How many bytes to look at."),
          field<&Detect::silence>(
              "silence", text(kProtocol),
              "What a client that sent nothing in time gets: unknown (what on_unknown says), wait "
              "(until idle_timeout), or one of the protocols. auto is unknown with on_unknown: tcp, "
              "whose servers may speak first, and wait otherwise: pools connect before they send."),
      });
}

In<Observe> observe_block() {
  return block<Observe>(
      "observe", "How connections whose bytes are only relayed are watched for metrics.",
      {
          field<&Observe::outstanding_max>("outstanding_max", whole(1, 1'000'000),
                                           "Commands without an answer that one connection may have; with more it is not "
                                           "observed any longer (its bytes flow on). Each takes 12 bytes while it waits."),
      });
}

In<Retry> retry_block() {
  return block<Retry>(
      "retry",
      "Sending a request again after a failure. Each try adds load when there may be too much already: see "
      "the cluster's limits.retries.",
      {
          field<&Retry::on>("on",
                            bits({{"connect_failure", kRetryConnectFailure},
                                  {"reset", kRetryReset},
                                  {"refused", kRetryRefused},
                                  {"gateway_error", kRetryGatewayError},
                                  {"5xx", kRetry5xx},
                                  {"overloaded", kRetryOverloaded},
                                  {"timeout", kRetryTimeout}}),
                            "Which failures. Those that the endpoint may have acted on are only retried when "
                            "the request is safe to repeat."),
          field<&Retry::attempts>(
              "attempts", whole(0, 10),
              "How many further tries. What an endpoint did not touch is sent again without "
              "counting here."),
          field<&Retry::backoff_ms>(
              "backoff", duration(0, kHour),
              "Wait before the first further try; doubled for each one after, with some randomness."),
          field<&Retry::backoff_max_ms>("backoff_max", duration(0, kHour), "The longest wait."),
          field<&Retry::idempotent>(
              "idempotent", boolean(),
              "Declares every request of the route safe to repeat, whatever its method."),
          field<&Retry::body_bytes_max>(
              "body_bytes_max", size(0, 64 * kMiB),
              "Requests with a longer body are not sent again once some of it was sent. "
              "Bodies up to it are kept in memory until the answer begins, where a repeat "
              "could be safe: idempotent requests, and all requests to HTTP/2 endpoints, which may "
              "say that they did not touch one. Holds without a retry block, too."),
      });
}

In<ProxyProtocol> proxy_protocol_block() {
  return block<ProxyProtocol>(
      "proxy_protocol",
      "The PROXY protocol of HAProxy, versions 1 and 2: a load balancer in front says first, before TLS, who "
      "the client "
      "is. That address is then the client's in the access log, in x-forwarded-for, and towards clusters "
      "that "
      "send such headers on.",
      {
          field<&ProxyProtocol::accept>("accept", choice<AcceptProxy>({"required", "optional"}),
                                        "required: a connection without a valid header is closed "
                                        "(listener_protocol_errors, proxy_header). "
                                        "optional: it may begin without one; clients that wait for the "
                                        "server to speak first then wait for "
                                        "\"timeout\"."),
          field<&ProxyProtocol::trusted>(
              "trusted", texts(kIpPrefix, 1),
              "Whose headers are believed: the addresses of the load balancers. Others are refused "
              "when they send one, or when it is required (proxy_untrusted). Left out, everybody who can "
              "connect may "
              "claim any address. Peers on a unix socket are always trusted: the mode of its file says who "
              "may "
              "connect."),
          field<&ProxyProtocol::timeout_ms>(
              "timeout", duration(10, kHour),
              "How long the whole header may take; then the connection is closed "
              "(proxy_timeout), or, where it is optional, served without."),
          field<&ProxyProtocol::bytes_max>("bytes_max", size(232, 65'551),
                                           "The longest header of version 2, with its extensions (TLVs), "
                                           "which are skipped; a longer one is "
                                           "refused. One of version 1 has at most 107 bytes."),
      });
}

In<Listener> listener_block() {
  return block<Listener>(
      "listener", "An address that clients connect to, and where their requests go.",
      {
          field<&Listener::name>("name", text(kName),
                                 "Names the listener in logs and metrics. Must be unique.")
              .must(),
          field<&Listener::address>(
              "address", address(AddressKind::kListener),
              "Where it listens. IP:port; port 0 takes any free port, \"[::]\" takes IPv4 as well (see "
              "ipv6_only), and a link-local address needs its zone, the name or number of an interface: "
              "[fe80::1%eth0]:80. Or a unix socket: unix:/path, at most 107 bytes, which is made at the "
              "start and removed at the end (one that is left over from a process that died is replaced), "
              "or unix:@name in Linux's abstract namespace, which has no files. Unix sockets have no resets: "
              "an answer that is cut "
              "just ends, which clients only see by its length.")
              .must(),
          field<&Listener::socket_mode>(
              "socket_mode", text(kFileMode),
              "Unix sockets: the mode of the file, in octal. Who may write to it may connect; left out, the "
              "umask decides.")
              .where<Listener, is_unix_listener>(),
          field<&Listener::ipv6_only>(
              "ipv6_only", boolean(),
              "\"[::]\" takes IPv6 only, whatever the system's default is. To be set when "
              "0.0.0.0 with the same port is another listener."),
          field<&Listener::protocol>(
              "protocol", text(kProtocol),
              "What clients speak: http1, http2, http (both, by the first bytes), tcp, redis, mysql, a "
              "framed RPC protocol that is built in (dragoman codec list), one of codecs, or auto for "
              "several on one port. tcp relays bytes without looking at them; redis and mysql do the "
              "same and count commands, errors and durations meanwhile.")
              .must(),
          field<&Listener::cluster>(
              "cluster", text(kName),
              "The cluster that everything goes to; protocol auto: where unknown bytes go."),
          field<&Listener::routes>("routes", text(kName),
                                   "The route table that decides; not for tcp, redis and mysql."),
          field<&Listener::protocols>("protocols", list(listener_protocol_block(), 1),
                                      "Protocol auto: what is told apart. Asked in this order.")
              .where<Listener, is_auto_listener>(),
          field<&Listener::on_unknown>(
              "on_unknown", choice<OnUnknown>({"reject", "tcp"}),
              "Protocol auto: what becomes of a connection that speaks none of the protocols: "
              "closed, or relayed byte for byte to the cluster.")
              .where<Listener, is_auto_listener>(),
          field<&Listener::detect>("detect", detect_block(),
                                   "Protocol auto: how the first bytes are looked at.")
              .where<Listener, is_auto_listener>(),
          field<&Listener::backlog>("backlog", whole(1, 65'535),
                                    "How many connections the kernel keeps waiting to be accepted; the "
                                    "kernel may cap it (somaxconn)."),
          field<&Listener::connection_balance>(
              "connection_balance", choice<ConnectionBalance>({"kernel", "exact"}),
              "Which worker gets a new connection. kernel: whoever the kernel picks, by a hash of the "
              "addresses: free, and even "
              "for many connections. exact: the worker that has the fewest of this listener, for few "
              "long ones (HTTP/2, RPC), of which one worker could get most; costs a lock, and where another "
              "worker "
              "accepted it a hop between threads, per connection. Unix sockets are always exact."),
          field<&Listener::proxy_protocol>(
              "proxy_protocol", optional(proxy_protocol_block()),
              "PROXY protocol headers of clients; left out, there are none, and their "
              "bytes are the client's."),
          field<&Listener::connections_max>(
              "connections_max", whole(1, 10'000'000),
              "Most connections at once, over all workers. Beyond, new ones wait in the backlog."),
          field<&Listener::accept_per_turn>("accept_per_turn", whole(1, 10'000),
                                            "How many connections one worker accepts before it serves "
                                            "others. More shortens bursts, less keeps latency even."),
          field<&Listener::idle_timeout_ms>(
              "idle_timeout", duration(100, 7 * kDay, "never"),
              "A connection without a request and without a byte for so long is closed."),
          field<&Listener::timeout_ms>(
              "timeout", optional(duration(1, 7 * kDay, "none")),
              "The \"timeout\" of requests whose route and cluster have none; not for tcp, redis and mysql."),
          field<&Listener::timeout_max_ms>("timeout_max", optional(duration(1, 7 * kDay, "none")),
                                           "The same for \"timeout_max\"."),
          field<&Listener::retry>("retry", optional(retry_block()), "The same for \"retry\"."),
          field<&Listener::half_close>("half_close", choice<HalfClose>({"cancel", "serve"}),
                                       "What a client's FIN means while requests of it are under way. "
                                       "cancel: it left, and its calls are given up, "
                                       "upstream too; one-way requests and tunnels go on. serve: it may only "
                                       "have stopped sending (nc -N, "
                                       "shutdown(SHUT_WR)) and gets its answers, so what a client that left "
                                       "had asked for is worked on to the end."),
          field<&Listener::hops_max>(
              "hops_max", optional(whole(0, 1'000)),
              "A request that has come through so many of these proxies is refused (loop_detected; HTTP "
              "508). "
              "They count in a header of the request, x-dragoman-hops; a message with no place for one goes "
              "on "
              "uncounted. 0 = do not count and send none. Left out: for HTTP protocols 32, and only one in "
              "16 "
              "requests without the header gets it, which ends loops a few turns later and costs the others "
              "nothing (set the key to have it on all). Left out for framed protocols: 32 as well, but only "
              "while more than 1024 requests are under way on one worker, as in a loop; the others pass "
              "byte for byte as they came (set it, and the headers of each request are read and written). "
              "Not for tcp, redis and mysql."),
          field<&Listener::tell_reason>(
              "tell_reason", boolean(),
              "An answer that is made here says why in a header, x-dragoman-reason, wherever the protocol's "
              "answers carry headers: one of the reasons of the access log, and \"; unsent\" when no "
              "endpoint "
              "has seen the request. For listeners whose clients are sidecars too (cluster key sidecar); "
              "others would learn what goes on behind. Costs framed answers the reading of their headers, "
              "because endpoints may not use that name. Not for tcp, redis and mysql."),
          field<&Listener::tls>("tls", optional(listener_tls_block()),
                                "TLS towards clients; left out, none."),
          field<&Listener::filters>(
              "filters",
              list(typed_block(headers_filter_block(), fault_filter_block(), grpc_web_filter_block())),
              "What requests pass on their way to the routes, in this order; responses "
              "pass them backwards. Not for tcp, redis and mysql."),
          field<&Listener::http>("http", listener_http_block(), "HTTP settings; HTTP protocols only.")
              .where<Listener, is_http_listener>(),
          field<&Listener::http2>("http2", listener_http2_block(),
                                  "HTTP/2 settings; protocols http2 and http only.")
              .where<Listener, is_http2_listener>(),
          field<&Listener::rpc>("rpc", listener_rpc_block(),
                                "Settings for framed RPC; framed protocols (bolt) only.")
              .where<Listener, is_framed_listener>(),
          field<&Listener::observe>("observe", observe_block(),
                                    "Protocols redis and mysql: how they are observed.")
              .where<Listener, is_observed_listener>(),
          field<&Listener::glitches>("glitches", glitches_block(), "How much oddness a connection survives."),
          field<&Listener::waiting_bytes_max>(
              "waiting_bytes_max", size(64 * kKiB, 64 * kGiB),
              "What the requests of one client connection may hold in memory while they wait for a "
              "backend, or because they may be repeated. Beyond it a request that waits is refused "
              "(request_overflow), and no more is kept for repeats. Memory is counted in pieces of "
              "16KiB, so that the default is enough for 1,024 small requests at once."),
          field<&Listener::buffer>("buffer", buffer_block(), "Memory for each client connection."),
          field<&Listener::linger>("linger", linger_block(),
                                   "How connections end whose client is still sending."),
      },
      {.groups = {{Pick::kAtMostOne, {"cluster", "routes"}}}});
}

In<Match> match_block() {
  const In<HeaderMatch> header = block<HeaderMatch>(
      "header_match", "A condition on one header.",
      {
          field<&HeaderMatch::name>("name", text(kHeaderName), "The header; letter case does not matter.")
              .must(),
          field<&HeaderMatch::exact>("exact", optional(text(kMatchedText)), "The value is this."),
          field<&HeaderMatch::prefix>("prefix", optional(text(kMatchedText)), "The value starts with this."),
          field<&HeaderMatch::suffix>("suffix", optional(text(kMatchedText)), "The value ends with this."),
          field<&HeaderMatch::regex>(
              "regex", optional(text(kMatchedRegex)),
              "The whole value matches this RE2 expression. Costs more than the others."),
          field<&HeaderMatch::present>("present", optional(boolean()),
                                       "The header is there (true) or is not (false)."),
          field<&HeaderMatch::invert>("invert", boolean(), "Turn the condition into its opposite."),
      },
      {.groups = {{Pick::kExactlyOne, {"exact", "prefix", "suffix", "regex", "present"}}}});
  return block<Match>(
      "match", "All conditions given must hold. Without any, every request matches.",
      {
          field<&Match::path>("path", text(kPath), "The path, without query, is this."),
          field<&Match::prefix>("prefix", text(kPath), "The path starts with this."),
          field<&Match::regex>(
              "regex", text(kRegex),
              "The whole path, without query, matches this RE2 expression. Costs more than path and prefix."),
          field<&Match::method>(
              "method", texts(kWord, 1, true),
              "The method is one of these: the HTTP method, or the method of the RPC service."),
          field<&Match::service>("service", text(kWord),
                                 "The RPC service is this; a '*' at the end makes it a prefix."),
          field<&Match::group>(
              "group", text(kWord),
              "The group of the service is this: tri-service-group of Triple, the header \"group\" of "
              "framed RPC (Dubbo)."),
          field<&Match::version>(
              "version", text(kWord),
              "The version of the service is this: tri-service-version of Triple (a call without one "
              "is 1.0.0), the header \"version\" of framed RPC (Dubbo)."),
          field<&Match::sni>(
              "sni", text(kServerName),
              "The server name in the client's TLS hello is this, or one label before a suffix "
              "(\"*.example.org\"). Never holds without TLS."),
          field<&Match::headers>(
              "headers", list(header),
              "All these conditions on headers hold. For RPC the headers of every request are then decoded."),
      },
      {.groups = {{Pick::kAtMostOne, {"path", "prefix", "regex"}}}});
}

In<Route> route_block() {
  const In<WeightedCluster> weighted = block<WeightedCluster>(
      "weighted_cluster", "A cluster's share of a route.",
      {
          field<&WeightedCluster::name>("name", text(kName), "The cluster.").must(),
          field<&WeightedCluster::weight>("weight", whole(0, 1'000'000),
                                          "Its share, relative to the sum of all weights of the route."),
      });
  const In<Redirect> redirect = block<Redirect>(
      "redirect",
      "An answer that sends the client elsewhere; HTTP only. What is not given is taken from the request.",
      {
          field<&Redirect::host>("host", text(kHost), "The host, with or without a port."),
          field<&Redirect::path>("path", text(kRedirectPath), "The path, in place of the whole one."),
          field<&Redirect::prefix>("prefix", text(kRedirectPath),
                                   "What replaces the part that match.prefix matched."),
          field<&Redirect::scheme>("scheme", word({"http", "https"}), "The scheme."),
          field<&Redirect::status>(
              "status", one_of_numbers({301, 302, 303, 307, 308}),
              "The status. 307 and 308 keep the method; 301 and 308 may be cached for ever."),
      },
      {.groups = {{Pick::kAtMostOne, {"path", "prefix"}},
                  {Pick::kAtLeastOne, {"host", "path", "prefix", "scheme"}}}});
  const In<DirectResponse> direct = block<DirectResponse>(
      "direct_response", "A fixed answer, given without any endpoint.",
      {
          field<&DirectResponse::status>(
              "status", whole(200, 599),
              "The HTTP status; other protocols answer with their own status of the same kind."),
          field<&DirectResponse::body>("body", text(kBody), "The body."),
          field<&DirectResponse::content_type>("content_type", text(kHeaderText),
                                               "The media type of the body."),
      });
  return block<Route>(
      "route", "Which requests, and what is done with them. The first route that matches is taken.",
      {
          field<&Route::match>("match", match_block(), "Which requests; left out, all."),
          field<&Route::cluster>("cluster", text(kName), "Send to this cluster."),
          field<&Route::clusters>("clusters", list(weighted, 1),
                                  "Send to one of these clusters, chosen at random by weight."),
          field<&Route::redirect>("redirect", optional(redirect), "Send the client elsewhere."),
          field<&Route::direct_response>("direct_response", optional(direct), "Answer at once."),
          field<&Route::name>(
              "name", text(kName),
              "Names the route in metrics and logs; left out, <table>.<virtual host>.<index>."),
          field<&Route::timeout_ms>(
              "timeout", optional(duration(1, 7 * kDay, "none")),
              "Longest time for an exchange with all its tries, from the end of the request to the "
              "answer: its head over HTTP, which may then stream under idle_timeout, all of it over "
              "framed RPC. A request that waits here for a connection runs the same clock. For callers "
              "that give no deadline of their own. Left out: the cluster's, the listener's, else the "
              "protocol's: 15s; 60s for rocketmq and seata; none for gRPC, whose calls end by "
              "idle_timeout. Raise it for slow services; until it passes, a hung endpoint keeps a "
              "request."),
          field<&Route::timeout_max_ms>(
              "timeout_max", optional(duration(1, 7 * kDay, "none")),
              "Longest deadline that a caller may set itself (grpc-timeout, tri-service-timeout, "
              "timeouts in frames). Left out: the cluster's, the listener's, else \"timeout\" where "
              "one is written, else none."),
          field<&Route::per_try_timeout_ms>("per_try_timeout", duration(1, 7 * kDay, "none"),
                                            "Longest time for one try."),
          field<&Route::idle_timeout_ms>(
              "idle_timeout", duration(1, 7 * kDay, "none"),
              "An exchange without a byte in either direction for so long is ended: one that streams, "
              "and one without a timeout that waits for its answer. Bytes that a slow client takes "
              "count."),
          field<&Route::retry>(
              "retry", optional(retry_block()),
              "Further tries after a failure. Left out: the cluster's, the listener's, else none."),
          field<&Route::prefix_rewrite>(
              "prefix_rewrite", text(kRedirectPath),
              "Replaces the part of the path that match.prefix or match.path matched; HTTP only."),
          field<&Route::host_rewrite>("host_rewrite", text(kHost),
                                      "Replaces the host of the request; HTTP only."),
          field<&Route::request_headers>("request_headers", header_edits_block(), "Edits to requests."),
          field<&Route::response_headers>("response_headers", header_edits_block(), "Edits to responses."),
          field<&Route::request_body_bytes_max>(
              "request_body_bytes_max", size(1, 1024 * kGiB, "no limit of its own"),
              "Longest body of a request; the listener's limit holds as well."),
          field<&Route::one_way>(
              "one_way", boolean(),
              "Nobody answers these requests, though they look like calls: the exchange ends when the "
              "request is sent, no deadline runs for an answer, and one that comes anyway is dropped "
              "and counted (codec event one_way_answered). For methods that an interface declares "
              "one-way and whose clients don't say so on the wire, as Apache Thrift for Go. RPC only."),
      },
      {.groups = {{Pick::kExactlyOne, {"cluster", "clusters", "redirect", "direct_response"}}}});
}

In<RouteTable> route_table_block() {
  const In<Route> route = route_block();
  const In<VirtualHost> virtual_host = block<VirtualHost>(
      "virtual_host",
      "Routes for some hosts. An exact domain wins over \"*.suffix\", that over \"prefix.*\", that over "
      "\"*\"; of two suffixes or prefixes, the longer.",
      {
          field<&VirtualHost::name>("name", text(kName),
                                    "Names the virtual host. Must be unique in its table.")
              .must(),
          field<&VirtualHost::domains>("domains", texts(kDomain, 1),
                                       "Hosts of requests, without port: exact, \"*.suffix\", \"prefix.*\", "
                                       "or \"*\". Letter case does not matter.")
              .must(),
          field<&VirtualHost::routes>("routes", list(route, 1), "Tried in this order.").must(),
      });
  return block<RouteTable>(
      "route_table", "A named list of routes that listeners refer to.",
      {
          field<&RouteTable::name>("name", text(kName), "What listeners call it. Must be unique.").must(),
          field<&RouteTable::virtual_hosts>("virtual_hosts", list(virtual_host, 1),
                                            "Routes by the host of the request."),
          field<&RouteTable::routes>(
              "routes", list(route, 1),
              "Routes for every host: short for one virtual host with domains [\"*\"]."),
      },
      {.groups = {{Pick::kExactlyOne, {"virtual_hosts", "routes"}}}});
}

In<HealthCheck> health_check_block() {
  return block<HealthCheck>(
      "health_check",
      "Probes of every endpoint. Left out, endpoints count as healthy until outlier ejects them.",
      {
          field<&HealthCheck::type>("type", choice<HealthCheckType>({"tcp", "http", "heartbeat", "grpc"}),
                                    "Connect only, a GET, the protocol's own heartbeat, or a call of "
                                    "grpc.health.v1.Health/Check."),
          field<&HealthCheck::interval_ms>("interval", duration(100, kHour),
                                           "Between the start of two probes of an endpoint. Shorter notices "
                                           "failures sooner and costs each endpoint more."),
          field<&HealthCheck::timeout_ms>("timeout", duration(10, kHour),
                                          "A probe without an answer for so long has failed."),
          field<&HealthCheck::healthy_threshold>("healthy_threshold", whole(1, 100),
                                                 "Good probes in a row before a bad endpoint is used again."),
          field<&HealthCheck::unhealthy_threshold>(
              "unhealthy_threshold", whole(1, 100),
              "Failed probes in a row before an endpoint is no longer used."),
          field<&HealthCheck::path>("path", text(kRedirectPath), "What to GET; type http only.")
              .where<HealthCheck, is_http_check>(),
          field<&HealthCheck::host>("host", text(kHost),
                                    "The host header; types http and grpc only; left out, the endpoint's address.")
              .where<HealthCheck, is_request_check>(),
          field<&HealthCheck::expect>("expect", list(status_range(), 1),
                                      "Statuses of a good answer; type http only.")
              .where<HealthCheck, is_http_check>(),
          field<&HealthCheck::service>("service", text(kWord),
                                       "The service to ask about; type grpc only; left out, the server as a whole.")
              .where<HealthCheck, is_grpc_check>(),
          field<&HealthCheck::jitter_percent>("jitter", whole(0, 100),
                                              "Percent by which intervals vary at random, so that probes of "
                                              "many proxies do not come at once."),
      });
}

In<Cluster> cluster_block() {
  const In<Endpoint> endpoint = block<Endpoint>(
      "endpoint", "A server of a cluster.",
      {
          field<&Endpoint::address>(
              "address", address(AddressKind::kEndpoint),
              "Where it listens. A name is resolved, and each of its addresses becomes an endpoint. "
              "Link-local addresses need the zone they are in ([fe80::1%eth0]:80), which is looked up at "
              "each "
              "connect; unix:/path and unix:@name are unix sockets.")
              .must(),
          field<&Endpoint::weight>("weight", whole(1, 1'000),
                                   "Its share of requests, relative to the others."),
      },
      {.shorthand = "address"});
  const In<Dns> dns =
      block<Dns>("dns", "Resolving the names among the endpoints.",
                 {
                     field<&Dns::refresh_ms>(
                         "refresh", duration(kSecond, kDay),
                         "When a name is resolved anew whose answer does not say how long it holds: those of "
                         "/etc/hosts. After a failure the pause grows from ttl_min up to this."),
                     field<&Dns::ttl_min_ms>(
                         "ttl_min", duration(10, kDay),
                         "Answers are used at least so long, even if their TTL is shorter. Longer asks the "
                         "name server less and follows changes later."),
                     field<&Dns::ttl_max_ms>("ttl_max", duration(kSecond, kDay),
                                             "The same at most: how late a change is seen that comes before "
                                             "the TTL of the old answer is over."),
                 });
  const In<Pool> pool = block<Pool>(
      "pool", "Connections to each endpoint, kept by each worker.",
      {
          field<&Pool::mode>(
              "mode", choice<PoolMode>({"auto", "multiplex", "ping_pong", "bound"}),
              "multiplex shares connections between requests (framed protocols); ping_pong has one "
              "request at a time on each (in Thrift, and protocols without ids, a connection ends "
              "after a one-way request); bound gives each client connection one of its own (framed "
              "protocols); auto takes multiplex where it can."),
          field<&Pool::connections>("connections", whole(1, 1'024),
                                    "Mode multiplex: connections for each endpoint and worker. More than one "
                                    "helps when one TCP stream is the bottleneck."),
          field<&Pool::connections_max>(
              "connections_max", whole(1, 1'024),
              "Mode multiplex: when all of them are full (HTTP/2 servers often take 100 requests on each), "
              "more are opened up to this number for each endpoint and worker, and closed when unused for "
              "idle_timeout. Below `connections` it has no effect."),
          field<&Pool::idle_timeout_ms>(
              "idle_timeout", duration(10, kDay, "never"),
              "An unused connection of mode ping_pong, or beyond `connections`, is closed after this. Keep "
              "it below the idle timeout of the servers, or requests run into closing connections."),
          field<&Pool::requests_per_connection_max>("requests_per_connection_max", whole(0, 1'000'000'000),
                                                    "A connection is closed after so many requests; 0 = no "
                                                    "limit. Spreads load after endpoints change."),
          field<&Pool::heartbeat_interval_ms>("heartbeat_interval", duration(100, kDay, "none"),
                                              "How often the protocol's heartbeat is sent on an idle "
                                              "connection; protocols with heartbeats (bolt) only."),
          field<&Pool::heartbeat_misses_max>(
              "heartbeat_misses_max", whole(1, 100),
              "So many heartbeats in a row without an answer end the connection."),
          field<&Pool::goaway_pause_ms>("goaway_pause", duration(100, kHour, "none"),
                                        "Framed protocols: an endpoint that says it takes no more requests "
                                        "is not chosen for so long while there are others. Shorter than its "
                                        "process takes to end, new connections go to one that is about to."),
          field<&Pool::timeouts_max>(
              "timeouts_max", whole(0, 1'000),
              "So many requests in a row that timed out while a connection brought no byte retire it, "
              "and those of the same endpoint that were as silent; 0 = never. Finds servers that "
              "vanished without a word."),
      });
  const In<Limits> limits = block<Limits>(
      "limits", "Circuit breakers, over all workers. What is beyond is refused at once as overloaded.",
      {
          field<&Limits::connections>("connections", whole(1, 10'000'000),
                                      "Most connections to the cluster."),
          field<&Limits::pending_requests>("pending_requests", whole(0, 10'000'000),
                                           "Most requests that wait for a connection."),
          field<&Limits::requests>("requests", whole(1, 10'000'000), "Most requests under way."),
          field<&Limits::retries>("retries", whole(0, 10'000'000),
                                  "Most retries under way. Keeps retries from multiplying an overload."),
          field<&Limits::tries_per_second>("tries_per_second", whole(0, 10'000'000),
                                           "Most tries to each endpoint in a second, over all workers: "
                                           "requests sent to it, repeats too, or "
                                           "connections of tcp, redis and mysql. A second's worth may come "
                                           "at once; what is beyond is refused "
                                           "(tries_overflow). 0 = no limit. Bounds what a loop over other "
                                           "processes, or a client gone wild, "
                                           "costs an endpoint; set it well above the busiest second."),
      });
  const In<Outlier> outlier = block<Outlier>(
      "outlier", "Takes out endpoints whose requests fail. Left out, none are.",
      {
          field<&Outlier::consecutive_failures>("consecutive_failures", whole(1, 1'000),
                                                "Failures in a row that eject an endpoint."),
          field<&Outlier::ejection_time_ms>(
              "ejection_time", duration(100, kDay),
              "How long an endpoint stays out the first time; longer each further time."),
          field<&Outlier::max_ejection_percent>("max_ejection_percent", whole(0, 100),
                                                "Never more of the endpoints than this are out at once."),
      });
  const In<ClusterHttp> http = block<ClusterHttp>(
      "cluster_http", "HTTP settings; clusters with an HTTP protocol only.",
      {
          field<&ClusterHttp::header_bytes_max>("header_bytes_max", size(kKiB, 16 * kMiB),
                                                "Longest head of a response, in total; beyond, 502."),
          field<&ClusterHttp::headers_max>("headers_max", whole(1, 10'000),
                                           "Most header fields of a response; beyond, 502."),
          field<&ClusterHttp::underscores>(
              "underscores", choice<Underscores>({"drop", "refuse", "pass"}),
              "Requests to HTTP/1 servers: fields and trailers whose names have an underscore. Many "
              "servers take Content_Length for Content-Length, so such a field may frame or route a "
              "request in another way than it was judged here. Drop leaves the field out (codec event "
              "field_dropped), refuse answers 400. HTTP/2 servers get them."),
      });
  const In<ClusterHttp2> http2 = block<ClusterHttp2>(
      "cluster_http2", "HTTP/2 settings; clusters with protocol http2 only.",
      {
          field<&ClusterHttp2::streams_max>(
              "streams_max", whole(1, 1'000'000),
              "Most requests at once on one connection, if the server takes so many; further ones go to another "
              "connection (pool.connections, connections_max), or wait."),
          field<&ClusterHttp2::stream_window_bytes>(
              "stream_window_bytes", size(1 * kKiB, 1 * kGiB),
              "What a server may send ahead on one answer. An answer that its client does not read holds so much memory."),
          field<&ClusterHttp2::connection_window_bytes>(
              "connection_window_bytes", size(64 * kKiB, 1 * kGiB),
              "The same for all answers on a connection together, as far as they move."),
          field<&ClusterHttp2::memory_bytes_max>(
              "memory_bytes_max", size(64 * kKiB, 64 * kGiB),
              "What answers whose clients do not read may hold beyond connection_window_bytes, so that the others on the connection go "
              "on. At half of it further requests go to another connection; when all is used, the others wait. Raise it when many "
              "slow clients share few connections; each connection may then take as much memory."),
          field<&ClusterHttp2::stall_timeout_ms>(
              "stall_timeout", duration(100, kDay, "never"),
              "A request body of which the server takes less than 1 KiB in so long is given up."),
          field<&ClusterHttp2::settings_timeout_ms>(
              "settings_timeout", duration(10, kHour, "never"),
              "How long a server may take to say what it accepts; no request is sent before."),
      });
  const In<ClusterRpc> rpc = block<ClusterRpc>(
      "cluster_rpc", "Settings for framed RPC; clusters with a framed protocol (bolt) only.",
      {
          field<&ClusterRpc::frame_bytes_max>(
              "frame_bytes_max", size(kKiB, kGiB),
              "Longest frame of a response, whatever the protocol; a longer one ends the connection."),
          field<&ClusterRpc::headers_max>(
              "headers_max", whole(1, 10'000),
              "Most headers of a response, where something asks for them. One with more fails its call and is counted "
              "(codec event headers_overflow); the connection goes on."),
      });
  return block<Cluster>(
      "cluster", "Servers that do the same work.",
      {
          field<&Cluster::name>("name", text(kName), "What listeners and routes call it. Must be unique.")
              .must(),
          field<&Cluster::protocol>(
              "protocol", text(kProtocol),
              "What the servers speak; left out, the protocol of the listeners that lead here."),
          field<&Cluster::endpoints>("endpoints", list(endpoint, 1), "The servers."),
          field<&Cluster::srv>("srv", texts(kHostName, 1),
                               "Names of SRV records (_service._tcp.example.org): their targets are "
                               "endpoints, with the port and the weight of "
                               "the record. Of the priorities, the lowest that has an address is used. "
                               "Besides `endpoints`, or instead."),
          field<&Cluster::dns>("dns", dns, "Resolving the names among the endpoints."),
          field<&Cluster::lb>("lb", choice<LbPolicy>({"round_robin", "random", "least_request"}),
                              "How an endpoint is chosen. least_request suits requests of uneven cost."),
          field<&Cluster::tls>("tls", optional(cluster_tls_block()),
                               "TLS towards the endpoints; left out, none."),
          field<&Cluster::proxy_protocol>(
              "proxy_protocol", choice<SendProxy>({"off", "v1", "v2"}),
              "What is sent first on each connection, before TLS: a PROXY protocol header (version 1 is a "
              "line of text, "
              "version 2 binary) with the client's address and the one it connected to. For servers that "
              "expect it, and only "
              "where a connection serves one client: protocols tcp, redis and mysql, and bound pools. "
              "Health checks speak for themselves (UNKNOWN, LOCAL)."),
          field<&Cluster::connect_timeout_ms>("connect_timeout", duration(1, kHour),
                                              "Longest time for a connection to be established."),
          field<&Cluster::connect_backoff_ms>(
              "connect_backoff", duration(1, kHour, "none"),
              "From the sixth connection in a row on that failed, or was closed before it was of use, "
              "the next one to that endpoint waits so long, then twice as long each time. Each worker "
              "counts for itself."),
          field<&Cluster::connect_backoff_max_ms>(
              "connect_backoff_max", duration(1, kHour),
              "The longest of these waits: how soon, at the latest, a server that is "
              "back is found."),
          field<&Cluster::tcp_user_timeout_ms>("tcp_user_timeout", duration(100, kDay, "the system's"),
                                               "A connection on which sent bytes, or keep-alive probes, stay "
                                               "unacknowledged for so long is broken "
                                               "(TCP_USER_TIMEOUT). Shorter finds vanished hosts sooner and "
                                               "breaks connections over bad networks."),
          field<&Cluster::timeout_ms>("timeout", optional(duration(1, 7 * kDay, "none")),
                                      "The \"timeout\" of requests whose route has none."),
          field<&Cluster::timeout_max_ms>("timeout_max", optional(duration(1, 7 * kDay, "none")),
                                          "The same for \"timeout_max\"."),
          field<&Cluster::retry>("retry", optional(retry_block()), "The same for \"retry\"."),
          field<&Cluster::pool>("pool", pool, "Connections to each endpoint."),
          field<&Cluster::limits>("limits", limits, "Circuit breakers."),
          field<&Cluster::health_check>("health_check", optional(health_check_block()),
                                        "Probes of every endpoint; left out, none."),
          field<&Cluster::outlier>("outlier", optional(outlier),
                                   "Takes out endpoints whose requests fail; left out, none are."),
          field<&Cluster::panic_threshold_percent>(
              "panic_threshold", whole(0, 100),
              "With fewer percent of the endpoints healthy, health is ignored and all are used, so that the "
              "rest is not overrun; 0 = never."),
          field<&Cluster::http>("http", http, "HTTP settings; HTTP protocols only.")
              .where<Cluster, is_http_cluster>(),
          field<&Cluster::http2>("http2", http2, "HTTP/2 settings; protocol http2 only.")
              .where<Cluster, is_http2_cluster>(),
          field<&Cluster::rpc>("rpc", rpc, "Settings for framed RPC; framed protocols (bolt) only.")
              .where<Cluster, is_framed_cluster>(),
          field<&Cluster::sidecar>(
              "sidecar", boolean(),
              "The endpoints are listeners of such proxies with tell_reason, and are believed: what they say "
              "of "
              "their answers is logged (PEER_REASON) and counted (dragoman_cluster_peer_reasons_total), and "
              "taken off unless this listener tells reasons itself. A request that an overloaded or cut off "
              "one "
              "has not sent is repeated once at another endpoint, whatever its method; requests keep up to "
              "retry.body_bytes_max of their body for that. Not for tcp, redis and mysql."),
          field<&Cluster::glitches>("glitches", glitches_block(),
                                    "How much oddness a connection to an endpoint survives."),
          field<&Cluster::buffer>("buffer", buffer_block(), "Memory for each connection to an endpoint."),
      },
      {.groups = {{Pick::kAtLeastOne, {"endpoints", "srv"}}}});
}

In<Codec> codec_block() {
  return block<Codec>(
      "codec", "A protocol that is not built in. Files are read again at each reload; what changed is swapped in for "
               "new connections, and old ones end with the version they began with.",
      {
          field<&Codec::name>("name", text(kProtocol),
                              "What listeners and clusters call it. Must be unique, and none of the built-in "
                              "protocols.")
              .must(),
          field<&Codec::path>("path", text(kFile),
                              "A shared library (protocols/README.md), relative to the folder of this file."),
          field<&Codec::descriptor>("descriptor", text(kFile),
                                    "A description in YAML (protocols/descriptors/README.md), relative to the folder of "
                                    "this file. Read again when it changes."),
          field<&Codec::codec>("codec", text(kProtocol),
                               "What the codec in the file calls itself; left out, the name. Lets two versions "
                               "of one codec serve side by side."),
      },
      {.groups = {{Pick::kExactlyOne, {"path", "descriptor"}}}});
}

}  // namespace

const Block& root_block() {
  static const In<Config> root = block<Config>(
      "config", "The configuration file.",
      {
          field<&Config::workers>("workers", whole(1, 256, "auto"),
                                  "Threads that serve; auto is one for each CPU the process may use, by its "
                                  "affinity mask and the CPU quota of its "
                                  "cgroup (rounded up). "
                                  "Connections, pools and their limits of memory exist once for each."),
          field<&Config::admin>("admin", admin_block(), "The admin port."),
          field<&Config::log>("log", log_block(), "The diagnostic log."),
          field<&Config::drain>("drain", drain_block(),
                                "What happens between the order to stop and the end."),
          field<&Config::access_log>("access_log", optional(access_log_block()),
                                     "One line for each request; left out, none."),
          field<&Config::metrics>("metrics", metrics_block(), "Limits of the metrics."),
          field<&Config::dns>("dns", name_servers_block(), "Who is asked for names of endpoints."),
          field<&Config::codecs>("codecs", list(codec_block()), "Protocols that are not built in."),
          field<&Config::listeners>("listeners", list(listener_block(), 1), "Where clients connect.").must(),
          field<&Config::routes>("routes", list(route_table_block()), "Route tables."),
          field<&Config::clusters>("clusters", list(cluster_block()), "Where requests go."),
      });
  return static_cast<const Block&>(*root.value);
}

}  // namespace dragoman::config
