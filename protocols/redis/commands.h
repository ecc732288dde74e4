// What a Redis observer counts by: the commands and kinds of errors that have a name of their own. Nothing a peer sends becomes
// a name.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dragoman::redis {

namespace detail {

template <size_t N>
constexpr bool is_ascending(const std::array<std::string_view, N>& names) {
  for (size_t i = 2; i < N; ++i)
    if (names[i - 1] >= names[i]) return false;
  return true;
}

/// The place of `name` behind the first entry, which stands for every other name.
template <size_t N>
constexpr size_t find(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto it = std::lower_bound(names.begin() + 1, names.end(), name);
  return it != names.end() && *it == name ? static_cast<size_t>(it - names.begin()) : 0;
}

}  // namespace detail

inline constexpr auto kCommandNames = std::to_array<std::string_view>({
    "other",
    "acl",
    "append",
    "asking",
    "auth",
    "bitcount",
    "bitfield",
    "bitop",
    "bitpos",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "client",
    "cluster",
    "command",
    "config",
    "copy",
    "dbsize",
    "debug",
    "decr",
    "decrby",
    "del",
    "discard",
    "dump",
    "echo",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "exec",
    "exists",
    "expire",
    "expireat",
    "expiretime",
    "fcall",
    "fcall_ro",
    "flushall",
    "flushdb",
    "function",
    "geoadd",
    "geodist",
    "geopos",
    "georadius",
    "geosearch",
    "get",
    "getbit",
    "getdel",
    "getex",
    "getrange",
    "getset",
    "hdel",
    "hello",
    "hexists",
    "hexpire",
    "hget",
    "hgetall",
    "hincrby",
    "hincrbyfloat",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hrandfield",
    "hscan",
    "hset",
    "hsetnx",
    "hstrlen",
    "hvals",
    "incr",
    "incrby",
    "incrbyfloat",
    "info",
    "keys",
    "lindex",
    "linsert",
    "llen",
    "lmove",
    "lmpop",
    "lpop",
    "lpos",
    "lpush",
    "lpushx",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "memory",
    "mget",
    "monitor",
    "mset",
    "msetnx",
    "multi",
    "object",
    "persist",
    "pexpire",
    "pexpireat",
    "pfadd",
    "pfcount",
    "pfmerge",
    "ping",
    "psetex",
    "psubscribe",
    "psync",
    "pttl",
    "publish",
    "pubsub",
    "punsubscribe",
    "quit",
    "randomkey",
    "readonly",
    "readwrite",
    "rename",
    "renamenx",
    "replconf",
    "reset",
    "restore",
    "role",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "sadd",
    "scan",
    "scard",
    "script",
    "sdiff",
    "sdiffstore",
    "select",
    "set",
    "setbit",
    "setex",
    "setnx",
    "setrange",
    "shutdown",
    "sinter",
    "sintercard",
    "sinterstore",
    "sismember",
    "slowlog",
    "smembers",
    "smismember",
    "smove",
    "sort",
    "sort_ro",
    "spop",
    "spublish",
    "srandmember",
    "srem",
    "sscan",
    "ssubscribe",
    "strlen",
    "subscribe",
    "sunion",
    "sunionstore",
    "sunsubscribe",
    "swapdb",
    "sync",
    "time",
    "touch",
    "ttl",
    "type",
    "unlink",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
    "watch",
    "xack",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xgroup",
    "xinfo",
    "xlen",
    "xpending",
    "xrange",
    "xread",
    "xreadgroup",
    "xrevrange",
    "xtrim",
    "zadd",
    "zcard",
    "zcount",
    "zdiff",
    "zincrby",
    "zinter",
    "zinterstore",
    "zlexcount",
    "zmpop",
    "zmscore",
    "zpopmax",
    "zpopmin",
    "zrandmember",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrangestore",
    "zrank",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zrevrange",
    "zrevrangebyscore",
    "zrevrank",
    "zscan",
    "zscore",
    "zunion",
    "zunionstore",
});
static_assert(detail::is_ascending(kCommandNames));
inline constexpr size_t kCommandNameMax = 16;

/// The first word of an error.
inline constexpr auto kErrorNames = std::to_array<std::string_view>({
    "other",   "ASK",          "BUSY",     "BUSYGROUP", "BUSYKEY",    "CLUSTERDOWN", "CROSSSLOT", "DENIED",
    "ERR",     "EXECABORT",    "INPROG",   "LOADING",   "MASTERDOWN", "MISCONF",     "MOVED",     "NOAUTH",
    "NOGROUP", "NOMASTERLINK", "NOPERM",   "NOPROTO",   "NOREPLICAS", "NOSCRIPT",    "NOTBUSY",   "NOTREADY",
    "OOM",     "READONLY",     "TRYAGAIN", "UNBLOCKED", "UNKILLABLE", "WRONGPASS",   "WRONGTYPE",
});
static_assert(detail::is_ascending(kErrorNames));
inline constexpr size_t kErrorNameMax = 12;

/// Index in kCommandNames.
enum class Command : uint8_t {};
/// Index in kErrorNames.
enum class Error : uint8_t {};
static_assert(kCommandNames.size() <= 256);

/// `lower`: in lower case.
constexpr Command find_command(std::string_view lower) {
  return static_cast<Command>(detail::find(kCommandNames, lower));
}
constexpr Error find_error(std::string_view word) {
  return static_cast<Error>(detail::find(kErrorNames, word));
}

}  // namespace dragoman::redis
