// Runs one kernel on host tensors: values as doubles, whole or a box of a logical tensor. Workspace
// and results start as NaN, and a workspace that is overrun fails the test.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "graph/op_def.h"
#include "gtest/gtest.h"
#include "kernels/all_ops.h"
#include "kernels/dispatch.h"
#include "runtime/box.h"
#include "runtime/kernel.h"
#include "runtime/tensor_spec.h"
#include "tests/support/kernel_device.h"

namespace weft::testing {

// The part `box` of a logical tensor `spec`, dense row-major.
struct Dense {
  TensorSpec spec;
  Box box;
  std::vector<double> values;

  bool absent() const { return spec.rank() == 0 && values.empty(); }
};

// A whole tensor with values in [-1, 1] that look random; bf16 and f16 values are exact there.
inline Dense RandomDense(Shape shape, DType dtype, int seed) {
  Dense x{{shape, dtype}, Box::Whole(shape), std::vector<double>(NumElements(shape))};
  uint64_t state = 0x9E3779B97F4A7C15u * static_cast<uint64_t>(seed + 1);
  for (double& value : x.values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<double>(state >> 40) / (1 << 23) - 1;
    if (dtype == DType::kBF16) value = Load(BFloat16(static_cast<float>(value)));
    if (dtype == DType::kF16) value = Load(Float16(static_cast<float>(value)));
    if (dtype == DType::kF32) value = static_cast<float>(value);
  }
  return x;
}

inline Dense DenseOf(Shape shape, DType dtype, std::vector<double> values) {
  return {{shape, dtype}, Box::Whole(shape), std::move(values)};
}

// Intervals as an index set: Parts({{0, 2}, {5, 6}}).
inline IndexSet Parts(std::initializer_list<Interval> intervals) {
  IndexSet set;
  for (const Interval& interval : intervals) set.Append(interval);
  return set;
}

// Calls f(local offset, logical offset) for each element of the box.
inline void ForEachOfBox(const Box& box, const Shape& shape,
                         const std::function<void(int64_t, int64_t)>& f) {
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

// The values of `x`, a whole tensor, in `box`.
inline Dense PartOf(const Dense& x, const Box& box) {
  Dense part{x.spec, box, std::vector<double>(box.elements())};
  ForEachOfBox(box, x.spec.shape, [&](int64_t i, int64_t j) { part.values[i] = x.values[j]; });
  return part;
}

// As PartOf, with dimension `dim` cut to `set`.
inline Dense Cut(const Dense& x, int dim, const IndexSet& set) {
  Box box = x.box;
  box.dims[dim] = set;
  return PartOf(x, box);
}

inline void ExpectClose(const std::vector<double>& got, const std::vector<double>& want,
                        double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0, std::abs(want[i]))) << "element " << i;
  }
}

// Expects `part` to be what lies in its box of the whole tensor `x`.
inline void ExpectPart(const Dense& part, const Dense& x, double tolerance) {
  ExpectClose(part.values, PartOf(x, part.box).values, tolerance);
}

// Memory of one operand, aligned as an arena's.
class Buffer {
 public:
  Buffer(int64_t bytes, int fill) : bytes_(bytes), memory_(bytes + 192, static_cast<char>(fill)) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    data_ = memory_.data() + (64 - address % 64) % 64;
    std::memset(data_ + bytes, 0x5A, 64);
  }
  char* data() const { return data_; }
  bool intact() const {
    for (int i = 0; i < 64; ++i) {
      if (data_[bytes_ + i] != 0x5A) return false;
    }
    return true;
  }

 private:
  int64_t bytes_;
  std::vector<char> memory_;
  char* data_;
};

inline void Write(const Dense& x, char* data) {
  absl::Status status = DispatchAny(x.spec.dtype, [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < x.values.size(); ++i) {
      reinterpret_cast<T*>(data)[i] = static_cast<T>(static_cast<ArithmeticOf<T>>(x.values[i]));
    }
  });
  ASSERT_TRUE(status.ok());
}

inline void Read(const char* data, Dense& x) {
  x.values.resize(x.box.elements());
  absl::Status status = DispatchAny(x.spec.dtype, [&](auto type) {
    using T = decltype(type);
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = static_cast<double>(Load(reinterpret_cast<const T*>(data)[i]));
    }
  });
  ASSERT_TRUE(status.ok());
}

struct DenseRunOptions {
  std::vector<Box> boxes;      // of the results; default: whole
  std::vector<Dense> present;  // contents to add to; default: overwrite
  std::vector<bool> skip;      // results nobody reads
};

// The ops under test.
inline const OpDef& FindOp(const std::string& name) {
  static const OpRegistry* ops = [] {
    auto* made = new OpRegistry;
    DefineAllOps(*made);
    return made;
  }();
  return *ops->Find(name);
}

inline Attrs WithDefaults(const OpDef& op, const Attrs& given) {
  Attrs attrs = given;
  for (const auto& [name, value] : op.attrs) {
    if (!attrs.Has(name)) attrs.Set(name, value);
  }
  return attrs;
}

inline absl::Status TryInfer(const std::string& name, const Attrs& given,
                             const std::vector<TensorSpec>& inputs) {
  const OpDef& op = FindOp(name);
  const Attrs attrs = WithDefaults(op, given);
  return op.infer({inputs, attrs}).status();
}

