#include "proxy/base/kept_memory.h"

namespace dragoman {
namespace {

thread_local SpareMemory* lists = nullptr;

}  // namespace

size_t KeptMemory::total() const {
  size_t sum = 0;
  for (size_t n : bytes) sum += n;
  return sum;
}

SpareMemory::SpareMemory() : next_(lists) { lists = this; }

SpareMemory::~SpareMemory() {
  for (SpareMemory** at = &lists; *at; at = &(*at)->next_) {
    if (*at != this) continue;
    *at = next_;
    return;
  }
}

size_t trim_spare_memory() {
  size_t freed = 0;
  for (SpareMemory* list = lists; list; list = list->next_) freed += list->trim();
  return freed;
}

size_t spare_memory_bytes() {
  size_t sum = 0;
  for (SpareMemory* list = lists; list; list = list->next_) sum += list->spare_bytes();
  return sum;
}

}  // namespace dragoman
