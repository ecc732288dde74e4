#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "proxy/observe/families.h"
#include "proxy/observe/prometheus_export.h"

namespace dragoman {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void put(Writer& writer, std::string_view text) {
  writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

/// Whole numbers without a fraction, as far as a double holds them exactly.
void put_number(Writer& writer, double value) {
  constexpr double kExactMax = 9007199254740992.0;
  const auto whole = value >= -kExactMax && value <= kExactMax ? static_cast<int64_t>(value) : 0;
  if (static_cast<double>(whole) == value) {
    writer.Int64(whole);
  } else {
    writer.Double(value);
  }
}

void put_sample(Writer& writer, const MetricFamily& family, const MetricSample& sample) {
  writer.StartObject();
  writer.Key("labels");
  writer.StartObject();
  for (const auto& [name, value] : sample.labels) {
    put(writer, name);
    put(writer, value);
  }
  writer.EndObject();
  if (family.type == MetricType::kHistogram) {
    const HistogramSnapshot& histogram = sample.histogram;
    writer.Key("count");
    writer.Uint64(histogram.count());
    writer.Key("sum_seconds");
    put_number(writer, static_cast<double>(histogram.sum_us) / 1e6);
    constexpr std::pair<const char*, double> kQuantiles[] = {
        {"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    for (const auto& [name, q] : kQuantiles) {
      writer.Key(name);
      put_number(writer, histogram.quantile_us(q));
    }
  } else {
    writer.Key("value");
    put_number(writer, sample.value);
  }
  writer.EndObject();
}

}  // namespace

std::string render_json(const MetricRegistry& registry, std::span<const MetricCollector> collectors) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  writer.Key("families");
  writer.StartArray();
  for (const MetricSamples& samples : collect_all(registry, collectors)) {
    writer.StartObject();
    writer.Key("name");
    put(writer, samples.family->name);
    writer.Key("type");
    put(writer, metric_type_name(samples.family->type));
    writer.Key("samples");
    writer.StartArray();
    for (const MetricSample& sample : samples.samples) put_sample(writer, *samples.family, sample);
    writer.EndArray();
    writer.EndObject();
  }
  writer.EndArray();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace dragoman
