#include "tests/system/random_recipe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  // In [0, n).
  int64_t Below(int64_t n) { return static_cast<int64_t>((HashOf(seed_, ++count_) >> 8) % n); }
  bool Chance(int percent) { return Below(100) < percent; }
  template <typename T>
  const T& Of(const std::vector<T>& items) {
    return items[Below(static_cast<int64_t>(items.size()))];
  }

 private:
  uint64_t seed_, count_ = 0;
};

class Maker {
 public:
  Maker(uint64_t seed, const OpRegistry& ops) : random_(seed), ops_(ops) { recipe_.seed = seed; }

  GraphRecipe Make() {
    recipe_.mesh = random_.Of(std::vector<std::vector<int>>{{2},
                                                            {3},
                                                            {4},
                                                            {5},
                                                            {7},
                                                            {8},
                                                            {2, 2},
                                                            {2, 3},
                                                            {3, 2},
                                                            {2, 4},
                                                            {4, 2},
                                                            {1, 3},
                                                            {2, 2, 2},
                                                            {2, 1, 3}});
    recipe_.microbatches = random_.Chance(30) ? 2 : 1;
    dtype_ = random_.Chance(50) ? DType::kF32 : DType::kF64;
    recipe_.optimizer.kind = random_.Of(std::vector<OptimizerConfig::Kind>{
        OptimizerConfig::Kind::kSgd, OptimizerConfig::Kind::kAdamW, OptimizerConfig::Kind::kLamb});
    // An update moves by learning rate / eps times what rounding does to a small gradient.
    recipe_.optimizer.eps = 0.125;
    recipe_.optimizer.weight_decay = random_.Chance(50) ? 0.125 : 0;
    recipe_.optimizer.clip_norm = random_.Chance(50) ? 1.0 : 0;
    Source();
    const int64_t ops = 5 + random_.Below(26);
    while (recipe_.ops() < ops) AddOne(ops - recipe_.ops());
    Annotate();
    return std::move(recipe_);
  }

 private:
  const TensorSpec& spec(int v) const { return recipe_.values[v].spec; }
  int64_t Extent() { return random_.Of(Ints{2, 3, 4, 5, 6, 8}); }

  int Add(ValueRecipe value) {
    recipe_.values.push_back(std::move(value));
    return static_cast<int>(recipe_.values.size()) - 1;
  }
  int Input(TensorSpec spec, int64_t below = 0) {
    return Add({.kind = ValueRecipe::Kind::kInput, .spec = std::move(spec), .below = below});
  }
  int Parameter(Shape shape) {
    return Add({.kind = ValueRecipe::Kind::kParameter, .spec = {std::move(shape), dtype_}});
  }
  int Op(const std::string& name, std::vector<int> operands, Attrs attrs = {}) {
    const OpDef& op = *ops_.Find(name);
    std::vector<TensorSpec> inputs;
    for (int v : operands) inputs.push_back(spec(v));
    Attrs complete = attrs;
    CHECK(CompleteAttrs(op, complete).ok()) << name;
    const auto inferred = op.infer(InferContext{inputs, complete});
    CHECK(inferred.ok()) << name << ": " << inferred.status();
    const int v = Add({.spec = (*inferred)[0],
                       .op = name,
                       .attrs = std::move(attrs),
                       .operands = std::move(operands)});
    live_.push_back(v);
    return v;
  }

  // The first activation: features or embedded tokens.
  void Source() {
    const Shape rows = {Extent(), Extent()};
    if (random_.Chance(50)) {
      const int x = Input({{rows[0], rows[1], Extent()}, dtype_});
      Linear(x);
      return;
    }
    const int64_t vocab = 3 + random_.Below(9);
    const int tokens = Input({rows, DType::kI32}, vocab);
    Op("embedding", {tokens, Parameter({vocab, Extent()})});
  }

  // Contracts the last dimension of x with a new parameter.
  int Linear(int x) {
    std::string labels = std::string("abcdef").substr(0, spec(x).rank());
    const std::string equation = absl::StrCat(labels, ",", std::string(1, labels.back()), "z->",
                                              labels.substr(0, labels.size() - 1), "z");
    return Op("einsum", {x, Parameter({spec(x).shape.back(), Extent()})}, {{"equation", equation}});
  }

