// Metrics: a registry of labelled series made of per-thread cells.
//
// A MetricGroup is a set of families that share labels (all request metrics of one route, say). A
// MetricSeries is one set of label values of a group: for each shard one cache-aligned block of cells that
// only the shard's thread writes, with plain relaxed loads and stores. Scraping sums the shards while they
// run. A shard is a thread that counts: one per worker, and one for the control thread.
//
// Binding (a map look-up under a mutex) happens when a snapshot is built, never per request; the data path
// holds the small structs of handles below. Label values come from the configuration, never from a peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocols/exchange.h"
#include "protocols/mysql/names.h"
#include "protocols/observer.h"
#include "protocols/redis/commands.h"
#include "proxy/base/kept_memory.h"
#include "proxy/base/reason.h"
#include "proxy/observe/histogram.h"
#include "proxy/observe/metric_names.h"

namespace dragoman {

enum class MetricType : uint8_t { kCounter, kGauge, kHistogram };
enum class GaugeMerge : uint8_t {
  kSum,  // each shard counts its own part
  kMax,  // every shard that sets it sets the same fact
};

/// A label with a fixed set of values, each with a cell of its own: no look-up to count by outcome or by
/// reason. Value 0 is always exported, the others once they are not zero.
struct MetricLabelSet {
  std::string_view label;
  size_t count = 0;
  std::string_view (*name)(size_t index) = nullptr;  // null: the series' own (MetricNames)
};

/// Static descriptor of one metric family. Families are compared by address: define each once (families.h).
struct MetricFamily {
  std::string_view name;
  std::string_view help;
  MetricType type = MetricType::kCounter;
  std::string_view unit = "";  // "", "bytes" or "seconds"; histograms take microseconds and export seconds
  const MetricLabelSet* by = nullptr;
  GaugeMerge merge = GaugeMerge::kSum;
  bool lasting = false;  // a gauge that tells of no things that come and go

  /// A gauge of things that are there now: zero when nothing is.
  bool counts_things() const { return type == MetricType::kGauge && merge == GaugeMerge::kSum && !lasting; }
  size_t cells() const { return (by ? by->count : 1) * (type == MetricType::kHistogram ? kHistogramCells : 1); }
};

struct MetricGroup {
  std::string_view name;
  std::span<const std::string_view> labels;
  std::span<const MetricFamily* const> families;
};

/// Counts up. One writer thread. Default-constructed it counts nowhere.
class Counter {
 public:
  Counter() = default;
  explicit Counter(MetricCell* cell) : cell_(cell) {}
  void inc(uint64_t n = 1) const {
    if (cell_) cell_add(*cell_, n);
  }

 private:
  MetricCell* cell_ = nullptr;
};

/// Counters by the values of an enum: `requests.inc(Outcome::kOk)`.
template <class Enum>
class CounterBy {
 public:
  CounterBy() = default;
  CounterBy(MetricCell* cells, size_t count) : cells_(cells), count_(count) {}
  void inc(Enum value, uint64_t n = 1) const {
    if (static_cast<size_t>(value) < count_) cell_add(cells_[static_cast<size_t>(value)], n);
  }

 private:
  MetricCell* cells_ = nullptr;
  size_t count_ = 0;
};

/// Histograms by the values of an enum: `durations.observe_us(Command::kQuery, 120)`.
template <class Enum>
class HistogramBy {
 public:
  HistogramBy() = default;
  HistogramBy(MetricCell* cells, size_t count) : cells_(cells), count_(count) {}
  void observe_us(Enum value, uint64_t value_us) const {
    const auto i = static_cast<size_t>(value);
    if (i < count_) Histogram(cells_ + i * kHistogramCells).observe_us(value_us);
  }

 private:
  MetricCell* cells_ = nullptr;
  size_t count_ = 0;
};

/// Goes up and down, signed. One writer thread per shard.
class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(MetricCell* cell) : cell_(cell) {}
  void add(int64_t n = 1) const {
    if (cell_) cell_add(*cell_, static_cast<uint64_t>(n));
  }
  void sub(int64_t n = 1) const { add(-n); }
  void set(int64_t value) const {
    if (cell_) cell_->store(static_cast<uint64_t>(value), std::memory_order_relaxed);
  }

