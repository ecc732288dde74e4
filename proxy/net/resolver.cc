#include <netdb.h>
#include <netinet/in.h>
#include <uv.h>

#include <algorithm>

#include "proxy/net/loop_impl.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

class UvResolver final : public Resolver {
 public:
  UvResolver(Loop& loop, std::string host, uint16_t port, Done done)
      : host_(std::move(host)), done_(std::move(done)) {
    const std::string port_text = std::to_string(port);
    for (const std::string& literal : {host_ + ":" + port_text, "[" + host_ + "]:" + port_text}) {
      if (auto address = Address::parse(literal)) {
        answer_ = std::vector<Address>{*address};
        now_.schedule<&UvResolver::finish>(loop.impl(), this);
        return;
      }
    }
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    lookup_ = new Lookup;
    lookup_->owner = this;
    const int error =
        uv_getaddrinfo(&loop.impl().uv, &lookup_->request, on_done, host_.c_str(), port_text.c_str(), &hints);
    if (error) {
      delete lookup_;
      lookup_ = nullptr;
      fail(error);
      now_.schedule<&UvResolver::finish>(loop.impl(), this);
      return;
    }
    ++loop.impl().live_handles;
  }
  ~UvResolver() override {
    if (!lookup_) return;
    lookup_->owner = nullptr;
    uv_cancel(reinterpret_cast<uv_req_t*>(
        &lookup_->request));  // fails when a thread is at it: the result is dropped
  }

 private:
  /// Lives until the thread pool is done with it.
  struct Lookup {
    uv_getaddrinfo_t request;
    UvResolver* owner;
  };

  static void on_done(uv_getaddrinfo_t* request, int status, addrinfo* list) {
    auto* lookup = reinterpret_cast<Lookup*>(request);
    auto& loop = *static_cast<Loop::Impl*>(request->loop->data);
    UvResolver* self = lookup->owner;
    --loop.live_handles;
    delete lookup;
    if (self) {
      loop.enter();
      self->lookup_ = nullptr;
      self->take(status, list);
    }
    uv_freeaddrinfo(list);
    if (self) self->finish();
  }

  void take(int status, const addrinfo* list) {
    if (status) {
      fail(status);
      return;
    }
    std::vector<Address> addresses;
    for (; list; list = list->ai_next) {
      const Address address = Address::from(list->ai_addr, list->ai_addrlen);
      if (address.length && std::find(addresses.begin(), addresses.end(), address) == addresses.end())
        addresses.push_back(address);
    }
    if (addresses.empty()) {
      fail(UV_EAI_NODATA);
    } else {
      answer_ = std::move(addresses);
    }
  }

  void fail(int error) { answer_ = unexpected("can't resolve '" + host_ + "': " + uv_strerror(error)); }

  void finish() {
    Done done = std::move(done_);
    done(std::move(answer_));  // may destroy this
  }

  const std::string host_;
  Done done_;
  Result<std::vector<Address>> answer_ = std::vector<Address>{};
  Lookup* lookup_ = nullptr;
  Deferred now_;
};

}  // namespace

std::unique_ptr<Resolver> Resolver::create(Loop& loop, std::string host, uint16_t port, Done done) {
  return std::make_unique<UvResolver>(loop, std::move(host), port, std::move(done));
}

}  // namespace dragoman
