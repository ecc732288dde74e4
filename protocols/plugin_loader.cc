#include "protocols/plugin_loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "protocols/framed.h"
#include "protocols/plugin_crash.h"
#include "protocols/plugin_image.h"
#include "protocols/plugin_table.h"
#include "protocols/plugin_trial.h"
#include "proxy/base/file.h"

namespace dragoman {
namespace {

/// A file descriptor.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { close_now(); }
  void close_now() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string system_error(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

/// A copy in memory that nobody can change.
Result<Fd> private_copy(std::span<const uint8_t> bytes) {
  Fd fd(memfd_create("dragoman-codec", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return unexpected(system_error("can't be copied"));
  while (!bytes.empty()) {
    ssize_t n = write(fd.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unexpected(system_error("can't be copied"));
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return unexpected(system_error("can't be copied"));
  return fd;
}

/// The copy's name. The loader tells libraries apart by name: this one is unique while the descriptor is
/// open.
std::string copy_path(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

bool is_loaded(const std::string& path) {
  struct Search {
    const std::string& path;
    bool found;
  } search{path, false};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* context) {
        auto& s = *static_cast<Search*>(context);
        s.found = s.found || (info->dlpi_name && s.path == info->dlpi_name);
        return 0;
      },
      &search);
  return search.found;
}

size_t thread_count() {
  size_t count = 0;
  if (DIR* dir = opendir("/proc/self/task")) {
    while (dirent* entry = readdir(dir)) count += entry->d_name[0] != '.' ? 1 : 0;
    closedir(dir);
  }
  return count;
}

const dragoman_codec* ask_for_table(void* library) {
  auto entry = reinterpret_cast<dragoman_plugin_entry>(dlsym(library, DRAGOMAN_PLUGIN_SYMBOL));
  return entry ? entry() : nullptr;
}

/// Runs in the child: loads, asks, calls, unloads. An empty text when all is well.
std::string try_out(const std::string& path, TrialNotes& notes) {
  const size_t threads = thread_count();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    std::string_view text = why ? why : "unknown error";
    if (text.starts_with(path)) text.remove_prefix(path.size());
    while (text.starts_with(":") || text.starts_with(" ")) text.remove_prefix(1);
    return "can't be loaded: " + std::string(text);
  }
  const dragoman_codec* given = ask_for_table(library);
  if (!given) return "gives no table";
  if (thread_count() != threads) return "can't be unloaded: it makes threads when it is loaded";
  // A table that is refused is refused by the parent, in its words.
  if (auto table = read_table(*given); table && check_codec(*table)) call_everything(*table, notes);
  if (thread_count() != threads) return "can't be unloaded: its functions make threads";
  dlclose(library);
  if (is_loaded(path)) return "can't be unloaded: it is still there after it was closed";
  return {};
}

/// "probe() of 3 bytes (5043 01)", of the call that the child did not come back from; empty outside of calls.
std::string where(const TrialNotes& notes) {
  const char* function = notes.function;
  if (!function) return {};
  std::string text = std::string(function) + "()";
  const uint32_t len = notes.len;
  if (len == 0) return text;
  text += " of " + std::to_string(len) + " bytes (";
  for (uint32_t i = 0; i < std::min(len, TrialNotes::kShown); ++i) {
    if (i > 0 && i % 2 == 0) text += ' ';
    text += "0123456789abcdef"[notes.bytes[i] >> 4];
    text += "0123456789abcdef"[notes.bytes[i] & 15];
  }
  return text + (len > TrialNotes::kShown ? " ...)" : ")");
}

/// try_out() in a child process that has `limit_ms`. `stuck`: it did nothing at all, outside of the library's functions.
Result<void> try_in_child(const std::string& path, int limit_ms, bool& stuck) {
  // What the child is doing when it ends.
  struct Shared {
    void* memory =
        mmap(nullptr, sizeof(TrialNotes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ~Shared() {
      if (memory != MAP_FAILED) munmap(memory, sizeof(TrialNotes));
    }
  } shared;
  if (shared.memory == MAP_FAILED) return unexpected(system_error("can't be tried"));
  TrialNotes& notes = *new (shared.memory) TrialNotes{};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return unexpected(system_error("can't be tried"));
  Fd from(ends[0]), to(ends[1]);
  pid_t child = fork();
  if (child < 0) return unexpected(system_error("can't be tried"));
  if (child == 0) {
    // A handler of the server's would write into the server's pipe.
    for (int s : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGINT, SIGPROF, SIGHUP, SIGUSR1})
      signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    const rlimit no_core{};
    setrlimit(RLIMIT_CORE, &no_core);
    std::string answer = try_out(path, notes);
    answer.insert(0, 1, '=');
    ssize_t n = write(to.get(), answer.data(), answer.size());
    _exit(n == static_cast<ssize_t>(answer.size()) ? 0 : 1);
  }
  to.close_now();
  std::string answer;
  bool late = false;
  for (;;) {
    pollfd p{from.get(), POLLIN, 0};
    int ready = poll(&p, 1, limit_ms);
    if (ready < 0 && errno == EINTR) continue;
    late = ready <= 0;
    char piece[512];
    ssize_t n = late ? 0 : read(from.get(), piece, sizeof piece);
    if (n <= 0) break;
    answer.append(piece, static_cast<size_t>(n));
  }
  if (late) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (answer == "=") return {};
  if (answer.starts_with("=")) return unexpected(answer.substr(1));
  const std::string in = where(notes);
  stuck = late && in.empty();
  if (late || (WIFEXITED(status) && WEXITSTATUS(status) == kPluginCallHung && !in.empty()))
    return unexpected(in.empty() ? "does not finish loading" : "does not return from " + in);
  const std::string at = in.empty() ? "while it is loaded or unloaded" : "in " + in;
  if (WIFSIGNALED(status))
    return unexpected("crashes " + at + " (" + std::string(strsignal(WTERMSIG(status))) + ")");
  return unexpected("ends the process " + at);
}

/// A child is made while other threads run, and may inherit a lock of the allocator that one of them held, which then
/// nobody gives back. So a child that does nothing is followed by another one.
Result<void> trial(const std::string& path) {
  bool stuck = false;
  auto first = try_in_child(path, kPluginTrialMs * 3 / 10, stuck);
  return stuck ? try_in_child(path, kPluginTrialMs * 7 / 10, stuck) : first;
}

class Plugin final : public CodecModule {
 public:
  explicit Plugin(Fd copy) : copy_(std::move(copy)) {}
  ~Plugin() override {
    forget_library(place_);
    if (library_) dlclose(library_);
  }
  std::string_view kind() const override { return "plugin"; }

  /// Loads and checks. The error is a clause that fits behind the file's name.
  Result<void> open(const std::string& file, const std::string& name) {
    const std::string path = copy_path(copy_);
    library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) return unexpected("can't be loaded");
    const dragoman_codec* given = ask_for_table(library_);
    if (!given) return unexpected("gives no table");
    auto table = read_table(*given);
    if (!table) return unexpected(table.error());
    table_ = *table;
    if (auto checked = check_codec(table_); !checked) return unexpected("is refused: " + checked.error());
    if (!name.empty() && name != table_.name)
      return unexpected("holds the codec \"" + std::string(table_.name) +
                        "\", the configuration wants \"" + name +
                        "\"");
    place_ = remember_library(path, std::string(table_.name) + " " + table_.version + " (" + file + ")");
    return {};
  }

 private:
  const Fd copy_;  // open as long as the library is: see copy_path()
  void* library_ = nullptr;
  int place_ = -1;
};

}  // namespace

Result<std::shared_ptr<const CodecModule>> load_plugin(const std::string& path, const std::string& name) {
  auto fail = [&](const std::string& why) { return unexpected(path + " " + why); };
  const auto file = read_file(path, kPluginBytesMax);
  if (!file) return fail(file.error());
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(file->data()), file->size());
  if (auto image = check_plugin_image(bytes); !image) return fail(image.error());
  auto copy = private_copy(bytes);
  if (!copy) return fail(copy.error());
  if (auto tried = trial(copy_path(*copy)); !tried) return fail(tried.error());
  auto plugin = std::make_shared<Plugin>(std::move(*copy));
  if (auto opened = plugin->open(path, name); !opened) return fail(opened.error());
  return std::shared_ptr<const CodecModule>(std::move(plugin));
}

}  // namespace dragoman
