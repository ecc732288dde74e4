#include "protocols/plugin_crash.h"

#include <link.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <thread>

namespace dragoman {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr size_t kStackWords = 4096;  // that are looked through
constexpr size_t kPageBytes = 4096;
constexpr size_t kPagesMissing = 4;  // behind the end of a stack that ran out
constexpr size_t kCrashStackBytes = 64 * 1024;
constexpr auto kAnswerTime = std::chrono::milliseconds(200);

struct Library {
  std::atomic<uintptr_t> begin{0};  // 0: the place is free
  std::atomic<uintptr_t> end{0};
  char name[256] = {};
};
Library libraries[64];
struct sigaction before[std::size(kSignals)];
std::atomic_flag told;

const Library* library_at(uintptr_t address) {
  for (const Library& l : libraries) {
    const uintptr_t begin = l.begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < l.end.load(std::memory_order_acquire)) return &l;
  }
  return nullptr;
}

/// The library that a crash at this place is in, or was called by.
const Library* culprit(const ucontext_t& at) {
#if defined(__x86_64__)
  const auto place = static_cast<uintptr_t>(at.uc_mcontext.gregs[REG_RIP]);
  const auto stack = static_cast<uintptr_t>(at.uc_mcontext.gregs[REG_RSP]);
#elif defined(__aarch64__)
  const auto place = static_cast<uintptr_t>(at.uc_mcontext.pc);
  const auto stack = static_cast<uintptr_t>(at.uc_mcontext.sp);
#else
#error "name this machine's registers here"
#endif
  if (const Library* l = library_at(place)) return l;
  // The stack may end anywhere, or be no memory at all: the kernel copies what is there. A stack that ran out points
  // below its last page.
  uintptr_t words[256];
  uintptr_t from = stack & ~(sizeof(uintptr_t) - 1);
  size_t missing = 0;
  for (size_t seen = 0; seen < kStackWords;) {
    iovec to{words, sizeof words}, source{reinterpret_cast<void*>(from), sizeof words};
    ssize_t n = process_vm_readv(getpid(), &to, 1, &source, 1, 0);
    if (n <= 0) {
      if (seen > 0 || ++missing > kPagesMissing) break;
      from = (from / kPageBytes + 1) * kPageBytes;
      continue;
    }
    const size_t here = static_cast<size_t>(n) / sizeof(uintptr_t);
    for (size_t w = 0; w < here; ++w)
      if (const Library* l = library_at(words[w])) return l;
    seen += std::max<size_t>(here, 1);
    from += static_cast<size_t>(n);
  }
  return nullptr;
}

void say(const char* text) { [[maybe_unused]] ssize_t n = write(STDERR_FILENO, text, std::strlen(text)); }

void on_crash(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const Library* library = culprit(*static_cast<const ucontext_t*>(context));
  if (library && !told.test_and_set()) {
    say("dragoman: the codec ");
    say(library->name);
    say(" crashed the process: ");
    const char* what = sigabbrev_np(signal);
    say("SIG");
    say(what ? what : "?");
    say("\n");
  }
  // Whoever was there before, or the system, does the rest.
  for (size_t i = 0; i < std::size(kSignals); ++i)
    if (kSignals[i] == signal) sigaction(signal, &before[i], nullptr);
  if (info->si_code <= 0) raise(signal);  // sent, so that it does not come again by itself
  errno = saved;
}

// What library_of() asks, and what is answered: one question at a time.
std::atomic<uint32_t> asked, answered;
char answer[sizeof(Library::name)];
int ask_signal() { return SIGRTMIN + 5; }

void on_ask(int, siginfo_t*, void* context) {
  const int saved = errno;
  const Library* library = culprit(*static_cast<const ucontext_t*>(context));
  const uint32_t question = asked.load(std::memory_order_acquire);
  std::memcpy(answer, library ? library->name : "", library ? sizeof answer : 1);
  answered.store(question, std::memory_order_release);
  errno = saved;
}

void watch() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    struct sigaction action {};
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(kSignals[i], &action, &before[i]);
  }
}

}  // namespace

int remember_library(const std::string& path, const std::string& name) {
  struct Search {
    const std::string& path;
    uintptr_t begin, end;
  } search{path, UINTPTR_MAX, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* context) {
        auto& s = *static_cast<Search*>(context);
        if (!info->dlpi_name || s.path != info->dlpi_name) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
          s.begin = std::min<uintptr_t>(s.begin, info->dlpi_addr + part.p_vaddr);
          s.end = std::max<uintptr_t>(s.end, info->dlpi_addr + part.p_vaddr + part.p_memsz);
        }
        return 1;
      },
      &search);
  if (search.end == 0) return -1;
  for (size_t i = 0; i < std::size(libraries); ++i) {
    Library& l = libraries[i];
    if (l.begin.load() != 0) continue;
    l.name[name.copy(l.name, sizeof l.name - 1)] = '\0';
    l.end.store(search.end, std::memory_order_release);
    l.begin.store(search.begin, std::memory_order_release);
    // Handlers may have been changed since the last library was loaded.
    struct sigaction now {};
    if (sigaction(SIGSEGV, nullptr, &now) == 0 && now.sa_sigaction != on_crash) watch();
    return static_cast<int>(i);
  }
  return -1;
}

CrashStack::CrashStack() {
  stack_t now{};
  if (sigaltstack(nullptr, &now) != 0 || !(now.ss_flags & SS_DISABLE)) return;
  memory_ = std::make_unique<unsigned char[]>(kCrashStackBytes);
  stack_t own{.ss_sp = memory_.get(), .ss_flags = 0, .ss_size = kCrashStackBytes};
  if (sigaltstack(&own, nullptr) != 0) memory_.reset();
}

CrashStack::~CrashStack() {
  if (!memory_) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
}

std::string library_of(pthread_t thread) {
  struct sigaction action {};
  action.sa_sigaction = on_ask;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(ask_signal(), &action, nullptr) != 0) return {};
  const uint32_t question = asked.fetch_add(1, std::memory_order_acq_rel) + 1;
  if (pthread_kill(thread, ask_signal()) != 0) return {};
  const auto until = std::chrono::steady_clock::now() + kAnswerTime;
  while (answered.load(std::memory_order_acquire) != question) {
    if (std::chrono::steady_clock::now() > until) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return answer;
}

void forget_library(int place) {
  if (place >= 0) libraries[place].begin.store(0, std::memory_order_release);
}

}  // namespace dragoman
