// The tutorial codec with one thing changed, by macro: other versions, and libraries that must be refused.
#include "protocols/codec.hpp"

#undef DRAGOMAN_PLUGIN
#define DRAGOMAN_PLUGIN(C)
#include "protocols/example/parcel.cc"

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

extern "C" __attribute__((visibility("default"))) const dragoman_codec* VARIANT_ENTRY() {
  static dragoman_codec table = *dragoman::codec_table<Parcel>();
#ifdef VARIANT_TLS
  last_name = table.name;
#endif
  VARIANT_CHANGE;
  return &table;
}
