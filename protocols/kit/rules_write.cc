// Rules of the functions that write: reply(), edit(), heartbeat() ..., set_id(), checksum().
#include <algorithm>

#include "protocols/checksum.h"
#include "protocols/kit/run.h"
#include "proxy/base/cursor.h"

namespace dragoman::kit {
namespace {

dragoman_bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// The one frame that `bytes` of `from` must be; reports under `rule` when they are not.
std::optional<Frame> one_frame(Run& run, std::string_view rule, const std::string& what,
                               const std::string& bytes, uint32_t from = DRAGOMAN_FROM_SERVER) {
  State state(run.t);
  dragoman_frame f;
  int verdict = bytes.empty() ? DRAGOMAN_NEED : probe(run.t, state, bytes, from, f);
  std::string rest;
  std::vector<Frame> frames = all_frames(run.t, bytes, from, &rest);
  if (frames.size() == 1 && rest.empty()) return frames[0];
  run.fail(rule, what + " is not one whole frame: " + std::to_string(frames.size()) + " frames, " +
                     std::to_string(rest.size()) + " bytes more" +
                     (verdict == DRAGOMAN_FRAME ? "" : std::string(" (") + verdict_name(verdict) + ")"),
           bytes);
  return std::nullopt;
}

bool same_id(const Frame& a, const Frame& b) {
  if (a.f.id_type != b.f.id_type) return false;
  if (a.f.id_type != DRAGOMAN_ID_BYTES) return a.f.id == b.f.id;
  return a.bytes.substr(a.f.id_offset, a.f.id_len) == b.bytes.substr(b.f.id_offset, b.f.id_len);
}

/// Protocols whose heartbeats are calls answer them as such; the host knows the id.
bool is_ack(const Frame& f) {
  return f.f.kind == DRAGOMAN_HEARTBEAT_ACK ||
         (f.f.kind == DRAGOMAN_RESPONSE && f.f.id_type != DRAGOMAN_ID_NONE);
}

bool good_checksum(Run& run, const Frame& frame) {
  const dragoman_frame& f = frame.f;
  if (f.checksum == DRAGOMAN_CHECKSUM_CRC32)
    return f.checksum_offset + 4 == frame.bytes.size() &&
           crc32_of(bytes_at(frame.bytes), static_cast<size_t>(f.checksum_offset)) ==
               load_be<uint32_t>(bytes_at(frame.bytes, static_cast<size_t>(f.checksum_offset)));
  if (f.checksum != DRAGOMAN_CHECKSUM_CUSTOM || !run.t.checksum) return true;
  State state(run.t);
  std::string copy = frame.bytes;
  return run.t.checksum(run.t.context, state.get(), reinterpret_cast<uint8_t*>(copy.data()), &f, 0) == 1;
}

void replies(Run& run) {
  static const std::string kLong(10000, 'x');
  bool any = false;
  for (const Frame& request : run.frames) {
    if (!request.is_request()) continue;
    any = true;
    for (uint32_t outcome = DRAGOMAN_OUTCOME_CLIENT_ERROR; outcome <= DRAGOMAN_OUTCOME_RATE_LIMITED; ++outcome) {
      for (const std::string& text : {std::string(), std::string("no endpoint is healthy"),
                                      std::string("two\r\nlines=\x01\xff"), kLong}) {
        State state(run.t);
        dragoman_frame f;
        probe(run.t, state, request.bytes, request.f.from, f);
        auto made = written([&](uint8_t* out, uint64_t cap) {
          return run.t.reply(run.t.context, state.get(), bytes_at(request.bytes), &f, outcome,
                             bytes_of(text), out, cap);
        });
        if (!run.settle(request.bytes)) continue;
        const std::string name = std::string("the reply for ") + outcome_name(outcome);
        if (!made) {
          run.fail("reply", name + " can't be made", request.bytes);
          continue;
        }
        if (made->empty()) continue;  // the protocol has no words for it
        auto reply = one_frame(run, "reply", name, *made);
        if (!reply) continue;
        if (reply->f.kind != DRAGOMAN_RESPONSE)
          run.fail("reply", name + " is a " + kind_name(reply->f.kind), *made);
        if (!same_id(request, *reply)) run.fail("reply-id", name + " has another id than its request", *made);
        State other(run.t);
        uint32_t meant = run.t.outcome(run.t.context, other.get(), bytes_at(*made), &reply->f);
        if (meant == DRAGOMAN_OUTCOME_OK) run.fail("reply-outcome", name + " counts as a success", *made);
        if (!good_checksum(run, *reply)) run.fail("reply", name + " has a wrong checksum", *made);
        if (!view(run.t, other, *reply).ok) run.fail("reply", name + " has a head that view() refuses",
                                                     *made);
        run.settle(*made);
      }
    }
  }
  if (!any)
    for (const char* rule : {"reply", "reply-id", "reply-outcome"}) run.skip(rule, "no vectors of requests");
}

struct Edit {
  uint32_t op;
  std::string name, value;
};

/// The frame with edits applied; nothing when edit() refused or the result was no frame (reported).
std::optional<Frame> edited(Run& run, const Frame& frame, const std::vector<Edit>& edits, bool must) {
  std::vector<dragoman_edit> raw;
  for (const Edit& e : edits) raw.push_back({e.op, 0, bytes_of(e.name), bytes_of(e.value)});
  State state(run.t);
  dragoman_frame f;
  probe(run.t, state, frame.bytes, frame.f.from, f);
  auto head = written([&](uint8_t* out, uint64_t cap) {
    return run.t.edit(run.t.context, state.get(), bytes_at(frame.bytes), &f, raw.data(),
                      static_cast<uint32_t>(raw.size()), out, cap);
  });
  if (!run.settle(frame.bytes)) return std::nullopt;
  if (head && head->size() > run.t.head_bytes_max) head.reset();  // the host takes that for a refusal, too
  if (!head) {
    if (must) run.fail("edit", "edit() refuses the head of a good frame", frame.bytes);
    return std::nullopt;
  }
  std::string bytes = *head + frame.bytes.substr(frame.f.head_len);
  // Checksums are the host's to mend.
  State again(run.t);
  auto read = first_frame(run.t, again, bytes, frame.f.from);
  if (!read || read->bytes.size() != bytes.size() || read->f.head_len != head->size()) {
    run.fail("edit", "the head that edit() makes and the old body are not one frame", bytes);
    return std::nullopt;
  }
  Frame result = std::move(*read);
  if (result.f.kind != frame.f.kind || !same_id(result, frame))
    run.fail("edit", "edit() changes the kind or the id of a frame", result.bytes);
  return result;
}

/// The frame after one edit, as whoever gets it reads it; nothing when it is refused, or the edit was.
std::optional<Seen> seen_after(Run& run, const Frame& frame, uint32_t op, const std::string& name,
                               const std::string& value) {
  const dragoman_edit edit{op, 0, bytes_of(name), bytes_of(value)};
  State state(run.t);
  dragoman_frame f;
  probe(run.t, state, frame.bytes, frame.f.from, f);
  auto head = written([&](uint8_t* out, uint64_t cap) {
    return run.t.edit(run.t.context, state.get(), bytes_at(frame.bytes), &f, &edit, 1, out, cap);
  });
  if (!head || head->size() > run.t.head_bytes_max) return std::nullopt;
  State again(run.t);
  auto read = first_frame(run.t, again, *head + frame.bytes.substr(frame.f.head_len), frame.f.from);
  if (!read) return std::nullopt;
  Seen seen = view(run.t, again, *read);
  return seen.ok ? std::optional(seen) : std::nullopt;
}

/// Of two values of one header, some peers take the first and others the last.
void twice(Run& run) {
  if (!run.t.edit) return run.skip("twice", "the codec can't edit");
  bool any = false;
  for (const Frame& frame : run.frames) {
    if (frame.f.kind != DRAGOMAN_REQUEST && frame.f.kind != DRAGOMAN_ONEWAY) continue;
    State state(run.t);
    const Seen before = view(run.t, state, frame);
    if (before.opaque || !before.ok) continue;
    for (const auto& [name, value] : before.headers) {
      bool attribute = false;
      for (uint32_t i = 0; i < run.t.attribute_count; ++i)
        attribute = attribute || run.t.attributes[i] == name;
      if (attribute || name.empty()) continue;
      const std::string other = value + "2";
      auto doubled = seen_after(run, frame, DRAGOMAN_EDIT_ADD, name, other);
      any = true;
      if (!doubled) continue;
      size_t told = 0;
      for (const auto& h : doubled->headers) told += h.first == name;
      if (!doubled->opaque && told < 2)
        run.fail(
            "twice",
            "of two headers \"" + name + "\" the host is told one: it can't refuse what readers differ about",
            frame.bytes);
      auto changed = seen_after(run, frame, DRAGOMAN_EDIT_SET, name, other);
      if (changed && (changed->service != before.service || changed->method != before.method))
        run.fail(
            "twice",
            "service or method come from header \"" + name + "\", which may be there twice with two values",
            frame.bytes);
    }
    if (!run.settle(frame.bytes, "twice")) return;
  }
  if (!any) run.skip("twice", "no request has a header");
}

void edits(Run& run) {
  if (!run.t.edit)
    return run.skip("edit", "the codec can't"), run.skip("edit-set", "the codec can't"),
           run.skip("edit-remove", "the codec can't"), run.skip("edit-keeps", "the codec can't");
  bool any = false;
  for (const Frame& frame : run.frames) {
    if (frame.f.kind != DRAGOMAN_REQUEST && frame.f.kind != DRAGOMAN_ONEWAY &&
        frame.f.kind != DRAGOMAN_RESPONSE)
      continue;
    State state(run.t);
    Seen before = view(run.t, state, frame);
    if (before.opaque || !before.ok) continue;
    const std::string name = "x-kit", value = "seven 7";
    auto set = edited(run, frame, {{DRAGOMAN_EDIT_SET, name, "old"}, {DRAGOMAN_EDIT_SET, name, value}},
                      false);
    if (!set) continue;  // this head takes none (another kind of frame may)
    any = true;
    State s(run.t);
    Seen after = view(run.t, s, *set);
    size_t count = 0;
    for (const auto& [n, v] : after.headers) count += n == name ? 1 : 0;
    if (count != 1 || *after.find(name) != value)
      run.fail("edit-set", "a header that was set is there " + std::to_string(count) + " times" +
                               (count ? ", as \"" + *after.find(name) + "\"" : ""),
               set->bytes);
    Seen rest = after;
    std::erase_if(rest.headers, [&](const auto& h) { return h.first == name; });
    if (rest.headers != before.headers || rest.service != before.service || rest.method != before.method)
      run.fail("edit-keeps", "setting one header changes others, the service or the method", set->bytes);
    if (auto removed = edited(run, *set, {{DRAGOMAN_EDIT_REMOVE, name, ""}}, true)) {
      State r(run.t);
      Seen gone = view(run.t, r, *removed);
      if (gone.find(name)) run.fail("edit-remove", "a header that was removed is still there",
                                    removed->bytes);
      if (gone.headers != before.headers) run.fail("edit-keeps", "removing one header changes others",
                                                   removed->bytes);
    }
    edited(run, frame, {{DRAGOMAN_EDIT_REMOVE, "x-kit-none", ""}}, true);
    edited(run, frame, {{DRAGOMAN_EDIT_SET, name, std::string(100'000, 'v')}}, false);
    edited(run, frame, {{DRAGOMAN_EDIT_ADD, "a=b\n\r:", "c\nd\r\n: \x01"}}, false);
    run.settle(frame.bytes);
  }
  if (!any) {
    bool heads = std::any_of(run.frames.begin(), run.frames.end(), [](const Frame&
                                                                      f) { return f.is_request(); });
    if (heads) run.fail("edit-set", "the table says that headers can be changed, but no frame's can", "");
    run.skip("edit-remove", "no head that can be changed");
    run.skip("edit-keeps", "no head that can be changed");
    if (!heads) run.skip("edit-set", "no vectors of requests");
  }
}

void control(Run& run) {
  if (!run.t.heartbeat) {
    run.skip("heartbeat", "the codec can't");
    run.skip("heartbeat-reply", "the codec can't");
  } else {
    std::vector<uint32_t> variants = {0};
    for (const Frame& f : run.frames)
      if (std::find(variants.begin(), variants.end(),
                    f.f.variant) == variants.end()) variants.push_back(f.f.variant);
    for (uint32_t variant : variants) {
      for (uint64_t id : {uint64_t{1}, uint64_t{0x7ffffffe}}) {
        if (run.t.id_len == 1 || run.t.id_len == 2) id &= 0x7f;
        State state(run.t);
        auto made = written([&](uint8_t* out, uint64_t cap) {
          return run.t.heartbeat(run.t.context, state.get(), variant, id, out, cap);
        });
        run.settle("");
        if (!made || made->empty()) {
          run.fail("heartbeat", "none can be made", "");
          continue;
        }
        auto beat = one_frame(run, "heartbeat", "heartbeat()", *made, DRAGOMAN_FROM_CLIENT);
        if (!beat) continue;
        if (beat->f.kind != DRAGOMAN_HEARTBEAT)
          run.fail("heartbeat", std::string("heartbeat() makes a ") + kind_name(beat->f.kind), *made);
        if (beat->f.id_type != DRAGOMAN_ID_NONE && beat->f.id_type != DRAGOMAN_ID_BYTES && beat->f.id != id)
          run.fail("heartbeat", "the heartbeat has another id than it should", *made);
        auto answer = written([&](uint8_t* out, uint64_t cap) {
          return run.t.heartbeat_reply(run.t.context, state.get(), bytes_at(*made), &beat->f, out, cap);
        });
        run.settle(*made);
        if (!answer || answer->empty()) {
          run.fail("heartbeat-reply", "none can be made", *made);
          continue;
        }
        auto ack = one_frame(run, "heartbeat-reply", "heartbeat_reply()", *answer);
        if (!ack) continue;
        if (!is_ack(*ack))
          run.fail("heartbeat-reply", std::string("heartbeat_reply() makes a ") + kind_name(ack->f.kind),
                   *answer);
        if (!same_id(*beat, *ack)) run.fail("heartbeat-reply",
                                            "the answer has another id than the heartbeat", *answer);
      }
    }
    for (const Frame& f : run.frames) {  // those of real peers
      if (f.f.kind != DRAGOMAN_HEARTBEAT) continue;
      State state(run.t);
      dragoman_frame described;
      probe(run.t, state, f.bytes, f.f.from, described);
      auto answer = written([&](uint8_t* out, uint64_t cap) {
        return run.t.heartbeat_reply(run.t.context, state.get(), bytes_at(f.bytes), &described, out, cap);
      });
      run.settle(f.bytes);
      if (answer && answer->empty()) continue;  // this one takes none
      auto ack = answer ? one_frame(run, "heartbeat-reply", "heartbeat_reply()", *answer) : std::nullopt;
      if (!ack || !is_ack(*ack) || !same_id(f, *ack))
        run.fail("heartbeat-reply", "the answer to a peer's heartbeat is none, or has another id", f.bytes);
    }
  }
  if (!run.t.goaway) return run.skip("goaway", "the codec can't");
  State state(run.t);
  auto made = written(
      [&](uint8_t* out, uint64_t cap) { return run.t.goaway(run.t.context, state.get(), 0, out, cap); });
  run.settle("");
  if (!made || made->empty()) return run.fail("goaway", "none can be made", "");
  auto bye = one_frame(run, "goaway", "goaway()", *made);
  if (bye && bye->f.kind != DRAGOMAN_GOAWAY)
    run.fail("goaway", std::string("goaway() makes a ") + kind_name(bye->f.kind), *made);
}

void rewrite(Run& run) {
  const bool shared = run.t.abilities & DRAGOMAN_CAN_MULTIPLEX;
  if (!shared)
    return run.skip("id-rewrite", "connections are not shared"),
           run.skip("id-bits", "connections are not shared");
  for (const Frame& frame : run.frames) {
    if (frame.f.kind != DRAGOMAN_REQUEST && frame.f.kind != DRAGOMAN_RESPONSE) continue;
    if (frame.f.variant & DRAGOMAN_VARIANT_EXCLUSIVE) continue;  // never shared either
    State state(run.t);
    Seen before = view(run.t, state, frame);
    const uint32_t bits = run.t.id_bits ? run.t.id_bits : run.t.id_len * 8;
    if (bits > 0 && frame.f.id_type != DRAGOMAN_ID_NONE) {
      const uint64_t most = bits >= 64 ? UINT64_MAX : (uint64_t{1} << bits) - 1;
      auto widest = with_id(run.t, frame, most, "");
      if (!widest || widest->f.id != most)
        run.fail("id-bits",
                 "an id of " + std::to_string(bits) +
                     " bits comes back as another one: id_len or id_bits say more "
                     "than there is room for",
                 widest ? widest->bytes : frame.bytes);
      if (!run.settle(frame.bytes, "id-bits")) break;
    }
    for (uint64_t id : {uint64_t{0}, uint64_t{0x01020304}, uint64_t{0x7fffffff}}) {
      const std::string text = "00000000" + std::string(hex_text(std::string(1, static_cast<char>(id)))) +
          "5a5a5a";
      if (run.t.id_len == 1) id &= 0xff;
      if (run.t.id_len == 2) id &= 0xffff;
      auto changed = with_id(run.t, frame, id, text);
      if (!run.settle(frame.bytes)) break;
      if (!changed) {
        run.fail("id-rewrite", "a frame whose id is changed is no frame any more", frame.bytes);
        break;
      }
      const dragoman_frame& f = changed->f;
      bool right = f.id_type == DRAGOMAN_ID_BYTES
                       ? changed->bytes.substr(f.id_offset, f.id_len).starts_with(text)
                       : f.id_type == DRAGOMAN_ID_NONE || f.id == id;
      if (!right) run.fail("id-rewrite", "the new id is not the one that was asked for", changed->bytes);
      State again(run.t);
      Seen after = view(run.t, again, *changed);
      bool kept = after.service == before.service && after.method == before.method &&
                  after.headers == before.headers && f.kind == frame.f.kind && f.status == frame.f.status &&
                  f.timeout_ms == frame.f.timeout_ms &&
                  changed->bytes.size() - f.head_len == frame.bytes.size() - frame.f.head_len;
      if (!kept) run.fail("id-rewrite", "changing the id changes something else", changed->bytes);
      if (!good_checksum(run, *changed)) run.fail("id-rewrite", "the checksum is wrong after it",
                                                  changed->bytes);
      run.settle(changed->bytes);
    }
  }
}

/// Where two texts differ first, and what stands there.
std::string first_difference(const std::string& now, const std::string& before) {
  size_t at = static_cast<size_t>(std::ranges::mismatch(now, before).in1 - now.begin());
  return "from byte " + std::to_string(at) + " on there is " + hex_text(now.substr(at), 8) + ", before " +
         hex_text(before.substr(at), 8) + " (" + std::to_string(now.size()) + " bytes, before " +
         std::to_string(before.size()) + ")";
}

/// What is written anew without a change must be the same, item by item: what is absent stays absent, lengths and marks
/// stay where they were. An edit may put a head into an order of its own, once.
void same_bytes(Run& run) {
  if (!run.t.edit && !run.t.set_id) return run.skip("same-bytes", "no function of the codec writes heads");
  for (const Frame& frame : run.frames) {
    const dragoman_frame& f = frame.f;
    const bool message =
        f.kind == DRAGOMAN_REQUEST || f.kind == DRAGOMAN_ONEWAY || f.kind == DRAGOMAN_RESPONSE;
    State state(run.t);
    Seen seen;
    if (!message || !(seen = view(run.t, state, frame)).ok) continue;
    if (run.t.set_id &&
        (f.id_type == DRAGOMAN_ID_BYTES || (f.id_type == DRAGOMAN_ID_CODED && f.id_len > 0))) {
      auto same = with_id(run.t, frame, f.id, frame.bytes.substr(f.id_offset, f.id_len));
      if (!run.settle(frame.bytes)) continue;
      // What stood there in more bytes than it needs, or more than once, may go; then nothing more does.
      if (same && same->bytes.size() < frame.bytes.size()) {
        auto again = with_id(run.t, *same, f.id, same->bytes.substr(same->f.id_offset, same->f.id_len));
        if (!again || again->bytes != same->bytes)
          run.fail("same-bytes", "with its own id the frame gets shorter each time", frame.bytes);
      } else if (same && same->bytes != frame.bytes)
        run.fail("same-bytes",
                 "with its own id the frame is another: " + first_difference(same->bytes, frame.bytes),
                 frame.bytes);
    }
    if (!run.t.edit || seen.opaque) continue;
    const std::vector<Edit> none = {{DRAGOMAN_EDIT_REMOVE, "x-kit-none", ""}};
    auto once = edited(run, frame, none, false);
    auto twice = once ? edited(run, *once, none, false) : std::nullopt;
    if (twice && twice->bytes.substr(0, twice->f.head_len) != once->bytes.substr(0, once->f.head_len))
      run.fail("same-bytes",
               "with nothing to edit the head is another each time: " +
                   first_difference(twice->bytes, once->bytes),
               frame.bytes);
  }
}

void checksums(Run& run) {
  bool any = false;
  for (const Frame& frame : run.frames) {
    if (frame.f.checksum == DRAGOMAN_CHECKSUM_NONE) continue;
    any = true;
    if (!good_checksum(run, frame)) {
      run.fail("checksum", "the checksum of a good frame is said to be wrong", frame.bytes);
      continue;
    }
    if (frame.f.checksum != DRAGOMAN_CHECKSUM_CUSTOM || !run.t.checksum) continue;
    // A changed body must show. The host only asks about frames whose layout it knows, so others don't count.
    size_t at = frame.f.id_type == DRAGOMAN_ID_NONE ? frame.bytes.size() / 2 : frame.f.id_offset;
    std::string broken = frame.bytes;
    broken[at] = static_cast<char>(broken[at] ^ 1);
    State state(run.t);
    Frame changed{broken, {}};
    if (probe(run.t, state, broken, frame.f.from, changed.f) != DRAGOMAN_FRAME ||
        changed.f.total_len != broken.size())
      continue;
    auto* p = reinterpret_cast<uint8_t*>(broken.data());
    if (run.t.checksum(run.t.context, state.get(), p, &changed.f, 0) != 0)
      run.fail("checksum", "a changed frame still has a right checksum", broken);
    if (run.t.checksum(run.t.context, state.get(), p, &changed.f, 1) != 1 ||
        run.t.checksum(run.t.context, state.get(), p, &changed.f, 0) != 1)
      run.fail("checksum", "the checksum is wrong after it was mended", broken);
    run.settle(broken);
  }
  if (!any) run.skip("checksum", "no vectors with checksums");
}

}  // namespace

void write_rules(Run& run) {
  replies(run);
  edits(run);
  twice(run);
  control(run);
  rewrite(run);
  same_bytes(run);
  checksums(run);
}

}  // namespace dragoman::kit
