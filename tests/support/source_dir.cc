#include "tests/support/source_dir.h"

std::string source_dir() { return DRAGOMAN_SOURCE_DIR; }
