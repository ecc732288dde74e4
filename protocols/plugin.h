/* THE codec contract: the C table of functions every framed RPC codec implements, built in or loaded.
 *
 * A codec is a set of pure functions over bytes. It holds no thread, socket, timer or memory of its own; if a
 * protocol needs memory of a connection, it declares conn_state_size bytes that the host owns, zeroes and
 * frees. The host keeps the bytes, enforces every limit, remaps ids, and checks everything returned here
 * before using it: a length or span that can't be true closes the connection the lie was told on, nothing
 * else.
 *
 * ABI rules: append only; every struct starts with its size as the caller knows it; a reader must not look
 * beyond that size. abi_major must match; a higher abi_minor only adds. A table may end anywhere behind its
 * required functions: the host takes what is missing, or was appended later than the codec was built, as null
 * or 0, and does not look at what it does not know.
 */
#ifndef DRAGOMAN_PLUGIN_H
#define DRAGOMAN_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRAGOMAN_ABI_MAJOR 1
#define DRAGOMAN_ABI_MINOR 1

typedef struct dragoman_bytes {
  const uint8_t* data;
  uint64_t len;
} dragoman_bytes;

/* What probe() says of a prefix of the byte stream.
 *
 * With MALFORMED, TOO_BIG and UNSUPPORTED, frame.reason is a literal that says why. If kind is
 * DRAGOMAN_REQUEST and 0 < head_len <= len, the host answers the sender through reply(), which then may look
 * at head_len bytes. The connection can't go on, with one exception: UNSUPPORTED with a filled frame
 * (total_len > 0) is answered, skipped, and the connection goes on.
 *
 * Protocol detection asks the same question of a connection's first bytes: FRAME is mine, NEED is undecided,
 * everything else is not mine. */
enum {
  DRAGOMAN_FRAME = 0,      /* one frame; dragoman_frame is filled. Its bytes need not all be there yet */
  DRAGOMAN_NEED = 1,       /* can't tell before frame.need bytes are there; len < need <= head_bytes_max. Where
                              total_len is filled (with kind, head_len and id), limits hold already */
  DRAGOMAN_NOT_MINE = 2,   /* not this protocol */
  DRAGOMAN_MALFORMED = 3,  /* this protocol, but broken */
  DRAGOMAN_TOO_BIG = 4,    /* over a limit of the protocol itself */
  DRAGOMAN_UNSUPPORTED = 5 /* an unknown version, command or codec */
};

enum {
  DRAGOMAN_REQUEST = 1,
  DRAGOMAN_ONEWAY = 2, /* a request that gets no answer */
  DRAGOMAN_RESPONSE = 3,
  DRAGOMAN_HEARTBEAT = 4, /* answered by the host, hop by hop; never routed */
  DRAGOMAN_HEARTBEAT_ACK = 5,
  DRAGOMAN_GOAWAY = 6,      /* the sender takes no more requests */
  DRAGOMAN_STREAM_DATA = 7, /* reserved for streaming protocols */
  DRAGOMAN_STREAM_END = 8,
  DRAGOMAN_STREAM_CANCEL = 9
};

enum {
  DRAGOMAN_ID_NONE = 0, /* no id on the wire: ping-pong or bound pools only */
  DRAGOMAN_ID_BE = 1,   /* unsigned big-endian, id_len 1, 2, 4 or 8 */
  DRAGOMAN_ID_LE = 2,
  DRAGOMAN_ID_BYTES = 3, /* id_len opaque bytes, rewritten through set_id; the host writes 16 lower-case hex
                            digits (padded with '0' to the old length when that is longer) */
  DRAGOMAN_ID_CODED = 4  /* a number in the codec's own encoding (a varint, decimal digits, two places), as
                            frame.id; id_offset and id_len say where, id_len 0 = left out. Rewritten through
                            set_id, which gets the number as 8 bytes big-endian; table.id_len says how many
                            bytes numbers may take */
};

/* total_len of a frame whose end shows only as its body is read: the host asks extent(). */
#define DRAGOMAN_LENGTH_UNKNOWN UINT64_MAX