 private:
  MetricCell* cell_ = nullptr;
};

class MetricRegistry;
struct MetricSample;

/// Gauges by the values of an enum.
template <class Enum>
class GaugeBy {
 public:
  GaugeBy() = default;
  GaugeBy(MetricCell* cells, size_t count) : cells_(cells), count_(count) {}
  void set(Enum value, int64_t to) const {
    const auto i = static_cast<size_t>(value);
    if (i < count_) Gauge(cells_ + i).set(to);
  }

 private:
  MetricCell* cells_ = nullptr;
  size_t count_ = 0;
};

/// One label set of a group. Addresses of its cells are stable while it lives. Shared: the same key gives the
/// same live series, which dies with its last holder. The handle functions assert that `family` is of the
/// group and has the type.
class MetricSeries {
 public:
  ~MetricSeries();
  MetricSeries(const MetricSeries&) = delete;
  MetricSeries& operator=(const MetricSeries&) = delete;

  const MetricGroup& group() const { return group_; }
  const std::vector<std::string>& label_values() const { return label_values_; }

  Counter counter(int shard, const MetricFamily& family) const;
  Gauge gauge(int shard, const MetricFamily& family) const;
  Histogram histogram(int shard, const MetricFamily& family) const;
  template <class Enum>
  CounterBy<Enum> counter_by(int shard, const MetricFamily& family) const {
    return CounterBy<Enum>(cells(shard, family), family.cells());
  }
  template <class Enum>
  HistogramBy<Enum> histogram_by(int shard, const MetricFamily& family) const {
    return HistogramBy<Enum>(cells(shard, family), family.by->count);
  }

  CounterByName counter_by_name(int shard, const MetricFamily& family) const;
  template <class Enum>
  GaugeBy<Enum> gauge_by(int shard, const MetricFamily& family) const {
    return GaugeBy<Enum>(cells(shard, family), family.cells());
  }

  /// Merged over the shards; safe while they run. `index`: which value of family.by.
  uint64_t counter_value(const MetricFamily& family, size_t index = 0) const;
  int64_t gauge_value(const MetricFamily& family, size_t index = 0) const;
  HistogramSnapshot histogram_value(const MetricFamily& family, size_t index = 0) const;

 private:
  friend class MetricRegistry;
  struct Index;
  struct CellsDeleter {
    void operator()(MetricCell* cells) const;
  };
  MetricSeries(std::shared_ptr<Index> index, const MetricGroup& group, std::vector<std::string> label_values,
               int shards, bool counted);
  MetricCell* cells(int shard, const MetricFamily& family) const;
  void add_left(std::vector<std::string>& out) const;
  /// Adds the values of `family` that are not zero (of fixed ones the first anyhow) to `out`, as copies of `sample`.
  void collect_by(const MetricFamily& family, MetricSample sample, std::vector<MetricSample>& out) const;

  const std::shared_ptr<Index> index_;
  const MetricGroup& group_;
  const std::vector<std::string> label_values_;
  const int shards_;
  const bool counted_;  // false: an overflow series, outside series_max
  size_t block_cells_;  // per shard, a multiple of a cache line
  std::unique_ptr<MetricCell[], CellsDeleter> cells_;
  const std::unique_ptr<MetricNames> names_;  // when a family of the group wants them
};

/// What a scrape sees.
struct MetricSample {
  std::vector<std::pair<std::string_view, std::string>> labels;
  double value = 0;             // counters and gauges
  HistogramSnapshot histogram;  // histograms
};
struct MetricSamples {
  const MetricFamily* family = nullptr;
  std::vector<MetricSample> samples;
};

/// Adds values that are kept elsewhere (uptime, lines dropped ...) to a scrape. Runs on the scraping thread.
using MetricCollector = std::function<void(std::vector<MetricSamples>& out)>;
/// MetricCollector helper: appends one unlabelled value.
void add_sample(std::vector<MetricSamples>& out, const MetricFamily& family, double value);

