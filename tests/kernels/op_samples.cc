#include "tests/kernels/op_samples.h"

#include <cmath>
#include <limits>
#include <utility>

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

// Makes operands of one float dtype, each with values of its own.
class Samples {
 public:
  explicit Samples(DType dtype) : dtype_(dtype) {}

  HostTensor X(Shape shape) { return Sixteenths({std::move(shape), dtype_}, ++seed_); }
  HostTensor Positive(Shape shape) {
    return Sixteenths({std::move(shape), dtype_}, ++seed_, 0.5, 2.5);
  }
  // Values of which neighbours are never equal: for maxima.
  HostTensor Distinct(Shape shape) {
    HostTensor x = X(std::move(shape));
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = static_cast<double>(i * 37 % 101) / 16 - 3;
    }
    return x;
  }
  // Indices in [low, high).
  HostTensor Indices(Shape shape, int low, int high) {
    HostTensor x = Sixteenths({std::move(shape), DType::kI32}, ++seed_);
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = low + static_cast<double>(HashOf(seed_, i) % (high - low));
    }
    return x;
  }
  // Key positions [begin, end) that each row of [batch,s,2] sees, some rows none.
  HostTensor Visible(int64_t batch, int64_t s) {
    HostTensor x = Indices({batch, s, 2}, 0, static_cast<int>(s) - 1);
    for (size_t i = 1; i < x.values.size(); i += 2) x.values[i] += 2;
    return x;
  }
  HostTensor Scalar(double value, DType dtype = DType::kF32) { return Whole({{}, dtype}, {value}); }
  // Of the statistics that norms, attention and losses keep: f32, or f64 in checks.
  HostTensor Statistic(Shape shape, double low, double high) {
    const DType dtype = dtype_ == DType::kF64 ? DType::kF64 : DType::kF32;
    return Sixteenths({std::move(shape), dtype}, ++seed_, low, high);
  }
  HostTensor Master(Shape shape, double low = -2, double high = 2) {
    return Statistic(std::move(shape), low, high);
  }

  void Add(std::string op, Attrs attrs, std::vector<HostTensor> inputs,
           std::vector<int> differentiate = {0}, std::vector<int> constants = {}) {
    all_.push_back({std::move(op), std::move(attrs), std::move(inputs), std::move(differentiate),
                    std::move(constants)});
  }

  void Pointwise();
  void Movement();
  void Reductions();
  void Sources();
  void Optimizers();
  void Products();
  void Model();
  void Attention();
  void AttentionMasks();
  void AttentionBlocks();
  void Convolutions();
  std::vector<OpSample> Take() { return std::move(all_); }

 private:
  DType dtype_;
  uint64_t seed_ = 0;
  std::vector<OpSample> all_;
};

void Samples::Pointwise() {
  for (const char* op : {"neg", "exp", "square", "sigmoid", "tanh", "gelu", "silu"}) {
    Add(op, {}, {X({5, 7})});
  }
  Add("relu", {}, {Distinct({5, 7})});
  for (const char* op : {"log", "sqrt", "rsqrt"}) Add(op, {}, {Positive({5, 7})});
  for (const char* op :
       {"rsqrt_grad", "sigmoid_grad", "tanh_grad", "relu_grad", "gelu_grad", "silu_grad"}) {
    Add(op, {}, {X({5, 7}), X({5, 7})});
  }
  Add("scale", {{"factor", -1.5}}, {X({5, 7})});
  Add("cast", {{"dtype", std::string("f64")}}, {X({5, 7})});
  Add("cast", {{"dtype", std::string("i32")}}, {X({5, 7})}, {});
  for (const char* op : {"add", "sub", "mul"}) {
    Add(op, {}, {X({5, 7}), X({5, 7})});
    Add(op, {}, {X({2, 5, 7}), X({5, 1})});
    Add(op, {}, {X({7}), X({3, 1, 7})});
    Add(op, {}, {X({}), X({5})});
  }
  Add("div", {}, {X({5, 7}), Positive({7})});
  HostTensor between = X({5, 1});  // never equal to a multiple of 1/16
  for (double& value : between.values) value += 1.0 / 32;
  Add("maximum", {}, {Distinct({5, 7}), between});
  Add("equal", {}, {X({5, 7}), X({7})}, {});
  Add("silu_gate", {}, {X({5, 7}), X({5, 7})});
  Add("silu_gate", {}, {X({3, 41}), X({3, 41})});
  Add("silu_gate_grad", {}, {X({3, 41}), X({3, 41}), X({3, 41})});
  Add("softmax", {{"axis", int64_t{-1}}}, {X({3, 5, 7})});
  Add("softmax", {{"axis", int64_t{1}}}, {X({3, 5, 7})});
  Add("softmax_grad", {{"axis", int64_t{1}}}, {Positive({3, 5, 7}), X({3, 5, 7})});
  Add("accumulate", {}, {X({5, 7})});
  Add("add_n", {}, {X({5, 7}), X({5, 7}), X({5, 7})});
  for (double rate : {0.0, 0.4}) {
    Add("dropout", {{"rate", rate}, {"tag", int64_t{3}}}, {X({5, 3, 7}), Scalar(77, DType::kI64)});
  }
}

