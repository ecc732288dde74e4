#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "proxy/net/transport.h"

namespace dragoman {

namespace {

constexpr std::string_view kUnix = "unix:";

/// "::ffff:1.2.3.4" to "1.2.3.4": the same host, however a socket sees it.
void unmap(Address& address) {
  const sockaddr_in6 v6 = address.storage.v6;
  if (address.length == 0 || v6.sin6_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return;
  address.storage = {.v6 = {}};
  address.storage.v4.sin_family = AF_INET;
  address.storage.v4.sin_port = v6.sin6_port;
  std::memcpy(&address.storage.v4.sin_addr, &v6.sin6_addr.s6_addr[12], sizeof(in_addr));
  address.length = sizeof(sockaddr_in);
  address.name = nullptr;
}

/// Elsewhere the zone says nothing: the kernel ignores it.
bool has_zone(const in6_addr& ip) { return IN6_IS_ADDR_LINKLOCAL(&ip) || IN6_IS_ADDR_MC_LINKLOCAL(&ip); }

/// The index of an interface that is given by name or number; 0 = there is none.
uint32_t interface_index(const std::string& zone) {
  uint32_t index = 0;
  const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), index);
  if (error == std::errc() && end == zone.data() + zone.size()) return index;
  return ::if_nametoindex(zone.c_str());
}

Result<Address> parse_unix(std::string_view path) {
  const auto fail = [&](const char* what) { return unexpected("'unix:" + std::string(path) + "' " + what); };
  if (path.empty() || (path[0] != '/' && path[0] != '@'))
    return fail("needs a path that begins with '/', or '@' and a name");
  if (path.size() < 2) return fail("names no socket");
  if (path.size() > Address::kUnixPathMax)
    return fail("is too long: a unix socket's path has at most 107 bytes");
  if (path.find('\0') != std::string_view::npos) return fail("has a zero byte");
  Address address;
  address.storage.sa.sa_family = AF_UNIX;
  address.length = sizeof(sa_family_t);
  address.name = SharedText(std::string(path));
  return address;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  if (text.starts_with(kUnix)) return parse_unix(text.substr(kUnix.size()));
  const auto fail = [&] {
    return unexpected("not an address of the form 1.2.3.4:80 or [::1]:80: '" + std::string(text) + "'");
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return fail();
  std::string_view host_text = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  uint16_t port_number = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port_number);
  if (port_text.empty() || error != std::errc() || end != port_text.data() + port_text.size()) return fail();

  Address address;
  if (host_text.size() >= 2 && host_text.front() == '[' && host_text.back() == ']') {
    std::string literal(host_text.substr(1, host_text.size() - 2));
    address.storage.v6.sin6_family = AF_INET6;
    address.storage.v6.sin6_port = htons(port_number);
    address.length = sizeof(sockaddr_in6);
    if (const size_t percent = literal.find('%'); percent != std::string::npos) {
      const std::string zone = literal.substr(percent + 1);
      if (zone.empty() || zone.size() >= IF_NAMESIZE) return fail();
      literal.resize(percent);
      address.storage.v6.sin6_scope_id = interface_index(zone);
      address.name = SharedText(zone);
    }
    if (::inet_pton(AF_INET6, literal.c_str(), &address.storage.v6.sin6_addr) != 1) return fail();
    unmap(address);
  } else {
    const std::string literal(host_text);
    address.storage.v4.sin_family = AF_INET;
    address.storage.v4.sin_port = htons(port_number);
    address.length = sizeof(sockaddr_in);
    if (::inet_pton(AF_INET, literal.c_str(), &address.storage.v4.sin_addr) != 1) return fail();
  }
  return address;
}

Address Address::from(const sockaddr* sa, socklen_t length) {
  Address address;
  if (sa->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    address.length = sizeof(sockaddr_in);
  } else if (sa->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    address.length = sizeof(sockaddr_in6);
  } else if (sa->sa_family == AF_UNIX && length >= sizeof(sa_family_t)) {
    address.storage.sa.sa_family = AF_UNIX;
    address.length = sizeof(sa_family_t);
    const char* path = reinterpret_cast<const sockaddr_un*>(sa)->sun_path;
    const size_t n = std::min<size_t>(length, sizeof(sockaddr_un)) - offsetof(sockaddr_un, sun_path);
    if (length <= offsetof(sockaddr_un, sun_path)) return address;  // no name: most clients have none
    std::string text(path, path[0] == '\0' ? n : ::strnlen(path, n));
    if (text[0] == '\0') text[0] = '@';
    address.name = SharedText(std::move(text));
    return address;
  }
  std::memcpy(&address.storage, sa, address.length);
  unmap(address);
  return address;
}

socklen_t Address::fill(sockaddr_storage& out) const {
  std::memset(&out, 0, sizeof(out));
  if (!is_unix()) {
    std::memcpy(&out, &storage, length);
    if (!name) return length;
    // Again each time: interfaces come and go.
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
    v6.sin6_scope_id = interface_index(*name);
    if (v6.sin6_scope_id != 0) return length;
    errno = ENODEV;
    return 0;
  }
  auto& at = reinterpret_cast<sockaddr_un&>(out);
  at.sun_family = AF_UNIX;
  if (!name || name->size() > kUnixPathMax) {
    errno = EINVAL;
    return 0;
  }
  std::memcpy(at.sun_path, name->data(), name->size());
  const bool abstract = name->front() == '@';
  if (abstract) at.sun_path[0] = '\0';
  // The name of an abstract socket is all of it, that of a file ends with a zero.
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name->size() + (abstract ? 0 : 1));
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (length == 0) return "unknown";
  if (is_unix()) return std::string(kUnix) + (name ? *name : std::string());
  if (storage.sa.sa_family != AF_INET6) {
    ::inet_ntop(AF_INET, &storage.v4.sin_addr, text, sizeof(text));
    return text;
  }
  ::inet_ntop(AF_INET6, &storage.v6.sin6_addr, text, sizeof(text));
  if (name) return text + ("%" + *name);
  if (storage.v6.sin6_scope_id == 0) return text;
  char zone[IF_NAMESIZE];
  const bool known = ::if_indextoname(storage.v6.sin6_scope_id, zone) != nullptr;
  return text + ("%" + (known ? std::string(zone) : std::to_string(storage.v6.sin6_scope_id)));
}