  // One more op, or several that belong together if there is room.
  void AddOne(int64_t room) {
    const int x = random_.Of(live_);
    const int rank = spec(x).rank();
    if (rank == 0 || spec(x).elements() > 4000) {
      Op("tanh", {x});
      return;
    }
    switch (random_.Below(13)) {
      case 0:
      case 1: Linear(x); return;
      case 2: Op("add", {x, Parameter({spec(x).shape.back()})}); return;
      case 3:
      case 4: Pointwise(x); return;
      case 5: Norm(x); return;
      case 6:
      case 7: Together(x); return;
      case 8:
      case 9: Move(x); return;
      case 10: Reduce(x); return;
      case 11:
        if (room >= 4 && rank == 3) return Attention(x);
        if (rank == 4) return Convolution(x);
        Linear(x);
        return;
      default:
        if (room >= 2 && rank >= 2) return CrossEntropy(x);
        Op("scale", {x}, {{"factor", -0.5}});
    }
  }

  void Pointwise(int x) {
    const std::string op = random_.Of(std::vector<std::string>{
        "relu", "gelu", "tanh", "silu", "sigmoid", "neg", "scale", "square", "dropout", "cast"});
    if (op == "scale") {
      Op(op, {x}, {{"factor", 0.75}});
    } else if (op == "square") {
      Op(op, {Op("tanh", {x})});
    } else if (op == "dropout") {
      if (seed_input_ < 0) seed_input_ = Input({{}, DType::kI64}, 1000);
      Op(op, {x, seed_input_}, {{"rate", 0.25}, {"tag", static_cast<int64_t>(live_.size())}});
    } else if (op == "cast" && dtype_ == DType::kF32) {
      const int wide = Op(op, {x}, {{"dtype", std::string("f64")}});
      live_.pop_back();
      Op(op, {wide}, {{"dtype", std::string("f32")}});
    } else if (op == "cast") {
      Op("exp", {Op("tanh", {x})});
    } else {
      Op(op, {x});
    }
  }

  void Norm(int x) {
    const int64_t last = spec(x).shape.back();
    switch (random_.Below(3)) {
      // A large eps: rows that are nearly constant have no direction of their own.
      case 0: Op("rms_norm", {x, Parameter({last})}, {{"eps", 0.1}}); return;
      case 1: Op("layer_norm", {x, Parameter({last}), Parameter({last})}, {{"eps", 0.1}}); return;
      default: Op("softmax", {x}, {{"axis", random_.Below(spec(x).rank())}});
    }
  }

  // x with another value of its shape, or, if there is none, with itself.
  void Together(int x) {
    std::vector<int> same;
    for (int v : live_) {
      if (spec(v) == spec(x)) same.push_back(v);
    }
    const int y = random_.Of(same);
    switch (random_.Below(7)) {
      case 0: Op("add", {x, y}); return;
      case 1: Op("sub", {x, Op("tanh", {y})}); return;
      case 2: Op("mul", {x, Op("sigmoid", {y})}); return;
      case 3: Op("silu_gate", {x, y}); return;
      case 4: Op("concat", {x, y}, {{"axis", random_.Below(spec(x).rank())}}); return;
      case 5: Op("div", {x, Op("exp", {Op("tanh", {y})})}); return;
      default:
        if (spec(x).rank() != 3) {
          Op("add_n", {x, y, x});
          return;
        }
        Op("scale", {Op("einsum", {x, y}, {{"equation", std::string("bsh,bth->bst")}})},
           {{"factor", 0.25}});
    }
  }

