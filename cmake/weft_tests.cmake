# weft_test_binary(<name> DEPS <target>...)
#
# Makes <name>_tests from tests/<name>/*.cc, linking DEPS and GoogleTest alone, and registers each
# test case with CTest: label cpu, or label slow where the name of suite or case contains "Slow".
# The tests may include "tests/support/..." and "tests/<name>/...".
#
# Sources named *cuda* belong to <name>_cuda_tests, which CUDA builds make of them; where one of them
# is cuda_main.cc, of all sources: the same tests, and some more, on device 0. Label gpu.
#
# Every test gets the compile definitions WEFT_SOURCE_DIR (for fixtures and golden files) and
# WEFT_TEST_SHARE.
include_guard(GLOBAL)
include(GoogleTest)

set(WEFT_TEST_PATIENCE 1 CACHE STRING "Factor on the time limits of all tests, for sanitizers")
set(WEFT_TEST_SHARE 1 CACHE STRING "Of their seeds, long tests take one in so many; for sanitizers")
set(WEFT_TEST_MPI_ENVIRONMENT "" CACHE STRING "NAME=VALUE... set for tests under mpirun; for sanitizers")

# weft_time_limit(<variable> <seconds>): the TIMEOUT of a test that may take so long in a plain build.
function(weft_time_limit variable seconds)
  math(EXPR limit "${seconds} * ${WEFT_TEST_PATIENCE}")
  set(${variable} ${limit} PARENT_SCOPE)
endfunction()

function(weft_test_binary name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPS")
  file(GLOB all CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*.cc)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "cuda[^/]*$")
  if(NOT sources)
    return()
  endif()
  set(root ${PROJECT_BINARY_DIR}/include/${name}_tests)
  weft_stage(${root} tests/support ${PROJECT_SOURCE_DIR}/tests/support)
  weft_stage(${root} tests/${name} ${PROJECT_SOURCE_DIR}/tests/${name})

  set(target ${name}_tests)
  weft_program(${target} SOURCES ${sources}
    DEPS ${arg_DEPS} GTest::gmock_main GTest::gmock GTest::gtest)
  weft_precompile(${target} precompiled_tests.h)
  target_include_directories(${target} PRIVATE ${root})
  target_compile_definitions(${target} PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    WEFT_TEST_SHARE=${WEFT_TEST_SHARE})
  # Two builds of one machine must not meet in the files their tests write.
  set(scratch ${PROJECT_BINARY_DIR}/test_files)
  file(MAKE_DIRECTORY ${scratch})
  weft_time_limit(quick 300)
  weft_time_limit(slow 1200)
  gtest_discover_tests(${target} TEST_FILTER "-*Slow*" TEST_PREFIX "${name}." TEST_LIST ${name}_quick
    DISCOVERY_TIMEOUT 120 PROPERTIES LABELS cpu TIMEOUT ${quick}
    ENVIRONMENT TEST_TMPDIR=${scratch}/)
  gtest_discover_tests(${target} TEST_FILTER "*Slow*" TEST_PREFIX "${name}." TEST_LIST ${name}_slow
    DISCOVERY_TIMEOUT 120 PROPERTIES LABELS slow TIMEOUT ${slow}
    ENVIRONMENT TEST_TMPDIR=${scratch}/)

  if(WEFT_CUDA AND NOT all STREQUAL sources)
    set(target ${name}_cuda_tests)
    set(main GTest::gmock_main)
    if(all MATCHES "cuda_main\\.cc")
      set(main)
    else()
      list(FILTER all INCLUDE REGEX "cuda[^/]*$")
    endif()
    weft_program(${target} SOURCES ${all} DEPS ${arg_DEPS} ${main} GTest::gmock GTest::gtest)
    weft_precompile(${target} precompiled_tests.h)
    target_include_directories(${target} PRIVATE ${root})
    target_compile_definitions(${target} PRIVATE WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
      WEFT_TEST_SHARE=${WEFT_TEST_SHARE})
    add_dependencies(gpu ${target})
    # One test for all: a process a case would spend most of its time on starting CUDA.
    add_test(NAME ${name}.cuda COMMAND ${target})
    set_tests_properties(${name}.cuda PROPERTIES
      LABELS gpu TIMEOUT 600 ENVIRONMENT TEST_TMPDIR=${scratch}/)
  endif()
endfunction()

# weft_package_test(<test> <folder> <program>)
#
# Installs weft, then configures, builds and runs the project in <folder>, an outside one that says
# find_package(weft), against it. Label cpu.
function(weft_package_test test folder program)
  add_test(NAME ${test}
    COMMAND ${CMAKE_COMMAND}
      -D source=${folder}
      -D program=${program}
      -D build=${PROJECT_BINARY_DIR}
      -D work=${PROJECT_BINARY_DIR}/package/${program}
      -D "generator=${CMAKE_GENERATOR}"
      -D "compiler=${CMAKE_CXX_COMPILER}"
      -D "flags=${CMAKE_CXX_FLAGS}"
      -D "build_type=${CMAKE_BUILD_TYPE}"
      -P ${PROJECT_SOURCE_DIR}/tests/package/run.cmake)
  weft_time_limit(limit 600)
  set_tests_properties(${test} PROPERTIES LABELS cpu TIMEOUT ${limit})
endfunction()