void Samples::Movement() {
  Add("token", {}, {X({5, 7})}, {});
  Add("reshape", {{"shape", Ints{6, 35}}}, {X({6, 5, 7})});
  Add("reshape", {{"shape", Ints{3, 2, -1, 1}}}, {X({1, 6, 5, 7})});
  Add("reshape", {{"shape", Ints{12, 5}}}, {X({6, 2, 5})});
  Add("transpose", {{"perm", Ints{2, 0, 1}}}, {X({5, 3, 7})});
  Add("transpose", {{"perm", Ints{-1, 0}}}, {X({5, 7})});
  Add("slice", {{"begins", Ints{0, 2}}, {"ends", Ints{5, 6}}}, {X({5, 7})});
  Add("slice", {{"begins", Ints{0, 1, 0}}, {"ends", Ints{5, 3, 7}}}, {X({5, 4, 7})});
  Add("slice", {{"begins", Ints{1, 0, 2}}, {"ends", Ints{3, 5, 2}}}, {X({4, 5, 7})});
  Add("pad", {{"begins", Ints{1, 0, 0}}, {"shape", Ints{3, 5, 8}}}, {X({2, 5, 7})});
  Add("pad", {{"begins", Ints{0, 2}}, {"shape", Ints{5, 9}}}, {X({5, 4})});
  Add("concat", {{"axis", int64_t{-1}}}, {X({5, 3}), X({5, 2}), X({5, 7})});
  Add("concat", {{"axis", int64_t{0}}}, {X({2, 7}), X({3, 7})});
  Add("concat", {{"axis", int64_t{1}}}, {X({5, 1, 7}), X({5, 0, 7}), X({5, 3, 7})});
  Add("broadcast_to", {{"shape", Ints{3, 5, 7}}}, {X({5, 1})});
}

void Samples::Reductions() {
  for (const char* op : {"reduce_sum", "reduce_mean", "reduce_max"}) {
    Add(op, {}, {Distinct({5, 7})});
    Add(op, {{"axes", Ints{-1}}, {"keepdims", true}}, {Distinct({3, 5, 7})});
    Add(op, {{"axes", Ints{0, 1}}}, {Distinct({3, 5, 7})});
    Add(op, {{"axes", Ints{1}}}, {Distinct({3, 5, 140})});
  }
  Add("sum_squares", {}, {X({5, 7})});
  Add("sum_squares", {}, {X({9001})});
  Add("clip_scale", {{"max_norm", 1.0}}, {Scalar(6.25, DType::kF64)});
  Add("clip_scale", {}, {Scalar(6.25, DType::kF64)});
  Add("clip_scale", {{"max_norm", 1.0}}, {Scalar(6.25, DType::kF64), Scalar(4)});
  const double infinity = std::numeric_limits<double>::infinity();
  for (double sum_sq : {6.25, infinity}) {
    for (bool fixed : {false, true}) {
      Add("loss_scale_update", {{"growth_every", int64_t{6}}, {"fixed", fixed}},
          {Scalar(1024), Scalar(5), Scalar(17), Scalar(sum_sq, DType::kF64)}, {0}, {0, 1, 2, 3});
    }
  }
}

