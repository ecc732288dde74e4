#include "config/strict.h"

#include <yaml.h>

#include <algorithm>

#include "config/node.h"

namespace dragoman::config {
namespace {

/// What building a node costs, aliases counted as what they stand for.
struct Size {
  size_t nodes = 0;
  size_t bytes = 0;
  int height = 0;  // nested collections, the node itself included

  void add(const Size& child) {
    nodes += child.nodes;
    bytes += child.bytes;
    if (height < child.height + 1) height = child.height + 1;
  }
};

/// A collection that is being read.
struct Frame {
  Place place;  // of the collection; parents are the frames below
  std::string key_text;
  std::string anchor;
  Size size;
  bool map = false;
  bool wants_key = false;
  int index = -1;
  std::unordered_map<std::string, Position> keys;
};

class Checker {
 public:
  Checker(std::string_view text, Context& context) : text_(text), context_(context) {
    initialized_ = yaml_parser_initialize(&parser_) != 0;
    if (!initialized_) return;
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
  }
  ~Checker() {
    if (initialized_) yaml_parser_delete(&parser_);
  }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  bool run() {
    if (!initialized_) return fail({}, "out of memory");
    for (;;) {
      struct Event : yaml_event_t {  // deleted also when memory ends in the middle of it
        ~Event() { yaml_event_delete(this); }
      } event{};
      if (!yaml_parser_parse(&parser_, &event)) return syntax_error();
      const yaml_event_type_t type = event.type;
      const bool good = take(event);
      if (!good) return false;
      if (type == YAML_STREAM_END_EVENT) return true;
    }
  }

 private:
  static Position position(const yaml_mark_t& mark) {
    return {static_cast<int>(mark.line) + 1, static_cast<int>(mark.column) + 1};
  }
  static std::string_view view(const yaml_char_t* text) {
    return text ? std::string_view(reinterpret_cast<const char*>(text)) : std::string_view();
  }

  bool fail(Position pos, std::string message) {
    context_.error(pos, std::move(message));
    return false;
  }

  std::string_view line_text(size_t line) const {
    size_t begin = 0;
    for (; line > 0 && begin < text_.size(); --line)
      begin = std::min(text_.find('\n', begin), text_.size() - 1) + 1;
    return text_.substr(begin, text_.find('\n', begin) - begin);
  }

  bool syntax_error() {
    const std::string problem = parser_.problem ? parser_.problem : "unreadable";
    if (parser_.error == YAML_READER_ERROR) {
      // The reader knows a byte offset, not a line.
      Position pos{1, 1};
      for (size_t i = 0; i < parser_.problem_offset && i < text_.size(); ++i) {
        if (text_[i] == '\n') {
          ++pos.line;
          pos.column = 1;
        } else if ((static_cast<unsigned char>(text_[i]) & 0xc0) != 0x80) {
          ++pos.column;
        }
      }
      return fail(pos, "unreadable text: " + problem);
    }
    std::string message = "not well-formed YAML: ";
    if (parser_.context) message += std::string(parser_.context) + ", ";
    message += problem;
    if (parser_.context && parser_.context_mark.line != parser_.problem_mark.line) {
      message += " (it began at line " + std::to_string(parser_.context_mark.line + 1) + ")";
    }
    if (problem.find("cannot start any token") != std::string::npos &&
        line_text(parser_.problem_mark.line).find('\t') != std::string_view::npos) {
      message += "; indentation must be spaces, not tabs";
    }
    if (parser_.context && std::string_view(parser_.context).find("flow") != std::string_view::npos &&
        line_text(parser_.problem_mark.line).find("${") != std::string_view::npos) {
      message += "; inside [ ] and { }, a value with ${...} must be in quotes";
    }
    return fail(position(parser_.problem_mark), message);
  }

  bool take(const yaml_event_t& event) {
    const Position pos = position(event.start_mark);
    switch (event.type) {
      case YAML_DOCUMENT_START_EVENT:
        if (++documents_ > 1) return fail(pos, "a second YAML document; one file holds one configuration");
        return true;
      case YAML_SCALAR_EVENT: {
        const auto& scalar = event.data.scalar;
        const Size size{.nodes = 1, .bytes = scalar.length, .height = 0};
        std::string_view text(reinterpret_cast<const char*>(scalar.value), scalar.length);
        if (!frames_.empty() && frames_.back().map && frames_.back().wants_key) {
          return scalar.anchor ? fail(pos, "an anchor on a key is not supported") : key(text, pos, size);
        }
        step(pos);
        refuse_tag(scalar.tag, pos);
        return value(view(scalar.anchor), size, pos);
      }
      case YAML_SEQUENCE_START_EVENT:
        return open(false, event.data.sequence_start.anchor, event.data.sequence_start.tag, pos);
      case YAML_MAPPING_START_EVENT:
        return open(true, event.data.mapping_start.anchor, event.data.mapping_start.tag, pos);
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT: {
        const Size size = frames_.back().size;
        const std::string anchor = std::move(frames_.back().anchor);
        frames_.pop_back();
        if (!anchor.empty()) anchors_[anchor] = size;
        if (!frames_.empty()) frames_.back().size.add(size);
        return true;
      }
      case YAML_ALIAS_EVENT:
        return alias(std::string(view(event.data.alias.anchor)), pos);
      default:
        return true;
    }
  }

