// Other readers of framed protocols, deliberately unlike the codecs: they take the first of several values, or the last, look
// for names as lenient peers do, and care for nothing else. What a codec accepts, all of them must read as it does: the id that
// the host writes anew, and what routes match.
#pragma once

#include <cctype>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/plugin.h"
#include "proxy/base/cursor.h"

namespace dragoman::fuzz {

struct Reading {
  std::optional<uint64_t> id{};
  std::optional<std::string> service{};
  std::optional<std::string> method{};
  std::optional<std::string> id_text{};
  std::optional<std::string> version{};  // Dubbo
};

namespace second {

using Bytes = std::string_view;

/// Thrown at what a peer would refuse: then there is no second reading.
struct Refused {};

struct In {
  Bytes b;
  size_t at = 0;
  bool end() const { return at >= b.size(); }
  uint8_t u8() {
    if (end()) throw Refused();
    return static_cast<uint8_t>(b[at++]);
  }
  uint64_t be(int n) {
    uint64_t v = 0;
    while (n-- > 0) v = v << 8 | u8();
    return v;
  }
  std::string take(uint64_t n) {
    if (n > b.size() - at) throw Refused();
    std::string out(b.substr(at, static_cast<size_t>(n)));
    at += static_cast<size_t>(n);
    return out;
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      uint8_t c = u8();
      v |= uint64_t{c & 0x7fu} << shift;
      if (!(c & 0x80)) return v;
    }
    u8();
    return v;
  }
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline std::optional<std::string> pick(const Pairs& pairs, std::string_view name, bool first) {
  std::optional<std::string> out;
  for (const auto& [k, v] : pairs)
    if (k == name && (!first || !out)) out = v;
  return out;
}

// ---------------------------------------------------------------- Tars: fields by tag, forward only

inline std::string tars_value(In& in, int type, int depth = 0);
inline std::pair<int, int> tars_head(In& in) {
  uint8_t h = in.u8();
  int tag = h >> 4;
  if (tag == 15) tag = in.u8();
  return {tag, h & 15};
}
inline int64_t tars_number(const std::string& raw) {
  int64_t v = raw.empty() ? 0 : static_cast<int8_t>(raw[0]);
  for (size_t i = 1; i < raw.size(); ++i)
    v = static_cast<int64_t>(static_cast<uint64_t>(v) << 8 | static_cast<uint8_t>(raw[i]));
  return v;
}
inline std::string tars_value(In& in, int type, int depth) {
  if (depth > 20) throw Refused();
  auto count = [&] {
    auto [tag, t] = tars_head(in);
    return static_cast<uint64_t>(tars_number(tars_value(in, t, depth + 1)));
  };
  switch (type) {
    case 0: return in.take(1);
    case 1: return in.take(2);
    case 2:
    case 4: return in.take(4);
    case 3:
    case 5: return in.take(8);
    case 6: return in.take(in.u8());
    case 7: return in.take(in.be(4));
    case 12: return "";
    case 13: in.u8(); return in.take(count());
    case 8:
    case 9: {
      uint64_t n = count() * (type == 8 ? 2 : 1);
      if (n > in.b.size()) throw Refused();
      for (; n > 0; --n) tars_value(in, tars_head(in).second, depth + 1);
      return "";
    }
    case 10:
      for (;;) {
        auto [tag, t] = tars_head(in);
        if (t == 11) return "";
        tars_value(in, t, depth + 1);
      }
  }
  throw Refused();
}
inline Reading tars(Bytes head, bool request, bool first) {
  In in{head, 4};
  const bool tup = head.at(5) == 2 || head.at(5) == 3;  // answers have the layout of requests
  const bool asks = request || tup;
  std::optional<std::string> fields[16];
  if (first) {  // skip to each tag in turn, from where the last one ended
    for (int wanted : {1, asks ? 4 : 3, 5, 6}) {
      if (!asks && wanted == 6) break;
      for (;;) {
        auto [tag, type] = tars_head(in);
        std::string v = tars_value(in, type);
        if (tag == wanted) {
          fields[wanted] = v;
          break;
        }
        if (tag > wanted) throw Refused();
      }
    }
  } else {
    while (!in.end()) {
      auto [tag, type] = tars_head(in);
      std::string v = tars_value(in, type);
      if (tag < 16) fields[tag] = v;
      if (tag == (asks ? 6 : 5)) break;
    }
  }
  Reading r;
  r.id = static_cast<uint32_t>(tars_number(fields[asks ? 4 : 3].value_or("")));
  if (request) r.service = fields[5], r.method = fields[6];
  return r;
}

// ---------------------------------------------------------------- RocketMQ

struct Json {
  In in;
  void space() {
    while (!in.end() && std::string_view(" \t\r\n").find(in.b[in.at]) != std::string_view::npos) ++in.at;
  }
  std::string string() {
    std::string out;
    if (in.u8() != '"') throw Refused();
    for (;;) {
      char c = static_cast<char>(in.u8());
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      c = static_cast<char>(in.u8());
      if (c == 'u' || c == 'x') {
        unsigned v = 0;
        for (char d : in.take(c == 'u' ? 4 : 2)) {
          if (!isxdigit(static_cast<unsigned char>(d))) throw Refused();
          v = v << 4 | static_cast<unsigned>(d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
        }
        if (v >= 0x80) throw Refused();  // not worth a second decoder
        out += static_cast<char>(v);
      } else {
        constexpr std::string_view kFrom = "bfnrt", kTo = "\b\f\n\r\t";
        size_t i = kFrom.find(c);
        out += i == kFrom.npos ? c : kTo[i];
      }
    }
  }
  /// The value's text; members of an object go to `members`.
  std::string value(Pairs* members, int depth = 0) {
    if (depth > 40) throw Refused();
    space();
    if (in.end()) throw Refused();
    size_t from = in.at;
    char c = in.b[in.at];
    if (c == '"') return string();
    if (c == '{' || c == '[') {
      ++in.at;
      for (;;) {
        space();
        if (in.end()) throw Refused();
        if (in.b[in.at] == '}' || in.b[in.at] == ']') {
          ++in.at;
          return std::string(in.b.substr(from, in.at - from));
        }
        if (in.b[in.at] == ',') {
          ++in.at;
          continue;
        }
        std::string name;
        if (c == '{') {
          name = string();
          space();
          if (in.u8() != ':') throw Refused();
          space();
        }
        size_t at = in.at;
        std::string v = value(nullptr, depth + 1);
        if (members && c == '{')
          members->emplace_back(
              name, !in.b.empty() && in.b[at] == '{' ? std::string(in.b.substr(at, in.at - at)) : v);
      }
    }
    while (!in.end() && std::string_view(",]} \t\r\n").find(in.b[in.at]) == std::string_view::npos) ++in.at;
    if (in.at == from) throw Refused();
    return std::string(in.b.substr(from, in.at - from));
  }
};
inline std::string smart(std::string_view name) {
  std::string out;
  for (char c : name)
    if (c != '_' && c != '-' && c != ' ') out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}
inline Reading rocketmq(Bytes head, bool request, bool first) {
  In in{head, 4};
  const bool json = in.u8() == 0;
  in.at = 8;
  Pairs ext;
  int64_t code = 0;
  Reading r;
  if (json) {
    Json j{{head, 8}};
    Pairs members, lenient;
    j.value(&members);
    for (auto& [k, v] : members) lenient.emplace_back(smart(k), v);
    auto number = [&](std::string_view name) -> int64_t {
      auto text = pick(lenient, name, first);
      try {
        return text ? std::stoll(*text) : 0;
      } catch (...) {
        throw Refused();
      }
    };
    r.id = static_cast<uint32_t>(number("opaque"));
    code = number("code");
    if (auto text = pick(lenient, "extfields", first); text && text->starts_with("{")) {
      Json e{{*text, 0}};
      e.value(&ext);
    }
  } else {
    code = static_cast<int16_t>(in.be(2));
    in.at += 3;
    r.id = in.be(4);
    in.at += 4;
    in.take(in.be(4));
    uint64_t n = in.be(4);
    In pairs{head.substr(in.at, static_cast<size_t>(n)), 0};
    while (!pairs.end()) {
      std::string k = pairs.take(pairs.be(2));
      ext.emplace_back(k, pairs.take(pairs.be(4)));
    }
  }
  if (request) {
    auto topic = pick(ext, code == 310 || code == 320 ? "b" : "topic", first);
    r.service = topic && *topic != "null" ? *topic : "";
  }
  return r;
}

// ---------------------------------------------------------------- protobuf: brpc

inline void fields(Bytes message,
                   const std::function<void(uint64_t tag, int wire, uint64_t n, std::string text)>& f) {
  In in{message, 0};
  while (!in.end()) {
    uint64_t key = in.varint();
    int wire = static_cast<int>(key & 7);
    uint64_t n = 0;
    std::string text;
    if (wire == 0)
      n = in.varint();
    else if (wire == 1)
      in.take(8);
    else if (wire == 5)
      in.take(4);
    else if (wire == 2)
      text = in.take(in.varint());
    else
      throw Refused();
    f(key >> 3, wire, n, text);
  }
}
inline Reading brpc(Bytes head, bool request, bool first) {
  Reading r;
  bool had_id = false, had_request = false;
  std::string message;
  fields(head.substr(12), [&](uint64_t tag, int wire, uint64_t n, const std::string& text) {
    if (tag == 4 && wire == 0 && (!first || !had_id)) r.id = n, had_id = true;
    if (tag == 1 && wire == 2 && (!first || !had_request)) message = text, had_request = true;
  });
  if (!r.id) r.id = 0;
  if (!request) return r;
  Pairs names;
  fields(message, [&](uint64_t tag, int wire, uint64_t, const std::string& text) {
    if (wire == 2) names.emplace_back(std::to_string(tag), text);
  });
  r.service = pick(names, "1", first).value_or("");
  r.method = pick(names, "2", first).value_or("");
  return r;
}

// ---------------------------------------------------------------- TTHeader, Bolt

inline Reading ttheader(Bytes head, bool request, bool first) {
  In in{head, 12};
  const size_t end = 14 + 4 * static_cast<size_t>(in.be(2));
  in.at = 16;
  in.b = head.substr(0, end);
  Pairs numbers, texts;
  while (!in.end()) {
    uint8_t id = in.u8();
    if (id == 0) continue;
    if (id == 17) {
      in.take(in.be(2));
      continue;
    }
    for (uint64_t n = in.be(2); n > 0; --n) {
      uint64_t key = in.be(2);
      std::string name = id == 1 ? in.take(key) : std::to_string(key);
      (id == 1 ? texts : numbers).emplace_back(name, in.take(in.be(2)));
    }
  }
  Reading r;
  if (!request) return r;
  r.service = pick(numbers, "6", first).value_or("");
  if (r.service->empty()) r.service = pick(texts, "isn", first).value_or("");
  In message{head, end};
  if (static_cast<uint8_t>(head.at(end)) < 0x80) message.at += 4;
  message.at += 4;
  r.method = message.take(message.be(4));
  r.id = message.be(4);
  return r;
}
inline Reading bolt(Bytes head, bool request, bool first) {
  Reading r;
  const size_t proto = static_cast<uint8_t>(head.at(0));
  In in{head, proto + 4};
  r.id = in.be(4);
  if (!request) return r;
  in.at = proto == 2 ? 16 : 14;
  const uint64_t class_len = in.be(2), header_len = in.be(2);
  in.at += 4;
  if (in.take(class_len) != "com.alipay.sofa.rpc.core.request.SofaRequest") return r;
  In pairs{head.substr(in.at, static_cast<size_t>(header_len)), 0};
  Pairs headers;
  try {
    while (!pairs.end()) {
      auto text = [&]() -> std::optional<std::string> {
        auto n = static_cast<int32_t>(pairs.be(4));
        return n < 0 ? std::nullopt : std::optional(pairs.take(static_cast<uint64_t>(n)));
      };
      auto k = text(), v = text();
      if (k && v) headers.emplace_back(*k, *v);
    }
  } catch (Refused) {
    return r;  // no pairs
  }
  for (const char* name : {"service", "sofa_head_target_service"})
    if (auto s = pick(headers, name, first); s && !s->empty() && (!r.service || first)) r.service = s;
  if (auto m = pick(headers, "sofa_head_method_name", first)) r.method = m;
  return r;
}

}  // namespace second
}  // namespace dragoman::fuzz

#include "tests/fuzz/second_reader_more.h"

namespace dragoman::fuzz {

/// How other peers read a head that the codec called `codec` takes for a request or a response. Empty: there is no second
/// reader, or none that would take it.
inline std::vector<Reading> second_readings(std::string_view codec, std::string_view head, bool request) {
  using Read = Reading (*)(second::Bytes, bool, bool);
  constexpr std::pair<std::string_view, Read> kReaders[] = {
      {"tars", second::tars},
      {"rocketmq", second::rocketmq},
      {"rocketmq_binary", second::rocketmq},
      {"brpc", second::brpc},
      {"baidu_std", second::brpc},
      {"ttheader", second::ttheader},
      {"ttheader_lite", second::ttheader},
      {"bolt", second::bolt},
      {"bolt1", second::bolt},
      {"dubbo", second::dubbo},
      {"thrift", second::thrift},
      {"dubbo_thrift", second::dubbo_thrift},
      {"seata", second::seata},
      {"motan2", second::motan2},
      {"kitex_protobuf", second::kitex_protobuf},
      {"mesh_header", second::mesh_header},
      {"kafka", second::kafka},
      {"bankxml", second::bankxml},
      {"tradeline", second::tradeline},
      {"pulse", second::pulse},
      {"axis", second::axis},
      {"lumen", second::lumen},
  };
  std::vector<Reading> out;
  for (auto [name, read] : kReaders) {
    if (name != codec) continue;
    for (bool first : {true, false}) {
      try {
        out.push_back(read(head, request, first));
      } catch (const second::Refused&) {
      } catch (const std::out_of_range&) {
      }
    }
  }
  return out;
}

/// What the codec and another reader find different in the frame that `bytes` begins with; empty: nothing, or no such frame.
inline std::string two_readings(const dragoman_codec& t, std::string_view bytes, uint32_t from) {
  alignas(16) uint8_t memory[DRAGOMAN_CONN_STATE_MAX] = {};
  void* conn = t.conn_state_size ? memory : nullptr;
  auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  dragoman_frame f{};
  f.size = sizeof f;
  f.want = DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS;
  f.from = from;
  if (bytes.empty() || t.probe(t.context, conn, p, bytes.size(), &f) != DRAGOMAN_FRAME) return {};
  const bool request = f.kind == DRAGOMAN_REQUEST || f.kind == DRAGOMAN_ONEWAY;
  if (f.head_len > bytes.size() || (!request && f.kind != DRAGOMAN_RESPONSE)) return {};
  dragoman_view v{};
  v.size = sizeof v;
  std::optional<std::string> version;
  v.ctx = &version;
  v.header = [](void*, dragoman_bytes, dragoman_bytes) {};
  v.attribute = [](void* ctx, uint32_t index, dragoman_bytes value) {
    if (index == 0)
      *static_cast<std::optional<std::string>*>(ctx) =
          std::string(reinterpret_cast<const char*>(value.data), static_cast<size_t>(value.len));
  };
  const bool dubbo = std::string_view(t.name) == "dubbo";  // its attribute 0 is what `version` means here
  if (t.view(t.context, conn, p, &f, dubbo ? f.want : f.want & ~uint32_t{DRAGOMAN_WANT_HEADERS}, &v) != 0)
    return {};
  auto text = [](dragoman_bytes b) {
    return std::string(reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len));
  };
  const std::string service = v.service.len ? text(v.service) : "",
                    method = v.method.len ? text(v.method) : "";
  for (const Reading& r : second_readings(t.name, bytes.substr(0, f.head_len), request)) {
    if (!request) break;
    if (r.service && service != "null" && *r.service != service)
      return "service " + service + ", to another reader " + *r.service;
    if (dubbo && r.version && version && *r.version != *version)
      return "version " + *version + ", to another reader " + *r.version;
    if (r.method && *r.method != method) return "method " + method + ", to another reader " + *r.method;
  }
  // The id that the host writes is the one that everybody finds.
  const uint64_t kOurs = f.id_len == 2 && f.id_type != DRAGOMAN_ID_CODED ? 0x1234 : 0x123456;
  std::string ours_text = "0123456789abcdef";
  std::string head(bytes.substr(0, f.head_len));
  if (f.id_type == DRAGOMAN_ID_CODED) {
    uint8_t number[8];
    store_be<uint64_t>(number, kOurs);
    std::string out(head.size() + 64, '\0');
    int64_t n =
        t.set_id(t.context, conn, p, &f, {number, 8}, reinterpret_cast<uint8_t*>(out.data()), out.size());
    if (n <= 0 || n > static_cast<int64_t>(out.size())) return {};
    head = out.substr(0, static_cast<size_t>(n));
  } else if (f.id_type == DRAGOMAN_ID_BYTES) {
    if (!t.set_id) return {};
    ours_text.resize(std::max<size_t>(ours_text.size(), f.id_len), '0');
    std::string out(head.size() + 128, '\0');
    int64_t n = t.set_id(t.context, conn, p, &f,
                         {reinterpret_cast<const uint8_t*>(ours_text.data()), ours_text.size()},
                         reinterpret_cast<uint8_t*>(out.data()), out.size());
    if (n <= 0 || n > static_cast<int64_t>(out.size())) return {};
    head = out.substr(0, static_cast<size_t>(n));
  } else if (f.id_type == DRAGOMAN_ID_LE) {
    for (uint32_t i = 0; i < f.id_len; ++i)
      head[f.id_offset + i] = i < 8 ? static_cast<char>(kOurs >> 8 * i) : '\0';
  } else if (f.id_type == DRAGOMAN_ID_BE) {
    for (uint32_t i = 0; i < f.id_len; ++i)
      head[f.id_offset + f.id_len - 1 - i] = i < 8 ? static_cast<char>(kOurs >> 8 * i) : '\0';
  } else {
    return {};
  }
  for (const Reading& r : second_readings(t.name, head, request))
    if (f.id_type == DRAGOMAN_ID_BYTES && r.id_text && *r.id_text != ours_text)
      return "the id of the host, to another reader " + *r.id_text;
    else if (f.id_type != DRAGOMAN_ID_BYTES && r.id && *r.id != kOurs)
      return "the id of the host, to another reader " + std::to_string(*r.id);
  return {};
}

}  // namespace dragoman::fuzz
