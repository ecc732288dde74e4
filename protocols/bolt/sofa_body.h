// What SOFARPC says of a call besides service and method, and where it puts it into the body of a request: a Hessian object of the
// draft grammar, read shallowly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace dragoman {

/// The ids that a call carries along; empty when it has none.
struct SofaContext {
  std::string_view xid;       // of the Seata transaction
  std::string_view trace_id;  // of SOFATracer
  std::string_view rpc_id;    // the call's place in the trace

  /// A pair of Bolt's header section.
  void see_header(std::string_view key, std::string_view value);
  /// A pair of the body's requestProps.
  void see_property(std::string_view key, std::string_view value);
  /// A pair of rpc_trace_context.
  void see_trace(std::string_view key, std::string_view value);
  /// Takes from `other` what is not there.
  void add(const SofaContext& other);
};

struct SofaBody {
  std::string_view service;
  std::string_view method;
  SofaContext context;
  size_t bytes = 0;  // how many had to be read
  bool ambiguous = false;  // service or method in a form that readers could take for another

  /// False: it is no SofaRequest, or not all there. Work is bounded by the bytes, depth by the reader. Text in several chunks
  /// is left out.
  bool read(std::span<const uint8_t> body);
};

}  // namespace dragoman