void Samples::Sources() {
  const std::string dtype(Name(dtype_));
  Add("random_normal", {{"shape", Ints{5, 3, 7}}, {"seed", int64_t{11}}, {"dtype", dtype}}, {});
  Add("random_uniform", {{"shape", Ints{5, 7}}, {"low", -1.0}, {"dtype", dtype}}, {});
  Add("fill", {{"shape", Ints{5, 7}}, {"value", 1.5}, {"dtype", dtype}}, {});
  Add("fill", {{"shape", Ints{}}, {"value", 3.0}, {"dtype", std::string("i64")}}, {});
}

void Samples::Optimizers() {
  const Shape shape = {5, 13};
  Add("sgd", {{"weight_decay", 0.1}, {"nesterov", true}},
      {Master(shape), Master(shape), X(shape), Scalar(0.1), Scalar(0.5)});
  Add("adamw", {{"weight_decay", 0.1}},
      {Master(shape), Master(shape), Master(shape, 0.5, 2.5), X(shape), Scalar(0.1), Scalar(3),
       Scalar(0.5)});
  Add("lamb_update", {},
      {Master(shape), Master(shape), Master(shape, 0.5, 2.5), X(shape), Scalar(3), Scalar(0.5)});
  Add("lamb_apply", {},
      {Master(shape), Master(shape), Scalar(4, DType::kF64), Scalar(9, DType::kF64), Scalar(0.1)});
  for (double skip : {0.0, 1.0}) {
    Add("sgd", {},
        {Master(shape), Master(shape), X(shape), Scalar(0.1), Scalar(0.5), Scalar(skip)});
    Add("adamw", {},
        {Master(shape), Master(shape), Master(shape, 0.5, 2.5), X(shape), Scalar(0.1), Scalar(3),
         Scalar(0.5), Scalar(skip)});
    Add("lamb_update", {},
        {Master(shape), Master(shape), Master(shape, 0.5, 2.5), X(shape), Scalar(3), Scalar(0.5),
         Scalar(skip)});
    Add("lamb_apply", {},
        {Master(shape), Master(shape), Scalar(4, DType::kF64), Scalar(9, DType::kF64), Scalar(0.1),
         Scalar(skip)});
  }
}

// Products forward, of both gradients, in batches, of no common label, and with a result that is
// computed packed, each alone and with an addend, in the operands' dtype and in the one of sums.
void Samples::Products() {
  struct Case {
    const char* equation;
    Shape a, b, c;
  };
  const Case cases[] = {
      {"bsh,hnd->bsnd", {3, 5, 7}, {7, 5, 2}, {3, 5, 5, 2}},
      {"bsnd,hnd->bsh", {3, 5, 5, 2}, {7, 5, 2}, {3, 5, 7}},
      {"bsh,bsn->hn", {3, 5, 7}, {3, 5, 3}, {7, 3}},
      {"bsnd,btnd->bnst", {2, 5, 3, 4}, {2, 7, 3, 4}, {2, 3, 5, 7}},
      {"b,s->bs", {5}, {7}, {5, 7}},
      {"bsh,hnd->dbns", {3, 5, 7}, {7, 5, 2}, {2, 3, 5, 5}},
  };
  for (const Case& c : cases) {
    Attrs attrs = {{"equation", std::string(c.equation)}};
    Add("einsum", attrs, {X(c.a), X(c.b)});
    Add("einsum", attrs, {X(c.a), X(c.b), X(c.c)});
    attrs.Set("dtype", std::string(dtype_ == DType::kF64 ? "f64" : "f32"));
    Add("einsum", attrs, {X(c.a), X(c.b)});
    Add("einsum", attrs, {X(c.a), X(c.b), Master(c.c)});
  }
}