/// Thread-safe. MetricSeries may outlive it.
class MetricRegistry {
 public:
  /// `shards` >= 1: threads that count. `series_max`: label sets x families; beyond it new label sets share
  /// one series per group whose label values are all "_other".
  explicit MetricRegistry(int shards, size_t series_max = 20000);
  ~MetricRegistry();

  /// The live series of these label values (as many as group.labels), made when there is none. Never null.
  std::shared_ptr<MetricSeries> series(const MetricGroup& group,
                                       std::span<const std::string_view> label_values);
  void set_series_max(size_t series_max);
  int shards() const { return shards_; }
  /// Label sets x families alive, and those sent to "_other" so far.
  size_t series_count() const;
  uint64_t series_dropped() const;
  /// Gauges of things that are there now and are not zero: of series alive, and of those that died so. Nothing may be there any more.
  std::vector<std::string> left() const;

  /// Merges everything alive, in the order of the first use of groups, label sets sorted, one entry per
  /// family.
  std::vector<MetricSamples> collect() const;

 private:
  const int shards_;
  std::shared_ptr<MetricSeries::Index> index_;
};

// --- The metrics of the proxy -------------------------------------------------------------------

/// A configured bound that was reached on the downstream side.
enum class ListenerLimit : uint8_t {
  kConnections,
  kStreams,
  kHeadBytes,
  kHeaders,
  kUriBytes,
  kBodyBytes,
  kFrameBytes,
  kHeartbeats,
  kWriteBuffer,
  kLingering,
  kWaitingBytes,
  kHops,
};
inline constexpr size_t kListenerLimitCount = 12;
/// A cluster's `limits`; kRetryBody: retry.body_bytes_max of its requests.
enum class ClusterLimit : uint8_t {
  kConnections,
  kPendingRequests,
  kRequests,
  kRetries,
  kRetryBody,
  kTriesPerSecond
};
inline constexpr size_t kClusterLimitCount = 6;
/// What a sidecar at the other end said of its answer: a Reason, or kReasonCount for other words.
enum class PeerReason : uint8_t {};
inline constexpr size_t kPeerReasonCount = kReasonCount + 1;
inline constexpr PeerReason kOtherPeerReason{static_cast<uint8_t>(kReasonCount)};
std::string_view peer_reason_name(PeerReason reason);
enum class CheckResult : uint8_t { kSuccess, kFailure };  // of a health check, a configuration reload
inline constexpr size_t kCheckResultCount = 2;

/// One (listener, route, cluster, protocol).
struct RequestMetrics {
  CounterBy<Outcome> requests;  // ended, by outcome
  CounterBy<Reason> reasons;    // ended, by reason; shared by the routes of one (listener, cluster)
  mutable CounterByName statuses;  // answers of endpoints, by native status; as shared
  Histogram duration;           // from the first byte of the request to the last of the answer
  Counter request_bytes;        // downstream, bodies and heads as received
  Counter response_bytes;       // downstream, as sent
  Counter retries;
  Gauge active;
};

struct ListenerMetrics {
  Counter connections;
  Gauge connections_active;
  Gauge connections_lingering;
  Gauge lingering_bytes;
  Counter connections_rejected;
  Counter accept_failures;
  Counter received_bytes;
  Counter sent_bytes;
  CounterBy<Reason> protocol_errors;
  CounterBy<CodecEvent> codec_events;
  CounterBy<ListenerLimit> limit_hits;
};

