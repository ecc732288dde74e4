// What of a configuration only the engine can check: certificates.
#pragma once

#include "config/load.h"

namespace dragoman {

/// For config::load_file and load_string: files of `tls` blocks can be read, belong together, and OpenSSL takes the settings.
void check_config(const config::Config& config, const config::Complain& complain);

}  // namespace dragoman
