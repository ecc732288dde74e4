#include "protocols/descriptor/keys.h"

namespace dragoman::descriptor {
namespace {

constexpr Key kKeys[] = {
    {"descriptor", "descriptor", "1", "version of the language", "descriptor: 1", true},
    {"descriptor", "name", "1 to 32 of a-z, 0-9 and _",
     "name of the protocol; a configuration names the codec itself", "name: bolt1", true},
    {"descriptor", "version", "1 to 32 printable characters",
     "the author's own version; shown, never interpreted", "version: \"2026-03\""},
    {"descriptor", "endian", "big (default) or little",
     "byte order of numbers whose type says neither le nor be", "endian: little"},
    {"descriptor", "limits", "limits", "how large things may get", "limits: {frame: 8MiB}"},
    {"descriptor", "match", "tests",
     "what the first bytes must be: at fixed offsets only; tells this protocol from others",
     "match: ['bytes4@0 == \"PRPC\"']", true},
    {"descriptor", "layouts", "layouts by name, 1 to 16",
     "the shapes of frames, in order: the first whose when holds",
     "layouts: {any: {items: {size: u32, body: {len: size, body: true}}}}", true},
    {"descriptor", "id", "a reference, or a block",
     "what tells answers apart; left out: answers come in order", "id: reqid"},
    {"descriptor", "kind", "kinds", "what a frame is: the first whose when holds",
     "kind: [{is: request, when: [type == 1]}]", true},
    {"descriptor", "status", "status", "where answers say how it went, and what that means",
     "status: {from: code, outcome: {0: ok}, other: server_error, reply: {other: 1}}", true},
    {"descriptor", "timeout", "a reference, or a block", "the caller's deadline in requests",
     "timeout: meta.ttl"},
    {"descriptor", "service", "a reference, or several",
     "what routes match as service: the first that is not empty", "service: [header.target, header.service]"},
    {"descriptor", "method", "a reference, or several", "what routes match as method",
     "method: 'name | after(\":\")'"},
    {"descriptor", "attributes", "references by name, at most 16",
     "further things that routes, filters and logs see as headers of that name",
     "attributes: {zone: [meta.zone]}"},
    {"descriptor", "same", "lists of references, at most 8",
     "what stands in several places of a request, of which peers may read one or the other: those of one "
     "list that are "
     "there must be the same text, else the frame is malformed; a value of a block that is empty counts as "
     "not there",
     "same: [[header.service, header.target]]"},
    {"descriptor", "headers", "a reference, or a block",
     "the block whose pairs are the message's headers, to read and to edit", "headers: meta"},
    {"descriptor", "make", "templates", "frames that are made here",
     "make: {reply: {layout: any, set: {reqid: \"${id}\"}}}", true},

    {"limits", "frame", "64..4GiB, default 4GiB",
     "bytes of a frame, where the protocol has a limit of its own; the listener's and the cluster's "
     "rpc.frame_bytes_max hold in any case",
     "frame: 64MiB"},
    {"limits", "head", "64..128KiB, default 64KiB",
     "bytes before the body, which are kept until they are complete; of a frame without a body all of it",
     "head: 16KiB"},
    {"limits", "pairs", "1..65535, default 1024", "pairs in one block, texts in one list", "pairs: 256"},

    {"layout", "when", "tests", "at fixed offsets; left out: always", "when: [\"u8@1 in [1, 2]\"]"},
    {"layout", "items", "items by name, 1 to 48", "what stands on the wire, in this order",
     "items: {type: u8, len: u16}", true},
    {"layout", "frame", "a length", "bytes of the whole frame; left out: its items say", "frame: 4 + size"},
    {"layout", "check", "tests or checks", "what must hold in every frame", "check: [version == 1]"},

    {"check", "test", "a test", "what must hold", "test: version == 1", true},
    {"check", "else", "malformed (default), unsupported or too_big",
     "what a frame is that fails: unsupported ones are answered and skipped, the others end the connection",
     "else: unsupported"},

    {"item", "type", "a type", "a number, bytes4 or such; may be written without the block", "reqid: u32"},
    {"item", "value", "a number or text", "a constant: written, and anything else is malformed",
     "magic: {type: u16, value: 0xf1f1}"},
    {"item", "equals", "a length",
     "a number that covers other items: computed, and anything else is malformed",
     "head_len: {type: u16, equals: end(meta) - end(head_len)}"},
    {"item", "bits", "masks by name", "parts of a number, shifted down",
     "flags: {type: u8, bits: {answer: 0x80, op: 0x0f}}"},
    {"item", "len", "a length, or rest", "so many bytes; rest: what frame leaves", "meta: {len: meta_size}"},
    {"item", "prefix", "a number type", "its length stands in front of it", "meta: {prefix: i32}"},
    {"item", "until", "1 to 16 bytes", "everything before this mark, which is skipped",
     "line: {until: \"\\r\\n\"}"},
    {"item", "max", "bytes, default what limits say", "larger is too big",
     "class: {len: class_len, max: 32767}"},
    {"item", "body", "true", "streams through unread; the last item but a checksum",
     "payload: {len: rest, body: true}"},
    {"item", "when", "tests", "the item is there only if they hold; TYPE@next looks at what follows",
     "framed: {type: u32, when: [\"u8@next < 0x80\"]}"},
    {"item", "checksum", "crc32, crc32c, adler32, sum8 or xor8",
     "the last item: over all before it. A big-endian crc32 over everything lets bodies stream; the others "
     "need the whole frame within limits.head",
     "crc: {checksum: crc32c}"},
    {"item", "from", "an item", "where a checksum begins; left out: at the frame's start",
     "crc: {checksum: xor8, from: type}"},
    {"item", "pairs", "pairs", "names and values, binary or text",
     "meta: {prefix: u16, pairs: {key: u8s, value: u16s}}"},
    {"item", "list", "list",
     "texts one after the other, referred to by their place: names[0], or names[target] where target is a "
     "number",
     "names: {prefix: u16, list: {entry: u8s}}"},
    {"item", "split", "split", "words between marks",
     "line: {until: \"\\n\", split: {by: \"|\", words: [verb, service]}}"},
    {"item", "xml", "true", "elements without elements in them, by name",
     "head: {until: \"</Head>\", xml: true}"},
    {"item", "protobuf", "fields by name",
     "\"PATH int\", \"PATH text\", \"PATH present\" or \"PATH map\" of a protobuf message",
     "meta: {len: meta_size, protobuf: {service: 1.1 text, id: 4 int, user: 9 map}}"},
    {"item", "sections", "sections", "runs of pairs behind a section number",
     "info: {len: words*4, sections: {id: u8, kinds: {0: pad, 1: {name: s, key: u16s, value: u16s, count: "
     "u16}}}}"},

    {"pairs", "key", "a type, with s for texts", "binary pairs: the name", "key: u16s"},
    {"pairs", "value", "a type, with s for texts", "binary pairs: the value", "value: i32s"},
    {"pairs", "count", "a number type", "stands in front; left out: pairs until the item's end",
     "count: u16"},
    {"pairs", "between", "1 to 8 bytes", "text pairs: between name and value", "between: \"=\""},
    {"pairs", "after", "1 to 8 bytes", "text pairs: between pairs", "after: \";\""},

    {"list", "entry", "a type with s", "a text behind its length", "entry: u8s", true},
    {"list", "count", "a number type", "stands in front; left out: texts until the item's end", "count: u16"},

    {"split", "by", "1 to 8 bytes", "between words", "by: \"|\"", true},
    {"split", "words", "names, 1 to 32", "in order; the last keeps what follows",
     "words: [verb, service, rest]", true},

    {"sections", "id", "a number type", "in front of each section", "id: u8", true},
    {"sections", "kinds", "sections by number", "any other number is malformed", "kinds: {0: pad}", true},
    {"section", "name", "a name", "how references name it", "name: str", true},
    {"section", "key", "a type, with s for texts", "pairs: the name", "key: u16s"},
    {"section", "value", "a type, with s for texts", "pairs: the value", "value: u16s"},
    {"section", "count", "a number type", "pairs: how many", "count: u16"},
    {"section", "text", "a type with s", "a single text instead of pairs", "text: u16s"},

    {"id", "from", "a reference", "a number (rewritten in place or encoded anew) or a text", "from: meta.id",
     true},
    {"id", "also", "names of number items", "places that carry the same id", "also: [msg_seq]"},
    {"id", "bits", "8..64, default 31 for varints and protobuf fields, else all there are",
     "how many bits of a number every peer keeps: ids that the proxy makes take no more. Those of clients "
     "pass as they are",
     "bits: 53"},

    {"kind", "is", "request, oneway, response, heartbeat, heartbeat_reply or goaway", "what such a frame is",
     "is: oneway", true},
    {"kind", "when", "tests", "left out: always", "when: [type == 2]"},
    {"kind", "refuse", "unsupported or malformed", "frames of that kind are turned away",
     "refuse: unsupported"},

    {"status", "from", "a reference", "the native status of an answer; left out: rules alone decide",
     "from: code"},
    {"status", "absent", "a number", "the status when it is not there, default 0", "absent: 0"},
    {"status", "outcome", "outcomes by status", "what each status means; all numbers or all texts",
     "outcome: {0: ok, 7: timeout}"},
    {"status", "other", "an outcome", "what any other status means, default unknown", "other: server_error"},
    {"status", "rules", "rules", "looked at before the table",
     "rules: [{is: server_error, when: ['head.err == \"1\"']}]"},
    {"status", "reply", "statuses by outcome", "what answers made here say; other is required",
     "reply: {timeout: 7, other: 3}", true},
    {"rule", "is", "an outcome", "what such an answer means", "is: server_error", true},
    {"rule", "when", "tests", "all must hold", "when: ['code == 5']", true},

    {"timeout", "from", "a reference", "a number, or a text of digits", "from: ttl", true},
    {"timeout", "unit", "ms (default), s or us", "what it counts", "unit: s"},
    {"timeout", "none", "numbers", "values that mean no deadline; 0 and less always do", "none: [65535]"},

    {"headers", "from", "a reference", "an item of pairs or xml, a section, or a protobuf map",
     "from: header", true},
    {"headers", "when", "tests", "otherwise the message has no headers, and can't be edited",
     "when: ['class == \"Request\"']"},
    {"headers", "broken", "refuse (default) or opaque",
     "what a block is that can't be read: the end of the connection, or no headers", "broken: opaque"},

    {"headers", "edit", "false", "headers can be read only (signed ones)", "edit: false"},

    {"make", "reply", "a template", "an answer to a request that failed here", "reply: {layout: answer}",
     true},
    {"make", "heartbeat", "a template", "asks the peer whether it is alive; comes with heartbeat_reply",
     "heartbeat: {layout: any, set: {op: 1}}"},
    {"make", "heartbeat_reply", "a template", "answers the peer's heartbeat",
     "heartbeat_reply: {layout: any, set: {op: 2}}"},
    {"make", "goaway", "a template", "tells the peer to send no more requests",
     "goaway: {layout: any, set: {op: 3}}"},
    {"template", "layout", "a layout's name", "the shape of the frame; lengths and checksums follow",
     "layout: answer", true},
    {"template", "set", "values by item or bit field",
     "texts may hold ${id}, ${status}, ${text} and ${request.REFERENCE}, each with | xml, | json or | line; "
     "blocks take values by name, lists one after the other, both also one text as it stands",
     "set: {reqid: \"${id}\", meta: {err: \"${text}\"}}"},
};

constexpr std::string_view kTitles[][2] = {
    {"descriptor", "The file"},
    {"limits", "limits"},
    {"layout", "layouts: one layout"},
    {"check", "check: one check"},
    {"item", "items: one item"},
    {"pairs", "pairs"},
    {"list", "list"},
    {"split", "split"},
    {"sections", "sections"},
    {"section", "sections: one kind"},
    {"id", "id"},
    {"kind", "kind: one row"},
    {"status", "status"},
    {"rule", "status.rules: one rule"},
    {"timeout", "timeout"},
    {"headers", "headers"},
    {"make", "make"},
    {"template", "make: one template"},
};

std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::span<const Key> keys() { return kKeys; }

std::vector<std::string_view> names_in(std::string_view where) {
  std::vector<std::string_view> names;
  for (const Key& key : kKeys)
    if (key.where == where) names.push_back(key.name);
  return names;
}

std::string reference_markdown() {
  std::string out;
  for (const auto& [where, title] : kTitles) {
    out += "\n### " + std::string(title) + "\n\n| key | value | meaning | example |\n| --- | --- | --- | --- |\n";
    for (const Key& key : kKeys) {
      if (key.where != where) continue;
      out += "| `" + std::string(key.name) + "`" + (key.required ? " *" : "") + " | " + cell(key.value) + " | " +
             cell(key.meaning) + " | `" + cell(key.example) + "` |\n";
    }
  }
  return out;
}

}  // namespace dragoman::descriptor