void Samples::Model() {
  Products();
  Add("embedding", {}, {Indices({3, 5}, 0, 11), X({11, 7})});
  Add("embedding_grad", {{"vocab", int64_t{11}}}, {Indices({3, 5}, 0, 11), X({3, 5, 7})});
  Add("head_cross_entropy", {}, {X({3, 5, 7}), X({11, 7}), Indices({3, 5}, -1, 11)}, {0, 1});
  Add("head_cross_entropy_grad", {},
      {X({3, 5, 7}), X({11, 7}), Indices({3, 5}, -1, 11), Statistic({3, 5}, 8, 9),
       Statistic({3, 5}, -1, 1), Statistic({3, 5}, -1, 1)});
  Add("head_cross_entropy_with_grad", {},
      {X({3, 5, 7}), X({11, 7}), Indices({3, 5}, -1, 11), Statistic({3, 5}, -1, 1),
       Statistic({3, 5}, -1, 1)});
  Add("token_loss", {},
      {Statistic({3, 5}, 2, 4), Statistic({3, 5}, -2, 2), Indices({3, 5}, -1, 11),
       Statistic({}, 0.25, 0.5)},
      {0}, {3});
  Add("token_loss_grad", {},
      {Statistic({}, 0.5, 1), Indices({3, 5}, -1, 11), Statistic({}, 0.25, 0.5)});
  Add("rms_norm", {}, {X({3, 5, 7}), X({7})});
  Add("rms_norm_grad", {}, {X({3, 5, 7}), X({3, 5, 7}), X({7}), Statistic({3, 5}, 0.5, 1)});
  Add("rms_norm_grad", {},
      {X({3, 5, 7}), X({3, 5, 7}), X({7}), Statistic({3, 5}, 0.5, 1), X({3, 5, 7})});
  Add("layer_norm", {}, {X({3, 5, 7}), X({7}), X({7})});
  Add("layer_norm_grad", {},
      {X({3, 5, 7}), X({3, 5, 7}), X({7}), Statistic({3, 5}, -1, 1), Statistic({3, 5}, 0.5, 1)});
  Add("layer_norm_grad", {},
      {X({3, 5, 7}), X({3, 5, 7}), X({7}), Statistic({3, 5}, -1, 1), Statistic({3, 5}, 0.5, 1),
       X({3, 5, 7})});
  Add("rope", {}, {X({2, 5, 3, 6})});
  Add("rope", {{"interleaved", true}, {"inverse", true}}, {X({2, 5, 3, 6})});
  Attention();
  Convolutions();
}

// Every attribute, with one group, several, and one per channel.
void Samples::Convolutions() {
  struct Case {
    const char* format;
    Ints stride, padding, dilation;
    int64_t groups, channels, filters;
    Ints out;
  };
  const Case cases[] = {
      {"NCHW", {1, 1}, {0, 0}, {1, 1}, 1, 3, 5, {3, 5}},
      {"NHWC", {2, 1}, {1, 2}, {1, 2}, 1, 5, 3, {3, 7}},
      {"NCHW", {2, 3}, {1, 0}, {1, 1}, 3, 6, 9, {3, 2}},
      {"NHWC", {1, 1}, {1, 1}, {2, 1}, 6, 6, 6, {3, 7}},
  };
  for (const Case& c : cases) {
    const bool last = std::string(c.format) == "NHWC";
    const auto image = [&](int64_t channels, int64_t height, int64_t width) {
      return last ? Shape{3, height, width, channels} : Shape{3, channels, height, width};
    };
    const Shape x = image(c.channels, 5, 7), w = {c.filters, c.channels / c.groups, 3, 3};
    const Shape y = image(c.filters, c.out[0], c.out[1]);
    Attrs attrs{{"format", std::string(c.format)},
                {"stride", c.stride},
                {"padding", c.padding},
                {"dilation", c.dilation},
                {"groups", c.groups}};
    Add("conv2d", attrs, {X(x), X(w)});
    Attrs data = attrs, weights = attrs;
    data.Set("size", Ints{5, 7});
    weights.Set("kernel", Ints{3, 3});
    Add("conv2d_data_grad", data, {X(y), X(w)});
    Add("conv2d_weight_grad", weights, {X(x), X(y)});
  }
}

// Key heads that serve three query heads each, two unevenly splittable ones, and one each.
void Samples::Attention() {
  for (bool causal : {false, true}) {
    const Attrs attrs{{"causal", causal}};
    for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{6, 2}, {4, 2}, {3, 3}}) {
      const Shape q = {2, 5, heads, 4}, k = {2, 5, kv_heads, 4}, v = {2, 5, kv_heads, 3};
      const Shape o = {2, 5, heads, 3}, lse = {2, 5, heads};
      Add("attention", attrs, {X(q), X(k), X(v)});
      Add("attention_grad", attrs, {X(o), X(q), X(k), X(v), X(o), Statistic(lse, 6, 7)});
      Add("attention_grad", attrs,
          {X(o), X(q), X(k), X(v), X(o), Statistic(lse, 6, 7), Statistic(lse, -1, 1)});
    }
  }
  AttentionMasks();
  AttentionBlocks();
}

