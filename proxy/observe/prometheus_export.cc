// The only translation unit that includes prometheus-cpp.
#include "proxy/observe/prometheus_export.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <map>
#include <sstream>

#include "proxy/observe/access_log.h"
#include "proxy/observe/families.h"
#include "proxy/observe/log.h"

namespace dragoman {
namespace {

prometheus::MetricType type_of(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return prometheus::MetricType::Counter;
    case MetricType::kGauge:
      return prometheus::MetricType::Gauge;
    case MetricType::kHistogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

prometheus::ClientMetric to_metric(const MetricFamily& family, const MetricSample& sample) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : sample.labels) metric.label.push_back({std::string(name), value});
  switch (family.type) {
    case MetricType::kCounter:
      metric.counter.value = sample.value;
      break;
    case MetricType::kGauge:
      metric.gauge.value = sample.value;
      break;
    case MetricType::kHistogram: {
      const HistogramSnapshot& histogram = sample.histogram;
      metric.histogram.sample_count = histogram.count();
      metric.histogram.sample_sum = static_cast<double>(histogram.sum_us) / 1e6;
      for (uint64_t bound : kExportBoundsUs) {
        metric.histogram.bucket.push_back({histogram.count_at_most(bound), static_cast<double>(bound) / 1e6});
      }
      metric.histogram.bucket.push_back(
          {metric.histogram.sample_count, std::numeric_limits<double>::infinity()});
      break;
    }
  }
  return metric;
}

/// One block per family name, also when several collectors give it: a second # TYPE line would be invalid.
class Scrape final : public prometheus::Collectable {
 public:
  Scrape(const MetricRegistry& registry, std::span<const MetricCollector> collectors)
      : registry_(registry), collectors_(collectors) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> out;
    std::map<std::string_view, size_t> places;
    for (const MetricSamples& samples : collect_all(registry_, collectors_)) {
      const MetricFamily& family = *samples.family;
      const auto [place, is_new] = places.emplace(family.name, out.size());
      if (is_new)
        out.push_back({std::string(family.name), std::string(family.help), type_of(family.type), {}});
      for (const MetricSample& sample : samples.samples) {
        out[place->second].metric.push_back(to_metric(family, sample));
      }
    }
    return out;
  }

 private:
  const MetricRegistry& registry_;
  std::span<const MetricCollector> collectors_;
};

}  // namespace

std::vector<MetricSamples> collect_all(const MetricRegistry& registry,
                                       std::span<const MetricCollector> collectors) {
  std::vector<MetricSamples> out = registry.collect();
  for (const MetricCollector& collector : collectors) collector(out);
  return out;
}

void add_memory_samples(std::vector<MetricSamples>& out) {
  add_sample(out, families::kMemoryShort, memory_is_short() ? 1 : 0);
  add_sample(out, families::kMemoryShortages, static_cast<double>(memory_shortages()));
  MetricSamples shed{&families::kMemoryShedBy, {}};
  for (size_t i = 0; i < kMemoryShedCount; ++i) {
    MetricSample sample;
    sample.labels.emplace_back(kByShed.label, kMemoryShedNames[i]);
    sample.value = static_cast<double>(memory_shed(static_cast<MemoryShed>(i)));
    shed.samples.push_back(std::move(sample));
  }
  out.push_back(std::move(shed));
}

void add_log_samples(std::vector<MetricSamples>& out, const DiagnosticLog* log,
                     const AccessLogWriter* access_log) {
  add_sample(out, families::kLogDropped, log ? static_cast<double>(log->dropped()) : 0);
  add_sample(out, families::kLogSuppressed, static_cast<double>(log_lines_suppressed()));
  add_sample(out, families::kAccessLogLines, access_log ? static_cast<double>(access_log->lines()) : 0);
  add_sample(out, families::kAccessLogDropped,
             access_log ? static_cast<double>(access_log->dropped() + access_log->failed()) : 0);
}

std::string render_prometheus(const MetricRegistry& registry, std::span<const MetricCollector> collectors) {
  std::ostringstream out;
  out.exceptions(std::ios::badbit);  // else a stream swallows std::bad_alloc, and half a page looks whole
  prometheus::TextSerializer().Serialize(out, Scrape(registry, collectors).Collect());
  return std::move(out).str();
}

}  // namespace dragoman
