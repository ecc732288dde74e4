#include <algorithm>
#include <string>

#include "protocols/framed.h"

namespace dragoman {

Result<void> check_codec(const dragoman_codec& t) {
  if (t.abi_major != DRAGOMAN_ABI_MAJOR || t.size < sizeof(dragoman_codec))
    return unexpected("codec built for ABI " + std::to_string(t.abi_major) + "." +
                      std::to_string(t.abi_minor) + ", this program has " +
                      std::to_string(DRAGOMAN_ABI_MAJOR) + "." + std::to_string(DRAGOMAN_ABI_MINOR));
  if (!t.name || !t.version) return unexpected("codec without name or version");
  std::string name = t.name;
  bool good_name = !name.empty() && name.size() <= 32 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  if (!good_name) return unexpected("codec name '" + name.substr(0, 64) + "' is not [a-z0-9_]{1,32}");
  auto wrong = [&name](const char* what) { return unexpected("codec " + name + ": " + what); };
  if (!t.probe || !t.view || !t.outcome || !t.reply)
    return wrong("probe, view, outcome and reply are required");
  if (t.conn_state_size > DRAGOMAN_CONN_STATE_MAX) return wrong("conn_state_size is over 1024");
  if (t.head_bytes_max == 0 || t.head_bytes_max > ConnectionCodec::kHeadroom)
    return wrong("head_bytes_max is not in 1..131072");
  if (t.detect_bytes_max == 0 || t.detect_bytes_max > t.head_bytes_max)
    return wrong("detect_bytes_max is not in 1..head_bytes_max");
  if (t.lacks & ~uint32_t{DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS})
    return wrong("lacks has bits that are no DRAGOMAN_WANT_*");
  if (t.id_len != 0 && t.id_len != 1 && t.id_len != 2 && t.id_len != 4 && t.id_len != 8)
    return wrong("id_len is not 0, 1, 2, 4 or 8");
  if (t.id_bits != 0 && (t.id_bits < 8 || t.id_bits > t.id_len * 8))
    return wrong("id_bits does not go with id_len");
  if (t.attribute_count > DRAGOMAN_ATTRIBUTES_MAX || (t.attribute_count > 0 && !t.attributes))
    return wrong("attributes are missing or more than 16");
  for (uint32_t i = 0; i < t.attribute_count; ++i) {
    std::string_view attribute = t.attributes[i] ? t.attributes[i] : "";
    bool good = !attribute.empty() && attribute.size() <= 64 && std::ranges::all_of(attribute, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    });
    if (!good) return wrong("an attribute's name is not [a-z0-9_.-]{1,64}");
    for (uint32_t j = 0; j < i; ++j)
      if (attribute == t.attributes[j]) return wrong("two attributes have one name");
  }
  auto has = [&t](uint64_t ability) { return (t.abilities & ability) != 0; };
  if (has(DRAGOMAN_CAN_EDIT) != (t.edit != nullptr)) return wrong("CAN_EDIT and edit don't go together");
  if (has(DRAGOMAN_CAN_HEARTBEAT) != (t.heartbeat != nullptr) ||
      has(DRAGOMAN_CAN_HEARTBEAT) != (t.heartbeat_reply != nullptr))
    return wrong("CAN_HEARTBEAT, heartbeat and heartbeat_reply don't go together");
  if (has(DRAGOMAN_CAN_GOAWAY) != (t.goaway != nullptr))
    return wrong("CAN_GOAWAY and goaway don't go together");
  if (has(DRAGOMAN_CAN_CHECKSUM) != (t.checksum != nullptr))
    return wrong("CAN_CHECKSUM and checksum don't go together");
  if (has(DRAGOMAN_ONLY_BOUND) && has(DRAGOMAN_CAN_MULTIPLEX))
    return wrong("ONLY_BOUND and CAN_MULTIPLEX exclude each other");
  if (!has(DRAGOMAN_ONLY_BOUND) && has(DRAGOMAN_CAN_MULTIPLEX) != (t.id_len > 0 || t.set_id))
    return wrong("CAN_MULTIPLEX needs id_len or set_id, and they need it");
  return {};
}

}  // namespace dragoman
