#include "tests/support/fake_dns.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace dragoman::testing {
namespace {

constexpr uint16_t kA = 1, kAaaa = 28, kSrv = 33;

std::string number(uint32_t value, int bytes) {
  std::string text;
  while (bytes-- > 0) text += static_cast<char>(value >> (8 * bytes));
  return text;
}

std::string wire_name(const std::string& name) {
  std::string text;
  for (size_t at = 0; at < name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    text += static_cast<char>(dot - at);
    text += name.substr(at, dot - at);
    at = dot + 1;
  }
  return text + '\0';
}

std::string record(uint16_t type, uint32_t ttl_s, const std::string& data) {
  return "\xc0\x0c" + number(type, 2) + number(1, 2) + number(ttl_s, 4) +
         number(static_cast<uint32_t>(data.size()), 2) + data;
}

}  // namespace

FakeDns::FakeDns() {
  fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    std::abort();
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

FakeDns::~FakeDns() {
  stopping_ = true;
  thread_.join();
  ::close(fd_);
}

void FakeDns::set(const std::string& name, std::vector<std::string> addresses, uint32_t ttl_s) {
  std::lock_guard lock(mutex_);
  rows_[name] = {std::move(addresses), {}, ttl_s};
}
void FakeDns::set_srv(const std::string& name, std::vector<Srv> records, uint32_t ttl_s) {
  std::lock_guard lock(mutex_);
  rows_[name] = {{}, std::move(records), ttl_s};
}
void FakeDns::ignore(const std::string& suffix) {
  std::lock_guard lock(mutex_);
  ignored_.push_back(suffix);
}
void FakeDns::forget(const std::string& name) {
  std::lock_guard lock(mutex_);
  rows_.erase(name);
}
int FakeDns::asked(const std::string& name) {
  std::lock_guard lock(mutex_);
  return counts_[name];
}

void FakeDns::serve() {
  while (!stopping_) {
    pollfd ready{fd_, POLLIN, 0};
    if (::poll(&ready, 1, 20) <= 0) continue;
    char buffer[512];
    sockaddr_storage peer;
    socklen_t length = sizeof peer;
    const ssize_t n = ::recvfrom(fd_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&peer), &length);
    if (n < 12) continue;
    const std::string reply = answer(std::string(buffer, static_cast<size_t>(n)));
    if (!reply.empty())
      ::sendto(fd_, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&peer), length);
  }
}

std::string FakeDns::answer(const std::string& question) {
  std::string name;
  size_t at = 12;
  while (at < question.size() && question[at] != 0) {
    const auto n = static_cast<size_t>(question[at]);
    name += (name.empty() ? "" : ".") + question.substr(at + 1, n);
    at += n + 1;
  }
  if (at + 5 > question.size()) return {};
  const auto type = static_cast<uint16_t>(question[at + 2]);
  const std::string asked = question.substr(12, at + 5 - 12);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');

  std::lock_guard lock(mutex_);
  ++counts_[name];
  ++asked_;
  for (const std::string& suffix : ignored_)
    if (name.ends_with(suffix)) return {};
  std::vector<std::string> records;
  auto row = rows_.find(name);
  if (row != rows_.end()) {
    for (const std::string& address : row->second.addresses) {
      const bool v6 = address.find(':') != std::string::npos;
      if (type != (v6 ? kAaaa : kA)) continue;
      std::string data(v6 ? 16 : 4, '\0');
      ::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), data.data());
      records.push_back(record(type, row->second.ttl_s, data));
    }
    for (const Srv& srv : row->second.services)
      if (type == kSrv)
        records.push_back(record(
            kSrv, row->second.ttl_s,
            number(srv.priority, 2) + number(srv.weight, 2) + number(srv.port, 2) + wire_name(srv.target)));
  }
  const uint16_t flags = row == rows_.end() ? 0x8183 : 0x8180;
  std::string reply = question.substr(0, 2) + number(flags, 2) + number(1, 2) +
                      number(static_cast<uint32_t>(records.size()), 2) + number(0, 4) + asked;
  for (const std::string& r : records) reply += r;
  return reply;
}

}  // namespace dragoman::testing
