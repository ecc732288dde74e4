// What of a configuration only the engine can check: certificates, and whether protocols can be told apart.
#pragma once

#include "config/load.h"
#include "protocols/catalog.h"

namespace dragoman {

/// For config::load_file and load_string: files of `tls` blocks can be read, belong together, and OpenSSL takes the settings; no two
/// protocols of a listener claim the same first bytes. `declared` is what the codec loader of the same call fills, and must
/// outlive the result.
config::Check config_check(const DeclaredProtocols& declared);

}  // namespace dragoman
