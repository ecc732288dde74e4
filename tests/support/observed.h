// What observers of relayed connections tell about recorded and made-up connections, and that it does not depend on the cuts.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/observer.h"
#include "tests/support/codec_vectors.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {

/// tests/vectors/FOLDER/NAME.hex
inline std::string vector_bytes(const std::string& folder, const std::string& name) {
  std::ifstream in(source_dir() + "/tests/vectors/" + folder + "/" + name + ".hex");
  std::string hex;
  EXPECT_TRUE(in >> hex) << name;
  return from_hex(hex);
}

/// What one side sent, in the order of a connection.
struct Step {
  enum Side { kClient, kServer } side;
  std::string bytes;
};
inline Step client(std::string bytes) { return {Step::kClient, std::move(bytes)}; }
inline Step server(std::string bytes) { return {Step::kServer, std::move(bytes)}; }

/// What an observer told, in words, one after the other, and how often each.
struct Told {
  std::vector<std::string> words;
  std::map<std::string, int> count;
  void add(std::string word) {
    ++count[word];
    words.push_back(std::move(word));
  }
  int operator[](const std::string& word) const {
    auto it = count.find(word);
    return it == count.end() ? 0 : it->second;
  }
};

/// What two observers have in common; `Names` puts their commands and errors into words.
template <class ObserverOf, class Events, class Command, class Error, class Names>
struct Recording : Events {
  using Observer = ObserverOf;
  Told told;
  void on_command(Command c) override { told.add(Names::of(c)); }
  void on_answer(Command c, uint32_t us) override { told.add(Names::of(c) + " after " + std::to_string(us)); }
  void on_error(Error e) override { told.add("error " + Names::of(e)); }
  void on_stop(ObserverStop why) override {
    told.add("stop " + std::string(kObserverStopNames[static_cast<size_t>(why)]));
  }
};

/// `Recorder` makes its Events into a Told. A step takes 10 us; each is given in pieces of `piece` bytes.
template <class Recorder>
Told watch(const std::vector<Step>& steps, size_t piece = std::string::npos, size_t outstanding_max = 1000) {
  Recorder recorder;
  typename Recorder::Observer observer(recorder, outstanding_max);
  uint32_t now_us = 0xfffffff0;  // wraps
  for (const Step& step : steps) {
    now_us += 10;
    for (size_t at = 0; at < step.bytes.size();) {
      const size_t n = std::min(piece, step.bytes.size() - at);
      // A copy of its own, so that a sanitizer sees every byte read beyond it.
      const std::vector<uint8_t> bytes(step.bytes.begin() + static_cast<ptrdiff_t>(at),
                                       step.bytes.begin() + static_cast<ptrdiff_t>(at + n));
      if (step.side == Step::kClient)
        observer.on_client(bytes, now_us);
      else
        observer.on_server(bytes, now_us);
      at += n;
    }
  }
  return recorder.told;
}

/// The same, checked to be the same for pieces of every size, and for one cut at every place of every step.
template <class Recorder>
Told watch_cut(const std::vector<Step>& steps, size_t outstanding_max = 1000) {
  const Told whole = watch<Recorder>(steps, std::string::npos, outstanding_max);
  for (size_t piece : {1, 2, 3, 5, 7, 11, 64}) {
    const Told cut = watch<Recorder>(steps, piece, outstanding_max);
    EXPECT_EQ(cut.words, whole.words) << "in pieces of " << piece;
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    const size_t stride = std::max<size_t>(1, steps[i].bytes.size() / 500);
    for (size_t at = 1; at < steps[i].bytes.size(); at += stride) {
      Recorder recorder;
      typename Recorder::Observer observer(recorder, outstanding_max);
      uint32_t now_us = 0xfffffff0;
      const auto give = [&](const Step& step, std::string_view bytes) {
        const std::span<const uint8_t> span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
        step.side == Step::kClient ? observer.on_client(span, now_us) : observer.on_server(span, now_us);
      };
      for (size_t j = 0; j < steps.size(); ++j) {
        now_us += 10;
        const std::string_view bytes = steps[j].bytes;
        give(steps[j], bytes.substr(0, j == i ? at : bytes.size()));
        if (j == i) give(steps[j], bytes.substr(at));
      }
      EXPECT_EQ(recorder.told.words, whole.words) << "step " << i << " cut at " << at;
      if (::testing::Test::HasFailure()) return whole;
    }
  }
  return whole;
}

}  // namespace dragoman::testing
