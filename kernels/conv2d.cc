// conv2d(x, w): the two-dimensional convolution of deep learning (a cross-correlation), with
// stride, padding, dilation and groups, and its two gradients. Images are [batch,channels,height,
// width] or, with format "NHWC", [batch,height,width,channels]; filters always
// [filters,channels/groups,height,width]. A bias is an `add` of a broadcast vector.
#include <limits>
#include <string>

#include "graph/grad_context.h"
#include "kernels/conv2d_cpu.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Where an image tensor has its dimensions.
struct ImageDims {
  explicit ImageDims(const Attrs& attrs)
      : channel(attrs.String("format") == "NHWC" ? 3 : 1), height(channel == 3 ? 1 : 2) {}
  int channel, height;
  int width() const { return height + 1; }
};

// Attributes that are pairs (height, width), each within [least, 2^30].
absl::Status CheckPair(const Attrs& attrs, const char* name, int64_t least) {
  const std::vector<int64_t>& pair = attrs.Ints(name);
  bool fits = pair.size() == 2;
  for (int64_t value : pair) fits = fits && value >= least && value <= (int64_t{1} << 30);
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " must be two numbers (height, width), each at least ", least, ", got ",
                   ToString(absl::MakeConstSpan(pair))));
}

absl::Status CheckConvAttrs(const Attrs& attrs) {
  const std::string& format = attrs.String("format");
  if (format != "NCHW" && format != "NHWC") {
    return absl::InvalidArgumentError(
        absl::StrCat("format must be \"NCHW\" or \"NHWC\", got \"", format, "\""));
  }
  WEFT_RETURN_IF_ERROR(CheckPair(attrs, "stride", 1));
  WEFT_RETURN_IF_ERROR(CheckPair(attrs, "padding", 0));
  WEFT_RETURN_IF_ERROR(CheckPair(attrs, "dilation", 1));
  if (attrs.Int("groups") >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("groups must be at least 1, got ", attrs.Int("groups")));
}

// The result of a convolution of x with w.
absl::StatusOr<TensorSpec> ConvResult(const TensorSpec& x, const TensorSpec& w,
                                      const Attrs& attrs) {
  WEFT_RETURN_IF_ERROR(CheckConvAttrs(attrs));
  WEFT_RETURN_IF_ERROR(RequireFloat(x));
  const auto error = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("conv2d of x ", x.ToString(), " with w ",
                                                   w.ToString(), ": ", std::string(what)));
  };
  const ImageDims dims(attrs);
  const int64_t groups = attrs.Int("groups");
  if (x.rank() != 4 || w.rank() != 4) return error("both must have four dimensions");
  if (x.dtype != w.dtype) return error("dtypes differ; cast one of them");
  if (x.shape[dims.channel] % groups != 0 || w.shape[0] % groups != 0) {
    return error(absl::StrCat("groups = ", groups, " must divide channels and filters"));
  }
  if (w.shape[1] != x.shape[dims.channel] / groups) {
    return error(absl::StrCat("w must have ", x.shape[dims.channel] / groups,
                              " channels per filter (channels / groups)"));
  }
  TensorSpec y = x;
  y.shape[dims.channel] = w.shape[0];
  for (int d = 0; d < 2; ++d) {
    const int64_t kernel = w.shape[2 + d],
                  padded = x.shape[dims.height + d] + 2 * attrs.Ints("padding")[d];
    const int64_t reach = attrs.Ints("dilation")[d] * (kernel - 1) + 1;
    if (kernel < 1 || reach > padded) {
      return error(absl::StrCat("a filter reaches over ", reach, " but the padded image has ",
                                padded, " along ", d == 0 ? "height" : "width"));
    }
    y.shape[dims.height + d] = (padded - reach) / attrs.Ints("stride")[d] + 1;
  }
  return y;
}

InferredSpecs InferConv(const InferContext& c) {
  WEFT_ASSIGN_OR_RETURN(TensorSpec y, ConvResult(c.in(0), c.in(1), c.attrs));
  return std::vector<TensorSpec>{std::move(y)};
}

// The gradients take the extents that the forward result does not tell from an attribute.
InferredSpecs InferDataGrad(const InferContext& c) {
  const TensorSpec &dy = c.in(0), &w = c.in(1);
  WEFT_RETURN_IF_ERROR(CheckConvAttrs(c.attrs));
  WEFT_RETURN_IF_ERROR(CheckPair(c.attrs, "size", 0));
  if (dy.rank() != 4 || w.rank() != 4) {
    return absl::InvalidArgumentError("conv2d_data_grad needs dy and w of four dimensions");
  }
  const ImageDims dims(c.attrs);
  TensorSpec dx = dy;
  dx.shape[dims.channel] = w.shape[1] * c.attrs.Int("groups");
  for (int d = 0; d < 2; ++d) dx.shape[dims.height + d] = c.attrs.Ints("size")[d];
  WEFT_ASSIGN_OR_RETURN(const TensorSpec want, ConvResult(dx, w, c.attrs));
  WEFT_RETURN_IF_ERROR(RequireSpec(c, 0, want));
  return std::vector<TensorSpec>{dx};
}

