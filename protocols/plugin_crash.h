// Names the codec when a library crashes or hangs in service: a line on standard error before the process dies as it would
// have, or the name for whoever asks. Nothing is done per call: a handler looks whether the place where its thread is,
// or one that the stack leads back to, is in a library of this list.
#pragma once

#include <pthread.h>

#include <memory>
#include <string>

namespace dragoman {

/// Remembers where a loaded library lies; from the first on crashes are looked at. `path` as it was loaded, `name`
/// what is said ("acme 2 (/etc/dragoman/libacme.so)"). Returns a place for forget_library(), -1 when there is none.
int remember_library(const std::string& path, const std::string& name);
void forget_library(int place);

/// A stack of its own for the handler on the thread that makes it, which lives as long: so a library that ran out of
/// stack is named as well. Does nothing where the thread has one.
class CrashStack {
 public:
  CrashStack();
  ~CrashStack();
  CrashStack(const CrashStack&) = delete;
  CrashStack& operator=(const CrashStack&) = delete;

 private:
  std::unique_ptr<unsigned char[]> memory_;
};

/// The name of the library that `thread`, which must be alive, is in now; empty: in none, or it did not answer within
/// 200 ms. One thread may ask.
std::string library_of(pthread_t thread);

}  // namespace dragoman