void Samples::AttentionMasks() {
  const Shape q = {2, 5, 4, 4}, k = {2, 7, 2, 4}, v = {2, 7, 2, 3}, o = {2, 5, 4, 3};
  const Shape lse = {2, 5, 4};
  for (bool causal : {false, true}) {
    for (int64_t window : {0, 3}) {
      const Attrs attrs{{"causal", causal}, {"window", window}};
      Add("attention", attrs, {X(q), X(k), X(v), Visible(2, 5)});
      Add("attention_grad", attrs,
          {X(o), X(q), X(k), X(v), X(o), Statistic(lse, 6, 7), Absent(), Visible(2, 5)});
      Add("attention_grad", attrs,
          {X(o), X(q), X(k), X(v), X(o), Statistic(lse, 6, 7), Statistic(lse, -1, 1),
           Visible(2, 5)});
    }
    Add("attention", {{"causal", causal}, {"window", int64_t{2}}}, {X(q), X(k), X(v)});
  }
}

// Blocks alone and after others, with every mixture of operands that matters.
void Samples::AttentionBlocks() {
  const Shape q = {2, 5, 4, 4}, k = {2, 7, 2, 4}, v = {2, 7, 2, 3}, o = {2, 5, 4, 3};
  const Shape row = {2, 5, 4};
  const std::string narrow(Name(dtype_));
  for (bool causal : {false, true}) {
    const Attrs attrs{{"causal", causal}, {"window", int64_t{causal ? 3 : 0}}, {"density", 0.5}};
    HostTensor before = Statistic(row, -1, 4);
    for (size_t i = 0; i < before.values.size(); i += 3) before.values[i] = -HUGE_VAL;
    for (const std::string& dtype : {std::string(), narrow}) {
      Attrs in_dtype = attrs;
      in_dtype.Set("dtype", dtype);
      Add("attention_block", in_dtype, {X(q), X(k), X(v)});
      Add("attention_block", in_dtype, {X(q), X(k), X(v), Statistic(o, -2, 2), before});
      Add("attention_block", in_dtype, {X(q), X(k), X(v), Absent(), Absent(), Visible(2, 5)});
      Add("attention_block", in_dtype,
          {X(q), X(k), X(v), Statistic(o, -2, 2), before, Visible(2, 5)});
    }
    HostTensor lse = Statistic(row, 6, 7);
    lse.values[3] = -HUGE_VAL;
    std::vector<HostTensor> operands = {X(o), X(q), X(k), X(v), lse, Statistic(row, -1, 1)};
    Add("attention_block_grad", attrs, operands);
    operands.push_back(Visible(2, 5));
    Add("attention_block_grad", attrs, operands);
    for (const Shape& shape : {q, k, v}) operands.push_back(Statistic(shape, -2, 2));
    Add("attention_block_grad", attrs, operands);
    operands[6] = operands[8] = Absent();
    operands.push_back(X(o));
    Add("attention_block_grad", attrs, operands);
  }
  Add("attention_delta", {}, {X(o), X(o)});
  Add("attention_delta", {}, {X(o), Statistic(o, -2, 2), Statistic(row, -1, 1)});
  HostTensor blind = Statistic(row, -2, 2);
  blind.values[1] = -HUGE_VAL;
  Add("attention_sink", {}, {X(o), Statistic(row, -2, 2), X({4})}, {0, 1});
  Add("attention_sink", {}, {X(o), Statistic(row, -1, 1), Statistic({4}, -9, 9)});
  Add("attention_sink", {}, {X(o), blind, X({4})}, {});
  Add("attention_sink_grad", {},
      {X(o), Statistic(row, -1, 1), X(o), Statistic(row, -1, 1), X({4})});
  Add("attention_sink_grad", {}, {X(o), Absent(), X(o), blind, Statistic({4}, -1, 1)});
}

}  // namespace

std::vector<OpSample> OpSamples(DType dtype) {
  Samples samples(dtype);
  samples.Pointwise();
  samples.Movement();
  samples.Reductions();
  samples.Sources();
  samples.Optimizers();
  samples.Model();
  return samples.Take();
}

}  // namespace weft::testing
