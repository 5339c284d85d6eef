#include "tests/system/fake_gpu_kernels.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/all_ops.h"
#include "runtime/logging.h"
#include "runtime/status.h"
#include "tests/system/fake_gpu_stream.h"

namespace weft::testing {
namespace {

constexpr size_t kMostKernels = 256;

struct NamedKernel {
  std::string name;
  Kernel cpu = nullptr;
};

const std::vector<NamedKernel>& CpuKernels() {
  static const auto* const kernels = [] {
    OpRegistry ops;
    DefineAllOps(ops);
    auto* const named = new std::vector<NamedKernel>();
    for (const OpDef* op : ops.All()) {
      if (op->cpu != nullptr) named->push_back({op->name, op->cpu});
    }
    CHECK_LE(named->size(), kMostKernels);
    return named;
  }();
  return *kernels;
}

// A call whose operands lie with it.
struct KeptCall {
  explicit KeptCall(const KernelContext& from)
      : context(from),
        inputs(from.inputs.begin(), from.inputs.end()),
        outputs(from.outputs.begin(), from.outputs.end()),
        adds(std::make_unique<bool[]>(from.accumulate.size())) {
    std::copy(from.accumulate.begin(), from.accumulate.end(), adds.get());
    context.inputs = inputs;
    context.outputs = outputs;
    context.accumulate = absl::MakeConstSpan(adds.get(), from.accumulate.size());
    context.native_stream = nullptr;
    context.device = nullptr;
  }
  KernelContext context;
  std::vector<Operand> inputs, outputs;
  std::unique_ptr<bool[]> adds;
};

absl::Status Launch(const NamedKernel& kernel, const KernelContext& c) {
  FakeGpuNative& native = FakeGpuNative::Of(c.native_stream);
  auto& state = *static_cast<FakeGpuState*>(c.device);
  if (state.on_launch) WEFT_RETURN_IF_ERROR(state.on_launch(kernel.name));
  native.loader().LoadKernel(kernel.name);
  native.Enqueue([&kernel, &state, call = std::make_shared<const KeptCall>(c)] {
    absl::Status status = state.on_run ? state.on_run(kernel.name) : absl::OkStatus();
    if (status.ok()) status = kernel.cpu(call->context);
    if (!status.ok()) state.Note(status);
  });
  return absl::OkStatus();
}

// A kernel is a plain function: one for each place in the list.
template <size_t place>
absl::Status LaunchPlace(const KernelContext& c) {
  return Launch(CpuKernels()[place], c);
}

template <size_t... places>
constexpr std::array<Kernel, sizeof...(places)> AllPlaces(std::index_sequence<places...>) {
  return {&LaunchPlace<places>...};
}

}  // namespace

void FakeGpuState::Note(const absl::Status& fault) {
  const std::lock_guard<std::mutex> lock(mutex_);
  fault_.Update(fault);
}

absl::Status FakeGpuState::TakeFault() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(fault_, absl::OkStatus());
}

KernelTable FakeGpuKernels() {
  constexpr std::array<Kernel, kMostKernels> launches =
      AllPlaces(std::make_index_sequence<kMostKernels>());
  KernelTable table;
  for (size_t i = 0; i < CpuKernels().size(); ++i) table.Add(CpuKernels()[i].name, launches[i]);
  return table;
}

absl::Status FakeGpuCopy(const KernelContext& c) {
  const int64_t bytes = c.out(0).elements() * SizeOf(c.out(0).dtype());
  FakeGpuNative::Of(c.native_stream).Enqueue([to = c.out(0).data, from = c.in(0).data, bytes] {
    if (bytes > 0) std::memmove(to, from, bytes);
  });
  return absl::OkStatus();
}

}  // namespace weft::testing