struct ClusterMetrics {
  CounterBy<Outcome> requests;  // tries towards endpoints, by outcome
  Histogram duration;           // of one try: from its first byte sent to the end of the answer
  Gauge requests_active;
  Gauge requests_pending;  // waiting for a connection
  Counter connections;     // opened
  Gauge connections_active;
  Counter connect_failures;
  Counter connect_timeouts;
  Counter connect_backoffs;
  Counter connections_evicted;  // idle ones, for others of the cluster's limit
  Counter connections_silent;   // retired because of pool.timeouts_max
  Counter pool_reuses;  // requests given to a connection that was already there
  Counter retries;
  Counter repeats;  // tries that no policy asked for
  CounterBy<ClusterLimit> overflows;
  CounterBy<PeerReason> peer_reasons;  // of a cluster of sidecars
  Counter received_bytes;
  Counter sent_bytes;
  CounterBy<CodecEvent> codec_events;
  CounterBy<CheckResult> health_checks;
  Counter ejections;
  Gauge endpoints;          // set by any shard: merged by maximum
  Gauge endpoints_healthy;  // "
  Gauge endpoints_ejected;  // "
};

/// One `tls` block.
struct TlsMetrics {
  Counter handshakes;
  Counter resumptions;
  CounterBy<Reason> failures;
  Histogram duration;
  Counter plaintext;
  CounterBy<CheckResult> reloads;
  Gauge expiry_seconds;  // wall clock, seconds since 1970; control thread
};

/// One protocol of a listener with protocol auto.
struct DetectMetrics {
  Counter connections;
  Histogram duration;  // from the connection, or the end of its TLS handshake, to the decision
};

/// Of relayed connections that are observed: one (listener, cluster, protocol).
struct ObserverMetrics {
  CounterBy<ObserverStop> stopped;
};

/// What a Redis observer counts: one (listener, cluster).
struct RedisMetrics {
  CounterBy<redis::Command> commands;
  HistogramBy<redis::Command> durations;
  CounterBy<redis::Error> errors;
  Counter pushes;
};

/// What a MySQL observer counts: one (listener, cluster).
struct MysqlMetrics {
  CounterBy<mysql::Command> commands;
  HistogramBy<mysql::Command> durations;
  CounterBy<mysql::Error> errors;
};

struct WorkerMetrics {
  Gauge connections_active;  // both sides
  Histogram loop_lag;        // how late the loop's timer ran
  Histogram control_time;    // CPU time in a row for what the control thread asked
  GaugeBy<MemoryOwner> memory_bytes;
  Gauge memory_spare_bytes;
};

/// Written by the control thread.
struct ServerMetrics {
  CounterBy<CheckResult> dns_lookups;
  CounterBy<CheckResult> config_reloads;
  Gauge config_last_success_seconds;  // wall clock, seconds since 1970
  Gauge config_generation;
  Gauge uptime_seconds;
  Gauge workers;
  Gauge draining;  // 0 or 1
  Counter admin_evictions;
  Counter admin_timeouts;
  Counter admin_refusals;
};

/// Handles for one shard, and the ownership of their series: keep it as long as the handles, that is in the
/// worker's snapshot. May be filled by another thread before the snapshot is handed over. Binding the same
/// names for several shards, or twice, gives the same series.
class MetricsBinding {
 public:
  MetricsBinding(MetricRegistry& registry, int shard) : registry_(&registry), shard_(shard) {}

  RequestMetrics request(std::string_view listener, std::string_view route, std::string_view cluster,
                         std::string_view protocol);
  ListenerMetrics listener(std::string_view listener);
  ClusterMetrics cluster(std::string_view cluster);
  /// `side`: listener, cluster or admin.
  TlsMetrics tls(std::string_view side, std::string_view name);
  /// `protocol`: one that is detected, unknown, or silent.
  DetectMetrics detect(std::string_view listener, std::string_view protocol);
  ObserverMetrics observer(std::string_view listener, std::string_view cluster, std::string_view protocol);
  RedisMetrics redis(std::string_view listener, std::string_view cluster);
  MysqlMetrics mysql(std::string_view listener, std::string_view cluster);
  /// Labelled with the shard's number.
  WorkerMetrics worker();
  ServerMetrics server();
  /// Sets dragoman_build_info{version} to 1.
  void build_info(std::string_view version);
  /// Any other group (a filter's).
  MetricSeries& bind(const MetricGroup& group, std::span<const std::string_view> label_values);

 private:
  MetricRegistry* registry_;
  int shard_;
  std::vector<std::shared_ptr<MetricSeries>> held_;
};

}  // namespace dragoman
