// `dragoman call bolt`: one request after the other on one connection, like a SOFARPC client would make them.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "protocols/bolt/bolt.h"
#include "proxy/cli/cli.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

void put(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes; i-- > 0;) out.push_back(static_cast<char>(value >> (8 * i)));
}

void put_pair(std::string& out, std::string_view key, std::string_view value) {
  put(out, key.size(), 4);
  out += key;
  put(out, value.size(), 4);
  out += value;
}

// Bolt v1 request with SOFARPC's class name and header keys; the content is sent as it is.
std::string request_frame(const CallOptions& o, uint32_t id) {
  static constexpr std::string_view kClass = "com.alipay.sofa.rpc.core.request.SofaRequest";
  std::string header;
  put_pair(header, "service", o.service);
  put_pair(header, "sofa_head_target_service", o.service);
  put_pair(header, "sofa_head_method_name", o.method);
  for (const std::string& h : o.headers) {
    size_t eq = h.find('=');
    put_pair(header, h.substr(0, eq), eq == std::string::npos ? "" : h.substr(eq + 1));
  }
  std::string f;
  put(f, 1, 1);  // proto
  put(f, 1, 1);  // type: request
  put(f, 1, 2);  // command: rpc request
  put(f, 1, 1);  // command version
  put(f, id, 4);
  put(f, 1, 1);  // codec
  put(f, static_cast<uint32_t>(o.timeout_ms), 4);
  put(f, kClass.size(), 2);
  put(f, header.size(), 2);
  put(f, o.data.size(), 4);
  f += kClass;
  f += header;
  f += o.data;
  return f;
}

const char* status_name(int status) {
  switch (status) {
    case 0: return "SUCCESS";
    case 1: return "ERROR";
    case 2: return "SERVER_EXCEPTION";
    case 3: return "UNKNOWN";
    case 4: return "SERVER_THREADPOOL_BUSY";
    case 5: return "ERROR_COMM";
    case 6: return "NO_PROCESSOR";
    case 7: return "TIMEOUT";
    case 8: return "CLIENT_SEND_ERROR";
    case 9: return "CODEC_EXCEPTION";
    case 16: return "CONNECTION_CLOSED";
    case 17: return "SERVER_SERIAL_EXCEPTION";
    case 18: return "SERVER_DESERIAL_EXCEPTION";
    default: return "?";
  }
}

}  // namespace

int run_call(const CallOptions& options) {
  auto address = Address::parse(options.address);
  if (!address) {
    std::fprintf(stderr, "dragoman call: %s: %s\n", options.address.c_str(), address.error().c_str());
    return 2;
  }
  for (const std::string& h : options.headers) {
    if (h.find('=') == std::string::npos || h.front() == '=') {
      std::fprintf(stderr, "dragoman call: --header takes key=value, not '%s'\n", h.c_str());
      return 2;
    }
  }
  int fd = socket(address->storage.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, &address->storage.sa, address->length) != 0) {
    std::fprintf(stderr, "dragoman call: can't connect to %s: %s\n", options.address.c_str(), std::strerror(errno));
    if (fd >= 0) close(fd);
    return 1;
  }
  const dragoman_codec* codec = bolt_codec();
  std::vector<uint8_t> state(codec->conn_state_size);
  std::string in;
  int exit_code = 0;
  for (uint32_t id = 1; id <= options.count && exit_code != 1; ++id) {
    std::string frame = request_frame(options, id);
    if (send(fd, frame.data(), frame.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(frame.size())) {
      std::fprintf(stderr, "dragoman call: the connection broke while sending\n");
      exit_code = 1;
      break;
    }
    for (;;) {
      dragoman_frame f{};
      f.size = sizeof f;
      const auto* bytes = reinterpret_cast<const uint8_t*>(in.data());
      int verdict = DRAGOMAN_NEED;
      if (!in.empty()) verdict = codec->probe(codec->context, state.data(), bytes, in.size(), &f);
      if (verdict == DRAGOMAN_FRAME && in.size() >= f.total_len) {
        bool mine = f.kind == DRAGOMAN_RESPONSE && f.id == id;
        if (mine) {
          std::string content = in.substr(f.head_len, f.total_len - f.head_len);
          std::printf("%s (%d) %s\n", status_name(f.status), f.status, content.c_str());
          auto outcome = static_cast<Outcome>(codec->outcome(codec->context, state.data(), bytes, &f));
          if (outcome != Outcome::kOk) exit_code = 1;
        }
        in.erase(0, f.total_len);
        if (mine) break;
        continue;
      }
      if (verdict != DRAGOMAN_FRAME && verdict != DRAGOMAN_NEED) {
        std::fprintf(stderr, "dragoman call: the answer is not Bolt: %s\n", f.reason ? f.reason : "unknown");
        exit_code = 1;
        break;
      }
      pollfd p{fd, POLLIN, 0};
      if (poll(&p, 1, static_cast<int>(options.timeout_ms) + 1000) <= 0) {
        std::fprintf(stderr, "dragoman call: no answer within %lld ms\n", static_cast<long long>(options.timeout_ms));
        exit_code = 1;
        break;
      }
      char buffer[65536];
      ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) {
        std::fprintf(stderr, "dragoman call: the connection was closed\n");
        exit_code = 1;
        break;
      }
      in.append(buffer, static_cast<size_t>(n));
    }
  }
  close(fd);
  return exit_code;
}

}  // namespace dragoman
