// The tutorial codec with one thing changed, by macro: other versions, and libraries that must be refused.
#include "protocols/codec.hpp"

#undef DRAGOMAN_PLUGIN
#define DRAGOMAN_PLUGIN(C)
#include "protocols/example/parcel.cc"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#ifndef VARIANT_ENTRY
#define VARIANT_ENTRY dragoman_codec_v1
#endif

#if defined(VARIANT_THREAD)
#include <thread>
namespace {
[[maybe_unused]] std::jthread spinner([](std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::yield();
});
}
#elif defined(VARIANT_HIDDEN_THREAD)
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>
namespace {
[[maybe_unused]] const int started = [] {
  auto create = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_DEFAULT, "pthread_create"));
  pthread_t thread;
  return create(&thread, nullptr, [](void*) -> void* { return pause(), nullptr; }, nullptr);
}();
}
#elif defined(VARIANT_TLS)
#include <string>
thread_local std::string last_name;
#elif defined(VARIANT_UNIQUE)
template <class T>
__attribute__((visibility("default"))) int& shared_by_all() {
  static int value = 0;
  return value;
}
template __attribute__((visibility("default"))) int& shared_by_all<int>();
#elif defined(VARIANT_CRASH)
#include <cstdlib>
namespace {
[[maybe_unused]] const int crashed = (std::abort(), 0);
}
#elif defined(VARIANT_EXIT)
#include <unistd.h>
namespace {
[[maybe_unused]] const int ended = (_exit(0), 0);
}
#elif defined(VARIANT_STAYS)
#include <dlfcn.h>
namespace {
[[maybe_unused]] void* const pinned = [] {
  Dl_info info{};
  static int here;
  dladdr(&here, &info);
  return dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}();
}
#endif

namespace {

// Other versions that say something else of the same bytes, or of other bytes.
[[maybe_unused]] int as_parcel(const void* context, void* conn, const uint8_t* data, uint64_t len,
                               dragoman_frame* out) {
  static const auto probe = dragoman::codec_table<Parcel>()->probe;
  return probe(context, conn, data, len, out);
}
[[maybe_unused]] int read_whole(const void* context, void* conn, const uint8_t* data, uint64_t len,
                                dragoman_frame* out) {
  int verdict = as_parcel(context, conn, data, len, out);
  if (verdict != DRAGOMAN_FRAME) return verdict;
  out->head_len = static_cast<uint32_t>(out->total_len);
  if (len >= out->total_len) return verdict;
  out->need = out->total_len;
  return DRAGOMAN_NEED;
}
[[maybe_unused]] int read_lean(const void* context, void* conn, const uint8_t* data, uint64_t len,
                               dragoman_frame* out) {
  int verdict = as_parcel(context, conn, data, len, out);
  if (verdict == DRAGOMAN_FRAME) out->head_len = kFixed;
  return verdict;
}
[[maybe_unused]] int read_other_wire(const void* context, void* conn, const uint8_t* data, uint64_t len,
                                     dragoman_frame* out) {
  if (len > 2 && data[2] != 9) return DRAGOMAN_MALFORMED;
  return as_parcel(context, conn, data, len, out);
}

template <class R, class... A>
[[maybe_unused]] auto crashes(R (*)(A...)) {
  return +[](A...) -> R { return *reinterpret_cast<volatile R*>(uintptr_t{64}); };
}
template <class R, class... A>
[[maybe_unused]] auto hangs(R (*)(A...)) {
  return +[](A...) -> R {
    for (volatile int spin = 0;; spin = 1) static_cast<void>(spin);
  };
}
template <class R, class... A>
[[maybe_unused]] auto exits(R (*)(A...)) {
  return +[](A...) -> R { _exit(0); };
}
template <class R, class... A>
[[maybe_unused]] auto makes_thread(R (*)(A...)) {
  return +[](A...) -> R {
    auto create = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_DEFAULT, "pthread_create"));
    pthread_t thread;
    create(
        &thread, nullptr, [](void*) -> void* { return pause(), nullptr; }, nullptr);
    return R{};
  };
}
/// What stands behind the end of a table: nothing that may be called.
template <class F>
[[maybe_unused]] F wild(F) {
  return reinterpret_cast<F>(uintptr_t{0x5a5a5a5a5a5a});
}
[[maybe_unused]] int read_beyond(const void* context, void* conn, const uint8_t* data, uint64_t len,
                                 dragoman_frame* out) {
  static volatile uint8_t seen;
  seen = data[len];
  return as_parcel(context, conn, data, len, out);
}
[[maybe_unused, gnu::noinline]] int run_out_of_stack(volatile const int* depth) {
  volatile char room[4096];
  room[0] = static_cast<char>(*depth);
  return *depth < 0 ? 0 : run_out_of_stack(depth) + room[0];
}
/// Crashes on a frame that no trial finds, or hangs until the file that its header names is there.
[[maybe_unused]] int read_until_marked(const void* context, void* conn, const uint8_t* data, uint64_t len,
                                       dragoman_frame* out) {
  if (len > 26 && std::memcmp(data + 18, "the-mark", 8) == 0) {
#ifdef VARIANT_ABORT
    std::abort();
#elif defined(VARIANT_OVERFLOW)
    static volatile int depth;
    return run_out_of_stack(&depth);
#elif defined(VARIANT_HANG)
    char name[256] = {};
    for (size_t i = 0; i + 1 < sizeof name && 27 + i < len && data[27 + i] != '\n'; ++i)
      name[i] = static_cast<char>(data[27 + i]);
    while (access(name, F_OK) != 0) {
      for (volatile int spin = 0; spin < 1000; spin = spin + 1) {
      }
    }
#else
    *reinterpret_cast<volatile int*>(uintptr_t{8}) = 1;
#endif
  }
  return as_parcel(context, conn, data, len, out);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const dragoman_codec* VARIANT_ENTRY() {
#ifdef VARIANT_LONGER
  static struct {
    dragoman_codec table;
    void (*later[8])();
  } longer{*dragoman::codec_table<Parcel>(), {}};
  dragoman_codec& table = longer.table;
#else
  static dragoman_codec table = *dragoman::codec_table<Parcel>();
#endif
#ifdef VARIANT_TLS
  last_name = table.name;
#endif
  VARIANT_CHANGE;
  return &table;
}
