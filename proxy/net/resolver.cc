#include "proxy/net/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "proxy/net/loop_impl.h"

namespace dragoman {
namespace {

/// Questions that were asked a moment ago. More at once, and the answers overflow the socket; one that has waited for kFreshMs counts no
/// more, so names without an answer hold nobody up for longer.
constexpr size_t kFreshMax = 100;
constexpr uint64_t kFreshMs = 50;
/// How often time-outs are looked at, and files not more often.
constexpr uint64_t kTickMs = 20;
constexpr uint64_t kFilesMs = 1'000;
constexpr uint32_t kDayS = 24 * 60 * 60;

std::string lower_case(std::string_view name) {
  std::string text(name);
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::optional<Address> literal(const std::string& host) {
  for (const std::string& text : {host + ":0", "[" + host + "]:0"})
    if (auto address = Address::parse(text)) return *address;
  return std::nullopt;
}

/// What tells that a file is another than before.
struct FileIdentity {
  int64_t seconds = -1, nanoseconds = 0;
  uint64_t inode = 0, size = 0;
  static FileIdentity of(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
    return {st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ino, static_cast<uint64_t>(st.st_size)};
  }
  bool operator==(const FileIdentity&) const = default;
};

/// hosts(5).
class HostsFile {
 public:
  explicit HostsFile(std::string path) : path_(std::move(path)) {}
  const std::vector<Address>* find(const std::string& name, uint64_t now_ms) {
    look(now_ms);
    auto it = names_.find(name);
    return it == names_.end() ? nullptr : &it->second;
  }

 private:
  void look(uint64_t now_ms) {
    if (looked_ms_ != 0 && now_ms - looked_ms_ < kFilesMs) return;
    looked_ms_ = now_ms;
    const FileIdentity now = FileIdentity::of(path_);
    if (now == seen_) return;
    std::unordered_map<std::string, std::vector<Address>> names;
    std::ifstream file;
    if (now.seconds >= 0) file.open(path_);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line.substr(0, line.find('#')));
      words.exceptions(std::ios::badbit);  // else a stream takes what memory lacks for its end
      std::string word;
      if (!(words >> word)) continue;
      const auto address = literal(word);
      while (address && words >> word) {
        auto& of = names[lower_case(word)];
        if (std::find(of.begin(), of.end(), *address) == of.end()) of.push_back(*address);
      }
    }
    if (file.bad()) return;  // half of the names: looked at again, later
    names_ = std::move(names);
    seen_ = now;
  }

  const std::string path_;
  FileIdentity seen_;
  uint64_t looked_ms_ = 0;
  std::unordered_map<std::string, std::vector<Address>> names_;
};

/// c-ares on the loop: its sockets are polled, its time-outs looked at by a slow tick.
class Channel {
 public:
  Channel(Loop& loop, const ResolverOptions& options) : loop_(loop) {
    ares_library_init(ARES_LIB_INIT_ALL);
    ares_options o{};
    o.timeout = static_cast<int>(options.timeout_ms);
    o.tries = static_cast<int>(options.tries);
    o.lookups = const_cast<char*>("b");
    o.resolvconf_path = const_cast<char*>(options.config_path.c_str());
    o.sock_state_cb = [](void* self, ares_socket_t fd, int readable, int writable) {
      static_cast<Channel*>(self)->on_socket(fd, readable, writable);
    };
    o.sock_state_cb_data = this;
    const int mask =
        ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB;
    if (ares_init_options(&channel_, &o, mask) != ARES_SUCCESS) {
      channel_ = nullptr;
      return;
    }
    std::string servers;
    for (const Address& server : options.servers)
      servers += (servers.empty() ? "" : ",") + server.to_string();
    if (!servers.empty()) ares_set_servers_ports_csv(channel_, servers.c_str());
  }
  ~Channel() {
    if (channel_) ares_destroy(channel_);  // what is under way is told that it ends
    ares_library_cleanup();
    for (const auto& [fd, poll] : polls_) close(poll);
  }
  ares_channel get() const { return channel_; }
  size_t asked = 0;  // questions under way
  void tick() {
    if (channel_) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }

