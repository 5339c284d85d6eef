# Turns on the CUDA language for WEFT_CUDA, or refuses it.
if(WEFT_CUDA)
  file(GLOB weft_device_sources CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/runtime/*.cu ${PROJECT_SOURCE_DIR}/kernels/*.cu)
  if(NOT weft_device_sources)
    message(FATAL_ERROR "WEFT_CUDA=ON: no CUDA code yet. There is no .cu file in runtime/ or "
      "kernels/, so this build would be a CPU build under another name. Configure without "
      "WEFT_CUDA.")
  endif()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 90)
  endif()
  find_program(WEFT_NVCC nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(WEFT_NVCC)
  if(WEFT_NVCC AND NOT DEFINED CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${WEFT_NVCC})
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know nvcc's
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
endif()
