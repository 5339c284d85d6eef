// rope: rotary position embedding (Su et al., arXiv 2104.09864). The position of a row is its logical
// index along the sequence, whatever part of it is here.
#include <cmath>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

// Angles of all local positions, one row of half the head each.
template <typename W>
struct Angles {
  Angles(Scratch& scratch, int64_t rows, int64_t half)
      : cos(scratch.Take<W>(rows * half)), sin(scratch.Take<W>(rows * half)) {}
  W* cos;
  W* sin;
};

// position * theta^(-2i/d), in f64: positions are large where angles matter.
template <typename W>
void Fill(const IndexSet& positions, double theta, bool inverse, int64_t half, Angles<W>& angles) {
  for (int64_t i = 0; i < half; ++i) {
    const double frequency = std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
    int64_t row = 0;
    for (const Interval& interval : positions.intervals()) {
      for (int64_t p = interval.begin; p < interval.end; ++p, ++row) {
        const double angle = static_cast<double>(p) * frequency;
        angles.cos[row * half + i] = static_cast<W>(std::cos(angle));
        angles.sin[row * half + i] = static_cast<W>(inverse ? -std::sin(angle) : std::sin(angle));
      }
    }
  }
}

template <typename W>
void RotatePairs(W* y, const W* x, const W* cos, const W* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const W a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * cos[i] - b * sin[i];
    y[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

template <typename T>
absl::Status Rope(const KernelContext& k) {
  using W = ArithmeticOf<T>;
  const Operand &x = k.in(0), &y = k.out(0);
  const int64_t batch = x.shape[0], rows = x.shape[1], heads = x.shape[2], d = x.shape[3];
  const bool interleaved = k.attrs->Bool("interleaved");
  Scratch scratch(k.workspace);
  Angles<W> angles(scratch, rows, d / 2);
  W* wide_x = scratch.Take<W>(d);
  W* wide_y = scratch.Take<W>(d);
  Fill(x.box->dims[1], k.attrs->Float("theta"), k.attrs->Bool("inverse"), d / 2, angles);
  const T* from = x.as<T>();
  T* to = y.as<T>();
  for (int64_t row = 0; row < batch * rows; ++row) {
    const W* cos = angles.cos + row % rows * (d / 2);
    const W* sin = angles.sin + row % rows * (d / 2);
    for (int64_t head = 0; head < heads; ++head, from += d, to += d) {
      const W* in = WideRow(from, d, wide_x);
      W* out = wide_y;
      if constexpr (std::is_same_v<T, W>) out = to;
      if (interleaved) {
        RotatePairs(out, in, cos, sin, d / 2);
      } else {
        RowRotate(out, in, cos, sin, d / 2);
      }
      if constexpr (!std::is_same_v<T, W>) ConvertRow(to, wide_y, d);
    }
  }
  return absl::OkStatus();
}

template <typename W>
int64_t Workspace(const Shape& shape) {
  Scratch scratch(nullptr);
  Angles<W> angles(scratch, shape[1], shape[3] / 2);
  scratch.Take<W>(shape[3]);
  scratch.Take<W>(shape[3]);
  return scratch.used();
}

}  // namespace

void DefineRope(OpRegistry& ops) {
  ops.Add({
      .name = "rope",
      .inputs = {"x"},
      .outputs = {"y"},
      .attrs = {{"theta", 10000.0}, {"inverse", false}, {"interleaved", false}},
      .infer = [](const InferContext& c) -> InferredSpecs {
        const TensorSpec& x = c.in(0);
        WEFT_RETURN_IF_ERROR(RequireFloat(x));
        if (x.rank() != 4 || x.shape[3] % 2 != 0) {
          return absl::InvalidArgumentError(absl::StrCat(
              "rope needs x [batch,sequence,heads,head_dim] with an even head_dim, got ",
              x.ToString()));
        }
        if (c.attrs.Float("theta") <= 0) {
          return absl::InvalidArgumentError("rope: theta must be positive");
        }
        return c.Like(0);
      },
      .layout = [](const LayoutContext& c) {
        FactorMap map = c.ElementwiseExcept(3);
        map.linear = {{Monoid::kSum, {0}}};
        return map;
      },
      .gradient = [](GradContext& g) -> std::vector<Value> {
        Attrs attrs = g.attrs();
        attrs.Set("inverse", !attrs.Bool("inverse"));
        return {g.Emit1("rope", {g.output_grad(0)}, attrs)};
      },
      .cost = [](const CostContext& c) { return ElementwiseCost(c, 3); },
      .workspace = [](const CostContext& c) {
        return c.inputs[0].dtype == DType::kF64 ? Workspace<double>(c.inputs[0].shape)
                                                : Workspace<float>(c.inputs[0].shape);
      },
      .cuda_workspace = NoCudaWorkspace,
      .cpu = [](const KernelContext& k) {
        return RunForFloat(k.in(0).dtype(), [&](auto type) { return Rope<decltype(type)>(k); });
      },
      .in_place = {{0, 0}},
  });
}

}  // namespace weft
