// What a thread is to have ready before it serves.
#pragma once

namespace dragoman {

/// A thread_local object with a destructor makes the C library ask for memory when a thread first uses it, and end the process if there
/// is none. Whoever keeps one for the data path registers a function here that uses it; threads of the data path call run() at their
/// start, where a shortage may end the process. Objects of this class are static, and made before main().
class AtThreadStart {
 public:
  using Use = void (*)();
  explicit AtThreadStart(Use use) : use_(use), next_(first_) { first_ = this; }
  AtThreadStart(const AtThreadStart&) = delete;
  AtThreadStart& operator=(const AtThreadStart&) = delete;

  static void run() {
    for (const AtThreadStart* s = first_; s; s = s->next_) s->use_();
  }

 private:
  static inline constinit const AtThreadStart* first_ = nullptr;
  const Use use_;
  const AtThreadStart* const next_;
};

}  // namespace dragoman
