// Which listeners of this process lead to each cluster, also by way of other listeners: a cluster that leads back to one of them
// would turn one request into as many as there are connections.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/config.h"
#include "proxy/net/transport.h"

namespace dragoman {

/// Where a listener listens; an error when that is no address.
Result<Address> address_of(const config::Listener& listener);
/// By cluster: indexes of listeners. `at` has each listener's address, by its index; one without a port is not looked at.
std::map<std::string, std::vector<size_t>> entrances(const config::Config& config,
                                                     const std::vector<Address>& at);

}  // namespace dragoman
