// The pieces that the codec is made of, where a table over whole messages would not reach.
#include <gtest/gtest.h>

#include <random>

#include "protocols/http/rules.h"
#include "protocols/http/target.h"
#include "protocols/http1/chunked.h"
#include "protocols/http1/encoder.h"
#include "protocols/http1/line_scanner.h"
#include "protocols/http1/message_parser.h"
#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

// --- targets ---------------------------------------------------------------------------------------------------------

std::string normalised(std::string target) {
  const char* why = nullptr;
  std::string out(settle_target(target.data(), target.size(), {}, &why));
  EXPECT_EQ(out.empty(), why != nullptr);
  return out;
}

TEST(Target, NormalisingTwiceChangesNothing) {
  std::mt19937 random(1);
  const std::string_view pieces[] = {"/", "/", ".", "..", "%2e", "%2E", "%2f", "%5c", "%25", "%32", "a", "b", ";", "?", "%61", "%", "65", "//", "~", "\\"};
  int kept = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string target = "/";
    for (uint32_t n = random() % 12; n > 0; --n) target += pieces[random() % std::size(pieces)];
    std::string once = normalised(target);
    if (once.empty()) continue;
    ++kept;
    ASSERT_EQ(normalised(once), once) << target;
    ASSERT_LE(once.size(), target.size());
    ASSERT_EQ(once[0], '/');
    const std::string path = once.substr(0, once.find('?')) + "/";
    ASSERT_EQ(path.substr(0, path.size() - 1).find("//"), std::string::npos) << target;
    ASSERT_EQ(path.find("/../"), std::string::npos) << target;
    ASSERT_EQ(path.find("/./"), std::string::npos) << target;
    // Nobody behind us can decode it to a path above the one that was routed.
    for (std::string_view hidden : {"%2e", "%2E", "%00", "\\"})
      ASSERT_EQ(path.find(hidden), std::string::npos) << target;
    std::string decoded = path;
    for (std::string_view slash : {"%2f", "%5c"})
      for (size_t at; (at = decoded.find(slash)) != std::string::npos;) decoded.replace(at, 3, "/");
    ASSERT_EQ(decoded.find("/../"), std::string::npos) << target;
    // The query is what it was.
    size_t mark = target.find('?');
    ASSERT_EQ(once.substr(std::min(once.find('?'), once.size())), target.substr(std::min(mark, target.size())));
  }
  EXPECT_GT(kept, 1'000);
}

TEST(Target, SameAuthority) {
  EXPECT_TRUE(same_authority("a", "A", "http"));
  EXPECT_TRUE(same_authority("a", "a:80", "http"));
  EXPECT_TRUE(same_authority("a:443", "a", "https"));
  EXPECT_TRUE(same_authority("a:", "a:80", "http"));
  EXPECT_TRUE(same_authority("[::1]", "[::1]:80", "http"));
  EXPECT_FALSE(same_authority("a", "a:443", "http"));
  EXPECT_FALSE(same_authority("a", "a:80", "https"));
  EXPECT_FALSE(same_authority("a", "b", "http"));
  EXPECT_FALSE(same_authority("[::1]", "[::1:80]", "http"));
  EXPECT_FALSE(same_authority("a", "", "http"));
}

// --- chunks ----------------------------------------------------------------------------------------------------------

TEST(Chunks, DecodeWhatWasEncodedAtAnySplit) {
  FakeByteSink sink;
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    std::string body;
    for (int i = 0; i < 5; ++i) {
      std::string piece(random() % 300, static_cast<char>('a' + i));
      body += piece;
      http1::encode_chunk(bytes_of(piece), i == 4, sink);
    }
    std::string wire = sink.take();
    std::string got;
    http1::ChunkDecoder decoder;
    auto verdict = http1::ChunkDecoder::Verdict::kMore;
    size_t at = 0;
    for (; at < wire.size() && verdict != http1::ChunkDecoder::Verdict::kLast;) {
      size_t used = 0, n = std::min<size_t>(wire.size() - at, 1 + random() % 50);
      std::span<const uint8_t> data;
      verdict = decoder.decode(bytes_of(std::string_view(wire).substr(at, n)), used, data);
      ASSERT_NE(verdict, http1::ChunkDecoder::Verdict::kBad);
      if (verdict == http1::ChunkDecoder::Verdict::kData) got += to_text(data);
      at += used;
    }
    EXPECT_EQ(verdict, http1::ChunkDecoder::Verdict::kLast);
    EXPECT_EQ(wire.substr(at), "\r\n");
    EXPECT_EQ(got, body);
  }
}

