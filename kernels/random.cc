// random_normal, random_uniform and fill: tensors from nothing, each element a function of the seed
// and its logical linear index, hence equal on every mesh.
#include <cmath>
#include <numbers>
#include <string>

#include "kernels/dispatch.h"
#include "kernels/infer.h"
#include "kernels/logical_rows.h"
#include "kernels/op_list.h"
#include "kernels/philox.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Uniform in (0, 1), from 32 random bits.
double Unit(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// Box-Muller: indices 2i and 2i+1 share two uniform words.
double Gaussian(PhiloxStream& stream, int64_t index) {
  const PhiloxBlock& block = stream.Block(index);
  const int pair = static_cast<int>(index % 4) & 2;
  const double radius = std::sqrt(-2 * std::log(Unit(block[pair])));
  const double angle = 2 * std::numbers::pi * Unit(block[pair + 1]);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

// y[i] = sample(logical index of i).
template <typename Sample>
absl::Status FillFrom(const KernelContext& c, Sample&& sample) {
  const Operand& y = c.out(0);
  return DispatchFloat(y.dtype(), [&](auto t) {
    using T = decltype(t);
    T* data = y.as<T>();
    ForEachLogicalRow(*y.box, y.logical->shape, [&](int64_t local, int64_t logical, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        data[local + i] = T(static_cast<ArithmeticOf<T>>(sample(logical + i)));
      }
    });
  });
}

absl::Status RandomNormalCpu(const KernelContext& c) {
  PhiloxStream stream(c.attrs->Int("seed"), 0);
  const double mean = c.attrs->Float("mean"), stddev = c.attrs->Float("stddev");
  return FillFrom(c, [&](int64_t i) { return mean + stddev * Gaussian(stream, i); });
}

absl::Status RandomUniformCpu(const KernelContext& c) {
  PhiloxStream stream(c.attrs->Int("seed"), 0);
  const double low = c.attrs->Float("low"), high = c.attrs->Float("high");
  return FillFrom(c, [&](int64_t i) { return low + (high - low) * Unit(stream.Word(i)); });
}

absl::Status FillCpu(const KernelContext& c) {
  const Operand& y = c.out(0);
  const double value = c.attrs->Float("value");
  return DispatchAny(y.dtype(), [&](auto t) {
    using T = decltype(t);
    const T element = T(static_cast<ArithmeticOf<T>>(value));
    T* data = y.as<T>();
    const int64_t n = y.elements();
    for (int64_t i = 0; i < n; ++i) data[i] = element;
  });
}

InferredSpecs InferFill(const InferContext& c) {
  const std::vector<int64_t>& shape = c.attrs.Ints("shape");
  WEFT_RETURN_IF_ERROR(RequireExtents(shape));
  WEFT_ASSIGN_OR_RETURN(DType dtype, ParseDType(c.attrs.String("dtype")));
  return std::vector<TensorSpec>{{Shape(shape.begin(), shape.end()), dtype}};
}

InferredSpecs InferRandom(const InferContext& c) {
  InferredSpecs specs = InferFill(c);
  if (specs.ok()) WEFT_RETURN_IF_ERROR(RequireFloat((*specs)[0]));
  return specs;
}

void AddSource(OpRegistry& ops, const char* name, std::map<std::string, Attr> attrs, bool random,
               Kernel cpu) {
  attrs.emplace("shape", std::vector<int64_t>());
  attrs.emplace("dtype", std::string("f32"));
  ops.Add({.name = name,
           .inputs = {},
           .outputs = {"y"},
           .attrs = std::move(attrs),
           .infer = random ? InferRandom : InferFill,
           .layout = [](const LayoutContext& c) { return c.Elementwise(); },
           .cost = [](const CostContext& c) { return ElementwiseCost(c, 50); },
           .cpu = cpu,
           .stochastic = random});
}

}  // namespace

void DefineRandom(OpRegistry& ops) {
  AddSource(ops, "random_normal", {{"mean", 0.0}, {"stddev", 1.0}, {"seed", int64_t{0}}}, true,
            RandomNormalCpu);
  AddSource(ops, "random_uniform", {{"low", 0.0}, {"high", 1.0}, {"seed", int64_t{0}}}, true,
            RandomUniformCpu);
  AddSource(ops, "fill", {{"value", 0.0}}, false, FillCpu);
}

}  // namespace weft
