#include <cstdio>
#include <new>

#include "proxy/cli/cli.h"

int main(int argc, char** argv) {
  try {
    return dragoman::cli_main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("dragoman: not enough memory\n", stderr);
    return 1;
  }
}