 private:
  void on_socket(ares_socket_t fd, int readable, int writable) {
    auto it = polls_.find(fd);
    if (!readable && !writable) {
      if (it == polls_.end()) return;
      close(it->second);
      polls_.erase(it);
      return;
    }
    if (it == polls_.end()) {
      auto* poll = new uv_poll_t;
      if (uv_poll_init(&loop_.impl().uv, poll, fd) != 0) {
        delete poll;  // the question times out
        return;
      }
      poll->data = this;
      ++loop_.impl().live_handles;
      it = polls_.emplace(fd, poll).first;
    }
    uv_poll_start(it->second, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
                  [](uv_poll_t* poll, int status, int events) {
                    auto* self = static_cast<Channel*>(poll->data);
                    if (!self) return;
                    Loop::Impl::of(reinterpret_cast<uv_handle_t*>(poll)).enter();
                    uv_os_fd_t fd_now;
                    uv_fileno(reinterpret_cast<uv_handle_t*>(poll), &fd_now);
                    const bool broken = status != 0;
                    ares_process_fd(self->channel_,
                                    broken || (events & UV_READABLE) ? fd_now : ARES_SOCKET_BAD,
                                    broken || (events & UV_WRITABLE) ? fd_now : ARES_SOCKET_BAD);
                  });
  }
  static void close(uv_poll_t* poll) {
    uv_poll_stop(poll);
    poll->data = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(poll), [](uv_handle_t* h) {
      --Loop::Impl::of(h).live_handles;
      delete reinterpret_cast<uv_poll_t*>(h);
    });
  }

  Loop& loop_;
  ares_channel channel_ = nullptr;
  std::unordered_map<ares_socket_t, uv_poll_t*> polls_;
};

