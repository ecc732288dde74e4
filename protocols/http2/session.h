// Making an nghttp2 session whose callbacks arrive at a codec.
#pragma once

#include <nghttp2/nghttp2.h>

#include "protocols/exchange.h"

namespace dragoman::http2 {

class Http2Codec;
class Http2Exchange;

/// Never null; out of memory ends the process as everywhere. The first SETTINGS are queued by the roles.
nghttp2_session* make_session(Role role, Http2Codec& codec, const Http2Options& options);
/// Where nghttp2 takes the body of `x` from.
nghttp2_data_provider body_provider(Http2Exchange& x);

}  // namespace dragoman::http2
