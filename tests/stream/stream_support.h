// What the engine's tests share: a Bolt backend that remembers what reached it, and Bolt answers as a client
// reads them.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/bolt_frames.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {

/// Class, header and content of a frame as sent by BoltFrame.
struct BoltParts {
  uint32_t id = 0;
  uint8_t type = 0;
  uint16_t command = 0;
  uint16_t status = 0;  // responses
  std::string class_name, header, content;
};

inline BoltParts bolt_parts(const std::string& frame) {
  auto number = [&](size_t at, size_t n) {
    size_t value = 0;
    for (size_t i = 0; i < n; ++i) value = value << 8 | static_cast<uint8_t>(frame.at(at + i));
    return value;
  };
  BoltParts p;
  if (frame.empty()) return p;
  const size_t v2 = frame[0] == 2 ? 1 : 0;
  p.type = static_cast<uint8_t>(number(1 + v2, 1));
  p.command = static_cast<uint16_t>(number(2 + v2, 2));
  p.id = bolt_id(frame);
  const size_t after_codec = 10 + 2 * v2;  // v2: ver1 before, switch after
  const bool response = p.type == 0;
  if (response) p.status = static_cast<uint16_t>(number(after_codec, 2));
  const size_t lengths = after_codec + (response ? 2 : 4);
  const size_t class_len = number(lengths, 2), header_len = number(lengths + 2, 2);
  const size_t content_len = number(lengths + 4, 4);
  p.class_name = frame.substr(lengths + 8, class_len);
  p.header = frame.substr(lengths + 8 + class_len, header_len);
  p.content = frame.substr(lengths + 8 + class_len + header_len, content_len);
  return p;
}

/// A Bolt backend that keeps every frame it got, in order, and answers each request with its content.
class BoltRecorder {
 public:
  BoltRecorder() : backend_([this](TestSocket& s) { serve(s); }) {}

  std::string address() const { return backend_.address(); }
  int connections() const { return backend_.connections(); }
  int active() const { return backend_.active(); }
  size_t count() {
    std::lock_guard lock(mutex_);
    return frames_.size();
  }
  std::vector<std::string> frames() {
    std::lock_guard lock(mutex_);
    return frames_;
  }
  /// Bytes that reached it, complete frames or not.
  size_t bytes() {
    std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  void serve(TestSocket& s) {
    for (;;) {
      const std::string frame = s.read_bolt();
      {
        std::lock_guard lock(mutex_);
        bytes_ += frame.empty() ? s.read_to_end().size() : frame.size();
        if (!frame.empty()) frames_.push_back(frame);
      }
      if (frame.empty()) return;
      const BoltParts p = bolt_parts(frame);
      if (p.type == 2) continue;
      BoltFrame answer = BoltFrame::response(p.id, p.content);
      if (frame[0] == 2) answer.proto = 2;
      if (p.command == 0) {
        answer.command = 0;
        answer.class_name.clear();
        answer.content.clear();
      }
      if (!s.send(answer.bytes())) return;
    }
  }
  std::mutex mutex_;
  std::vector<std::string> frames_;
  size_t bytes_ = 0;
  ScriptedBackend backend_;  // last: its threads use the rest
};

/// Status values of Bolt answers that tests look for.
enum BoltStatus : uint16_t {
  kBoltSuccess = 0,
  kBoltError = 1,
  kBoltServerException = 2,
  kBoltBusy = 4,
  kBoltComm = 5,
  kBoltNoProcessor = 6,
  kBoltTimeout = 7,
  kBoltCodec = 9,
};

/// Reads one answer; status 999 when there is none.
inline BoltParts read_answer(TestSocket& s) {
  const std::string frame = s.read_bolt();
  if (frame.empty()) {
    BoltParts none;
    none.status = 999;
    return none;
  }
  return bolt_parts(frame);
}

}  // namespace dragoman::testing
