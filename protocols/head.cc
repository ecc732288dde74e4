#include "protocols/head.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "proxy/base/words.h"

namespace dragoman {
namespace {

struct Known {
  std::string_view name;
  HeaderId id;
};

// By length. Those without an id are other names that are often seen, most of them from HPACK's static table.
constexpr Known kKnown[] = {
    {"te", HeaderId::kTe},
    {"age", HeaderId::kOther},
    {"via", HeaderId::kOther},
    {"host", HeaderId::kHost},
    {"date", HeaderId::kDate},
    {"etag", HeaderId::kOther},
    {"vary", HeaderId::kOther},
    {"range", HeaderId::kOther},
    {"accept", HeaderId::kAccept},
    {"cookie", HeaderId::kCookie},
    {"expect", HeaderId::kExpect},
    {"server", HeaderId::kServer},
    {"trailer", HeaderId::kTrailer},
    {"upgrade", HeaderId::kUpgrade},
    {"expires", HeaderId::kOther},
    {"referer", HeaderId::kOther},
    {"location", HeaderId::kLocation},
    {"if-match", HeaderId::kOther},
    {"if-range", HeaderId::kOther},
    {"connection", HeaderId::kConnection},
    {"keep-alive", HeaderId::kKeepAlive},
    {"user-agent", HeaderId::kUserAgent},
    {"set-cookie", HeaderId::kOther},
    {"grpc-status", HeaderId::kGrpcStatus},
    {"retry-after", HeaderId::kOther},
    {"traceparent", HeaderId::kOther},
    {"content-type", HeaderId::kContentType},
    {"grpc-timeout", HeaderId::kGrpcTimeout},
    {"x-request-id", HeaderId::kXRequestId},
    {"max-forwards", HeaderId::kOther},
    {"grpc-message", HeaderId::kOther},
    {"authorization", HeaderId::kAuthorization},
    {"accept-ranges", HeaderId::kOther},
    {"cache-control", HeaderId::kOther},
    {"content-range", HeaderId::kOther},
    {"if-none-match", HeaderId::kOther},
    {"last-modified", HeaderId::kOther},
    {"content-length", HeaderId::kContentLength},
    {"http2-settings", HeaderId::kHttp2Settings},
    {"accept-charset", HeaderId::kOther},
    {"x-forwarded-for", HeaderId::kXForwardedFor},
    {kHopsHeader, HeaderId::kHops},
    {"accept-encoding", HeaderId::kOther},
    {"accept-language", HeaderId::kOther},
    {"proxy-connection", HeaderId::kProxyConnection},
    {"x-forwarded-host", HeaderId::kXForwardedHost},
    {"content-encoding", HeaderId::kOther},
    {"content-language", HeaderId::kOther},
    {"content-location", HeaderId::kOther},
    {"www-authenticate", HeaderId::kOther},
    {"transfer-encoding", HeaderId::kTransferEncoding},
    {"x-forwarded-proto", HeaderId::kXForwardedProto},
    {kReasonHeader, HeaderId::kPeerReason},
    {"if-modified-since", HeaderId::kOther},
    {"tri-service-group", HeaderId::kTriServiceGroup},
    {"proxy-authenticate", HeaderId::kOther},
    {"content-disposition", HeaderId::kOther},
    {"if-unmodified-since", HeaderId::kOther},
    {"proxy-authorization", HeaderId::kOther},
    {"tri-service-timeout", HeaderId::kTriServiceTimeout},
    {"tri-service-version", HeaderId::kTriServiceVersion},
    {"tri-protocol-version", HeaderId::kTriProtocolVersion},
};
constexpr size_t kShortest = 2, kLongest = 20;
constexpr size_t kIds = static_cast<size_t>(HeaderId::kPeerReason) + 1;

/// A name of up to three words as its first, its last and the one in the middle, which may overlap: two such
/// names of one length are the same when the words are.
struct Words {
  uint64_t first = 0, last = 0, middle = 0;
  bool operator==(const Words&) const = default;
};

constexpr uint64_t word_of(std::string_view text, size_t at, size_t n) {
  uint64_t word = 0;
  for (size_t i = 0; i < n; ++i) word |= uint64_t{static_cast<uint8_t>(text[at + i])} << (8 * i);
  return word;
}
constexpr Words words_of(std::string_view known) {
  const size_t n = known.size();
  if (n < 8) return {word_of(known, 0, n), 0, 0};
  return {word_of(known, 0, 8), word_of(known, n - 8, 8), n > 16 ? word_of(known, 8, 8) : 0};
}

uint64_t lowered_short_word(const char* p, size_t n) {
  uint64_t word = 0;
  if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, p, 4);
    std::memcpy(&last, p + n - 4, 4);
    word = first | uint64_t{last} << (8 * (n - 4));  // where they overlap they agree
  } else {
    word = static_cast<uint8_t>(p[0]) | uint64_t{static_cast<uint8_t>(p[n / 2])} << (8 * (n / 2)) |
           uint64_t{static_cast<uint8_t>(p[n - 1])} << (8 * (n - 1));
  }
  return lower_word(word);
}
Words lowered_words(std::string_view name) {
  const char* p = name.data();
  const size_t n = name.size();
  if (n < 8) return {lowered_short_word(p, n), 0, 0};
  return {lower_word(load_word(p)), lower_word(load_word(p + n - 8)),
          n > 16 ? lower_word(load_word(p + 8)) : 0};
}

