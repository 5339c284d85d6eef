// HostTensor: a box of a logical tensor with its values as doubles, for tests that run kernels, cut
// tensors to parts and join parts again. RunKernel gives a kernel the buffers that a plan would.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "graph/op_def.h"
#include "runtime/box.h"
#include "runtime/dtype.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"
#include "tests/support/kernel_device.h"

namespace weft::testing {

struct HostTensor {
  TensorSpec spec;             // logical
  Box box;                     // what is here
  std::vector<double> values;  // dense row-major over the box

  bool absent() const { return spec.rank() == 0 && values.empty(); }
};

// An optional operand that is not given.
inline HostTensor Absent() { return {}; }

// The whole tensor with these values.
inline HostTensor Whole(TensorSpec spec, std::vector<double> values) {
  Box box = Box::Whole(spec.shape);
  return {std::move(spec), std::move(box), std::move(values)};
}

// Calls f(local, logical) with the linear indices of each element that the box holds.
template <typename F>
void ForEachElement(const Box& box, absl::Span<const int64_t> shape, F&& f) {
  const int64_t n = box.elements();
  const Shape local = box.shape();
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = i, logical = 0, stride = 1;
    for (int d = static_cast<int>(shape.size()) - 1; d >= 0; --d) {
      logical += box.dims[d].ToLogical(rest % local[d]) * stride;
      rest /= local[d];
      stride *= shape[d];
    }
    f(i, logical);
  }
}

// What `box` holds of the whole tensor x.
inline HostTensor Cut(const HostTensor& x, const Box& box) {
  HostTensor part{x.spec, box, std::vector<double>(box.elements())};
  ForEachElement(box, x.spec.shape,
                 [&](int64_t local, int64_t logical) { part.values[local] = x.values[logical]; });
  return part;
}

// Pseudo-random bits of (seed, index), the same on every machine.
inline uint64_t HashOf(uint64_t seed, uint64_t index) {
  uint64_t z = (seed * 0x9E3779B97F4A7C15u) ^ (index + 1) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// A whole tensor of multiples of 1/16 in [low, high]: exact in every float type, and so are sums of
// a few of them.
inline HostTensor Sixteenths(TensorSpec spec, uint64_t seed, double low = -2, double high = 2) {
  std::vector<double> values(spec.elements());
  const auto steps = static_cast<uint64_t>((high - low) * 16 + 1);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = low + static_cast<double>(HashOf(seed, i) % steps) / 16;
  }
  return Whole(std::move(spec), std::move(values));
}

inline void StoreElement(DType dtype, void* data, int64_t i, double value) {
  switch (dtype) {
    case DType::kF32: static_cast<float*>(data)[i] = static_cast<float>(value); break;
    case DType::kF64: static_cast<double*>(data)[i] = value; break;
    case DType::kBF16: static_cast<BFloat16*>(data)[i] = BFloat16(static_cast<float>(value)); break;
    case DType::kF16: static_cast<Float16*>(data)[i] = Float16(static_cast<float>(value)); break;
    case DType::kI32: static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value); break;
    case DType::kI64: static_cast<int64_t*>(data)[i] = static_cast<int64_t>(value); break;
    case DType::kU8: static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value); break;
    case DType::kBool: static_cast<bool*>(data)[i] = value != 0; break;
  }
}

inline double LoadElement(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::kF32: return static_cast<const float*>(data)[i];
    case DType::kF64: return static_cast<const double*>(data)[i];
    case DType::kBF16: return static_cast<float>(static_cast<const BFloat16*>(data)[i]);
    case DType::kF16: return static_cast<float>(static_cast<const Float16*>(data)[i]);
    case DType::kI32: return static_cast<const int32_t*>(data)[i];
    case DType::kI64: return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case DType::kU8: return static_cast<const uint8_t*>(data)[i];
    case DType::kBool: return static_cast<const bool*>(data)[i];
  }
  return 0;
}

// Memory of one operand: 64-byte aligned, bytes of 0xFF (NaN in every float type), a guard behind.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(int64_t bytes) : bytes_(bytes), memory_(bytes + 2 * kGuard, 0xFF) {
    data_ =
        memory_.data() + (kGuard - reinterpret_cast<uintptr_t>(memory_.data()) % kGuard) % kGuard;
    std::memset(data_ + bytes, 0x5A, kGuard);
  }
  unsigned char* data() const { return data_; }
  // Whether nothing was written behind the end.
  bool intact() const {
    return std::all_of(data_ + bytes_, data_ + bytes_ + kGuard, [](int b) { return b == 0x5A; });
  }

 private:
  static constexpr int64_t kGuard = 64;
  int64_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char* data_;
};

