dragoman_library(dragoman_framed checksum.cc framed.cc)
target_link_libraries(dragoman_framed PUBLIC dragoman_exchange PRIVATE ZLIB::ZLIB)
