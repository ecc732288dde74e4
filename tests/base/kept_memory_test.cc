#include "proxy/base/kept_memory.h"

#include <gtest/gtest.h>

#include "proxy/base/arena.h"
#include "proxy/base/buffer.h"
#include "proxy/base/object_pool.h"

namespace dragoman {
namespace {

size_t kept(MemoryOwner owner) { return kept_memory.of(owner); }

TEST(KeptMemory, ChunksCountForTheirOwnerUntilTheyAreReleased) {
  const size_t before = kept_memory.total();
  {
    ByteChain chain(MemoryOwner::kInput);
    EXPECT_EQ(kept_memory.total(), before) << "an empty chain keeps nothing";
    chain.append(std::string(40'000, 'x'));
    EXPECT_EQ(kept(MemoryOwner::kInput), 3 * Chunk::kBytes);
    EXPECT_EQ(chain.memory(), 3 * Chunk::kBytes);
    chain.consume(20'000);
    EXPECT_EQ(kept(MemoryOwner::kInput), 2 * Chunk::kBytes);
    chain.cut(0, 15'000);
    EXPECT_EQ(kept(MemoryOwner::kInput), Chunk::kBytes);
    chain.reserve(8'000);
    EXPECT_EQ(kept(MemoryOwner::kInput), chain.memory());
  }
  EXPECT_EQ(kept_memory.total(), before);
}

TEST(KeptMemory, SplicedBytesChangeTheirOwnerSwappedOnesDoNot) {
  const size_t before = kept_memory.total();
  {
    ByteChain input(MemoryOwner::kInput), output(MemoryOwner::kOutput);
    input.append(std::string(20'000, 'x'));
    output.splice(input);
    EXPECT_EQ(kept(MemoryOwner::kInput), 0u);
    EXPECT_EQ(kept(MemoryOwner::kOutput), 2 * Chunk::kBytes);
    input.append(std::string(100, 'x'));
    output.splice(input);  // copied, since it is short
    EXPECT_EQ(kept(MemoryOwner::kInput), 0u);
    EXPECT_EQ(kept(MemoryOwner::kOutput), output.memory());
    input.swap(output);
    EXPECT_EQ(kept(MemoryOwner::kOutput), input.memory());
    ByteChain moved(std::move(input));
    moved.set_owner(MemoryOwner::kAnswers);
    moved.append(std::string(20'000, 'x'));
    EXPECT_GT(kept(MemoryOwner::kAnswers), 0u);
    EXPECT_EQ(kept(MemoryOwner::kAnswers) + kept(MemoryOwner::kOutput), moved.memory());
  }
  EXPECT_EQ(kept_memory.total(), before);
}

TEST(KeptMemory, ArenasCountWhatIsBeyondTheirInside) {
  const size_t before = kept_memory.total();
  {
    Arena arena;
    arena.allocate(Arena::kInline);
    EXPECT_EQ(kept_memory.total(), before);
    arena.allocate(100);
    EXPECT_EQ(kept(MemoryOwner::kHeads), Arena::kBlockBytes);
    arena.allocate(100'000);
    EXPECT_GE(kept(MemoryOwner::kHeads), Arena::kBlockBytes + 100'000);
    arena.reset();
    EXPECT_EQ(kept_memory.total(), before);
    arena.allocate(2'000);
  }
  EXPECT_EQ(kept_memory.total(), before);
}

TEST(KeptMemory, PooledObjectsCountAndTheirListsAreTrimmed) {
  struct Object {
    char bytes[1000];
  };
  using Pool = ObjectPool<Object, 100>;
  const size_t before = kept_memory.total();
  while (spare_memory_bytes() != 0) trim_spare_memory();  // what other tests left
  Object* objects[8];
  for (Object*& o : objects) o = Pool::create();
  EXPECT_EQ(kept(MemoryOwner::kStreams), 8 * sizeof(Object));
  for (Object* o : objects) Pool::destroy(o);
  EXPECT_EQ(kept_memory.total(), before);
  EXPECT_EQ(spare_memory_bytes(), 8 * sizeof(Object));

  EXPECT_EQ(trim_spare_memory(), 0u) << "all of them were needed since the last time";
  EXPECT_EQ(trim_spare_memory(), 4 * sizeof(Object)) << "half of what nobody needed";
  objects[0] = Pool::create();
  objects[1] = Pool::create();
  Pool::destroy(objects[0]);
  Pool::destroy(objects[1]);
  EXPECT_EQ(trim_spare_memory(), sizeof(Object)) << "two of four were needed";
  for (int i = 0; i < 3; ++i) trim_spare_memory();
  EXPECT_EQ(spare_memory_bytes(), 0u) << "nobody needs any of them";
}

}  // namespace
}  // namespace dragoman
