// Runs every test of kernels on CUDA device 0 instead of the CPU.
#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "tests/kernels/cuda_device.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();  // tests are named without a GPU
  auto device = weft::testing::CudaKernels::Make();
  if (!device.ok()) {
    std::fprintf(stderr, "no CUDA device for the tests: %s\n", device.status().ToString().c_str());
    return 1;
  }
  weft::testing::DeviceOfTests() = device->get();
  return RUN_ALL_TESTS();
}