InferredSpecs InferWeightGrad(const InferContext& c) {
  const TensorSpec &x = c.in(0), &dy = c.in(1);
  WEFT_RETURN_IF_ERROR(CheckConvAttrs(c.attrs));
  WEFT_RETURN_IF_ERROR(CheckPair(c.attrs, "kernel", 1));
  if (x.rank() != 4 || dy.rank() != 4) {
    return absl::InvalidArgumentError("conv2d_weight_grad needs x and dy of four dimensions");
  }
  const ImageDims dims(c.attrs);
  const std::vector<int64_t>& kernel = c.attrs.Ints("kernel");
  const TensorSpec dw{
      {dy.shape[dims.channel], x.shape[dims.channel] / c.attrs.Int("groups"), kernel[0], kernel[1]},
      x.dtype};
  WEFT_ASSIGN_OR_RETURN(const TensorSpec want, ConvResult(x, dw, c.attrs));
  WEFT_RETURN_IF_ERROR(RequireSpec(c, 1, want));
  return std::vector<TensorSpec>{dw};
}

// Factors: batch; filters and channels, or, if there are groups, whole groups of both. What a
// tensor lacks of them is summed. Height and width must be whole: filters reach over their cuts.
template <ConvProduct product>
FactorMap ConvLayout(const LayoutContext& c) {
  const ImageDims dims(c.attrs);
  const int64_t groups = c.attrs.Int("groups");
  FactorMap map;
  // Sums are legal for the one product in which the factor is summed.
  const auto add = [&](const char* name, ConvProduct summed_in, int64_t must_divide) {
    Factor factor{.name = name};
    if (product == summed_in) factor.reduce = {Monoid::kSum};
    factor.must_divide = must_divide;
    factor.zigzag = must_divide == 0;
    return map.Add(std::move(factor));
  };
  const auto image = [&](int batch, int channel) {
    std::vector<int> ids(4, kWhole);
    ids[0] = batch;
    ids[dims.channel] = channel;
    return ids;
  };
  const int batch = add("batch", ConvProduct::kWeightGrad, 0);
  std::vector<int> x, w, y;
  if (groups == 1) {
    const int filters = add("filters", ConvProduct::kDataGrad, 0);
    const int channels = add("channels", ConvProduct::kForward, 0);
    x = image(batch, channels);
    w = {filters, channels, kWhole, kWhole};
    y = image(batch, filters);
  } else {
    const int group = map.Add({.name = "groups", .must_divide = groups, .zigzag = false});
    x = image(batch, group);
    w = {group, kWhole, kWhole, kWhole};
    y = image(batch, group);
  }
  switch (product) {
    case ConvProduct::kForward:
      map.inputs = {x, w};
      map.outputs = {y};
      break;
    case ConvProduct::kDataGrad:
      map.inputs = {y, w};
      map.outputs = {x};
      break;
    case ConvProduct::kWeightGrad:
      map.inputs = {x, y};
      map.outputs = {w};
      break;
  }
  map.linear = {{Monoid::kSum, {0}}, {Monoid::kSum, {1}}};
  return map;
}

// Each product multiplies every filter at every place of the result's image.
template <ConvProduct product>
Cost ConvCost(const CostContext& c) {
  const ConvGeometry g =
      ConvGeometryOf(product, c.inputs[0].shape, c.inputs[1].shape, c.outputs[0].shape, c.attrs);
  double flops = 2;
  for (int64_t extent :
       {g.batch, g.filters, g.group_channels, g.kernel[0], g.kernel[1], g.out[0], g.out[1]}) {
    flops *= static_cast<double>(extent);
  }
  return {.flops = flops, .bytes = static_cast<double>(c.bytes()) + 1};
}

std::vector<Value> ConvGradient(GradContext& g) {
  const ImageDims dims(g.attrs());
  const Shape x = g.spec(g.input(0)).shape, w = g.spec(g.input(1)).shape;
  Attrs data = g.attrs(), weights = g.attrs();
  data.Set("size", std::vector<int64_t>{x[dims.height], x[dims.width()]});
  weights.Set("kernel", std::vector<int64_t>{w[2], w[3]});
  const Value dy = g.output_grad(0);
  return {g.Emit1("conv2d_data_grad", {dy, g.input(1)}, data),
          g.Emit1("conv2d_weight_grad", {g.input(0), dy}, weights)};
}

template <ConvProduct product>
OpDef ConvOp(std::string name, std::vector<std::string> inputs, std::string output,
             decltype(OpDef::infer) infer) {
  return {
      .name = std::move(name),
      .inputs = std::move(inputs),
      .outputs = {std::move(output)},
      .attrs = {{"format", std::string("NCHW")},
                {"stride", std::vector<int64_t>{1, 1}},
                {"padding", std::vector<int64_t>{0, 0}},
                {"dilation", std::vector<int64_t>{1, 1}},
                {"groups", int64_t{1}}},
      .infer = infer,
      .layout = ConvLayout<product>,
      .cost = ConvCost<product>,
      .workspace = [](const CostContext& c) { return Conv2dWorkspace(c, product); },
      .cuda_workspace = NoCudaWorkspace,
      .cpu = [](const KernelContext& k) { return Conv2dCpu(k, product); },
  };
}

}  // namespace

void DefineConv2d(OpRegistry& ops) {
  OpDef forward = ConvOp<ConvProduct::kForward>("conv2d", {"x", "w"}, "y", InferConv);
  forward.gradient = ConvGradient;
  ops.Add(std::move(forward));
  OpDef data = ConvOp<ConvProduct::kDataGrad>("conv2d_data_grad", {"dy", "w"}, "dx", InferDataGrad);
  data.attrs["size"] = std::vector<int64_t>{0, 0};
  ops.Add(std::move(data));
  OpDef weights =
      ConvOp<ConvProduct::kWeightGrad>("conv2d_weight_grad", {"x", "dy"}, "dw", InferWeightGrad);
  weights.attrs["kernel"] = std::vector<int64_t>{1, 1};
  weights.accumulates = {0};
  ops.Add(std::move(weights));
}

}  // namespace weft
