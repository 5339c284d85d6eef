// What a kernel is: a function over operands that lie on one device. A kernel learns each operand's
// logical spec and the box of it that is here; it never sees ranks, meshes or SBP.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "runtime/attrs.h"
#include "runtime/box.h"
#include "runtime/tensor_spec.h"

namespace weft {

// One operand at one firing. `data` is dense row-major over box.shape(); the arena owns it.
// An optional input that is absent, or an output nobody reads, has data == nullptr; an operand of
// no elements has an address.
struct Operand {
  void* data = nullptr;
  const TensorSpec* logical = nullptr;
  const Box* box = nullptr;
  Shape shape;  // local: box->shape(), computed once when the plan is loaded

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  DType dtype() const { return logical->dtype; }
  int64_t elements() const { return NumElements(shape); }
};

// What the kernels of one rank share on its device: library handles, tuned algorithms. nullptr on CPU.
class DeviceState {
 public:
  virtual ~DeviceState() = default;
};

// The argument of a kernel; lives in the actor, reused at every firing without allocation.
struct KernelContext {
  absl::Span<const Operand> inputs;
  absl::Span<const Operand> outputs;
  const Attrs* attrs = nullptr;
  // Scratch of the size that OpDef::workspace answered; contents undefined.
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
  // Per output, whether to add to its present contents instead of overwriting (weight gradients over
  // microbatches). Empty means overwrite all. Only outputs that OpDef lists as `accumulates` get it.
  absl::Span<const bool> accumulate;
  // Native stream handle on CUDA (cudaStream_t); nullptr on CPU.
  void* native_stream = nullptr;
  DeviceState* device = nullptr;

  const Operand& in(int i) const { return inputs[i]; }
  const Operand& out(int i) const { return outputs[i]; }
  bool adds(int output) const {
    return output < static_cast<int>(accumulate.size()) && accumulate[output];
  }
};

// Runs on a stream's worker thread (CPU) or enqueues on the native stream (CUDA). Never blocks on
// other ranks; a failure poisons the rank.
using Kernel = absl::Status (*)(const KernelContext&);

// Several calls of one kernel at once: what calling it with each of them comes to, bit for bit, in
// fewer launches. At least one call; all have the same native stream and device. They are
// independent: no call writes memory, its workspace included, that another reads or writes, so that
// they may run in any order or together; what they only read they may share. Number and types of
// operands, shapes, attributes and `accumulate` may differ from call to call. An error stands for
// all of them.
using BatchedKernel = absl::Status (*)(absl::Span<const KernelContext* const> calls);

// Looks at a kernel call that a plan will make; what the context refers to is gone afterwards.
using KernelVisitor =
    std::function<absl::Status(std::string_view name, Kernel kernel, const KernelContext& context)>;

// Name -> function for one device kind. Filled by the launcher from the op registry, read by actors.
class KernelTable {
 public:
  // `batched` may be nullptr: the kernel is then called for each call by itself.
  void Add(std::string name, Kernel kernel, BatchedKernel batched = nullptr) {
    kernels_[std::move(name)] = {kernel, batched};
  }
  // nullptr if the device has no such kernel.
  Kernel Find(std::string_view name) const { return FormsOf(name).single; }
  // nullptr if the device has no such kernel, or the kernel no batched form.
  BatchedKernel FindBatched(std::string_view name) const { return FormsOf(name).batched; }

 private:
  struct Forms {
    Kernel single = nullptr;
    BatchedKernel batched = nullptr;
  };
  Forms FormsOf(std::string_view name) const {
    auto it = kernels_.find(name);
    return it == kernels_.end() ? Forms{} : it->second;
  }

  std::map<std::string, Forms, std::less<>> kernels_;
};

}  // namespace weft
