#include "protocols/http1/encoder.h"

#include <charconv>
#include <cstring>

#include "protocols/http/rules.h"

namespace dragoman::http1 {
namespace {

/// Bytes the fields take, or 0 when one can't be encoded. (An empty list takes 1, for simplicity.)
size_t check_fields(const HeaderList& headers) {
  size_t size = 1;
  for (const Header& h : headers) {
    if (connection_field(h.id)) continue;
    // A name that has an id is one of those we know.
    if ((h.id == HeaderId::kOther && !clean_name(h.name)) || !clean_value(h.value)) return 0;
    size += h.name.size() + h.value.size() + 4;
  }
  return size;
}

// Heads that fit one contiguous piece are written through a plain pointer, longer ones piece by piece.
struct Cursor {
  uint8_t* at;
  void put(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(at, text.data(), text.size());
    at += text.size();
  }
};
struct Pieces {
  ByteChain* out;
  void put(std::string_view text) {
    if (!text.empty()) out->append(text);  // one that was never set has no memory to copy from
  }
};

constexpr size_t kContiguous = 8192;
constexpr size_t kOwnLines = 256;  // status line without the phrase, our own fields, empty line

template <class Write>
void with_writer(size_t size, ByteChain& out, Write&& write) {
  if (size <= kContiguous) {
    uint8_t* start = out.reserve(size);
    Cursor cursor{start};
    write(cursor);
    out.commit(static_cast<size_t>(cursor.at - start));
  } else {
    Pieces pieces{&out};
    write(pieces);
  }
}

template <class Writer>
void put_number(Writer& w, uint64_t value) {
  char digits[20];
  auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  w.put({digits, static_cast<size_t>(end - digits)});
}

template <class Writer>
void put_field(Writer& w, std::string_view name, std::string_view value, std::string_view more = {}) {
  w.put(name);
  w.put(": ");
  w.put(value);
  if (!more.empty()) w.put(more);
  w.put("\r\n");
}

template <class Writer>
void put_fields(Writer& writer, const HeaderList& headers, bool underscores = true) {
  Writer w = writer;  // in a register
  for (const Header& h : headers)
    if (!connection_field(h.id) && (underscores || !underscored(h.name, h.id))) put_field(w, h.name, h.value);
  writer = w;
}

template <class Writer>
void put_framing(Writer& w, const Lines& lines) {
  if (lines.chunked) {
    w.put("transfer-encoding: chunked\r\n");
  } else if (lines.content_length >= 0) {
    w.put("content-length: ");
    put_number(w, static_cast<uint64_t>(lines.content_length));
    w.put("\r\n");
  }
}

template <class Writer>
void put_connection(Writer& w, Lines::Connection connection, std::string_view offered = {}) {
  std::string_view also = offered.empty() ? "" : ", upgrade";
  if (connection == Lines::Connection::kClose)
    put_field(w, "connection", "close", also);
  else if (connection == Lines::Connection::kKeepAlive)
    put_field(w, "connection", "keep-alive", also);
  else if (!offered.empty())
    put_field(w, "connection", "upgrade");
  if (!offered.empty()) put_field(w, "upgrade", offered);
}

template <class Writer>
void put_status_line(Writer& w, uint32_t status, std::string_view phrase) {
  w.put("HTTP/1.1 ");
  put_number(w, status);
  w.put(" ");
  w.put(phrase);
  w.put("\r\n");
}

}  // namespace

bool has_underscores(const HeaderList& headers) {
  for (const Header& h : headers)
    if (underscored(h.name, h.id)) return true;
  return false;
}

Reason encode_request_head(const Head& head, const Lines& lines, ByteChain& out) {
  size_t fields = check_fields(head.headers);
  bool target = clean_token(head.path) && (head.path[0] == '/' || head.path == "*");
  bool host = head.authority.empty() || clean_token(head.authority);
  bool upgrade = lines.connection == Lines::Connection::kUpgrade;
  if (!fields || !target || !host || !clean_name(head.method) || (upgrade && !clean_token(head.upgrade_token)))
    return Reason::kEditFailed;
  size_t size = fields + head.method.size() + head.path.size() + head.authority.size() + head.upgrade_token.size();
  with_writer(size + kOwnLines, out, [&](auto& w) {
    w.put(head.method);
    w.put(" ");
    w.put(head.path);
    w.put(" HTTP/1.1\r\n");
    put_field(w, "host", head.authority);
    put_fields(w, head.headers, lines.underscores);
    put_framing(w, lines);
    if (head.expect_continue) w.put("expect: 100-continue\r\n");
    if (upgrade) {
      w.put("connection: upgrade\r\n");
      put_field(w, "upgrade", head.upgrade_token);
    } else if (head.te_trailers) {
      w.put("te: trailers\r\nconnection: te\r\n");
    }
    w.put("\r\n");
  });
  return Reason::kNone;
}

Reason encode_response_head(const Head& head, const Lines& lines, ByteChain& out) {
  size_t fields = check_fields(head.headers);
  bool upgrade = lines.connection == Lines::Connection::kUpgrade;
  // What a 426 says the client should speak (RFC 9110 15.5.22).
  std::string_view offered =
      head.status == 426 && clean_value(head.upgrade_token) ? head.upgrade_token : std::string_view();
  if (!fields || head.status < 100 || head.status > 999 || !clean_value(head.status_text) ||
      (upgrade && !clean_token(head.upgrade_token)))
    return Reason::kEditFailed;
  std::string_view phrase = head.status_text.empty() ? status_phrase(head.status) : head.status_text;
  with_writer(fields + phrase.size() + head.upgrade_token.size() + kOwnLines, out, [&](auto& w) {
    put_status_line(w, head.status, phrase);
    put_fields(w, head.headers);
    put_framing(w, lines);
    if (upgrade) {
      w.put("connection: upgrade\r\n");
      put_field(w, "upgrade", head.upgrade_token);
    } else {
      put_connection(w, lines.connection, offered);
    }
    w.put("\r\n");
  });
  return Reason::kNone;
}

void encode_reply(uint32_t status, const LocalReply& reply, Lines::Connection connection, bool body, ByteChain& out) {
  bool no_content = status == 204 || status == 304;
  std::string_view type = reply.content_type.empty() || !clean_value(reply.content_type) ? "text/plain" : reply.content_type;
  Pieces w{&out};
  put_status_line(w, status, status_phrase(status));
  for (const Header& h : reply.headers)
    if (!connection_field(h.id) && clean_name(h.name) && clean_value(h.value)) put_field(w, h.name, h.value);
  if (!no_content) {
    if (!reply.text.empty()) put_field(w, "content-type", type);
    Lines lines;
    lines.content_length = static_cast<int64_t>(reply.text.size());
    put_framing(w, lines);
  }
  put_connection(w, connection);
  w.put("\r\n");
  if (body && !no_content) w.put(reply.text);
}

void encode_chunk(std::span<const uint8_t> data, bool end, ByteSink& out) {
  static constexpr std::string_view kEnd = "\r\n0\r\n\r\n";
  std::string_view tail = kEnd.substr(data.empty() ? 2 : 0, end ? std::string_view::npos : 2);
  if (data.empty()) {
    if (end) out.write(tail);
    return;
  }
  char line[18];
  char* p = std::to_chars(line, line + 16, data.size(), 16).ptr;
  *p++ = '\r';
  *p++ = '\n';
  out.out.append(line, static_cast<size_t>(p - line));
  out.write(data.data(), data.size());
  out.write(tail);
}

void encode_trailers(const HeaderList& trailers, bool underscores, ByteChain& out) {
  Pieces w{&out};
  w.put("0\r\n");
  for (const Header& h : trailers)
    if (!connection_field(h.id) && clean_name(h.name) && clean_value(h.value) &&
        (underscores || !underscored(h.name, h.id)))
      put_field(w, h.name, h.value);
  w.put("\r\n");
}

}  // namespace dragoman::http1
