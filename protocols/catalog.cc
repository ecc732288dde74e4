#include "protocols/catalog.h"

#include "protocols/descriptor_loader.h"
#include "protocols/plugin_loader.h"

namespace dragoman {
namespace {

/// FNV-1a over a file's bytes and length; nothing when it can't be read (whoever loads it will say why).
std::optional<uint64_t> digest_of(const std::string& file, FileStamp& stamp) {
  const auto bytes = read_file(file, kPluginBytesMax, &stamp);
  if (!bytes) return std::nullopt;
  uint64_t digest = 0xcbf29ce484222325;
  for (char c : *bytes) digest = (digest ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return digest;
}

}  // namespace

config::Protocol protocol_facts(const dragoman_codec& table) {
  auto can = [&](uint64_t ability) { return (table.abilities & ability) != 0; };
  auto has = [&](uint32_t want) { return (table.lacks & want) == 0; };
  config::Protocol facts{};
  facts.name = table.name;
  facts.framed = true;
  facts.routes = true;
  facts.heartbeats = can(DRAGOMAN_CAN_HEARTBEAT);
  facts.goaway = can(DRAGOMAN_CAN_GOAWAY);
  facts.shared = can(DRAGOMAN_CAN_MULTIPLEX);
  facts.edits = can(DRAGOMAN_CAN_EDIT);
  facts.service = has(DRAGOMAN_WANT_SERVICE);
  facts.method = has(DRAGOMAN_WANT_METHOD);
  facts.headers = has(DRAGOMAN_WANT_HEADERS);
  facts.attributes = {table.attributes, table.attribute_count};
  facts.only_bound = can(DRAGOMAN_ONLY_BOUND);
  return facts;
}

config::DeclaredCodec CodecCatalog::load(const config::Codec& codec, const std::string& file,
                                         DeclaredProtocols& into) {
  FileStamp stamp;
  std::optional<uint64_t> digest = digest_of(file, stamp);
  for (Entry& entry : entries_) {
    if (digest != entry.digest || entry.file != file || entry.codec != codec.codec) continue;
    entry.stamp = stamp;
    into[codec.name] = entry.protocol;
    return {.protocol = protocol_facts(entry.module->table())};
  }
  std::shared_ptr<const CodecModule> module;
  if (codec.descriptor.empty()) {
    auto plugin = load_plugin(file, codec.codec);
    if (!plugin) return {.faults = {{.message = plugin.error()}}};
    module = std::move(*plugin);
  } else {
    LoadedDescriptor described = load_descriptor(file, codec.codec);
    if (!described.module) return {.faults = std::move(described.faults)};
    module = std::move(described.module);
  }
  auto protocol = std::make_shared<const Protocol>(framed_protocol(module->table(), module));
  into[codec.name] = protocol;
  config::Protocol facts = protocol_facts(module->table());
  entries_.push_back({file, codec.codec, digest.value_or(0), stamp, std::move(module), std::move(protocol)});
  return {.protocol = facts};
}

size_t CodecCatalog::sweep(const DeclaredProtocols& current) {
  auto is_current = [&](const Entry& entry) {
    for (const auto& [name, protocol] : current)
      if (protocol == entry.protocol) return true;
    return false;
  };
  size_t left = 0;
  for (size_t i = 0; i < entries_.size();) {
    Entry& entry = entries_[i];
    // Only here and in the protocol: nobody else can take another share of either, so the counts stay.
    bool unused = entry.protocol.use_count() == 1 && entry.module.use_count() == 2;
    if (unused) {
      entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(i));
      continue;
    }
    left += is_current(entry) ? 0 : 1;
    ++i;
  }
  return left;
}

std::vector<CodecCatalog::View> CodecCatalog::view() const {
  std::vector<View> all;
  for (const Entry& e : entries_)
    all.push_back({e.protocol.get(), e.module->kind(), &e.file, &e.stamp,
                   e.module.use_count() - 2 + e.protocol.use_count() - 1});
  return all;
}

}  // namespace dragoman