/* Bits of frame.flags */
enum {
  DRAGOMAN_FRAME_ORDERED = 1, /* a request whose sender expects the answers to such requests in order, since
                                 their ids don't tell them apart */
  DRAGOMAN_FRAME_FORM =
      4, /* a response that only a request of the same variant takes, DRAGOMAN_VARIANT_EXCLUSIVE
                                 aside: to another it is an error of the upstream */
  DRAGOMAN_FRAME_LOOSE = 2 /* a request or one-way request that some servers answer without its id; a response
                                 without an id, which is for the only request that is under way, or for nobody */
};

/* Bit of frame.variant: connections carry one request of this variant at a time, whatever the cluster's pool
 * mode, because the answer could not be told from another's. */
#define DRAGOMAN_VARIANT_EXCLUSIVE 0x80000000u

enum {
  DRAGOMAN_CHECKSUM_NONE = 0,
  DRAGOMAN_CHECKSUM_CRC32 = 1, /* zlib polynomial, 4 bytes big-endian, over the frame up to checksum_offset */
  DRAGOMAN_CHECKSUM_CUSTOM = 2 /* through checksum(); such frames must be all head (head_len == total_len) */
};

enum {
  DRAGOMAN_OUTCOME_OK = 0,
  DRAGOMAN_OUTCOME_CLIENT_ERROR = 1,
  DRAGOMAN_OUTCOME_SERVER_ERROR = 2,
  DRAGOMAN_OUTCOME_OVERLOADED = 3,
  DRAGOMAN_OUTCOME_TIMEOUT = 4,
  DRAGOMAN_OUTCOME_UNAVAILABLE = 5,
  DRAGOMAN_OUTCOME_NO_ROUTE = 6,
  DRAGOMAN_OUTCOME_DENIED = 7,
  DRAGOMAN_OUTCOME_RESET = 8,
  DRAGOMAN_OUTCOME_CODEC_ERROR = 9,
  DRAGOMAN_OUTCOME_TOO_LARGE = 10,
  DRAGOMAN_OUTCOME_UNKNOWN = 11,
  DRAGOMAN_OUTCOME_RATE_LIMITED = 12
};

typedef struct dragoman_frame {
  uint32_t size;      /* sizeof of this struct as the host knows it */
  uint32_t kind;      /* DRAGOMAN_REQUEST ... */
  uint64_t total_len; /* whole frame in bytes, > 0; or DRAGOMAN_LENGTH_UNKNOWN */
  uint64_t need;      /* with DRAGOMAN_NEED: bytes that must be there before asking again */
  uint32_t head_len;  /* bytes from the frame's start that must be contiguous for view/edit/outcome;
                         0 < head_len <= total_len and <= head_bytes_max */
  uint32_t id_offset; /* id_offset + id_len <= head_len */
  uint32_t id_len;
  uint32_t id_type;   /* DRAGOMAN_ID_* */
  uint64_t id;        /* integer ids, as an unsigned number */
  int64_t timeout_ms; /* requests: the caller's deadline; <= 0 = none */
  int32_t status;     /* responses: native status */
  uint32_t variant;   /* requests of different variants never share an upstream connection */
  uint32_t checksum;  /* DRAGOMAN_CHECKSUM_* */
  uint32_t flags;     /* DRAGOMAN_FRAME_* */
  uint64_t
      checksum_offset; /* CRC32: where the field starts, >= head_len; it is the last field of the frame */
  const char* reason;  /* literal, with MALFORMED / TOO_BIG / UNSUPPORTED */
  uint32_t want;       /* set by the host: what view() will be asked for, so that a head need be no longer than
                          that takes */
  uint32_t from;       /* set by the host: DRAGOMAN_FROM_*, for protocols whose answers look like requests */
} dragoman_frame;

/* Which side sent the bytes. A bound connection carries requests both ways: there it is unknown. */
enum { DRAGOMAN_FROM_UNKNOWN = 0, DRAGOMAN_FROM_CLIENT = 1, DRAGOMAN_FROM_SERVER = 2 };

/* Bits of `want`: what view() should give. A codec may give more, never less. Attributes come with the
 * headers. BODY: also what lies in the body only, which costs a longer head; what can't be read there is
 * left out. */
