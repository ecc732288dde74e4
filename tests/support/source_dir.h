// Where the checkout is. One small file knows it, so that the compiled tests are the same in every checkout and a
// compiler cache serves them all.
#pragma once

#include <string>

/// The project's root, without a slash at its end.
std::string source_dir();
