#include "proxy/base/buffer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace dragoman {
namespace {

std::string text_of(const ByteChain& chain) {
  std::string text(chain.size(), '\0');
  chain.copy_to(reinterpret_cast<uint8_t*>(text.data()));
  return text;
}

std::string pattern(size_t n, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST(ByteChain, AppendAcrossChunksAndConsume) {
  const size_t before = live_chunks();
  {
    ByteChain chain;
    const std::string big = pattern(100'000);
    chain.append("head");
    chain.append(big);
    EXPECT_EQ(chain.size(), 100'004u);
    EXPECT_EQ(text_of(chain), "head" + big);
    chain.consume(4);
    EXPECT_EQ(text_of(chain), big);
    chain.consume(40'000);
    EXPECT_EQ(text_of(chain), big.substr(40'000));
    chain.consume(60'000);
    EXPECT_TRUE(chain.empty());
    EXPECT_EQ(live_chunks(), before) << "an empty chain holds memory";
  }
  EXPECT_EQ(live_chunks(), before);
}

TEST(ByteChain, ReserveAndCommit) {
  ByteChain chain;
  chain.append(pattern(16'000));
  uint8_t* p = chain.reserve(8192);  // doesn't fit behind: a new chunk
  std::memcpy(p, "xyz", 3);
  chain.commit(3);
  EXPECT_EQ(chain.size(), 16'003u);
  EXPECT_EQ(text_of(chain).substr(16'000), "xyz");
}

TEST(ByteChain, FillGivesThePiecesInOrder) {
  ByteChain chain;
  const std::string big = pattern(80'000);
  chain.append(big);
  iovec pieces[64];
  int n = chain.fill(pieces, 64);
  std::string joined;
  for (int i = 0; i < n; ++i) joined.append(static_cast<char*>(pieces[i].iov_base), pieces[i].iov_len);
  EXPECT_EQ(joined, big);
  EXPECT_EQ(chain.fill(pieces, 2), 2);
  ByteChain empty;
  EXPECT_EQ(empty.fill(pieces, 64), 0);
}

TEST(ByteChain, SpliceSmallAndLarge) {
  for (size_t n : {0u, 1u, 4096u, 4097u, 50'000u}) {
    ByteChain a, b;
    a.append("first");
    const std::string second = pattern(n);
    b.append(second);
    a.splice(b);
    EXPECT_TRUE(b.empty());
    EXPECT_EQ(text_of(a), "first" + second) << n;
    a.append("last");
    b.append("reused");
    EXPECT_EQ(text_of(a), "first" + second + "last") << n;
    EXPECT_EQ(text_of(b), "reused");
  }
}

TEST(ByteChain, MoveAndSwap) {
  ByteChain a;
  a.append("abc");
  ByteChain b(std::move(a));
  EXPECT_EQ(text_of(b), "abc");
  ByteChain c;
  c.append("old");
  c = std::move(b);
  EXPECT_EQ(text_of(c), "abc");
  EXPECT_EQ(c.front().size(), 3u);
}

TEST(ByteChain, XorTailReachesAcrossChunks) {
  ByteChain chain;
  std::string expected = pattern(40'000);
  chain.append(expected);
  const std::string mask = pattern(30'000, 2);
  chain.xor_tail(reinterpret_cast<const uint8_t*>(mask.data()), mask.size());
  for (size_t i = 0; i < mask.size(); ++i) expected[10'000 + i] ^= mask[i];
  EXPECT_EQ(text_of(chain), expected);
}

TEST(ByteChain, RandomOperationsAgreeWithAString) {
  const size_t before = live_chunks();
  {
    std::mt19937 random(3);
    ByteChain chain;
    std::string model;
    for (int i = 0; i < 20'000; ++i) {
      switch (random() % 5) {
        case 0:
        case 1: {
          const std::string piece = pattern(random() % (random() % 8 ? 200 : 30'000), random());
          chain.append(piece);
          model += piece;
          break;
        }
        case 2: {
          ByteChain other;
          const std::string piece = pattern(random() % 9000, random());
          other.append(piece);
          chain.splice(other);
          model += piece;
          break;
        }
        default: {
          const size_t n = model.empty() ? 0 : random() % (model.size() + 1);
          chain.consume(n);
          model.erase(0, n);
        }
      }
      ASSERT_EQ(chain.size(), model.size());
      if (i % 16 == 0) {
        ASSERT_EQ(text_of(chain), model);
      }
    }
  }
  EXPECT_EQ(live_chunks(), before);
}

class CountingSink : public ByteSink {
 public:
  int dirty_calls = 0;
  void clean() { dirty_ = false; }

 protected:
  void on_dirty() override { ++dirty_calls; }
};

TEST(ByteSink, TellsItsOwnerOnce) {
  CountingSink sink;
  sink.write("a");
  sink.write("b");
  sink.write(std::string(ByteSink::kLargeBytes, 'c'));
  EXPECT_EQ(sink.dirty_calls, 1);
  EXPECT_EQ(sink.out.size(), 2 + ByteSink::kLargeBytes);
  sink.clean();
  sink.write("d");
  EXPECT_EQ(sink.dirty_calls, 2);
}

}  // namespace
}  // namespace dragoman
