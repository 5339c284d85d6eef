// Where tests run kernels: the CPU, unless the test program names another device. So one set of
// tests judges the kernels of both.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "graph/op_def.h"
#include "runtime/kernel.h"

namespace weft::testing {

class KernelDevice {
 public:
  virtual ~KernelDevice() = default;
  // Scratch that the op's kernel needs here.
  virtual int64_t WorkspaceBytes(const OpDef& op, const CostContext& cost) const = 0;
  // Runs the op's kernel over operands and workspace in host memory, to the end.
  virtual absl::Status Run(const OpDef& op, const KernelContext& context) = 0;
};

class CpuKernels : public KernelDevice {
 public:
  int64_t WorkspaceBytes(const OpDef& op, const CostContext& cost) const override {
    return op.workspace == nullptr ? 0 : op.workspace(cost);
  }
  absl::Status Run(const OpDef& op, const KernelContext& context) override {
    return op.cpu == nullptr ? absl::UnimplementedError(op.name) : op.cpu(context);
  }
};

// The device of this test program. Set before the first test, by its main.
inline KernelDevice*& DeviceOfTests() {
  static CpuKernels cpu;
  static KernelDevice* device = &cpu;
  return device;
}

}  // namespace weft::testing
