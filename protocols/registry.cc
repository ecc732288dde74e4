// The one table of built-in protocols. Which framed codecs are in it: DRAGOMAN_BUILTIN_CODECS in CMakeLists.txt.
#include <vector>

#include "protocols/codec_module.h"
#include "protocols/either_codec.h"
#include "protocols/exchange.h"
#include "protocols/framed.h"
#include "protocols/http1/http1_codec.h"
#include "protocols/http2/http2_codec.h"

namespace dragoman {

#define DRAGOMAN_BUILTIN(name) const dragoman_codec* name##_codec();
#include "protocols/builtin_codecs.inc"
#undef DRAGOMAN_BUILTIN

namespace {

Protocol http1() {
  Protocol p;
  p.name = "http1";
  p.is_http = true;
  p.create = [](const Protocol& self, Role role, ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
    return role == Role::kServer && options.http1.allow_h2c ? make_http1_or_h2c_codec(out, events, options)
                                                            : make_http1_codec(self, role, out, events, options);
  };
  return p;
}

// For listeners: whichever version the client speaks.
Protocol either() {
  Protocol p;
  p.name = "http";
  p.is_http = true;
  p.multiplexed = true;
  p.has_goaway = true;
  p.create = [](const Protocol&, Role, ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
    return make_either_codec(out, events, options);
  };
  return p;
}

Protocol http2() {
  Protocol p;
  p.name = "http2";
  p.is_http = true;
  p.multiplexed = true;
  p.has_heartbeat = true;
  p.has_goaway = true;
  p.refuses_untouched = true;
  p.create = make_http2_codec;
  return p;
}

std::vector<Protocol> built_in() {
  std::vector<Protocol> table = {http1(), http2(), either()};
#define DRAGOMAN_BUILTIN(name) table.push_back(framed_protocol(*name##_codec()));
#include "protocols/builtin_codecs.inc"
#undef DRAGOMAN_BUILTIN
  return table;
}

}  // namespace

Protocol framed_protocol(const dragoman_codec& table, std::shared_ptr<const void> owner) {
  Protocol p;
  p.name = table.name;
  p.multiplexed = (table.abilities & DRAGOMAN_CAN_MULTIPLEX) != 0;
  p.has_heartbeat = (table.abilities & DRAGOMAN_CAN_HEARTBEAT) != 0;
  p.has_goaway = (table.abilities & DRAGOMAN_CAN_GOAWAY) != 0;
  p.only_bound = (table.abilities & DRAGOMAN_ONLY_BOUND) != 0;
  p.create = make_framed_codec;
  p.table = &table;
  p.owner = std::move(owner);
  return p;
}

std::span<const Protocol> protocols() {
  static const std::vector<Protocol> kTable = built_in();
  return kTable;
}

const Protocol* find_protocol(std::string_view name) {
  for (const Protocol& p : protocols())
    if (p.name == name) return &p;
  return nullptr;
}

const Protocol& agreed_protocol(const Protocol& protocol, std::string_view alpn) {
  const Protocol* either = find_protocol("http");
  if (alpn.empty() || protocol.create != either->create) return protocol;
  const Protocol* agreed = alpn == "h2"                  ? find_protocol("http2")
                           : alpn.starts_with("http/1.") ? find_protocol("http1")
                                                         : nullptr;
  return agreed ? *agreed : protocol;
}

}  // namespace dragoman
