#include "config/json_writer.h"

#include "config/load.h"

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

namespace dragoman::config {

struct JsonWriter::Impl {
  std::vector<std::string> secrets;
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer{buffer};
};

JsonWriter::JsonWriter() : impl_(std::make_unique<Impl>()) {
  impl_->writer.SetIndent(' ', 2);
  impl_->writer.SetFormatOptions(rapidjson::kFormatSingleLineArray);
}
JsonWriter::~JsonWriter() = default;

void JsonWriter::begin_object() { impl_->writer.StartObject(); }
void JsonWriter::end_object() { impl_->writer.EndObject(); }
void JsonWriter::begin_array() { impl_->writer.StartArray(); }
void JsonWriter::end_array() { impl_->writer.EndArray(); }
void JsonWriter::key(std::string_view name) {
  impl_->writer.Key(name.data(), static_cast<unsigned>(name.size()));
}
void JsonWriter::hide(std::vector<std::string> secrets) { impl_->secrets = std::move(secrets); }

void JsonWriter::text(std::string_view value) {
  std::string redacted;
  if (!impl_->secrets.empty()) value = redacted = redact(std::string(value), impl_->secrets);
  impl_->writer.String(value.data(), static_cast<unsigned>(value.size()));
}
void JsonWriter::integer(int64_t value) { impl_->writer.Int64(value); }
void JsonWriter::number(double value) { impl_->writer.Double(value); }
void JsonWriter::boolean(bool value) { impl_->writer.Bool(value); }

void JsonWriter::member(std::string_view name, std::string_view value) {
  key(name);
  text(value);
}

std::string JsonWriter::str() const { return {impl_->buffer.GetString(), impl_->buffer.GetSize()}; }

}  // namespace dragoman::config
