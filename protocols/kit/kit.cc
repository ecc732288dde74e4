#include "protocols/kit/kit.h"

#include <chrono>
#include <cstdio>

#include "protocols/framed.h"
#include "protocols/kit/run.h"

namespace dragoman::kit {
namespace {

constexpr Rule kRules[] = {
    {"table", "the table keeps the rules of plugin.h: version, abilities and functions, limits"},
    {"decode", "every vector is whole frames, and they are what the vector expects"},
    {"refuse", "every vector that must be refused is refused, as it says"},
    {"verdict", "probe() answers with one of the verdicts"},
    {"reason", "a refusal says why"},
    {"progress", "more bytes are asked for only when they are missing, and never more than the frame has"},
    {"frame", "lengths, kind and id of a frame are possible"},
    {"head-max", "no head is longer than the table says"},
    {"split", "a beginning of a frame is that frame already, or needs more; never anything else"},
    {"pure", "the same bytes get the same answer"},
    {"const", "bytes that are shown stay as they are"},
    {"bounds", "nothing is read or written outside of what was given"},
    {"returns", "every call returns, without a crash"},
    {"lengths", "numbers at the edges of what they can hold break nothing"},
    {"id-place", "the id is where the frame says, and is what it says"},
    {"view", "what view() gives is part of the head, and good heads are understood"},
    {"want", "what is given does not depend on what else is wanted"},
    {"lacks", "what the table says the protocol lacks is never there; all else is, somewhere"},
    {"outcome", "outcome() answers with one of the outcomes"},
    {"detect", "detect_bytes_max bytes tell other protocols from this one"},
    {"conflict", "frames of other protocols are not taken for its own"},
    {"cap", "nothing is written beyond the room there is"},
    {"cap-length", "with too little room the length that is needed is said"},
    {"reply", "a reply is one whole response with a right head"},
    {"reply-id", "a reply has the id of its request"},
    {"reply-outcome", "a reply that tells of a failure counts as one"},
    {"edit", "an edited head and the old body are one frame of the same kind and id"},
    {"edit-set", "a header that is set is there, once, with its value"},
    {"edit-remove", "a header that is removed is gone"},
    {"edit-keeps", "other headers, the service and the method stay"},
    {"twice", "a header that is there twice is told twice, and refused where it names the call"},
    {"heartbeat", "heartbeat() makes one heartbeat with the id that was asked for"},
    {"heartbeat-reply", "heartbeat_reply() makes its answer, with its id"},
    {"goaway", "goaway() makes one goaway"},
    {"id-rewrite", "another id changes nothing else, and the checksum is right after it"},
    {"same-bytes", "what changes nothing keeps every byte: the frame's own id, a second edit of nothing"},
    {"id-bits", "ids of as many bits as the table says come back as they were"},
    {"checksum", "right checksums are known as right, wrong ones as wrong, mended ones are right"},
    {"host", "the host finds nothing that can't be true"},
    {"host-split", "wherever a frame is cut, the same comes of it"},
    {"host-bytes", "byte by byte the same comes of it"},
    {"batch", "100 requests in one write are what they are one by one"},
    {"truncate", "a frame that is cut off is never whole"},
    {"ids-cross", "two clients with one id on a shared connection get their own answers, with that id"},
    {"duplicate-id", "a second answer is dropped"},
    {"unknown-id", "an answer that nobody waits for is dropped"},
    {"oneway", "a one-way request waits for nothing"},
    {"host-heartbeat", "heartbeats are answered, and the answers known"},
    {"mutate", "random changes break nothing"},
};

template <class F>
double nanoseconds(const std::vector<Frame>& frames, double seconds, F&& f) {
  using Clock = std::chrono::steady_clock;
  if (frames.empty()) return 0;
  for (const Frame& frame : frames) f(frame);
  uint64_t rounds = 0;
  const auto start = Clock::now();
  double spent = 0;
  do {
    for (int i = 0; i < 64; ++i)
      for (const Frame& frame : frames) f(frame);
    rounds += 64;
    spent = std::chrono::duration<double>(Clock::now() - start).count();
  } while (spent < seconds);
  return spent * 1e9 / static_cast<double>(rounds * frames.size());
}

std::vector<Frame> good_frames(const dragoman_codec& t, const std::vector<Vector>& vectors) {
  std::vector<Frame> all;
  for (const Vector& v : vectors)
    if (!v.bad)
      for (Frame& f : all_frames(t, v.bytes, v.from)) all.push_back(std::move(f));
  return all;
}

bool has_head(const Frame& f) {
  return f.f.kind == DRAGOMAN_REQUEST || f.f.kind == DRAGOMAN_ONEWAY || f.f.kind == DRAGOMAN_RESPONSE;
}

void drop_header(void*, dragoman_bytes, dragoman_bytes) {}
void drop_attribute(void*, uint32_t, dragoman_bytes) {}

}  // namespace

std::span<const Rule> rules() { return kRules; }

bool Report::passed() const {
  for (const Result& r : results)
    if (r.verdict == Verdict::kFailed) return false;
  return true;
}

const Result* Report::find(std::string_view rule) const {
  for (const Result& r : results)
    if (r.rule.id == rule) return &r;
  return nullptr;
}

Cost measure(const dragoman_codec& t, const std::vector<Vector>& vectors, double seconds) {
  const std::vector<Frame> frames = good_frames(t, vectors);
  std::vector<Frame> requests;
  for (const Frame& f : frames)
    if (f.is_request()) requests.push_back(f);
  Cost cost;
  State state(t);
  dragoman_frame f;
  cost.probe_ns =
      nanoseconds(frames, seconds / 4, [&](const Frame& x) { probe(t, state, x.bytes, x.f.from, f); });
  cost.view_ns = nanoseconds(frames, seconds / 4, [&](const Frame& x) {
    probe(t, state, x.bytes, x.f.from, f);
    dragoman_view v{};
    v.size = sizeof v;
    v.header = drop_header;
    v.attribute = drop_attribute;
    if (has_head(x)) t.view(t.context, state.get(), bytes_at(x.bytes), &f, kWantAll, &v);
  });
  uint8_t out[16384];
  cost.reply_ns = nanoseconds(requests, seconds / 4, [&](const Frame& x) {
    t.reply(t.context, state.get(), bytes_at(x.bytes), &x.f, DRAGOMAN_OUTCOME_UNAVAILABLE,
            {bytes_at(x.bytes), 0}, out,
            sizeof out);
  });
  static constexpr std::string_view kName = "x-kit", kValue = "1";
  const dragoman_edit edit{DRAGOMAN_EDIT_SET,
                           0,
                           {reinterpret_cast<const uint8_t*>(kName.data()), kName.size()},
                           {reinterpret_cast<const uint8_t*>(kValue.data()), kValue.size()}};
  if (t.edit)
    cost.edit_ns = nanoseconds(requests, seconds / 4, [&](const Frame& x) {
      t.edit(t.context, state.get(), bytes_at(x.bytes), &x.f, &edit, 1, out, sizeof out);
    });
  return cost;
}

Report check(const dragoman_codec& table, const std::vector<Vector>& vectors, const Options& options) {
  Report report;
  Run run(table, vectors, options);
  auto checked = check_codec(table);
  if (!checked) {
    run.fail("table", checked.error(), "");
  } else {
    read_rules(run);
    if (!run.frames.empty()) {
      write_rules(run);
      host_rules(run);
    }
  }
  for (const Rule& rule : kRules) {
    Result result;
    result.rule = rule;
    if (auto it = run.failed.find(rule.id); it != run.failed.end()) {
      result = it->second;
      result.rule = rule;
    } else if (!checked && rule.id != "table") {
      result.verdict = Verdict::kSkipped;
      result.what = "the table is refused";
    } else if (auto why = run.skipped.find(rule.id); why != run.skipped.end()) {
      result.verdict = Verdict::kSkipped;
      result.what = why->second;
    }
    report.results.push_back(std::move(result));
  }
  report.mutations = run.mutations;
  if (report.passed()) report.ns_per_frame = measure(table, vectors, 0.2).view_ns;
  return report;
}

std::string report_text(const Report& report, bool only_failed) {
  std::string out;
  size_t passed = 0, failed = 0, skipped = 0;
  for (const Result& r : report.results) {
    const char* mark = r.verdict == Verdict::kPassed ? "pass" : r.verdict == Verdict::kFailed ?
        "FAIL" : "skip";
    (r.verdict == Verdict::kPassed ? passed : r.verdict == Verdict::kFailed ? failed : skipped)++;
    if (only_failed && r.verdict != Verdict::kFailed) continue;
    char line[256];
    std::snprintf(line, sizeof line, "%s  %-15s  ", mark, std::string(r.rule.id).c_str());
    out += line + (r.verdict == Verdict::kPassed ? std::string(r.rule.promise) : r.what) + "\n";
    if (!r.bytes.empty()) out += "      " + hex_text(r.bytes) + "\n";
  }
  out += std::to_string(passed) + " passed, " + std::to_string(failed) + " failed, " +
      std::to_string(skipped) +
         " skipped";
  if (report.mutations > 0) out += "; " + std::to_string(report.mutations) + " random changes";
  if (report.ns_per_frame > 0) {
    char text[64];
    std::snprintf(text, sizeof text, "; %.0f ns a frame", report.ns_per_frame);
    out += text;
  }
  return out + "\n";
}

std::string decode_text(const dragoman_codec& t, const Vector& vector) {
  std::string out, rest;
  size_t at = 0;
  State state(t);
  for (const Frame& frame : all_frames(t, vector.bytes, vector.from, &rest)) {
    const dragoman_frame& f = frame.f;
    auto line = [&](const char* name, const std::string& value) { out += "  " + std::string(name) + ": " +
                                                                 value + "\n"; };
    out += "at " + std::to_string(at) + ": " + kind_name(f.kind) + ", " + std::to_string(frame.bytes.size()) +
           " bytes, head " + std::to_string(f.head_len) + "\n";
    at += frame.bytes.size();
    if (f.id_type == DRAGOMAN_ID_BYTES)
      line("id", hex_text(frame.bytes.substr(f.id_offset, f.id_len)));
    else if (f.id_type != DRAGOMAN_ID_NONE)
      line("id", std::to_string(f.id) + " (" + std::to_string(f.id_len) + " bytes at " +
           std::to_string(f.id_offset) + ")");
    if (f.variant) line("variant", std::to_string(f.variant));
    if (f.timeout_ms > 0) line("timeout_ms", std::to_string(f.timeout_ms));
    if (f.kind == DRAGOMAN_RESPONSE)
      line("status", status_of(t, frame) + " = " +
                         outcome_name(t.outcome(t.context, state.get(), bytes_at(frame.bytes), &f)));
    if (f.checksum) line("checksum", f.checksum == DRAGOMAN_CHECKSUM_CRC32 ? "CRC-32" : "the codec's own");
    if (has_head(frame)) {
      Seen seen = view(t, state, frame);
      if (!seen.ok) line("view", "the head is not understood");
      if (!seen.service.empty()) line("service", seen.service);
      if (!seen.method.empty()) line("method", seen.method);
      if (seen.opaque) line("headers", "none that could be read");
      for (size_t i = 0; i < seen.headers.size(); ++i) {
        const bool attribute = i >= seen.headers.size() - seen.attributes;
        line(((attribute ? "attribute " : "header ") + seen.headers[i].first).c_str(),
             seen.headers[i].second);
      }
    }
    if (frame.bytes.size() > f.head_len) line("body", hex_text(frame.bytes.substr(f.head_len), 48));
  }
  if (rest.empty()) return out;
  dragoman_frame f;
  int verdict = probe(t, state, rest, vector.from, f);
  out += "at " + std::to_string(at) + ": " + verdict_name(verdict);
  if (verdict == DRAGOMAN_NEED) out += " " + std::to_string(f.need) + " bytes, there are " +
      std::to_string(rest.size());
  if (verdict == DRAGOMAN_FRAME)
    out += " of " + std::to_string(f.total_len) + " bytes, there are " + std::to_string(rest.size());
  if (f.reason) out += std::string(": ") + f.reason;
  return out + "\n  " + hex_text(rest) + "\n";
}

}  // namespace dragoman::kit
