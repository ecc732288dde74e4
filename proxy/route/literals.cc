#include "proxy/route/literals.h"

#include <algorithm>
#include <utility>

namespace dragoman {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// Stands for itself.
bool is_plain(char c) {
  return c > ' ' && c < 0x7f && std::string_view(R"(\.+*?()|[]{}^$)").find(c) == std::string_view::npos;
}

/// Walks over the parts of the expression that stand side by side at its top; what is inside groups is skipped.
class Walk {
 public:
  explicit Walk(std::string_view expression) : rest_(expression) {}

  /// False: nothing can be said.
  bool run(Literals& found) {
    while (!rest_.empty()) {
      if (!step()) return false;
      if (run_over_) end_run();
    }
    found.suffix = run_;
    end_run();
    found.prefix = std::move(prefix_);
    found.parts = std::move(parts_);
    return true;
  }

 private:
  bool step() {
    const char c = take();
    switch (c) {
      case '|': return false;
      case '(': run_over_ = true; return skip_group();
      case '[': run_over_ = true; return skip_class();
      case '\\': return escape();
      case '*':
      case '?': drop_last(); return true;
      case '+': run_over_ = true; return true;
      case '{':
        if (size_t n = repeat_length(); n != 0) {
          rest_.remove_prefix(n);
          drop_last();
        } else {
          run_over_ = true;
        }
        return true;
      case '^':
        run_over_ = began_;  // at the beginning it changes nothing
        return true;
      case '$':
        run_over_ = !rest_.empty();  // at the end it changes nothing
        return true;
      default:
        if (is_plain(c))
          add(c);
        else
          run_over_ = true;
        return true;
    }
  }

  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  void add(char c) {
    began_ = true;
    run_ += c;
  }
  /// The last one may be missing.
  void drop_last() {
    if (!run_.empty()) run_.pop_back();
    run_over_ = true;
  }
  void end_run() {
    if (!prefix_known_) prefix_ = run_;
    began_ = prefix_known_ = true;
    run_over_ = false;
    if (!run_.empty()) parts_.push_back(std::exchange(run_, {}));
  }
  /// Of what follows a '{' when it is a number of times: "2}", "2,}", "2,3}".
  size_t repeat_length() const {
    size_t i = 0;
    while (i < rest_.size() && is_digit(rest_[i])) ++i;
    if (i == 0) return 0;
    if (i < rest_.size() && rest_[i] == ',') ++i;
    while (i < rest_.size() && is_digit(rest_[i])) ++i;
    return i < rest_.size() && rest_[i] == '}' ? i + 1 : 0;
  }

  bool escape() {
    if (rest_.empty()) return false;
    const char c = take();
    if (is_letter(c)) {
      run_over_ = true;
      return std::string_view("dDsSwWbBAz").find(c) != std::string_view::npos;  // others have arguments
    }
    if (!is_plain(c) && std::string_view(R"(\.+*?()|[]{}^$)").find(c) == std::string_view::npos) return false;
    if (is_digit(c)) return false;
    add(c);
    return true;
  }

  bool skip_class() {
    if (!rest_.empty() && rest_.front() == '^') take();
    for (bool first = true; !rest_.empty(); first = false) {
      const char c = take();
      if (c == ']' && !first) return true;
      if (c == '\\') {
        if (rest_.empty() || rest_.front() == 'Q') return false;
        take();
      } else if (c == '[' && !rest_.empty() && rest_.front() == ':') {
        const size_t end = rest_.find(":]");
        if (end != std::string_view::npos) rest_.remove_prefix(end + 2);
      }
    }
    return false;
  }

  bool skip_group() {
    // Flags for what follows change the meaning of all of it.
    if (rest_.starts_with('?') && !rest_.starts_with("?P<")) {
      const size_t end = rest_.find_first_of(":)");
      if (end == std::string_view::npos || rest_[end] == ')') return false;
    }
    for (int depth = 1; !rest_.empty();) {
      const char c = take();
      if (c == '\\') {
        if (rest_.empty() || rest_.front() == 'Q') return false;
        take();
      } else if (c == '[') {
        if (!skip_class()) return false;
      } else if (c == '(') {
        ++depth;
      } else if (c == ')' && --depth == 0) {
        return true;
      }
    }
    return false;
  }

  std::string_view rest_;
  std::string run_;
  std::string prefix_;
  std::vector<std::string> parts_;
  bool run_over_ = false;
  bool began_ = false;
  bool prefix_known_ = false;
};

}  // namespace

Literals literals_of(std::string_view expression) {
  Literals found;
  if (!Walk(expression).run(found)) return {};
  return found;
}

}  // namespace dragoman