  void Move(int x) {
    const Shape shape = spec(x).shape;
    const int rank = spec(x).rank();
    const int d = static_cast<int>(random_.Below(rank));
    switch (random_.Below(4)) {
      case 0: {
        Ints perm;
        for (int i = 0; i < rank; ++i) perm.push_back((i + 1 + d) % rank);
        Op("transpose", {x}, {{"perm", perm}});
        return;
      }
      case 1: {
        Ints to(shape.begin(), shape.end());
        if (rank < 4 && shape[d] % 2 == 0) {
          to[d] /= 2;
          to.insert(to.begin() + d + (random_.Chance(50) ? 1 : 0), 2);
        } else if (d > 0) {
          to[d - 1] *= to[d];
          to.erase(to.begin() + d);
        } else {
          to.insert(to.begin(), 1);
        }
        if (to.size() > 4) return;
        Op("reshape", {x}, {{"shape", to}});
        return;
      }
      case 2: {
        Ints begins(rank, 0), ends(shape.begin(), shape.end());
        if (shape[d] > 1) begins[d] = 1;
        Op("slice", {x}, {{"begins", begins}, {"ends", ends}});
        return;
      }
      default: {
        Ints begins(rank, 0), to(shape.begin(), shape.end());
        begins[d] = 1;
        to[d] += 2;
        Op("pad", {x}, {{"begins", begins}, {"shape", to}});
      }
    }
  }

  void Reduce(int x) {
    const std::string op =
        random_.Of(std::vector<std::string>{"reduce_sum", "reduce_mean", "reduce_max"});
    Op(op, {x},
       {{"axes", Ints{random_.Below(spec(x).rank())}},
        {"keepdims", spec(x).rank() == 1 || random_.Chance(50)}});
  }

  // Grouped-query attention of x with itself.
  void Attention(int x) {
    const int64_t hidden = spec(x).shape[2], kv = 1 + random_.Below(3);
    const int64_t heads = kv * (1 + random_.Below(3));
    const auto project = [&](int64_t n) {
      const int v = Op("einsum", {x, Parameter({hidden, n, 2})},
                       {{"equation", std::string("bsh,hnd->bsnd")}});
      live_.pop_back();
      return v;
    };
    const int q = project(heads), k = project(kv), v = project(kv);
    Op("attention", {q, k, v}, {{"causal", random_.Chance(50)}});
  }

  void Convolution(int x) {
    const bool last = random_.Chance(50);
    const int64_t channels = spec(x).shape[last ? 3 : 1];
    const bool by_channel = random_.Chance(30);
    Op("conv2d",
       {x, Parameter({by_channel ? channels : Extent(), by_channel ? 1 : channels, 3, 2})},
       {{"format", std::string(last ? "NHWC" : "NCHW")},
        {"padding", Ints{1, 1}},
        {"groups", by_channel ? channels : 1}});
  }

  // The loss of x as features of tokens; nothing else reads it.
  void CrossEntropy(int x) {
    Shape rows = spec(x).shape;
    const int64_t hidden = rows.back(), vocab = 3 + random_.Below(9);
    rows.pop_back();
    const int targets = Input({rows, DType::kI32}, vocab);
    const int w = Parameter({vocab, hidden});
    const int scale = Input({{}, dtype_});
    Add({.spec = {{}, dtype_}, .op = "cross_entropy", .operands = {x, w, targets, scale}});
  }

  // Facts for layout inference, contradicting one another as they like.
  void Annotate() {
    for (ValueRecipe& value : recipe_.values) {
      if (!random_.Chance(25)) continue;
      const bool floats = IsFloat(value.spec.dtype);
      std::vector<Sbp> layout;
      for (size_t a = 0; a < recipe_.mesh.size(); ++a) {
        if (value.spec.rank() > 0 && random_.Chance(60)) {
          const bool zigzag = random_.Chance(10);
          layout.push_back(Sbp::S(static_cast<int>(random_.Below(value.spec.rank())),
                                  zigzag ? IndexOrder::kZigzag : IndexOrder::kContiguous));
        } else if (floats && value.kind != ValueRecipe::Kind::kParameter && random_.Chance(30)) {
          layout.push_back(Sbp::P());
        } else {
          layout.push_back(Sbp::B());
        }
      }
      value.layout = std::move(layout);
    }
  }

  Random random_;
  const OpRegistry& ops_;
  DType dtype_ = DType::kF32;
  GraphRecipe recipe_;
  std::vector<int> live_;  // activations that ops may read
  int seed_input_ = -1;
};

}  // namespace

GraphRecipe RandomRecipe(uint64_t seed, const OpRegistry& ops) { return Maker(seed, ops).Make(); }

}  // namespace weft::testing
