// What registry.cc knows of each filter: how to make its factory. One line a filter; the filter itself is in <name>.cc.
#pragma once

#include <memory>

#include "config/config.h"
#include "filters/filter.h"

namespace dragoman {

/// x-forwarded-for, x-forwarded-proto, x-request-id, and the server field of answers. HTTP listeners only.
std::unique_ptr<FilterFactory> make_forwarded_filter(const config::ListenerHttp& settings);
/// Sets, adds and removes header fields of requests and answers.
std::unique_ptr<FilterFactory> make_headers_filter(const config::HeadersFilter& settings);
/// Delays or answers a share of the requests.
std::unique_ptr<FilterFactory> make_fault_filter(const config::FaultFilter& settings);
/// gRPC-Web of clients to gRPC and back.
std::unique_ptr<FilterFactory> make_grpc_web_filter();

}  // namespace dragoman
