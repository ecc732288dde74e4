// nghttp2's memory: free lists by size on each thread, so that streams, frames and fields of the steady state
// allocate nothing.
#pragma once

#include <cstddef>

#include <nghttp2/nghttp2.h>

namespace dragoman::http2 {

/// What a session is made with. Sessions are used on one thread only, and end there.
nghttp2_mem* thread_memory();

/// Bytes in the free lists of this thread.
size_t kept_memory_bytes();

/// An allocation of this thread's sessions failed, and was made from a last reserve: the session that asked is to be ended at once. nghttp2 1.52
/// frees an item twice, and forgets to report, where it gets null.
inline thread_local constinit bool memory_failed = false;

/// The last reserve: address space of each thread with sessions, which is not touched before.
inline constexpr size_t kLastMemoryBytes = 1 << 20;

/// More than this is not kept for later.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kKeptMemoryMax = 0;  // the sanitizer sees every piece
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr size_t kKeptMemoryMax = 0;
#else
inline constexpr size_t kKeptMemoryMax = 4 << 20;
#endif
#else
inline constexpr size_t kKeptMemoryMax = 4 << 20;
#endif

}  // namespace dragoman::http2
