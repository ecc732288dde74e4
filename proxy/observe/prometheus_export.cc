#include "proxy/observe/prometheus_export.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "proxy/observe/access_log.h"
#include "proxy/observe/families.h"
#include "proxy/observe/log.h"

namespace dragoman {
namespace {

std::string_view type_of(MetricType type) {
  switch (type) {
    case MetricType::kCounter: return "counter";
    case MetricType::kGauge: return "gauge";
    case MetricType::kHistogram: return "histogram";
  }
  return "untyped";
}

void add_number(std::string& out, double value) {
  char text[32];
  constexpr double kWhole = 9e18;  // what int64_t holds
  if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (std::isnan(value)) {
    out += "NaN";
  } else if (std::abs(value) < kWhole && value == std::trunc(value)) {
    out.append(text, std::to_chars(text, text + sizeof text, static_cast<int64_t>(value)).ptr);
  } else {
    out.append(text, std::to_chars(text, text + sizeof text, value, std::chars_format::general).ptr);
  }
}

/// name="value", of each label, with commas between.
void set_labels(std::string& out, const MetricSample& sample) {
  out.clear();
  for (const auto& [name, value] : sample.labels) {
    if (!out.empty()) out += ',';
    out.append(name).append("=\"");
    for (const char c : value) {
      if (c == '\n') {
        out += "\\n";
        continue;
      }
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
}

void add_line(std::string& out, std::string_view name, std::string_view suffix, std::string_view labels,
              double value) {
  out.append(name).append(suffix);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out += ' ';
  add_number(out, value);
  out += '\n';
}

/// Classic: each bucket counts all at most as long as its bound.
void add_histogram(std::string& out, std::string_view name, std::string_view labels,
                   const HistogramSnapshot& histogram) {
  static const std::vector<std::string> kBounds = [] {
    std::vector<std::string> bounds;
    for (const uint64_t us : kExportBoundsUs)
      add_number(bounds.emplace_back(), static_cast<double>(us) / 1e6);
    bounds.emplace_back("+Inf");
    return bounds;
  }();
  const auto count = static_cast<double>(histogram.count());
  add_line(out, name, "_count", labels, count);
  add_line(out, name, "_sum", labels, static_cast<double>(histogram.sum_us) / 1e6);
  uint64_t at_most = 0;
  size_t bucket = 0;
  for (size_t i = 0; i < kBounds.size(); ++i) {
    const bool last = i == kExportBoundsUs.size();
    for (; !last && bucket < std::min(histogram.counts.size(), kHistogramBounds) &&
           kHistogramBoundsUs[bucket] <= kExportBoundsUs[i];
         ++bucket)
      at_most += histogram.counts[bucket];
    out.append(name).append("_bucket{").append(labels);
    if (!labels.empty()) out += ',';
    out.append("le=\"").append(kBounds[i]).append("\"} ");
    add_number(out, last ? count : static_cast<double>(at_most));
    out += '\n';
  }
}

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
  const std::vector<MetricSamples> all = collect_all(registry, collectors);
  // One block for each name, also when several collectors give it: a second # TYPE line would be invalid.
  std::vector<std::vector<const MetricSamples*>> blocks;
  std::unordered_map<std::string_view, size_t> places;
  for (const MetricSamples& samples : all) {
    const auto [place, is_new] = places.emplace(samples.family->name, blocks.size());
    if (is_new) blocks.emplace_back();
    blocks[place->second].push_back(&samples);
  }
  std::string out, labels;
  for (const auto& block : blocks) {
    const MetricFamily& family = *block.front()->family;
    out.append("# HELP ").append(family.name).append(" ").append(family.help).append("\n");
    out.append("# TYPE ").append(family.name).append(" ").append(type_of(family.type)).append("\n");
    for (const MetricSamples* samples : block) {
      for (const MetricSample& sample : samples->samples) {
        set_labels(labels, sample);
        if (family.type == MetricType::kHistogram)
          add_histogram(out, family.name, labels, sample.histogram);
        else
          add_line(out, family.name, "", labels, sample.value);
      }
    }
  }
  return out;
}

}  // namespace dragoman