// Runs the op's kernel on the tests' device; the results have the boxes of the options.
inline absl::StatusOr<std::vector<Dense>> TryRun(const std::string& name, const Attrs& given,
                                                 const std::vector<Dense>& inputs,
                                                 const DenseRunOptions& options = {}) {
  const OpDef& op = FindOp(name);
  const Attrs attrs = WithDefaults(op, given);
  std::vector<TensorSpec> logical, local_in, local_out;
  for (const Dense& x : inputs) {
    logical.push_back(x.spec);
    local_in.push_back(x.absent() ? TensorSpec{} : TensorSpec{x.box.shape(), x.spec.dtype});
  }
  auto inferred = op.infer({logical, attrs});
  if (!inferred.ok()) return inferred.status();
  std::vector<Dense> results;
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<Operand> in, out;
  for (const Dense& x : inputs) {
    buffers.push_back(std::make_unique<Buffer>(x.box.elements() * SizeOf(x.spec.dtype), 0));
    if (x.absent()) {
      in.push_back({});  // an optional operand that is not given
      continue;
    }
    Write(x, buffers.back()->data());
    in.push_back({buffers.back()->data(), &x.spec, &x.box, x.box.shape()});
  }
  for (size_t i = 0; i < inferred->size(); ++i) {
    const TensorSpec& spec = (*inferred)[i];
    results.push_back(
        {spec, options.boxes.empty() ? Box::Whole(spec.shape) : options.boxes[i], {}});
    local_out.push_back({results[i].box.shape(), spec.dtype});
  }
  for (size_t i = 0; i < results.size(); ++i) {
    buffers.push_back(std::make_unique<Buffer>(local_out[i].bytes(), 0xFF));
    if (!options.present.empty()) Write(options.present[i], buffers.back()->data());
    out.push_back({});  // as plans have what nobody reads
    if (!options.skip.empty() && options.skip[i]) continue;
    out.back() = {buffers.back()->data(), &results[i].spec, &results[i].box,
                  results[i].box.shape()};
  }
  const int64_t bytes = DeviceOfTests()->WorkspaceBytes(op, {local_in, local_out, attrs});
  Buffer workspace(bytes, 0xFF);
  const std::unique_ptr<bool[]> accumulate(new bool[results.size()]);
  std::fill_n(accumulate.get(), results.size(), false);
  if (!options.present.empty()) {
    for (int i : op.accumulates) accumulate[i] = true;
  }
  KernelContext context;
  context.inputs = in;
  context.outputs = out;
  context.attrs = &attrs;
  context.workspace = workspace.data();
  context.workspace_bytes = bytes;
  context.accumulate = absl::MakeConstSpan(accumulate.get(), results.size());
  absl::Status status = DeviceOfTests()->Run(op, context);
  if (!status.ok()) return status;
  EXPECT_TRUE(workspace.intact()) << name << " wrote past its workspace of " << bytes;
  for (const auto& buffer : buffers) EXPECT_TRUE(buffer->intact()) << name;
  const size_t first = inputs.size();
  for (size_t i = 0; i < results.size(); ++i) Read(buffers[first + i]->data(), results[i]);
  return results;
}

// As TryRun for what must succeed. Failing that, the test has failed and goes on with results of
// NaN.
inline std::vector<Dense> RunOp(const std::string& name, const Attrs& given,
                                const std::vector<Dense>& inputs,
                                const DenseRunOptions& options = {}) {
  auto results = TryRun(name, given, inputs, options);
  EXPECT_TRUE(results.ok()) << name << ": " << results.status();
  if (results.ok()) return *std::move(results);
  std::vector<TensorSpec> specs;
  for (const Dense& x : inputs) specs.push_back(x.spec);
  const Attrs attrs = WithDefaults(FindOp(name), given);
  auto inferred = FindOp(name).infer({specs, attrs});
  if (!inferred.ok()) return std::vector<Dense>(8);
  std::vector<Dense> unknown;
  for (size_t i = 0; i < inferred->size(); ++i) {
    const TensorSpec& spec = (*inferred)[i];
    const Box box = options.boxes.empty() ? Box::Whole(spec.shape) : options.boxes[i];
    unknown.push_back({spec, box, std::vector<double>(box.elements(), NAN)});
  }
  return unknown;
}

// Expects `gradient` to be the derivative of loss(x) by x, by central differences in f64.
inline void ExpectGradient(const std::function<double(const Dense&)>& loss, const Dense& x,
                           const Dense& gradient) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(gradient.values.size(), x.values.size());
  for (size_t i = 0; i < x.values.size(); ++i) {
    Dense moved = x;
    moved.values[i] = x.values[i] + kStep;
    const double above = loss(moved);
    moved.values[i] = x.values[i] - kStep;
    const double slope = (above - loss(moved)) / (2 * kStep);
    ASSERT_NEAR(gradient.values[i], slope, 1e-7 * std::max(1.0, std::abs(slope)))
        << "element " << i;
  }
}

// sum of a b: a loss whose gradient by a is b.
inline double Inner(const Dense& a, const Dense& b) {
  double sum = 0;
  for (size_t i = 0; i < a.values.size(); ++i) sum += a.values[i] * b.values[i];
  return sum;
}

}  // namespace weft::testing
