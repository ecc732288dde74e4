// What of a configuration only the engine can check: certificates, logs, and whether protocols can be told apart.
#pragma once

#include "config/load.h"
#include "protocols/catalog.h"

namespace dragoman {

/// For config::load_file and load_string: files of `tls` blocks can be read, belong together, and OpenSSL takes the settings; no two
/// protocols of a listener claim the same first bytes; logs can be opened and their lines made. `declared` is what the codec loader of the same call fills, and must
/// outlive the result.
config::Check config_check(const DeclaredProtocols& declared);

/// Everything that Server::run() does with a configuration file before it opens sockets and logs, and with the same functions.
config::LoadResult check_file(const std::string& path);

}  // namespace dragoman