enum { DRAGOMAN_WANT_SERVICE = 1, DRAGOMAN_WANT_METHOD = 2, DRAGOMAN_WANT_HEADERS = 4, DRAGOMAN_WANT_BODY = 8 };

/* Bits of view.flags */
enum {
  DRAGOMAN_VIEW_OPAQUE = 1, /* this head has no header section that could be read or edited; headers already
                               given (before that was known) are forgotten */
  DRAGOMAN_VIEW_UNREAD = 2  /* what lies in the body was wanted, and the body could not be read; counted */
};

#define DRAGOMAN_ATTRIBUTES_MAX 16
#define DRAGOMAN_ATTRIBUTE_BYTES_MAX 1024

typedef struct dragoman_view {
  uint32_t size;
  uint32_t flags;         /* DRAGOMAN_VIEW_* */
  dragoman_bytes service; /* spans into the head, or into `conn` (copied); empty when absent */
  dragoman_bytes method;
  /* Called once per header when DRAGOMAN_WANT_HEADERS is set; spans into the head. A value that stands there in another
   * form than it means (escapes, pieces) may be other memory that is valid during the call, and is copied: what is
   * given must be what the peer reads, never longer than table.head_bytes_max. */
  void (*header)(void* ctx, dragoman_bytes name, dragoman_bytes value);
  void* ctx;
  /* Called at most once per attribute when DRAGOMAN_WANT_HEADERS is set: `index` into the table's
   * `attributes`; `value` is a span into the head, or other memory that is valid during the call, then of at
   * most DRAGOMAN_ATTRIBUTE_BYTES_MAX bytes. Null when nobody asks. */
  void (*attribute)(void* ctx, uint32_t index, dragoman_bytes value);
} dragoman_view;

enum { DRAGOMAN_EDIT_SET = 0, DRAGOMAN_EDIT_ADD = 1, DRAGOMAN_EDIT_REMOVE = 2 };

typedef struct dragoman_edit {
  uint32_t op;
  uint32_t reserved;
  dragoman_bytes name;
  dragoman_bytes value;
} dragoman_edit;

/* Abilities beyond the required ones; a bit without its function (or the reverse) is refused at load. */
enum {
  DRAGOMAN_CAN_HEARTBEAT = 1,
  DRAGOMAN_CAN_GOAWAY = 2,
  DRAGOMAN_CAN_EDIT = 4,
  DRAGOMAN_CAN_MULTIPLEX = 8, /* ids tell answers apart */
  DRAGOMAN_CAN_CHECKSUM = 16, /* custom checksums */
  DRAGOMAN_ONLY_BOUND = 32    /* clients need a connection of their own to one backend: such a protocol is not
                                 multiplexed even where it has ids, and answers nobody waits for are passed on
                                 like one-way requests */
};

#define DRAGOMAN_CONN_STATE_MAX 1024

/* Functions that produce bytes write at most `cap` bytes to `out` and return the length they need (the host
 * grows the buffer and asks again when that is more than cap), or -1 when it can't be done. `head` is
 * frame->head_len readable bytes; for reply() after a refused frame head_len may be cut to what is there, but
 * never below what probe() looked at. `conn` is conn_state_size zeroed bytes per connection (null when 0),
 * aligned to 16, that the codec may read and write; probe() may see one frame several times, so what it
 * writes there must not depend on how often it is asked. `context` is the table's own member, for codecs that
 * are made at run time. Apart from `conn`, the same input gives the same output. Any thread may call, with
 * another `conn` each. */
