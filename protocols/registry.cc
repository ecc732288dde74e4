// The one table of built-in protocols. A new built-in codec is one row here.
#include <array>

#include "protocols/bolt/bolt.h"
#include "protocols/dubbo/dubbo.h"
#include "protocols/exchange.h"
#include "protocols/framed.h"
#include "protocols/http1/http1_codec.h"

namespace dragoman {
namespace {

Protocol framed(const dragoman_codec* table) {
  Protocol p;
  p.name = table->name;
  p.multiplexed = (table->abilities & DRAGOMAN_CAN_MULTIPLEX) != 0;
  p.has_heartbeat = (table->abilities & DRAGOMAN_CAN_HEARTBEAT) != 0;
  p.has_goaway = (table->abilities & DRAGOMAN_CAN_GOAWAY) != 0;
  p.only_bound = (table->abilities & DRAGOMAN_ONLY_BOUND) != 0;
  p.create = make_framed_codec;
  p.table = table;
  return p;
}

Protocol http1() {
  Protocol p;
  p.name = "http1";
  p.is_http = true;
  p.create = make_http1_codec;
  return p;
}

}  // namespace

std::span<const Protocol> protocols() {
  static const std::array kTable = {http1(), framed(bolt_codec()), framed(dubbo_codec())};
  return kTable;
}

const Protocol* find_protocol(std::string_view name) {
  for (const Protocol& p : protocols())
    if (p.name == name) return &p;
  return nullptr;
}

}  // namespace dragoman
