# Installs weft from <build> into <work>/prefix, then configures, builds and runs the project in
# <source> against it. Variables: source, program, build, work, generator, compiler, flags,
# build_type.
file(REMOVE_RECURSE ${work})
foreach(step
    "${CMAKE_COMMAND};--install;${build};--prefix;${work}/prefix"
    "${CMAKE_COMMAND};-S;${source};-B;${work}/build;-G;${generator};-DCMAKE_PREFIX_PATH=${work}/prefix;-DCMAKE_CXX_COMPILER=${compiler};-DCMAKE_CXX_FLAGS=${flags};-DCMAKE_BUILD_TYPE=${build_type}"
    "${CMAKE_COMMAND};--build;${work}/build"
    "${work}/build/${program}")
  execute_process(COMMAND ${step} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed (${result}): ${step}")
  endif()
endforeach()
