#include <cstdio>
#include <new>

#include "proxy/base/memory_reserve.h"
#include "proxy/cli/cli.h"

int main(int argc, char** argv) {
  if (!dragoman::install_memory_reserve())
    std::fputs("dragoman: no memory for the reserve: the first lack of it ends connections\n", stderr);
  try {
    return dragoman::cli_main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("dragoman: not enough memory\n", stderr);
    return 1;
  }
}
