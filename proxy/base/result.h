// Result<T, E>: a value or an error, with the member names of std::expected (which g++ 12 lacks).
// Used wherever a call can fail; nothing on the data path throws.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace dragoman {

template <class E>
struct Unexpected {
  E error;
};

/// Makes the error alternative: `return unexpected("reason")`.
template <class E>
Unexpected<std::decay_t<E>> unexpected(E&& error) {
  return {std::forward<E>(error)};
}

inline Unexpected<std::string> unexpected(const char* error) { return {std::string(error)}; }

template <class T, class E = std::string>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  template <class U>
  Result(Unexpected<U> u) : state_(std::in_place_index<1>, std::move(u.error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  E& error() { return std::get<1>(state_); }
  const E& error() const { return std::get<1>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, E> state_;
};

template <class E>
class [[nodiscard]] Result<void, E> {
 public:
  Result() = default;
  template <class U>
  Result(Unexpected<U> u) : error_(std::move(u.error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  E& error() { return *error_; }
  const E& error() const { return *error_; }

 private:
  std::optional<E> error_;
};

}  // namespace dragoman
