#include "proxy/observe/metrics.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <map>
#include <mutex>
#include <new>

#include "proxy/observe/families.h"

namespace dragoman {
namespace {

/// Cells of two shards never share a cache line, nor a pair of lines that is fetched together.
constexpr size_t kBlockAlign = 128;
constexpr size_t kAlignCells = kBlockAlign / sizeof(MetricCell);

size_t group_cells(const MetricGroup& group) {
  size_t n = 0;
  for (const MetricFamily* family : group.families) n += family->cells();
  return n;
}

bool has_own_names(const MetricFamily& family) { return family.by && !family.by->name; }

}  // namespace

struct MetricSeries::Index {
  struct Entry {
    std::weak_ptr<MetricSeries> series;
    const MetricSeries* address = nullptr;
  };
  struct Groups {
    const MetricGroup* group;
    std::map<std::vector<std::string>, Entry> entries;
    std::shared_ptr<MetricSeries> other;
  };

  mutable std::mutex mutex;
  std::vector<std::unique_ptr<Groups>> groups;  // in the order of first use
  size_t series_max = 0;
  size_t count = 0;
  uint64_t dropped = 0;
  std::vector<std::string> left;  // gauges that were not zero when their series died

  Groups* find(const MetricGroup& group) {
    for (auto& candidate : groups) {
      if (candidate->group->name == group.name) return candidate.get();
    }
    return nullptr;
  }
};

void MetricSeries::CellsDeleter::operator()(MetricCell* cells) const {
  operator delete[](cells, std::align_val_t{kBlockAlign});
}

MetricSeries::MetricSeries(std::shared_ptr<Index> index, const MetricGroup& group,
                           std::vector<std::string> label_values, int shards, bool counted)
    : index_(std::move(index)),
      group_(group),
      label_values_(std::move(label_values)),
      shards_(shards),
      counted_(counted),
      block_cells_((group_cells(group) + kAlignCells - 1) / kAlignCells * kAlignCells),
      cells_(new (std::align_val_t{kBlockAlign}) MetricCell[block_cells_ * static_cast<size_t>(shards)]()),
      names_(std::ranges::any_of(group.families, [](auto* family) { return has_own_names(*family); })
                 ? new MetricNames
                 : nullptr) {}

MetricSeries::~MetricSeries() {
  if (!counted_) return;
  std::vector<std::string> left;
  add_left(left);
  std::lock_guard lock(index_->mutex);
  constexpr size_t kLeftMax = 100;
  if (index_->left.size() < kLeftMax) index_->left.insert(index_->left.end(), left.begin(), left.end());
  index_->count -= group_.families.size();
  auto& entries = index_->find(group_)->entries;
  const auto entry = entries.find(label_values_);
  // A successor may have taken the place since the last holder let go.
  if (entry != entries.end() && entry->second.address == this) entries.erase(entry);
}

void MetricSeries::add_left(std::vector<std::string>& out) const {
  for (const MetricFamily* family : group_.families) {
    if (!family->counts_things()) continue;
    for (size_t at = 0; at < family->cells(); ++at) {
      const int64_t value = gauge_value(*family, at);
      if (value == 0) continue;
      std::string labels;
      auto add = [&](std::string_view name, std::string_view text) {
        labels.append(labels.empty() ? "{" : ",").append(name).append("=").append(text);
      };
      for (size_t i = 0; i < label_values_.size(); ++i) add(group_.labels[i], label_values_[i]);
      if (family->by) add(family->by->label, family->by->name(at));
      out.push_back(std::string(family->name) + labels + (labels.empty() ? " is " : "} is ") +
                    std::to_string(value));
    }
  }
}

MetricCell* MetricSeries::cells(int shard, const MetricFamily& family) const {
  assert(shard >= 0 && shard < shards_);
  size_t offset = 0;
  for (const MetricFamily* candidate : group_.families) {
    if (candidate == &family) return cells_.get() + static_cast<size_t>(shard) * block_cells_ + offset;
    offset += candidate->cells();
  }
  assert(false && "the family is not of this group");
  return nullptr;
}

uint8_t CounterByName::place_of(int32_t number) const {
  char text[12];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  return static_cast<uint8_t>(names_->place({text, static_cast<size_t>(end - text)}));
}

Counter MetricSeries::counter(int shard, const MetricFamily& family) const {
  assert(family.type == MetricType::kCounter && !family.by);
  return Counter(cells(shard, family));
}

Gauge MetricSeries::gauge(int shard, const MetricFamily& family) const {
  assert(family.type == MetricType::kGauge);
  return Gauge(cells(shard, family));
}

Histogram MetricSeries::histogram(int shard, const MetricFamily& family) const {
  assert(family.type == MetricType::kHistogram && !family.by);
  return Histogram(cells(shard, family));
}

uint64_t MetricSeries::counter_value(const MetricFamily& family, size_t index) const {
  assert(index < family.cells());
  uint64_t total = 0;
  for (int shard = 0; shard < shards_; ++shard) {
    total += cells(shard, family)[index].load(std::memory_order_relaxed);
  }
  return total;
}

CounterByName MetricSeries::counter_by_name(int shard, const MetricFamily& family) const {
  assert(family.type == MetricType::kCounter && has_own_names(family));
  return CounterByName(names_.get(), cells(shard, family));
}

void MetricSeries::collect_by(const MetricFamily& family, MetricSample sample,
                              std::vector<MetricSample>& out) const {
  sample.labels.emplace_back(family.by->label, "");
  const bool histogram = family.type == MetricType::kHistogram, own = has_own_names(family);
  const size_t first = out.size();
  for (size_t i = 0; i < family.by->count; ++i) {
    if (histogram) sample.histogram = histogram_value(family, i);
    // A gauge that came and went is shown at zero; a counter that never moved is not shown.
    const bool gauge = family.type == MetricType::kGauge;
    sample.value = gauge       ? static_cast<double>(gauge_value(family, i))
                   : histogram ? static_cast<double>(sample.histogram.count())
                               : static_cast<double>(counter_value(family, i));
    if (sample.value == 0 && !gauge && (i != 0 || own)) continue;
    sample.labels.back().second = own ? names_->name(i) : family.by->name(i);
    auto twin = out.end();
    if (own) {
      twin = std::find_if(out.begin() + static_cast<ptrdiff_t>(first), out.end(), [&](const auto& other) {
        return other.labels.back().second == sample.labels.back().second;
      });
    }
    if (twin != out.end())
      twin->value += sample.value;
    else
      out.push_back(sample);
  }
}

int64_t MetricSeries::gauge_value(const MetricFamily& family, size_t index) const {
  assert(index < family.cells());
  int64_t merged = 0;
  for (int shard = 0; shard < shards_; ++shard) {
    const auto value = static_cast<int64_t>(cells(shard, family)[index].load(std::memory_order_relaxed));
    if (family.merge == GaugeMerge::kSum) {
      merged += value;
    } else if (value > merged) {
      merged = value;
    }
  }
  return merged;
}

HistogramSnapshot MetricSeries::histogram_value(const MetricFamily& family, size_t index) const {
  assert((index + 1) * kHistogramCells <= family.cells());
  HistogramSnapshot merged;
  for (int shard = 0; shard < shards_; ++shard) merged.merge(cells(shard, family) + index * kHistogramCells);
  return merged;
}

MetricRegistry::MetricRegistry(int shards, size_t series_max)
    : shards_(shards), index_(std::make_shared<MetricSeries::Index>()) {
  assert(shards >= 1);
  index_->series_max = series_max;
}

MetricRegistry::~MetricRegistry() {
  // The overflow series hold the index that holds them.
  std::lock_guard lock(index_->mutex);
  for (auto& group : index_->groups) group->other.reset();
}

std::shared_ptr<MetricSeries> MetricRegistry::series(const MetricGroup& group,
                                                     std::span<const std::string_view> label_values) {
  assert(label_values.size() == group.labels.size());
  std::vector<std::string> key(label_values.begin(), label_values.end());

  std::lock_guard lock(index_->mutex);
  auto* groups = index_->find(group);
  if (!groups) {
    groups = index_->groups.emplace_back(new MetricSeries::Index::Groups{&group, {}, nullptr}).get();
  }
  const auto found = groups->entries.find(key);
  if (found != groups->entries.end()) {
    if (auto live = found->second.series.lock()) return live;
  }
  const bool full = index_->count + group.families.size() > index_->series_max;
  if (full && !group.labels.empty()) {
    ++index_->dropped;
    if (!groups->other) {
      key.assign(group.labels.size(), std::string(MetricNames::kOther));
      groups->other.reset(new MetricSeries(index_, group, std::move(key), shards_, false));
    }
    return groups->other;
  }
  std::shared_ptr<MetricSeries> made(new MetricSeries(index_, group, key, shards_, true));
  index_->count += group.families.size();
  groups->entries.insert_or_assign(std::move(key), MetricSeries::Index::Entry{made, made.get()});
  return made;
}

void MetricRegistry::set_series_max(size_t series_max) {
  std::lock_guard lock(index_->mutex);
  index_->series_max = series_max;
}

size_t MetricRegistry::series_count() const {
  std::lock_guard lock(index_->mutex);
  return index_->count;
}

std::vector<std::string> MetricRegistry::left() const {
  std::vector<std::shared_ptr<MetricSeries>> live;  // they die after the lock, if at all
  std::lock_guard lock(index_->mutex);
  std::vector<std::string> out = index_->left;
  for (const auto& groups : index_->groups) {
    for (const auto& [key, entry] : groups->entries)
      if (auto series = entry.series.lock()) live.push_back(std::move(series));
    if (groups->other) live.push_back(groups->other);
  }
  for (const auto& series : live) series->add_left(out);
  return out;
}

uint64_t MetricRegistry::series_dropped() const {
  std::lock_guard lock(index_->mutex);
  return index_->dropped;
}

std::vector<MetricSamples> MetricRegistry::collect() const {
  // The lock is held for copying pointers only; a series that dies meanwhile is destroyed here, after the
  // lock.
  std::vector<std::pair<const MetricGroup*, std::vector<std::shared_ptr<MetricSeries>>>> live;
  {
    std::lock_guard lock(index_->mutex);
    for (const auto& groups : index_->groups) {
      auto& list = live.emplace_back(groups->group, std::vector<std::shared_ptr<MetricSeries>>()).second;
      list.reserve(groups->entries.size() + 1);
      for (const auto& [key, entry] : groups->entries) {
        if (auto series = entry.series.lock()) list.push_back(std::move(series));
      }
      if (groups->other) list.push_back(groups->other);
    }
  }
  std::vector<MetricSamples> out;
  for (const auto& [group, list] : live) {
    if (list.empty()) continue;
    for (const MetricFamily* family : group->families) {
      MetricSamples& samples = out.emplace_back(MetricSamples{family, {}});
      for (const auto& series : list) {
        MetricSample sample;
        for (size_t i = 0; i < group->labels.size(); ++i) {
          sample.labels.emplace_back(group->labels[i], series->label_values()[i]);
        }
        if (family->by) {
          series->collect_by(*family, std::move(sample), samples.samples);
          continue;
        }
        switch (family->type) {
          case MetricType::kCounter:
            sample.value = static_cast<double>(series->counter_value(*family));
            break;
          case MetricType::kGauge:
            sample.value = static_cast<double>(series->gauge_value(*family));
            break;
          case MetricType::kHistogram:
            sample.histogram = series->histogram_value(*family);
            break;
        }
        samples.samples.push_back(std::move(sample));
      }
    }
  }
  add_sample(out, families::kSeries, static_cast<double>(series_count()));
  add_sample(out, families::kSeriesDropped, static_cast<double>(series_dropped()));
  return out;
}

void add_sample(std::vector<MetricSamples>& out, const MetricFamily& family, double value) {
  MetricSample sample;
  sample.value = value;
  out.push_back(MetricSamples{&family, {}});
  out.back().samples.push_back(std::move(sample));
}

}  // namespace dragoman
