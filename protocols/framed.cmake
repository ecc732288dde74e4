dragoman_library(dragoman_framed check_codec.cc checksum.cc framed.cc framed_input.cc framed_output.cc)
target_link_libraries(dragoman_framed PUBLIC dragoman_exchange PRIVATE ZLIB::ZLIB)
