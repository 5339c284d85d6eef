# weft_library(<name> [DEPS <folder>...] [PUBLIC <target>...] [PRIVATE <target>...]
#              [EXCLUDE <file>...] [PROTOS])
#
# Makes the static library weft_<name> (alias weft::<name>) from every *.cc of the calling folder.
#
#   DEPS     weft libraries whose headers this one may include
#   PUBLIC   outside libraries that appear in this library's headers
#   PRIVATE  outside libraries that appear in its sources only
#   EXCLUDE  files of the folder that do not belong to the library
#   PROTOS   also compile every *.proto of the folder
#
# Layering is enforced by include roots. build/include/<name>/<name> is a link to the folder and
# build/include/<name> the library's one include root, so "graph/graph.h" is found only by libraries
# that name graph in DEPS. Generated headers lie the same way in build/gen/<name>/<name>/.
#
# A folder without sources becomes an INTERFACE library. Files named *cuda* and *.cu are compiled
# only with WEFT_CUDA.
include_guard(GLOBAL)
set_property(GLOBAL PROPERTY WEFT_LIBRARIES "")

# Warnings for weft's own sources; generated ones get none. Designated initialisers that leave
# members at their defaults are weft's way to write an op, so -Wextra's warning on them is off.
add_library(weft_warnings INTERFACE)
target_compile_options(weft_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wswitch;-Wno-missing-field-initializers>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${WEFT_WERROR}>>:-Werror>)

# Precompiles <header> for the C++ sources of <target>. Parsing outside headers is most of a build.
function(weft_precompile target header)
  if(NOT WEFT_PCH)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${PROJECT_SOURCE_DIR}/cmake/${header}>")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # so that ccache sees what the header stands for
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endfunction()

# Links <root>/<path> to <folder>.
function(weft_stage root path folder)
  get_filename_component(parent ${root}/${path} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${folder} ${root}/${path} SYMBOLIC)
endfunction()

# Sets <out> to <deps> and everything they depend on.
function(weft_transitive_deps out)
  set(all)
  foreach(dep ${ARGN})
    get_property(below GLOBAL PROPERTY WEFT_${dep}_DEPS)
    list(APPEND all ${dep} ${below})
  endforeach()
  list(REMOVE_DUPLICATES all)
  set(${out} ${all} PARENT_SCOPE)
endfunction()

# Compiles the protos of the calling folder; sets <out> to the generated sources.
# An import, like an include, is found only in this library and those it depends on.
function(weft_protos out name)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.proto)
  set(gen ${PROJECT_BINARY_DIR}/gen/${name})
  file(MAKE_DIRECTORY ${gen}/${name})
  set(roots)
  set(imports)
  weft_transitive_deps(deps ${name})
  foreach(dep ${deps})
    list(APPEND roots --proto_path=${PROJECT_BINARY_DIR}/include/${dep})
    file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${dep}/*.proto)
    list(APPEND imports ${found})
  endforeach()
  set(sources)
  foreach(proto ${protos})
    get_filename_component(stem ${proto} NAME_WE)
    set(base ${gen}/${name}/${stem}.pb)
    add_custom_command(
      OUTPUT ${base}.cc ${base}.h
      COMMAND protobuf::protoc ${roots} --cpp_out=${gen} ${name}/${stem}.proto
      DEPENDS ${imports}
      COMMENT "protoc ${name}/${stem}.proto"
      VERBATIM)
    set_source_files_properties(${base}.cc PROPERTIES COMPILE_OPTIONS "-w")
    list(APPEND sources ${base}.cc ${base}.h)
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# Sets <out> to the sources of the calling folder that this configuration compiles.
function(weft_sources out)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(WEFT_CUDA)
    file(GLOB device CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cu)
    list(APPEND sources ${device})
  else()
    list(FILTER sources EXCLUDE REGEX "cuda[^/]*$")
  endif()
  foreach(file ${ARGN})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# weft_program(<name> SOURCES <file>... DEPS <target>...) makes an executable of weft's own.
function(weft_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE weft_warnings ${arg_DEPS})
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=[a-z,]*address")
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/sanitizers/keep_plugins.cc)
  endif()
endfunction()

function(weft_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "PROTOS" "" "DEPS;PUBLIC;PRIVATE;EXCLUDE")
  set(root ${PROJECT_BINARY_DIR}/include/${name})
  weft_stage(${root} ${name} ${CMAKE_CURRENT_SOURCE_DIR})

  weft_transitive_deps(deps ${arg_DEPS})
  set_property(GLOBAL PROPERTY WEFT_${name}_DEPS ${deps})
  set_property(GLOBAL APPEND PROPERTY WEFT_LIBRARIES ${name})

  weft_sources(sources ${arg_EXCLUDE})
  set(generated)
  if(arg_PROTOS)
    weft_protos(generated ${name})
  endif()

  set(target weft_${name})
  if(sources OR generated)
    add_library(${target} STATIC ${sources} ${generated})
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:weft_warnings> ${arg_PRIVATE})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(weft::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  if(sources OR generated)
    weft_precompile(${target} precompiled.h)
    set_source_files_properties(${generated} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  endif()
  target_compile_features(${target} INTERFACE $<INSTALL_INTERFACE:cxx_std_20>)

  file(GLOB headers CONFIGURE_DEPENDS ${root}/${name}/*.h)
  list(FILTER headers EXCLUDE REGEX "-inl\\.h$")  # Highway bodies: no interface, not alone
  if(NOT WEFT_CUDA)
    list(FILTER headers EXCLUDE REGEX "cuda[^/]*\\.h$")
  endif()
  target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS ${root} FILES ${headers})
  if(NOT headers)  # an empty file set adds no include root
    target_include_directories(${target} ${scope} $<BUILD_INTERFACE:${root}>)
  endif()
  if(generated)
    target_include_directories(${target} SYSTEM ${scope}
      $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/gen/${name}>)
  endif()
  foreach(dep ${arg_DEPS})
    target_link_libraries(${target} ${scope} weft::${dep})
  endforeach()
  target_link_libraries(${target} ${scope} ${arg_PUBLIC})

  if(BUILD_TESTING)
    weft_test_binary(${name} DEPS weft::${name})
  endif()
endfunction()