typedef struct dragoman_codec {
  uint32_t size;
  uint16_t abi_major;
  uint16_t abi_minor;
  const char* name; /* [a-z0-9_]{1,32} */
  const char* version;
  uint64_t abilities;
  uint32_t conn_state_size;  /* <= DRAGOMAN_CONN_STATE_MAX */
  uint32_t head_bytes_max;   /* no head of this protocol is longer; <= 128 KiB */
  uint32_t detect_bytes_max; /* with this many bytes probe() can tell mine from not mine */
  uint32_t id_len;           /* bytes of the integer id every frame carries; 0 = none, or opaque ids */
  const void* context;       /* passed to every function; never written, never read by the host */
  /* Names of what view() tells beyond service, method and the headers on the wire: [a-z0-9_.-]{1,64}, at most
   * DRAGOMAN_ATTRIBUTES_MAX. Routes, filters and logs see an attribute as a header of that name, which hides
   * one of the same name on the wire and can't be edited. */
  const char* const* attributes;
  uint32_t attribute_count;
  uint32_t lacks; /* DRAGOMAN_WANT_* bits of what this protocol does not have: view() never gives it, and a
                     configuration that asks for it is refused */

  /* required */
  int (*probe)(const void* context, void* conn, const uint8_t* data, uint64_t len, dragoman_frame* out);
  /* Of a request or response, once each; 0, or -1: not understood (malformed). */
  int (*view)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
              uint32_t want, dragoman_view* out);
  /* Of a response. */
  uint32_t (*outcome)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame);
  /* A complete answer to the request `head` that means `outcome`. `text` is a hint for humans. 0: the protocol
   * has no words for it, and the connection is closed instead. */
  int64_t (*reply)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                   uint32_t outcome, dragoman_bytes text, uint8_t* out, uint64_t cap);

  /* by ability */
  /* CAN_EDIT: the whole head with the edits applied in order, every length inside it fixed (not the
   * checksum). */
  int64_t (*edit)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                  const dragoman_edit* edits, uint32_t count, uint8_t* out, uint64_t cap);
  /* CAN_HEARTBEAT: a heartbeat with that id, and the answer to the peer's (0 bytes: it takes none). An answer
   * to ours may come as HEARTBEAT_ACK, or as a RESPONSE with its id. */
  int64_t (*heartbeat)(const void* context, void* conn, uint32_t variant, uint64_t id, uint8_t* out,
                       uint64_t cap);
  int64_t (*heartbeat_reply)(const void* context, void* conn, const uint8_t* head,
                             const dragoman_frame* frame, uint8_t* out, uint64_t cap);
  /* CAN_GOAWAY */
  int64_t (*goaway)(const void* context, void* conn, uint32_t variant, uint8_t* out, uint64_t cap);
  /* CAN_MULTIPLEX with ID_BYTES or ID_CODED: the whole head with another id. */
  int64_t (*set_id)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                    dragoman_bytes id, uint8_t* out, uint64_t cap);
  /* CAN_CHECKSUM: `bytes` is the whole frame. fix = 0: 1 when its checksum is right, else 0. fix = 1: writes
   * the right one into `bytes` and returns 1, or 0 when it can't. */
  int (*checksum)(const void* context, void* conn, uint8_t* bytes, const dragoman_frame* frame, int fix);
  /* LENGTH_UNKNOWN: how many of the next `len` > 0 bytes behind the head belong to the frame, in `used`.
   * `offset` bytes of its body came before; each byte is shown once, in order, so that the codec keeps in
   * `conn` what it needs of them. DRAGOMAN_FRAME: the frame ends behind them. DRAGOMAN_NEED: it goes on; all
   * are used. Else it is broken. */
  int (*extent)(const void* context, void* conn, const dragoman_frame* frame, uint64_t offset,
                const uint8_t* data, uint64_t len, uint64_t* used);

  /* since 1.1 */
  /* Of a response, in protocols whose statuses are texts: 0 and that text in `out`, a span into the head; -1: this one
   * has none. Logs show the text; frame.status is then the codec's own business. */
  int (*status_text)(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                     dragoman_bytes* out);
  /* The ids that the host makes take at most so many bits, from 8 up to those of id_len; 0: all of them. For ids that
   * have more room on the wire than peers keep of them: a varint read into 32 bits, a number of 64 into a double. */
  uint32_t id_bits;
} dragoman_codec;

/* No table is shorter: it has all required functions. */
#define DRAGOMAN_TABLE_BYTES_MIN offsetof(dragoman_codec, edit)

/* A loadable codec exports this one symbol. */
#define DRAGOMAN_PLUGIN_SYMBOL "dragoman_codec_v1"
typedef const dragoman_codec* (*dragoman_plugin_entry)(void);

#ifdef __cplusplus
}
#endif

#endif
