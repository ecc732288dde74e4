// JSON text, member by member; keeps the JSON library out of the headers that need to write some.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::config {

class JsonWriter {
 public:
  JsonWriter();
  ~JsonWriter();

  void begin_object();
  void end_object();
  void begin_array();
  void end_array();
  void key(std::string_view name);
  void text(std::string_view value);
  void integer(int64_t value);
  void number(double value);
  void boolean(bool value);

  /// Texts are written without these from now on.
  void hide(std::vector<std::string> secrets);

  /// key() and text()
  void member(std::string_view name, std::string_view value);

  /// What was written.
  std::string str() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dragoman::config
