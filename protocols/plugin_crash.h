// Names the codec when a library crashes in service: a line on standard error before the process dies as it would
// have. Nothing is done per call: the handler looks whether the place of the crash, or one that the stack leads back
// to, is in a library of this list.
#pragma once

#include <string>

namespace dragoman {

/// Remembers where a loaded library lies; from the first on crashes are looked at. `path` as it was loaded, `name`
/// what is said ("acme 2 (/etc/dragoman/libacme.so)"). Returns a place for forget_library(), -1 when there is none.
int remember_library(const std::string& path, const std::string& name);
void forget_library(int place);

}  // namespace dragoman
