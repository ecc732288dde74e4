#include "protocols/head.h"

#include <algorithm>

#include "proxy/base/words.h"

namespace dragoman {
namespace {

struct Known {
  std::string_view name;
  HeaderId id;
};

constexpr Known kKnown[] = {
    {"te", HeaderId::kTe},
    {"host", HeaderId::kHost},
    {"date", HeaderId::kDate},
    {"accept", HeaderId::kAccept},
    {"cookie", HeaderId::kCookie},
    {"expect", HeaderId::kExpect},
    {"server", HeaderId::kServer},
    {"trailer", HeaderId::kTrailer},
    {"upgrade", HeaderId::kUpgrade},
    {"location", HeaderId::kLocation},
    {"connection", HeaderId::kConnection},
    {"keep-alive", HeaderId::kKeepAlive},
    {"user-agent", HeaderId::kUserAgent},
    {"grpc-status", HeaderId::kGrpcStatus},
    {"content-type", HeaderId::kContentType},
    {"grpc-timeout", HeaderId::kGrpcTimeout},
    {"x-request-id", HeaderId::kXRequestId},
    {"authorization", HeaderId::kAuthorization},
    {"content-length", HeaderId::kContentLength},
    {"http2-settings", HeaderId::kHttp2Settings},
    {"x-forwarded-for", HeaderId::kXForwardedFor},
    {"proxy-connection", HeaderId::kProxyConnection},
    {"x-forwarded-host", HeaderId::kXForwardedHost},
    {"transfer-encoding", HeaderId::kTransferEncoding},
    {"x-forwarded-proto", HeaderId::kXForwardedProto},
    {"tri-service-group", HeaderId::kTriServiceGroup},
    {"tri-service-timeout", HeaderId::kTriServiceTimeout},
    {"tri-service-version", HeaderId::kTriServiceVersion},
    {"tri-protocol-version", HeaderId::kTriProtocolVersion},
};
constexpr size_t kLongest = 20;

// first[n] .. first[n + 1] are the known names of length n (the table is sorted by length).
struct LengthIndex {
  uint8_t first[kLongest + 2] = {};
  constexpr LengthIndex() {
    size_t i = 0;
    for (size_t n = 0; n <= kLongest + 1; ++n) {
      while (i < std::size(kKnown) && kKnown[i].name.size() < n) ++i;
      first[n] = static_cast<uint8_t>(i);
    }
  }
};
constexpr LengthIndex kIndex;

}  // namespace

bool equals_ignore_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  const char *p = a.data(), *q = b.data();
  size_t n = a.size();
  if (n < 8) return lower_word(load_short_word(p, n)) == lower_word(load_short_word(q, n));
  size_t at = 0;
  for (; at + 8 < n; at += 8)
    if (lower_word(load_word(p + at)) != lower_word(load_word(q + at))) return false;
  return lower_word(load_word(p + n - 8)) == lower_word(load_word(q + n - 8));
}

HeaderId header_id(std::string_view name) {
  if (name.size() > kLongest) return HeaderId::kOther;
  for (size_t i = kIndex.first[name.size()]; i < kIndex.first[name.size() + 1]; ++i) {
    const std::string_view known = kKnown[i].name;
    // Names of one length mostly differ in their first letter.
    if ((name[0] | 0x20) == known[0] && equals_ignore_case(name, known)) return kKnown[i].id;
  }
  return HeaderId::kOther;
}

void HeaderList::grow() {
  uint32_t capacity = capacity_ ? capacity_ * 2 : first_;
  auto* items = arena_->allocate_array<Header>(capacity);
  std::copy(items_, items_ + size_, items);
  items_ = items;
  capacity_ = capacity;
}

const Header* HeaderList::find(HeaderId id) const {
  for (const Header& h : *this)
    if (h.id == id) return &h;
  return nullptr;
}

const Header* HeaderList::find(std::string_view name) const {
  HeaderId id = header_id(name);
  if (id != HeaderId::kOther) return find(id);
  for (const Header& h : *this)
    if (equals_ignore_case(h.name, name)) return &h;
  return nullptr;
}

void HeaderList::set(std::string_view name, std::string_view value) {
  const Header* existing = find(name);
  if (!existing) return add(name, value);
  auto at = static_cast<size_t>(existing - items_);
  items_[at].value = arena_->copy(value);
  uint32_t kept = static_cast<uint32_t>(at) + 1;
  for (uint32_t i = kept; i < size_; ++i)
    if (!equals_ignore_case(items_[i].name, name)) items_[kept++] = items_[i];
  size_ = kept;
}

size_t HeaderList::remove(std::string_view name) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < size_; ++i)
    if (!equals_ignore_case(items_[i].name, name)) items_[kept++] = items_[i];
  size_t removed = size_ - kept;
  size_ = kept;
  return removed;
}

size_t HeaderList::remove(HeaderId id) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < size_; ++i)
    if (items_[i].id != id) items_[kept++] = items_[i];
  size_t removed = size_ - kept;
  size_ = kept;
  return removed;
}

void Head::record(EditOp op, std::string_view name, std::string_view value, bool needed) {
  if (is_http) return;
  void* raw = arena.allocate(sizeof(HeaderEdit));
  auto* edit = new (raw) HeaderEdit{op, arena.copy(name), arena.copy(value), nullptr, needed};
  *edits_tail = edit;
  edits_tail = &edit->next;
}

void Head::set_header(std::string_view name, std::string_view value) {
  headers.set(name, value);
  record(EditOp::kSet, name, value);
}

void Head::add_header(std::string_view name, std::string_view value) {
  headers.add(name, value);
  record(EditOp::kAdd, name, value);
}

void Head::remove_header(std::string_view name) {
  const bool there = headers.remove(name) > 0;
  record(EditOp::kRemove, name, {}, there || opaque);
}

std::string_view Head::header(std::string_view name, bool* found) const {
  const Header* h = headers.find(name);
  if (found) *found = h != nullptr;
  return h ? h->value : std::string_view{};
}

void Head::reset() {
  arena.reset();
  headers.reset();
  method = path = authority = scheme = service = rpc_method = group = version = sni = status_text =
      upgrade_token = {};
  status = 0;
  outcome = Outcome::kOk;
  content_length = timeout_ms = -1;
  rpc_status = -1;
  repeat_after_ms = -1;
  is_request = true;
  one_way = must_remove = is_http = grpc = triple = upgrade = expect_continue = te_trailers = http10 = false;
  wire = {};
  frame = {};
  opaque = false;
  edits = nullptr;
  edits_tail = &edits;
}

}  // namespace dragoman
