#include "protocols/http2/session.h"

#include <cstdlib>
#include <limits>
#include <new>

#include "protocols/http2/codec.h"
#include "protocols/http2/memory.h"

namespace dragoman::http2 {

// The trampolines. nghttp2 never calls them but from its own functions, on the same stack.
struct Callbacks {
  static Http2Codec& self(void* user) { return *static_cast<Http2Codec*>(user); }
  static std::string_view text(const uint8_t* p, size_t n) { return {reinterpret_cast<const char*>(p), n}; }
  /// No exception passes nghttp2's frames: the session ends instead, and the codec sees why.
  template <class Work>
  static auto guarded(Work&& work) -> decltype(work()) {
    try {
      const auto result = work();
      if (!memory_failed) return result;
    } catch (const std::bad_alloc&) {
      memory_failed = true;
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* hd, void* user) {
    return guarded([&] { return self(user).on_begin_frame(*hd); });
  }
  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return guarded([&] { return self(user).on_begin_headers(*frame); });
  }
  static int header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_n,
                    const uint8_t* value, size_t value_n, uint8_t, void* user) {
    return guarded([&] { return self(user).on_header(text(name, name_n), text(value, value_n), true); });
  }
  // Without this nghttp2 would drop the field and go on.
  static int invalid_header(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_n,
                            const uint8_t* value, size_t value_n, uint8_t, void* user) {
    return guarded([&] { return self(user).on_header(text(name, name_n), text(value, value_n), false); });
  }
  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return guarded([&] { return self(user).on_frame(*frame); });
  }
  static int data_chunk(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t n, void* user) {
    return guarded([&] { return self(user).on_chunk(id, {data, n}); });
  }
  static int stream_close(nghttp2_session*, int32_t id, uint32_t code, void* user) {
    return guarded([&] { return self(user).on_stream_close(id, code); });
  }
  static int frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return guarded([&] { return self(user).on_frame_sent(*frame); });
  }
  static int frame_not_sent(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    return guarded([&] { return self(user).on_frame_not_sent(*frame); });
  }
  static ssize_t read(nghttp2_session*, int32_t, uint8_t*, size_t length, uint32_t* flags,
                      nghttp2_data_source* source, void* user) {
    return guarded(
        [&] { return self(user).read_body(*static_cast<Http2Exchange*>(source->ptr), length, *flags); });
  }
  static int send_data(nghttp2_session*, nghttp2_frame*, const uint8_t* head, size_t length,
                       nghttp2_data_source* source, void* user) {
    return guarded(
        [&] { return self(user).write_data(*static_cast<Http2Exchange*>(source->ptr), head, length); });
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* c = nullptr;
    if (nghttp2_session_callbacks_new(&c) != 0) std::abort();
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, frame_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(c, send_data);
    return c;
  }
};

namespace {

struct CallbacksDeleter {
  void operator()(nghttp2_session_callbacks* c) const { nghttp2_session_callbacks_del(c); }
};
struct OptionDeleter {
  void operator()(nghttp2_option* o) const { nghttp2_option_del(o); }
};

}  // namespace

nghttp2_session* make_session(Role role, Http2Codec& codec, const Http2Options& options) {
  static const std::unique_ptr<nghttp2_session_callbacks, CallbacksDeleter> kCallbacks(Callbacks::make());
  nghttp2_option* raw = nullptr;
  if (nghttp2_option_new(&raw) != 0) throw std::bad_alloc();  // it fails for nothing else
  const std::unique_ptr<nghttp2_option, OptionDeleter> option(raw);
  nghttp2_option_set_no_auto_window_update(raw, 1);
  nghttp2_option_set_no_closed_streams(raw, 1);
  nghttp2_option_set_max_send_header_block_length(raw, 1 << 20);
  // Our own counts decide; see abuse.h. nghttp2's count of CONTINUATION frames goes up with every read that
  // ends in the head of one, too.
  nghttp2_option_set_max_continuations(raw, std::numeric_limits<size_t>::max());
  nghttp2_option_set_max_outbound_ack(raw, options.acks_max);
  nghttp2_option_set_stream_reset_rate_limit(raw, std::numeric_limits<uint64_t>::max() / 2, 1'000'000'000);
  nghttp2_session* session = nullptr;
  nghttp2_mem* mem = thread_memory();
  int error = role == Role::kServer
                  ? nghttp2_session_server_new3(&session, kCallbacks.get(), &codec, raw, mem)
                  : nghttp2_session_client_new3(&session, kCallbacks.get(), &codec, raw, mem);
  if (memory_failed) {
    if (error == 0) nghttp2_session_del(session);
    throw std::bad_alloc();
  }
  if (error != 0) std::abort();
  nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(options.connection_window_bytes));
  return session;
}

nghttp2_data_provider body_provider(Http2Exchange& x) {
  nghttp2_data_provider provider;
  provider.source.ptr = &x;
  provider.read_callback = Callbacks::read;
  return provider;
}

}  // namespace dragoman::http2