struct Index {
  /// first[n] .. first[n + 1] are the names of length n.
  uint8_t first[kLongest + 2] = {};
  Words words[std::size(kKnown)];
  /// All names in one piece, so that it can be told by the address whether a text is one of them.
  char text[1024] = {};
  uint16_t at[std::size(kKnown)] = {};
  uint8_t of_id[kIds] = {};
  size_t size = 0;

  constexpr Index() {
    size_t i = 0;
    for (size_t n = 0; n <= kLongest + 1; ++n) {
      while (i < std::size(kKnown) && kKnown[i].name.size() < n) ++i;
      first[n] = static_cast<uint8_t>(i);
    }
    for (i = 0; i < std::size(kKnown); ++i) {
      words[i] = words_of(kKnown[i].name);
      at[i] = static_cast<uint16_t>(size);
      for (char c : kKnown[i].name) text[size++] = c;
      if (kKnown[i].id != HeaderId::kOther)
        of_id[static_cast<size_t>(kKnown[i].id)] = static_cast<uint8_t>(i);
    }
  }
  constexpr std::string_view name(size_t i) const { return {text + at[i], kKnown[i].name.size()}; }
};
constexpr Index kIndex;
static_assert(std::is_sorted(std::begin(kKnown), std::end(kKnown),
                             [](const Known& a, const Known& b) { return a.name.size() < b.name.size(); }));

constexpr size_t kNone = std::size(kKnown);
size_t find_known(std::string_view name) {
  const size_t n = name.size();
  if (n < kShortest || n > kLongest) return kNone;
  const Words words = lowered_words(name);
  for (size_t i = kIndex.first[n], end = kIndex.first[n + 1]; i < end; ++i)
    if (words == kIndex.words[i]) return i;
  return kNone;
}

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
  const size_t i = find_known(name);
  return i == kNone ? HeaderId::kOther : kKnown[i].id;
}

KnownName known_name(std::string_view name) {
  const size_t i = find_known(name);
  if (i == kNone) return {};
  return {kIndex.name(i), kKnown[i].id};
}

std::string_view lasting_name(std::string_view name, HeaderId id) {
  if (id != HeaderId::kOther) return kIndex.name(kIndex.of_id[static_cast<size_t>(id)]);
  const auto at = reinterpret_cast<uintptr_t>(name.data()), text = reinterpret_cast<uintptr_t>(kIndex.text);
  return at - text < kIndex.size ? name : std::string_view();
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

HeaderEdit* Head::record(EditOp op, std::string_view name, std::string_view value, bool needed) {
  if (is_http) return nullptr;
  void* raw = arena.allocate(sizeof(HeaderEdit));
  auto* edit = new (raw) HeaderEdit{op, arena.copy(name), arena.copy(value), nullptr, needed};
  *edits_tail = edit;
  edits_tail = &edit->next;
  return edit;
}

void Head::set_header(std::string_view name, std::string_view value) {
  headers.set(name, value);
  record(EditOp::kSet, name, value);
}

void Head::offer_header(std::string_view name, std::string_view value) {
  if (opaque) return;
  headers.set(name, value);
  if (HeaderEdit* edit = record(EditOp::kSet, name, value)) edit->optional = true;
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
  opaque = hops_unread = false;
  edits = nullptr;
  edits_tail = &edits;
}

}  // namespace dragoman
