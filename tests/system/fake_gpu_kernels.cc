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

// One work for all calls. It makes the last call first: those of a batch may come in any order.
absl::Status Launch(const NamedKernel& kernel, absl::Span<const KernelContext* const> calls) {
  FakeGpuNative& native = FakeGpuNative::Of(calls[0]->native_stream);
  auto& state = *static_cast<FakeGpuState*>(calls[0]->device);
  auto kept = std::make_shared<std::vector<KeptCall>>();
  kept->reserve(calls.size());
  for (size_t i = calls.size(); i > 0; --i) {
    if (state.on_launch) WEFT_RETURN_IF_ERROR(state.on_launch(kernel.name));
    kept->emplace_back(*calls[i - 1]);
  }
  if (calls.size() > 1) ++state.batches;
  native.loader().LoadKernel(kernel.name);
  native.Enqueue([&kernel, &state, kept] {
    for (const KeptCall& call : *kept) {
      absl::Status status = state.on_run ? state.on_run(kernel.name) : absl::OkStatus();
      if (status.ok()) status = kernel.cpu(call.context);
      if (!status.ok()) state.Note(status);
    }
  });
  return absl::OkStatus();
}

// A kernel is a plain function: one for each place in the list.
template <size_t place>
absl::Status LaunchPlace(const KernelContext& c) {
  const KernelContext* const one = &c;
  return Launch(CpuKernels()[place], {&one, 1});
}

template <size_t place>
absl::Status LaunchBatch(absl::Span<const KernelContext* const> calls) {
  return Launch(CpuKernels()[place], calls);
}

struct Forms {
  Kernel single;
  BatchedKernel batched;
};

template <size_t... places>
constexpr std::array<Forms, sizeof...(places)> AllPlaces(std::index_sequence<places...>) {
  return {Forms{&LaunchPlace<places>, &LaunchBatch<places>}...};
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
  constexpr std::array<Forms, kMostKernels> launches =
      AllPlaces(std::make_index_sequence<kMostKernels>());
  KernelTable table;
  for (size_t i = 0; i < CpuKernels().size(); ++i) {
    table.Add(CpuKernels()[i].name, launches[i].single, launches[i].batched);
  }
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
