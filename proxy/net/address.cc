#include <arpa/inet.h>
#include <sys/socket.h>

#include <charconv>
#include <cstring>

#include "proxy/net/transport.h"

namespace dragoman {

Result<Address> Address::parse(std::string_view text) {
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
    const std::string literal(host_text.substr(1, host_text.size() - 2));
    address.storage.v6.sin6_family = AF_INET6;
    address.storage.v6.sin6_port = htons(port_number);
    address.length = sizeof(sockaddr_in6);
    if (::inet_pton(AF_INET6, literal.c_str(), &address.storage.v6.sin6_addr) != 1) return fail();
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
  }
  std::memcpy(&address.storage, sa, address.length);
  return address;
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (length == 0) return "unknown";
  if (storage.sa.sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &storage.v6.sin6_addr, text, sizeof(text));
  } else {
    ::inet_ntop(AF_INET, &storage.v4.sin_addr, text, sizeof(text));
  }
  return text;
}

uint16_t Address::port() const {
  if (length == 0) return 0;
  return ntohs(storage.sa.sa_family == AF_INET6 ? storage.v6.sin6_port : storage.v4.sin_port);
}

std::string Address::to_string() const {
  if (length == 0) return "unknown";
  if (storage.sa.sa_family == AF_INET6) return "[" + host() + "]:" + std::to_string(port());
  return host() + ":" + std::to_string(port());
}

bool Address::operator==(const Address& other) const {
  if (length == 0 || other.length == 0) return length == other.length;
  if (storage.sa.sa_family != other.storage.sa.sa_family || port() != other.port()) return false;
  if (storage.sa.sa_family == AF_INET6)
    return std::memcmp(&storage.v6.sin6_addr, &other.storage.v6.sin6_addr, sizeof(in6_addr)) == 0 &&
           storage.v6.sin6_scope_id == other.storage.v6.sin6_scope_id;
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
