# The SDK: what it takes to build a codec outside of this tree. cmake --install BUILD --component sdk --prefix DIR
include(GNUInstallDirs)
set(sdk_headers ${CMAKE_INSTALL_INCLUDEDIR}/dragoman)
install(FILES plugin.h codec.hpp codec_fuzz.hpp DESTINATION ${sdk_headers}/protocols COMPONENT sdk)
install(FILES ${PROJECT_SOURCE_DIR}/proxy/base/cursor.h DESTINATION ${sdk_headers}/proxy/base COMPONENT sdk)
install(DIRECTORY example/ DESTINATION ${CMAKE_INSTALL_DATADIR}/dragoman/example COMPONENT sdk
        PATTERN "*.in" EXCLUDE)
configure_file(dragoman-codec.pc.in ${PROJECT_BINARY_DIR}/sdk/dragoman-codec.pc @ONLY)
configure_file(dragoman-codecConfig.cmake.in ${PROJECT_BINARY_DIR}/sdk/dragoman-codecConfig.cmake @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/sdk/dragoman-codec.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig COMPONENT sdk)
install(FILES ${PROJECT_BINARY_DIR}/sdk/dragoman-codecConfig.cmake
        DESTINATION ${CMAKE_INSTALL_DATADIR}/cmake/dragoman-codec COMPONENT sdk)