struct RunOptions {
  std::vector<Box> boxes;                    // of the results; empty: whole
  std::vector<HostTensor> present;           // contents of the results to add to; empty: overwrite
  std::vector<std::pair<int, int>> aliased;  // (input, result) pairs in one buffer
  int unread = -1;                           // a result that has no buffer; its values stay 0
};

// `attrs` with the op's defaults for what it lacks.
inline Attrs Completed(const OpDef& op, Attrs attrs) {
  for (const auto& [name, value] : op.attrs) {
    if (!attrs.Has(name)) attrs.Set(name, value);
  }
  return attrs;
}

// Infers, allocates, runs the kernel of the tests' device once, and reads the results. Errors:
// those of infer and kernel; Internal for a write behind a buffer.
inline absl::StatusOr<std::vector<HostTensor>> RunKernel(const OpDef& op, const Attrs& attrs,
                                                         const std::vector<HostTensor>& inputs,
                                                         const RunOptions& options = {}) {
  std::vector<TensorSpec> logical, local_in, local_out;
  for (const HostTensor& x : inputs) {
    logical.push_back(x.spec);
    local_in.push_back(x.absent() ? TensorSpec{} : TensorSpec{x.box.shape(), x.spec.dtype});
  }
  auto inferred = op.infer(InferContext{logical, attrs});
  if (!inferred.ok()) return inferred.status();
  std::vector<HostTensor> results;
  std::vector<std::shared_ptr<GuardedBuffer>> in_buffers, out_buffers;
  std::vector<Operand> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const HostTensor& x = inputs[i];
    if (x.absent()) {
      in_buffers.push_back(nullptr);
      in.push_back({});
      continue;
    }
    in_buffers.push_back(std::make_shared<GuardedBuffer>(local_in[i].bytes()));
    for (size_t e = 0; e < x.values.size(); ++e) {
      StoreElement(x.spec.dtype, in_buffers[i]->data(), e, x.values[e]);
    }
    in.push_back({in_buffers[i]->data(), &x.spec, &x.box, x.box.shape()});
  }
  for (size_t o = 0; o < inferred->size(); ++o) {
    const TensorSpec& spec = (*inferred)[o];
    const Box box = options.boxes.empty() ? Box::Whole(spec.shape) : options.boxes[o];
    results.push_back({spec, box, std::vector<double>(box.elements())});
    local_out.push_back({box.shape(), spec.dtype});
    out_buffers.push_back(std::make_shared<GuardedBuffer>(local_out[o].bytes()));
    for (const auto& [i, result] : options.aliased) {
      if (result == static_cast<int>(o)) out_buffers[o] = in_buffers[i];
    }
    if (!options.present.empty()) {
      for (size_t e = 0; e < results[o].values.size(); ++e) {
        StoreElement(spec.dtype, out_buffers[o]->data(), e, options.present[o].values[e]);
      }
    }
  }
  for (size_t o = 0; o < results.size(); ++o) {
    out.push_back({});  // as plans have what nobody reads
    if (options.unread == static_cast<int>(o)) continue;
    out.back() = {out_buffers[o]->data(), &results[o].spec, &results[o].box,
                  results[o].box.shape()};
  }
  const int64_t bytes =
      DeviceOfTests()->WorkspaceBytes(op, CostContext{local_in, local_out, attrs});
  const GuardedBuffer workspace(bytes);
  const std::unique_ptr<bool[]> adds(new bool[results.size()]());
  if (!options.present.empty()) {
    for (int o : op.accumulates) adds[o] = true;
  }
  const KernelContext context{.inputs = in,
                              .outputs = out,
                              .attrs = &attrs,
                              .workspace = workspace.data(),
                              .workspace_bytes = bytes,
                              .accumulate = absl::MakeConstSpan(adds.get(), results.size())};
  if (absl::Status status = DeviceOfTests()->Run(op, context); !status.ok()) return status;
  bool intact = workspace.intact();
  for (const auto& buffer : in_buffers) {
    intact = intact && (buffer == nullptr || buffer->intact());
  }
  for (const auto& buffer : out_buffers) intact = intact && buffer->intact();
  if (!intact) return absl::InternalError(absl::StrCat(op.name, " wrote behind a buffer"));
  for (size_t o = 0; o < results.size(); ++o) {
    if (options.unread == static_cast<int>(o)) continue;
    for (size_t e = 0; e < results[o].values.size(); ++e) {
      results[o].values[e] = LoadElement(results[o].spec.dtype, out_buffers[o]->data(), e);
    }
  }
  return results;
}

}  // namespace weft::testing
