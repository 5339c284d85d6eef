# cmake --install: libraries, headers, the weft program and a package for find_package(weft).
#
# Headers land in <prefix>/include/weft/<folder>/, with <prefix>/include/weft as the include root,
# so that a program includes "runtime/box.h" as weft's own sources do.
include(CMakePackageConfigHelpers)
set(include_root ${CMAKE_INSTALL_INCLUDEDIR}/weft)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)

# weft::weft is everything.
add_library(weft_all INTERFACE)
add_library(weft::weft ALIAS weft_all)
set_target_properties(weft_all PROPERTIES EXPORT_NAME weft)

get_property(libraries GLOBAL PROPERTY WEFT_LIBRARIES)
foreach(name ${libraries})
  target_link_libraries(weft_all INTERFACE weft_${name})
  target_include_directories(weft_${name} INTERFACE $<INSTALL_INTERFACE:${include_root}>)
  install(TARGETS weft_${name} EXPORT weftTargets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS DESTINATION ${include_root})
  install(DIRECTORY ${PROJECT_BINARY_DIR}/gen/${name}/ DESTINATION ${include_root}
    OPTIONAL FILES_MATCHING PATTERN "*.pb.h")
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${name} DESTINATION ${include_root}
    FILES_MATCHING PATTERN "*.proto")
endforeach()
install(TARGETS weft_all EXPORT weftTargets)
install(EXPORT weftTargets NAMESPACE weft:: DESTINATION ${package_dir})
if(TARGET weft)
  install(TARGETS weft RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/weftConfig.cmake.in ${PROJECT_BINARY_DIR}/weftConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weftConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/weftConfig.cmake
  ${PROJECT_BINARY_DIR}/weftConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindOneDNN.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindNCCL.cmake
  DESTINATION ${package_dir})