uint16_t Address::port() const {
  if (length == 0 || is_unix()) return 0;
  return ntohs(storage.sa.sa_family == AF_INET6 ? storage.v6.sin6_port : storage.v4.sin_port);
}

std::string Address::to_string() const {
  if (length == 0) return "unknown";
  if (is_unix()) return host();
  if (storage.sa.sa_family == AF_INET6) return "[" + host() + "]:" + std::to_string(port());
  return host() + ":" + std::to_string(port());
}

bool Address::takes(const Address& to) const {
  if (*this == to) return length != 0 && (!is_unix() || name);
  if (length == 0 || to.length == 0 || is_unix() || to.is_unix() || port() != to.port()) return false;
  const bool to_6 = to.storage.sa.sa_family == AF_INET6;
  const bool to_this_host =
      to_6 ? IN6_IS_ADDR_LOOPBACK(&to.storage.v6.sin6_addr) ||
                 IN6_IS_ADDR_UNSPECIFIED(&to.storage.v6.sin6_addr)
           : (ntohl(to.storage.v4.sin_addr.s_addr) >> 24) == 127 || to.storage.v4.sin_addr.s_addr == 0;
  if (!to_this_host) return false;
  if (storage.sa.sa_family == AF_INET6)
    return IN6_IS_ADDR_UNSPECIFIED(&storage.v6.sin6_addr) && (to_6 || !ipv6_only);
  return !to_6 && storage.v4.sin_addr.s_addr == 0;
}

bool Address::operator==(const Address& other) const {
  if (length == 0 || other.length == 0) return length == other.length;
  if (storage.sa.sa_family != other.storage.sa.sa_family || port() != other.port()) return false;
  if (is_unix()) return name && other.name ? *name == *other.name : !name && !other.name;
  if (storage.sa.sa_family == AF_INET6)
    return std::memcmp(&storage.v6.sin6_addr, &other.storage.v6.sin6_addr, sizeof(in6_addr)) == 0 &&
           (!has_zone(storage.v6.sin6_addr) || storage.v6.sin6_scope_id == other.storage.v6.sin6_scope_id);
  return storage.v4.sin_addr.s_addr == other.storage.v4.sin_addr.s_addr;
}

Address bound_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

Address peer_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

}  // namespace dragoman