  /// The next value of the innermost collection begins.
  void step(Position pos) {
    here_ = {};
    here_.pos = pos;
    if (frames_.empty()) return;
    Frame& frame = frames_.back();
    here_.parent = &frame.place;
    if (frame.map) {
      here_.key = frame.key_text;
      frame.wants_key = true;
    } else {
      here_.index = ++frame.index;
    }
  }

  bool key(std::string_view text, Position pos, const Size& size) {
    Frame& frame = frames_.back();
    const auto [it, added] = frame.keys.emplace(text, pos);
    frame.key_text = it->first;
    frame.wants_key = false;
    if (!added) {
      const Place place{.parent = &frame.place, .key = frame.key_text, .pos = pos};
      context_.error(place, {.message = "duplicate key \"" + printable(text) + "\", first given at line " +
                                        std::to_string(it->second.line),
                             .found = printable(text)});
    }
    frame.size.add(size);
    return within_budget(size, pos);
  }

  bool value(std::string_view anchor, const Size& size, Position pos) {
    if (!anchor.empty()) anchors_[std::string(anchor)] = size;
    if (!frames_.empty()) frames_.back().size.add(size);
    return within_budget(size, pos);
  }

  bool open(bool map, const yaml_char_t* anchor, const yaml_char_t* tag, Position pos) {
    if (!frames_.empty() && frames_.back().map && frames_.back().wants_key)
      return fail(pos, "a key must be plain text");
    if (frames_.size() >= static_cast<size_t>(kDepthMax)) return too_deep(pos);
    step(pos);
    refuse_tag(tag, pos);
    Frame frame;
    frame.place = here_;
    frame.anchor = view(anchor);
    frame.size = {.nodes = 1, .bytes = 0, .height = 1};
    frame.map = frame.wants_key = map;
    frames_.push_back(std::move(frame));
    return within_budget({.nodes = 1}, pos);
  }

  bool alias(const std::string& name, Position pos) {
    if (!frames_.empty() && frames_.back().map && frames_.back().wants_key)
      return fail(pos, "a key must be plain text");
    for (const Frame& frame : frames_) {
      if (frame.anchor == name)
        return fail(pos, "the alias \"*" + printable(name) + "\" stands inside what it names");
    }
    const auto it = anchors_.find(name);
    if (it == anchors_.end())
      return fail(pos, "the alias \"*" + printable(name) + "\" names no anchor before it");
    if (frames_.size() + static_cast<size_t>(it->second.height) > static_cast<size_t>(kDepthMax))
      return too_deep(pos);
    step(pos);
    return value({}, it->second, pos);
  }

  bool too_deep(Position pos) {
    return fail(pos, "nested deeper than " + std::to_string(kDepthMax) + " levels");
  }

  bool within_budget(const Size& size, Position pos) {
    total_.add(size);
    if (total_.nodes > kNodesMax) {
      return fail(pos, "more than " + std::to_string(kNodesMax) +
                           " keys and values (aliases count as what they stand for)");
    }
    if (total_.bytes > kSourceBytesMax) {
      return fail(pos, "more than " + std::to_string(kSourceBytesMax) +
                           " bytes of text (aliases count as what they stand for)");
    }
    return true;
  }

  void refuse_tag(const yaml_char_t* tag, Position pos) {
    if (!tag) return;
    const std::string found = printable(view(tag));
    context_.error(here_, pos,
                   {.message = "the tag \"" + found + "\" is not supported; write the value without it",
                    .found = found});
  }

  std::string_view text_;
  Context& context_;
  yaml_parser_t parser_{};
  bool initialized_ = false;
  int documents_ = 0;
  std::deque<Frame> frames_;  // a deque: places point at their parents
  Place here_;                // the value being read
  std::unordered_map<std::string, Size> anchors_;
  Size total_;
};

}  // namespace

bool check_yaml(std::string_view text, Context& context) { return Checker(text, context).run(); }

}  // namespace dragoman::config