// --- lines -----------------------------------------------------------------------------------------------------------

TEST(Lines, TheVerdictDependsOnTheBytesOnly) {
  using Verdict = LineScanner::Verdict;
  const BlockLimits limits{20, 30, 3};
  const BlockLimits trailers{0, 30, 3};
  struct Row {
    std::string block;
    Verdict head, trailer;
  };
  const std::string line = "GET / HTTP/1.1\r\n";
  for (const Row& row : {
           Row{"a: b\r\n\r\n", Verdict::kEnd, Verdict::kEnd},
           Row{"\r\n", Verdict::kEnd, Verdict::kEnd},
           Row{"a: b\r\nc: d\r\ne: f\r\n\r\n", Verdict::kEnd, Verdict::kEnd},
           Row{"a: b\r\nc: d\r\ne: f\r\ng:\r\n", Verdict::kTooManyFields, Verdict::kTooManyFields},
           Row{"a: " + std::string(23, 'v') + "\r\n\r\n", Verdict::kEnd, Verdict::kEnd},
           Row{"a: " + std::string(24, 'v') + "\r\n\r\n", Verdict::kFieldsTooLong, Verdict::kFieldsTooLong},
           Row{"a: " + std::string(100, 'v'), Verdict::kFieldsTooLong, Verdict::kFieldsTooLong},
           Row{"a: b\n", Verdict::kBareLf, Verdict::kBareLf},
           Row{"\n", Verdict::kBareLf, Verdict::kBareLf},
           Row{"a: b\r\n c", Verdict::kFolded, Verdict::kFolded},
           Row{"a: b\r\n\tc", Verdict::kFolded, Verdict::kFolded},
           Row{" a: b\r\n", Verdict::kFolded, Verdict::kFolded},
           Row{"a: b\r\n", Verdict::kMore, Verdict::kMore},
           Row{"a: b\r", Verdict::kMore, Verdict::kMore},
       }) {
    for (bool head : {true, false}) {
      const std::string block = head ? line + row.block : row.block;
      const auto* data = reinterpret_cast<const uint8_t*>(block.data());
      const Verdict expected = head ? row.head : row.trailer;
      SCOPED_TRACE(block);
      for (size_t first = 0; first <= block.size(); ++first) {
        LineScanner scanner;
        Verdict verdict = scanner.scan(data, first, head ? limits : trailers);
        if (verdict == Verdict::kMore) verdict = scanner.scan(data, block.size(), head ? limits : trailers);
        EXPECT_EQ(verdict, expected) << first;
        if (verdict == Verdict::kEnd) {
          EXPECT_EQ(scanner.size(), block.size());
        }
      }
    }
  }
  const std::string longest = std::string(18, 'x') + "\r\n\r\n";
  LineScanner scanner;
  EXPECT_EQ(scanner.scan(reinterpret_cast<const uint8_t*>(longest.data()), longest.size(), limits), Verdict::kEnd);
  const std::string over = "x" + longest;
  for (size_t n = 21; n <= over.size(); ++n) {
    LineScanner other;
    EXPECT_EQ(other.scan(reinterpret_cast<const uint8_t*>(over.data()), n, limits), Verdict::kStartLineTooLong);
  }
}

// --- outcomes --------------------------------------------------------------------------------------------------------

TEST(Outcomes, OfAStatus) {
  EXPECT_EQ(outcome_of_status(200), Outcome::kOk);
  EXPECT_EQ(outcome_of_status(304), Outcome::kOk);
  EXPECT_EQ(outcome_of_status(404), Outcome::kClientError);
  EXPECT_EQ(outcome_of_status(408), Outcome::kTimeout);
  EXPECT_EQ(outcome_of_status(429), Outcome::kRateLimited);
  EXPECT_EQ(outcome_of_status(500), Outcome::kServerError);
  EXPECT_EQ(outcome_of_status(503), Outcome::kOverloaded);
  EXPECT_EQ(outcome_of_status(504), Outcome::kTimeout);
  EXPECT_EQ(outcome_of_status(599), Outcome::kServerError);
}

}  // namespace
}  // namespace dragoman::testing
