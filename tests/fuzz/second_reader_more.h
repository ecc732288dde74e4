// More of second_reader.h: Dubbo, Thrift, Seata, and the protocols that are described. Included by it alone.
#pragma once

namespace dragoman::fuzz::second {

// ---------------------------------------------------------------- Hessian 2, as Java reads it: values are built

struct Hessian {
  In in;
  size_t objects = 0;              // what a reference may mean
  std::vector<int64_t> classes{};  // fields of each
  size_t types = 0;

  /// Decoders in Java take a character in any length.
  static void put(std::string& out, uint32_t c) {
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xc0 | c >> 6);
      out += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      out += static_cast<char>(0xe0 | c >> 12);
      out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
      out += static_cast<char>(0x80 | (c & 0x3f));
    } else {
      out += static_cast<char>(0xf0 | c >> 18);
      out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
      out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
      out += static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  void characters(std::string& out, uint64_t units) {
    while (units > 0) {
      const uint32_t b = in.u8();
      uint32_t c = b;
      int more = 0;
      if (b >= 0xf0) {
        c = b & 7;
        more = 3;
      } else if (b >= 0xe0) {
        c = b & 15;
        more = 2;
      } else if (b >= 0xc0) {
        c = b & 31;
        more = 1;
      } else if (b >= 0x80) {
        throw Refused();
      }
      for (; more > 0; --more) c = c << 6 | (in.u8() & 0x3fu);
      put(out, c);
      const uint64_t used = b >= 0xf0 ? 2 : 1;
      if (used > units) throw Refused();
      units -= used;
    }
  }
  /// A string, or null; nullopt: null.
  std::optional<std::string> text() {
    std::string out;
    for (;;) {
      const uint8_t code = in.u8();
      if (code == 'N' && out.empty()) return std::nullopt;
      if (code < 0x20) return characters(out, code), out;
      if (code >= 0x30 && code <= 0x33) return characters(out, (code - 0x30u) << 8 | in.u8()), out;
      if (code == 'S') return characters(out, in.be(2)), out;
      if (code != 'R') throw Refused();
      characters(out, in.be(2));
    }
  }
  bool at_text() const {
    if (in.end()) throw Refused();
    const auto b = static_cast<uint8_t>(in.b[in.at]);
    return b < 0x20 || (b >= 0x30 && b <= 0x33) || b == 'S' || b == 'R' || b == 'N';
  }
  int64_t integer() {
    const uint8_t b = in.u8();
    if (b >= 0x80 && b <= 0xbf) return b - 0x90;
    if (b >= 0xc0 && b <= 0xcf) return (b - 0xc8) * 256 + in.u8();
    if (b >= 0xd0 && b <= 0xd7) {
      const auto more = static_cast<int64_t>(in.be(2));
      return (b - 0xd4) * 65536 + more;
    }
    if (b == 'I') return static_cast<int32_t>(in.be(4));
    throw Refused();
  }
  void type() {
    if (at_text()) {
      text();
      ++types;
    } else if (const int64_t n = integer(); n < 0 || static_cast<size_t>(n) >= types) {
      throw Refused();
    }
  }
  void count(int64_t n, int depth) {
    if (n < 0 || static_cast<uint64_t>(n) > in.b.size()) throw Refused();
    for (; n > 0; --n) value(depth);
  }
  void instance(int64_t class_index, int depth) {
    if (class_index < 0 || static_cast<size_t>(class_index) >= classes.size()) throw Refused();
    ++objects;
    count(classes[static_cast<size_t>(class_index)], depth);
  }
  bool end_of_list() {
    if (in.end()) throw Refused();
    if (in.b[in.at] != 'Z') return false;
    ++in.at;
    return true;
  }
  void value(int depth = 0) {
    if (depth > 2000) throw Refused();
    ++depth;
    if (at_text()) return static_cast<void>(text());
    const uint8_t b = in.u8();
    --in.at;
    if ((b >= 0x80 && b <= 0xd7) || b == 'I') return static_cast<void>(integer());
    ++in.at;
    if (b >= 0x20 && b <= 0x2f) return static_cast<void>(in.take(b - 0x20u));
    if (b >= 0x34 && b <= 0x37) return static_cast<void>(in.take((b - 0x34u) << 8 | in.u8()));
    if ((b >= 0xd8 && b <= 0xef) || b == 'T' || b == 'F' || b == 0x5b || b == 0x5c) return;
    if ((b >= 0xf0) || b == 0x5d) return static_cast<void>(in.take(1));
    if ((b >= 0x38 && b <= 0x3f) || b == 0x5e) return static_cast<void>(in.take(2));
    if (b == 0x59 || b == 0x5f || b == 0x4b) return static_cast<void>(in.take(4));
    if (b == 'L' || b == 'D' || b == 0x4a) return static_cast<void>(in.take(8));
    if (b >= 0x60 && b <= 0x6f) return instance(b - 0x60, depth);
    if (b >= 0x70 && b <= 0x77) return ++objects, type(), count(b - 0x70, depth);
    if (b >= 0x78 && b <= 0x7f) return ++objects, count(b - 0x78, depth);
    switch (b) {
      case 'A':
        in.take(in.be(2));
        while (!in.end() && in.b[in.at] == 'A') ++in.at, in.take(in.be(2));
        return value(depth);  // the last piece
      case 'B': return static_cast<void>(in.take(in.be(2)));
      case 'C': {
        if (!text()) throw Refused();
        const int64_t n = integer();
        if (n < 0 || static_cast<uint64_t>(n) > in.b.size()) throw Refused();
        for (int64_t i = 0; i < n; ++i)
          if (!text()) throw Refused();
        classes.push_back(n);
        return value(depth);
      }
      case 'O': return instance(integer(), depth);
      case 0x51:
        if (const int64_t n = integer(); n < 0 || static_cast<size_t>(n) >= objects) throw Refused();
        return;
      case 0x55: type(); [[fallthrough]];
      case 0x57:
        ++objects;
        while (!end_of_list()) value(depth);
        return;
      case 0x56:
        ++objects;
        type();
        return count(integer(), depth);
      case 0x58: ++objects; return count(integer(), depth);
      case 'M': type(); [[fallthrough]];
      case 'H':
        ++objects;
        while (!end_of_list()) value(depth), value(depth);
        return;
    }
    throw Refused();
  }
  /// The texts of a map; null is an empty one.
  Pairs map() {
    Pairs out;
    const uint8_t b = in.u8();
    if (b == 'N') return out;
    if (b == 'M')
      type();
    else if (b != 'H')
      throw Refused();
    ++objects;
    while (!end_of_list()) {
      std::optional<std::string> key, val;
      if (at_text())
        key = text();
      else
        value();
      if (at_text())
        val = text();
      else
        value();
      if (key && val) out.emplace_back(*key, *val);
    }
    return out;
  }
};

// ---------------------------------------------------------------- Dubbo

/// What fastjson2 wrote: a length, and a string of JSONB behind it.
inline std::string jsonb_text(In& in) {
  const uint64_t size = in.be(4);
  In v{in.b.substr(0, in.at + std::min<uint64_t>(size, in.b.size() - in.at)), in.at};
  in.take(size);
  const uint8_t code = v.u8();
  if (code == 0xaf) return "";
  auto rest = [&](uint64_t n) {
    std::string out = v.take(n);
    if (!v.end()) throw Refused();
    return out;
  };
  if (code >= 0x49 && code < 0x79) return rest(code - 0x49u);
  if (code != 0x79 && code != 0x7a) throw Refused();  // UTF-16 and such: not worth a second decoder
  const uint8_t n = v.u8();
  if (n <= 0x2f) return rest(n);  // BC_INT32_NUM_0 ..
  if (n >= 0x30 && n <= 0x3f) {
    const int64_t length = (int64_t{n} - 0x38) * 256 + v.u8();
    if (length < 0) throw Refused();
    return rest(static_cast<uint64_t>(length));
  }
  if (n == 0x48) return rest(v.be(4));
  throw Refused();
}

/// `first`: as what stands in front names it. Else as providers in Java do: attachments take the place of that.
inline Reading dubbo(Bytes frame, bool request, bool first) {
  Reading r;
  In in{frame, 4};
  r.id = in.be(8);
  if (!request) return r;
  const int serialization = frame.at(2) & 0x1f;
  in.at = 16;
  if (serialization == 23) {
    jsonb_text(in);
    r.service = jsonb_text(in);
    r.version = jsonb_text(in);
    r.method = jsonb_text(in);
  } else if (serialization == 2) {
    Hessian h{in};
    h.text();
    std::string path = h.text().value_or(""), version = h.text().value_or("");
    const std::string method = h.text().value_or("");
    if (!h.at_text()) h.integer();  // dubbox
    const std::string descriptor = h.text().value_or("");
    if (!first) {
      for (size_t i = 0; i < descriptor.size(); ++i) {
        while (i < descriptor.size() && descriptor[i] == '[') ++i;
        if (i < descriptor.size() && descriptor[i] == 'L') i = descriptor.find(';', i);
        if (i >= descriptor.size()) throw Refused();
        h.value();
      }
      const Pairs attachments = h.map();
      path = pick(attachments, "path", false).value_or(path);
      version = pick(attachments, "version", false).value_or(version);
    }
    r.service = path;
    r.method = method;
    r.version = version;
  }
  if (r.version && r.version->empty()) r.version = "0.0.0";
  return r;
}

// ---------------------------------------------------------------- Thrift, Dubbo-Thrift

inline void thrift_name(Reading& r, const std::string& name, bool first) {
  const size_t colon = name.find(':');
  if (!first && colon != name.rfind(':')) throw Refused();  // C++: two parts or none
  r.service = colon == name.npos ? "" : name.substr(0, colon);
  r.method = colon == name.npos ? name : name.substr(colon + 1);
}
inline Reading thrift_message(In& in, bool request, bool first) {
  Reading r;
  std::string name;
  const uint8_t lead = in.u8();
  if (lead == 0x82) {
    if ((in.u8() & 0x1f) != 1) throw Refused();
    r.id = static_cast<uint32_t>(in.varint());
    name = in.take(in.varint());
  } else {
    --in.at;
    const auto size = static_cast<int32_t>(in.be(4));
    if (size < 0) {
      if ((static_cast<uint32_t>(size) & 0xffff0000) != 0x80010000) throw Refused();
      name = in.take(in.be(4));
    } else {
      name = in.take(static_cast<uint64_t>(size));
      in.u8();
    }
    r.id = in.be(4);
  }
  if (request) thrift_name(r, name, first);
  return r;
}
inline Reading thrift(Bytes head, bool request, bool first) {
  In in{head, 0};
  if (static_cast<uint8_t>(head.at(0)) >= 0x80) return thrift_message(in, request, first);
  if (head.size() > 4 && static_cast<uint8_t>(head[4]) >= 0x80) {
    in.at = 4;
    return thrift_message(in, request, first);
  }
  if (head.size() < 6 || head[4] != 0x0f) {  // old binary, framed when a second length makes sense
    In framed{head, 4};
    const uint64_t inner = framed.be(4);
    if (inner != 0 && inner + 13 <= head.size()) in.at = 4;
    return thrift_message(in, request, first);
  }
  in.at = 8;
  const uint64_t own = in.be(4), words = in.be(2), from = in.at;
  const uint64_t protocol = in.varint(), transforms = in.varint();
  if (transforms != 0 || (protocol != 0 && protocol != 2)) throw Refused();
  in.at = static_cast<size_t>(from + 4 * words);
  Reading r = thrift_message(in, request, first);
  if (first && (request || own != 0)) r.id = own;
  return r;
}
/// `first`: by the header's length. Else field after field: what 2.7 wrote has a path before the id, 2.6 has none.
inline Reading dubbo_thrift(Bytes head, bool request, bool first) {
  In in{head, 10};
  const uint64_t header = in.be(2);
  in.u8();
  Reading r;
  const std::string service = in.take(in.be(4));
  if (first) {
    in.at = static_cast<size_t>(4 + header - 8);
  } else if (in.at + 8 < 4 + header) {
    in.take(in.be(4));
  }
  r.id = in.be(8);
  const Reading message = thrift_message(in, false, first);
  if (!request) return r;
  r.service = service;
  in.at = static_cast<size_t>(4 + header + 4);
  r.method = in.take(in.be(4));
  static_cast<void>(message);
  return r;
}

// ---------------------------------------------------------------- Seata

inline Reading seata(Bytes head, bool request, bool) {
  Reading r;
  In in{head, 7};
  const uint64_t header = in.be(2);
  const uint8_t type = in.u8(), codec = in.u8(), compressor = in.u8();
  r.id = in.be(4);
  if (!request) return r;
  if (type == 3) {
    r.method = "heartbeat";
  } else if (codec == 1 && compressor == 0) {
    in.at = static_cast<size_t>(header);
    const std::pair<uint64_t, const char*> names[] = {
        {1, "global_begin"},  {3, "branch_commit"},   {5, "branch_rollback"},
        {7, "global_commit"}, {9, "global_rollback"}, {11, "branch_register"},
        {59, "merged"},       {101, "register_tm"},   {103, "register_rm"}};
    const uint64_t code = in.be(2);
    for (auto [number, name] : names)
      if (number == code) r.method = name;
  }
  return r;
}

// ---------------------------------------------------------------- Motan 2, Kitex' other forms, Kafka

inline Reading motan2(Bytes head, bool request, bool first) {
  In in{head, 5};
  Reading r;
  r.id = in.be(8);
  if (!request) return r;
  In meta{head, in.at};
  const std::string text = meta.take(meta.be(4));
  Pairs pairs;
  for (size_t at = 0; at < text.size();) {
    const size_t mid = text.find('\n', at);
    if (mid == text.npos) throw Refused();
    const size_t end = std::min(text.find('\n', mid + 1), text.size());
    pairs.emplace_back(text.substr(at, mid - at), text.substr(mid + 1, end - mid - 1));
    at = end + 1;
  }
  r.service = pick(pairs, "M_p", first).value_or("");
  r.method = pick(pairs, "M_m", first).value_or("");
  return r;
}
inline Reading kitex_protobuf(Bytes head, bool request, bool) {
  In in{head, 8};
  Reading r;
  const std::string name = in.take(in.be(4));
  r.id = in.be(4);
  if (request) r.method = name;
  return r;
}
inline Reading mesh_header(Bytes head, bool request, bool first) {
  In in{head, 2};
  const uint64_t size = in.be(2), end = in.at + size;
  Pairs pairs;
  if (size != 0) {
    for (uint64_t n = in.be(2); n > 0; --n) {
      std::string key = in.take(in.be(2));
      pairs.emplace_back(std::move(key), in.take(in.be(2)));
    }
  }
  in.at = static_cast<size_t>(end + 4);
  Reading r = thrift_message(in, false, first);
  if (!request) return r;
  r.service = pick(pairs, "isn", first).value_or("");
  in.at = static_cast<size_t>(end + 8);
  r.method = in.take(in.be(4));
  return r;
}
inline Reading kafka(Bytes head, bool request, bool) {
  In in{head, request ? size_t{8} : size_t{4}};
  Reading r;
  r.id = in.be(4);
  return r;
}

// ---------------------------------------------------------------- the invented ones

/// A tag wherever it stands, as a program with a regular expression finds it.
inline Reading bankxml(Bytes head, bool request, bool first) {
  const size_t end = head.find("</Head>");
  std::string xml(head.substr(0, end));
  for (size_t from = 0; (from = xml.find('<', from)) != xml.npos; ++from) {
    constexpr std::pair<std::string_view, std::string_view> kNoElements[] = {
        {"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};
    for (auto [open, close] : kNoElements) {
      if (!std::string_view(xml).substr(from).starts_with(open)) continue;
      const size_t to = xml.find(close, from + open.size());
      if (to == xml.npos) throw Refused();
      xml.replace(from, to + close.size() - from, "-");
    }
  }
  auto tag = [&](const std::string& name) -> std::optional<std::string> {
    const std::string open = "<" + name + ">", close = "</" + name + ">";
    const size_t from = first ? xml.find(open) : xml.rfind(open);
    if (from == xml.npos) return std::nullopt;
    const size_t to = xml.find(close, from);
    if (to == xml.npos) throw Refused();
    std::string raw(xml.substr(from + open.size(), to - from - open.size())), out;
    if (raw.find('<') != raw.npos) throw Refused();
    for (size_t i = 0; i < raw.size(); ++i) {
      constexpr std::pair<std::string_view, char> kNamed[] = {
          {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
      bool named = false;
      for (auto [entity, c] : kNamed) {
        if (named || !std::string_view(raw).substr(i).starts_with(entity)) continue;
        out += c;
        i += entity.size() - 1;
        named = true;
      }
      if (named) continue;
      if (raw[i] == '&') throw Refused();
      out += raw[i];
    }
    return out;
  };
  Reading r;
  r.id_text = tag("Id");
  if (!request) return r;
  r.service = tag("Svc").value_or("");
  r.method = tag("Op").value_or("");
  return r;
}
inline Reading tradeline(Bytes head, bool request, bool) {
  Reading r;
  if (!request) return r;
  const size_t end = head.find('|', 4);
  if (end == head.npos) throw Refused();
  const std::string target(head.substr(4, end - 4));
  const size_t slash = target.find('/');
  r.service = target.substr(0, slash);
  r.method = slash == target.npos ? "" : target.substr(slash + 1);
  if (r.method->find('/') != r.method->npos) throw Refused();
  return r;
}
inline uint64_t little(In& in, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; ++i) v |= uint64_t{in.u8()} << 8 * i;
  return v;
}
inline Reading pulse(Bytes head, bool request, bool) {
  In in{head, 1};
  in.varint();
  const int op = in.u8() & 15;
  Reading r;
  r.id = little(in, 8);
  if (!request || op > 1) return r;
  in.varint();
  r.service = in.take(in.varint());
  r.method = in.take(in.varint());
  return r;
}
inline Reading axis(Bytes head, bool request, bool) {
  In in{head, 8};
  Reading r;
  r.id = little(in, 8);
  if (!request) return r;
  in.at = 18;
  in.at += 2;
  const size_t service = in.u8(), method = in.u8();
  in.at += 2;
  std::vector<std::string> names;
  for (uint64_t n = little(in, 2); n > 0; --n) names.push_back(in.take(in.u8()));
  r.service = service < names.size() ? names[service] : "";
  r.method = method < names.size() ? names[method] : "";
  return r;
}
inline Reading lumen(Bytes head, bool request, bool first) {
  In in{head, 6};
  Reading r;
  r.id = in.be(2);
  if (!request) return r;
  const uint64_t words = in.be(2);
  Pairs pairs;
  if (words != 0)
    for (uint64_t n = in.u8(); n > 0; --n) {
      std::string key = in.take(in.u8());
      pairs.emplace_back(std::move(key), in.take(in.be(2)));
    }
  const std::string path = pick(pairs, "u", first).value_or("");
  std::vector<std::string> parts;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    parts.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  r.service = parts.size() > 2 ? parts[2] : "";
  r.method = parts.size() > 3 ? parts[3] : "";
  return r;
}

}  // namespace dragoman::fuzz::second
