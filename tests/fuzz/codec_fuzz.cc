// One fuzz target for every framed codec: CMakeLists.txt makes <name>_codec_fuzz of it for each that is linked in.
#include "protocols/codec_fuzz.hpp"

namespace dragoman {
const dragoman_codec* DRAGOMAN_FUZZED_CODEC();
}

DRAGOMAN_FUZZ(dragoman::DRAGOMAN_FUZZED_CODEC())