/// Behind a name of a message; null when the message is wrong.
const uint8_t* skip_name(const uint8_t* at, const uint8_t* end) {
  while (at < end) {
    if (*at == 0) return at + 1;
    if ((*at & 0xc0) != 0) return at + 2;
    at += *at + 1;
  }
  return nullptr;
}
uint32_t big_endian(const uint8_t* at, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

/// The SRV records of an answer; c-ares' own reader of them knows no TTL.
Result<ResolvedService> read_service(const uint8_t* message, int length) {
  ResolvedService service;
  const auto wrong = [] { return unexpected(std::string("the answer can't be read")); };
  const uint8_t* const end = message + length;
  if (length < 12) return wrong();
  const uint8_t* at = message + 12;
  for (uint32_t questions = big_endian(message + 4, 2); questions > 0; --questions) {
    at = skip_name(at, end);
    if (!at || end - at < 4) return wrong();
    at += 4;
  }
  uint32_t ttl_s = kDayS;
  for (uint32_t answers = big_endian(message + 6, 2); answers > 0; --answers) {
    at = skip_name(at, end);
    if (!at || end - at < 10) return wrong();
    const uint32_t type = big_endian(at, 2), bytes = big_endian(at + 8, 2);
    ttl_s = std::min(ttl_s, big_endian(at + 4, 4));
    at += 10;
    if (end - at < static_cast<ptrdiff_t>(bytes)) return wrong();
    if (type == ns_t_srv) {
      char* name = nullptr;
      long used = 0;
      if (bytes < 7 || ares_expand_name(at + 6, message, length, &name, &used) != ARES_SUCCESS)
        return wrong();
      const std::string host = name;
      ares_free_string(name);
      if (!host.empty())
        service.targets.push_back({host, static_cast<uint16_t>(big_endian(at + 4, 2)),
                                   static_cast<uint16_t>(big_endian(at, 2)),
                                   static_cast<uint16_t>(big_endian(at + 2, 2))});
    }
    at += bytes;
  }
  service.ttl_ms = static_cast<int64_t>(ttl_s) * 1000;
  return service;
}

class AresResolver final : public Resolver {
 public:
  AresResolver(Loop& loop, ResolverOptions options)
      : loop_(loop), options_(std::move(options)), hosts_(options_.hosts_path) {
    tick_.bind<&AresResolver::on_tick>(loop.timers(), this);
  }
  ~AresResolver() override {
    *alive_ = false;
    for (Answer* answer : waiting_) answer->resolver_ = nullptr;
    tick_.stop();
  }

  std::unique_ptr<Lookup> name(const std::string& host, NameDone done) override {
    auto answer = std::make_unique<Answer>(*this);
    answer->name_done_ = std::move(done);
    const std::string name = lower_case(host.ends_with('.') ? host.substr(0, host.size() - 1) : host);
    if (const auto address = literal(host)) {
      answer->name_ = ResolvedName{{*address}, -1};
    } else if (const auto* known = hosts_.find(name, loop_.now_ms())) {
      answer->name_ = ResolvedName{*known, -1};
    } else if (name == "localhost" || name.ends_with(".localhost")) {  // RFC 6761
      answer->name_ = ResolvedName{{*literal("127.0.0.1"), *literal("::1")}, -1};
    } else {
      ask(*answer, host, false);
      return answer;
    }
    answer->now_.schedule<&Answer::tell>(loop_.impl(), answer.get());
    return answer;
  }

  std::unique_ptr<Lookup> service(const std::string& name, ServiceDone done) override {
    auto answer = std::make_unique<Answer>(*this);
    answer->service_done_ = std::move(done);
    ask(*answer, name, true);
    return answer;
  }

 private:
  struct Question;

  struct Answer final : Lookup {
    explicit Answer(AresResolver& resolver) : resolver_(&resolver) {}
    ~Answer() override {
      if (question_) std::erase(question_->waiting, this);
      if (resolver_) resolver_->waiting_.erase(this);
    }
    void tell() {
      // Either call may destroy this.
      if (service_done_) {
        const auto done = std::move(service_done_);
        return done(std::move(service_));
      }
      const auto done = std::move(name_done_);
      done(std::move(name_));
    }
    AresResolver* resolver_;
    std::shared_ptr<Question> question_;
    NameDone name_done_;
    ServiceDone service_done_;
    Result<ResolvedName> name_ = ResolvedName{};
    Result<ResolvedService> service_ = ResolvedService{};
    Deferred now_;
  };

  /// One name, however many want to know. Lives until c-ares is done with it.
  struct Question {
    std::string key, name;
    bool service = false;
    std::shared_ptr<bool> resolver_alive;
    AresResolver* resolver = nullptr;
    Channel* channel = nullptr;  // asks
    std::vector<Answer*> waiting;
    bool fresh = false;
    uint64_t asked_ms = 0;
  };

  void ask(Answer& answer, const std::string& name, bool service) {
    const std::string key = (service ? "srv " : "a ") + lower_case(name);
    std::shared_ptr<Question>& question = asked_[key];
    if (!question) {
      question = std::make_shared<Question>();
      question->key = key;
      question->name = name;
      question->service = service;
      question->resolver = this;
      question->resolver_alive = alive_;
      queue_.push_back(question);
    }
    question->waiting.push_back(&answer);
    answer.question_ = question;
    waiting_.insert(&answer);
    soon();  // never inside this call
  }

  void soon() {
    if (!tick_.active() || tick_.expires_ms() > loop_.now_ms() + TimerWheel::kTickMs) tick_.start(1);
  }

  void on_tick() {
    const uint64_t now = loop_.now_ms();
    while (!recent_.empty() && now - recent_.front()->asked_ms >= kFreshMs) {
      settle(*recent_.front());
      recent_.pop_front();
    }
    for (const auto& channel : channels_) channel->tick();
    if (channels_.size() > 1)
      std::erase_if(channels_, [&](const auto& c) { return c->asked == 0 && c != channels_.back(); });
    pump();
    if (!asked_.empty()) tick_.start(queue_.empty() || fresh_ >= kFreshMax ? kTickMs : 1);
  }

  void settle(Question& question) {
    if (std::exchange(question.fresh, false)) --fresh_;
  }

  /// A channel that knows resolv.conf as it is now. What is under way ends on the one before.
  Channel& channel() {
    const uint64_t now = loop_.now_ms();
    if (!channels_.empty() && now - looked_ms_ < kFilesMs) return *channels_.back();
    looked_ms_ = now;
    const FileIdentity seen = FileIdentity::of(options_.config_path);
    if (channels_.empty() || !(seen == seen_))
      channels_.push_back(std::make_unique<Channel>(loop_, options_));
    seen_ = seen;
    return *channels_.back();
  }

  void pump() {
    while (!queue_.empty() && fresh_ < kFreshMax) {
      std::shared_ptr<Question> question = std::move(queue_.front());
      queue_.pop_front();
      if (question->waiting.empty()) {  // nobody wants to know any more
        asked_.erase(question->key);
        continue;
      }
      question->channel = &channel();
      ++question->channel->asked;
      question->asked_ms = loop_.now_ms();
      question->fresh = true;
      ++fresh_;
      recent_.push_back(question);
      auto* held = new std::shared_ptr<Question>(question);
      ares_channel ares = question->channel->get();
      if (!ares) {
        on_name(held, ARES_ENOTINITIALIZED, 0, nullptr);
      } else if (question->service) {
        ares_search(ares, question->name.c_str(), ns_c_in, ns_t_srv, on_service, held);
      } else {
        ares_addrinfo_hints hints{};
        hints.ai_family = AF_UNSPEC;
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = ARES_AI_NOSORT;
        ares_getaddrinfo(ares, question->name.c_str(), nullptr, &hints, on_name, held);
      }
    }
  }

  static void on_name(void* arg, int status, int, ares_addrinfo* list) {
    const std::unique_ptr<std::shared_ptr<Question>> held(static_cast<std::shared_ptr<Question>*>(arg));
    Question& question = **held;
    Result<ResolvedName> result = ResolvedName{};
    if (status == ARES_SUCCESS && list) {
      int64_t ttl_s = kDayS;
      for (const ares_addrinfo_node* node = list->nodes; node; node = node->ai_next) {
        const Address address = Address::from(node->ai_addr, static_cast<socklen_t>(node->ai_addrlen));
        if (address.length == 0) continue;
        ttl_s = std::clamp<int64_t>(node->ai_ttl, 0, ttl_s);
        if (std::find(result->addresses.begin(), result->addresses.end(), address) == result->addresses.end())
          result->addresses.push_back(address);
      }
      result->ttl_ms = ttl_s * 1000;
    }
    if (list) ares_freeaddrinfo(list);
    if (status == ARES_SUCCESS && result->addresses.empty()) status = ARES_ENODATA;
    if (status != ARES_SUCCESS) result = unexpected(failure(question, status));
    finish(question, status, [&](Answer& answer) { answer.name_ = result; });
  }

  static void on_service(void* arg, int status, int, unsigned char* message, int length) {
    const std::unique_ptr<std::shared_ptr<Question>> held(static_cast<std::shared_ptr<Question>*>(arg));
    Question& question = **held;
    Result<ResolvedService> result = ResolvedService{};
    if (status == ARES_SUCCESS) {
      result = read_service(message, length);
      if (!result) result = unexpected("can't resolve '" + question.name + "': " + result.error());
    } else {
      result = unexpected(failure(question, status));
    }
    finish(question, status, [&](Answer& answer) { answer.service_ = result; });
  }

  static std::string failure(const Question& question, int status) {
    return "can't resolve '" + question.name + "': " + ares_strerror(status);
  }

  /// Tells those who wait, at the edge of the turn: c-ares is not called from within its calls.
  template <class Put>
  static void finish(Question& question, int status, const Put& put) {
    --question.channel->asked;
    if (status == ARES_EDESTRUCTION || !*question.resolver_alive) return;
    AresResolver& self = *question.resolver;
    self.settle(question);
    self.asked_.erase(question.key);
    for (Answer* answer : question.waiting) {
      put(*answer);
      answer->question_ = nullptr;
      answer->now_.template schedule<&Answer::tell>(self.loop_.impl(), answer);
    }
    question.waiting.clear();
    if (!self.queue_.empty()) self.soon();
  }

  Loop& loop_;
  const ResolverOptions options_;
  HostsFile hosts_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  FileIdentity seen_;
  uint64_t looked_ms_ = 0;
  std::unordered_map<std::string, std::shared_ptr<Question>> asked_;
  std::deque<std::shared_ptr<Question>> queue_;   // to be asked
  std::deque<std::shared_ptr<Question>> recent_;  // asked lately, the oldest first
  std::unordered_set<Answer*> waiting_;
  size_t fresh_ = 0;
  Timer tick_;
  std::vector<std::unique_ptr<Channel>> channels_;  // the last one asks, the others wait for answers
};

}  // namespace

std::unique_ptr<Resolver> Resolver::create(Loop& loop, ResolverOptions options) {
  return std::make_unique<AresResolver>(loop, std::move(options));
}

}  // namespace dragoman
