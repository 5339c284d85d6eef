// Extents at which CUDA kernels take other paths than at the primes of the op laws: packs of 16
// bytes, tiles, several blocks, and reductions in parts.
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/cuda_compare.h"

namespace weft::testing {
namespace {

using Ints = std::vector<int64_t>;

class CudaPacks : public ::testing::TestWithParam<DType> {
 protected:
  HostTensor X(Shape shape, double low = -2, double high = 2) {
    return Sixteenths({std::move(shape), GetParam()}, ++seed_, low, high);
  }
  // Of the dtype that statistics, masters and losses are kept in.
  HostTensor Wide(Shape shape, double low = -2, double high = 2) {
    const DType dtype = GetParam() == DType::kF64 ? DType::kF64 : DType::kF32;
    return Sixteenths({std::move(shape), dtype}, ++seed_, low, high);
  }
  HostTensor Scalar(double value, DType dtype = DType::kF32) { return Whole({{}, dtype}, {value}); }
  HostTensor Tokens(Shape shape, int low, int high) {
    HostTensor x = Sixteenths({std::move(shape), DType::kI32}, ++seed_);
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = low + static_cast<double>(HashOf(seed_, i) % (high - low));
    }
    return x;
  }
  void Expect(const std::string& op, const Attrs& attrs, const std::vector<HostTensor>& inputs,
              const RunOptions& options = {}) {
    ExpectLikeCpu(op, attrs, inputs, GetParam(), options);
  }

 private:
  uint64_t seed_ = 100;
};

TEST_P(CudaPacks, Pointwise) {
  // 1003: packs and a rest.
  for (const char* op : {"gelu", "silu", "tanh"}) Expect(op, {}, {X({1003})});
  for (const char* op : {"gelu_grad", "silu_grad", "silu_gate", "mul"}) {
    Expect(op, {}, {X({17, 59}), X({17, 59})});
  }
  // Within a block's tile, and over several.
  for (int64_t n : {1003, 9001}) {
    Expect("silu_gate", {}, {X({n}), X({n})});
    Expect("silu_gate_grad", {}, {X({n}), X({n}), X({n})});
  }
  Expect("add", {}, {X({3, 5, 64}), X({64})});
  Expect("add", {}, {X({3, 5, 64}), X({5, 1})});
  Expect("sub", {}, {X({1, 5, 32}), X({3, 1, 32})});
  Expect("mul", {}, {X({}), X({7, 16})});
  Expect("cast", {{"dtype", std::string("f32")}}, {X({1003})});
  Expect("cast", {{"dtype", std::string("bf16")}}, {X({1003})});
  Expect("dropout", {{"rate", 0.3}, {"tag", int64_t{5}}}, {X({7, 300}), Scalar(9, DType::kI64)});
}

TEST_P(CudaPacks, Movement) {
  Expect("transpose", {{"perm", Ints{1, 0}}}, {X({70, 45})});
  Expect("transpose", {{"perm", Ints{0, 2, 1, 3}}}, {X({2, 9, 8, 16})});
  Expect("transpose", {{"perm", Ints{2, 1, 0}}}, {X({40, 3, 37})});
  Expect("slice", {{"begins", Ints{0, 16}}, {"ends", Ints{9, 48}}}, {X({9, 64})});
  Expect("pad", {{"begins", Ints{1, 8}}, {"shape", Ints{11, 64}}}, {X({9, 32})});
  Expect("concat", {{"axis", int64_t{-1}}}, {X({9, 32}), X({9, 16}), X({9, 64})});
  Expect("broadcast_to", {{"shape", Ints{6, 5, 64}}}, {X({5, 64})});
}

TEST_P(CudaPacks, Norms) {
  for (int64_t h : {16, 200, 4104}) {
    Expect("rms_norm", {}, {X({3, 5, h}), X({h})});
    Expect("layer_norm", {}, {X({3, 5, h}), X({h}), X({h})});
    Expect("rms_norm_grad", {},
           {X({600 / h + 3, h}), X({600 / h + 3, h}), X({h}), Wide({600 / h + 3}, 0.5, 1)});
    Expect("layer_norm_grad", {},
           {X({4, h}), X({4, h}), X({h}), Wide({4}, -1, 1), Wide({4}, 0.5, 1)});
    Expect("rms_norm_grad", {}, {X({9, h}), X({9, h}), X({h}), Wide({9}, 0.5, 1), X({9, h})});
  }
  // Rows too long for shared memory, and more rows than blocks.
  Expect("layer_norm_grad", {},
         {X({2, 12801}), X({2, 12801}), X({12801}), Wide({2}, -1, 1), Wide({2}, 0.5, 1)});
  Expect("rms_norm_grad", {}, {X({2200, 8}), X({2200, 8}), X({8}), Wide({2200}, 0.5, 1)});
  const HostTensor many = Wide({2200}, 0.5, 1);
  Expect("rms_norm_grad", {}, {X({2200, 8}), X({2200, 8}), X({8}), many, X({2200, 8})});
  Expect("layer_norm_grad", {},
         {X({2200, 8}), X({2200, 8}), X({8}), Wide({2200}, -1, 1), many, X({2200, 8})});
  // A warp's row and half of one.
  for (int64_t h : {2048, 1024}) Expect("rms_norm", {}, {X({19, h}), X({h})});
  // Too long for a team's registers.
  Expect("rms_norm", {}, {X({2, 16400}), X({16400})});
  Expect("layer_norm", {}, {X({2, 8200}), X({8200}), X({8200})});
  Expect("rms_norm_grad", {}, {X({3, 8200}), X({3, 8200}), X({8200}), Wide({3}, 0.5, 1)});
}

TEST_P(CudaPacks, RopeAndSoftmax) {
  for (bool interleaved : {false, true}) {
    Expect("rope", {{"interleaved", interleaved}}, {X({2, 5, 3, 32})});
    // More heads than a block has at a time; more pairs than it has threads.
    Expect("rope", {{"interleaved", interleaved}}, {X({2, 3, 300, 32})});
    Expect("rope", {{"interleaved", interleaved}}, {X({1, 3, 2, 602})});
  }
  // Several rows a block, one, and rows too long for registers.
  for (int64_t n : {700, 1101, 4096}) {
    Expect("softmax", {}, {X({5, n})});
    Expect("softmax_grad", {}, {X({5, n}, 0, 1), X({5, n})});
  }
  Expect("softmax", {{"axis", int64_t{0}}}, {X({9, 300})});
}

TEST_P(CudaPacks, Reductions) {
  for (const char* op : {"reduce_sum", "reduce_mean", "reduce_max"}) {
    Expect(op, {}, {X({3, 9000})});
    Expect(op, {{"axes", Ints{0}}}, {X({9000, 3})});
    Expect(op, {{"axes", Ints{0}}}, {X({700, 64})});
    Expect(op, {{"axes", Ints{0, 2}}}, {X({5, 33, 40})});
    Expect(op, {{"axes", Ints{1}}}, {X({3, 50, 70})});
    Expect(op, {{"axes", Ints{1}}}, {X({3, 50, 72})});
  }
  for (int64_t n : {8195, 1200000}) Expect("sum_squares", {}, {X({n})});
}

TEST_P(CudaPacks, Tables) {
  Expect("embedding", {}, {Tokens({3, 50}, -1, 11), X({11, 32})});
  Expect("embedding_grad", {{"vocab", int64_t{11}}}, {Tokens({3, 50}, -1, 11), X({3, 50, 32})});
  Expect("embedding_grad", {{"vocab", int64_t{1500}}}, {Tokens({300}, 0, 1500), X({300, 16})});
  Expect("embedding_grad", {{"vocab", int64_t{9}}}, {Tokens({20}, -1, 9), X({20, 8200})});
  struct Head {
    int64_t rows, vocab, hidden;
  };
  // Aligned; and large enough for the products to have scratch, which starts at an odd address.
  for (const auto& [rows, vocab, hidden] : {Head{70, 80, 16}, Head{271, 2100, 96}}) {
    const std::vector<HostTensor> head = {X({rows, hidden}, -0.5, 0.5),
                                          X({vocab, hidden}, -0.5, 0.5),
                                          Tokens({rows}, -1, static_cast<int>(vocab))};
    Expect("head_cross_entropy", {}, head);
    Expect(
        "head_cross_entropy_grad", {},
        {head[0], head[1], head[2], Wide({rows}, 2, 3), Wide({rows}, -1, 1), Wide({rows}, -1, 1)});
    const std::vector<HostTensor> merged = {head[0], head[1], head[2], Wide({rows}, -1, 1),
                                            Wide({rows}, -1, 1)};
    Expect("head_cross_entropy_with_grad", {}, merged);
    Expect("head_cross_entropy_with_grad", {}, merged,
           {.present = {merged[3], merged[4], X({rows, hidden}), X({vocab, hidden})}});
  }
  Expect("token_loss", {},
         {Wide({3000}, 2, 4), Wide({3000}), Tokens({3000}, -1, 9), Wide({}, 0.25, 0.5)});
}

TEST_P(CudaPacks, Optimizers) {
  const Shape n = {1003};
  Expect("sgd", {{"weight_decay", 0.1}}, {Wide(n), Wide(n), X(n), Scalar(0.1), Scalar(0.5)});
  // Within a tile, and over two whole ones and a part; with the sum of squares and without.
  for (const Shape& shape : {n, Shape{17000}, Shape{16384}}) {
    for (int unread : {-1, 3}) {
      Expect("adamw", {{"weight_decay", 0.1}},
             {Wide(shape), Wide(shape), Wide(shape, 0.5, 2.5), X(shape), Scalar(0.1), Scalar(3),
              Scalar(0.5)},
             {.unread = unread});
    }
  }
  Expect("lamb_update", {}, {Wide(n), Wide(n), Wide(n, 0.5, 2.5), X(n), Scalar(3), Scalar(0.5)});
  // What is skipped stays, bit for bit.
  for (double skip : {0.0, 1.0}) {
    Expect("sgd", {}, {Wide(n), Wide(n), X(n), Scalar(0.1), Scalar(0.5), Scalar(skip)});
    Expect("adamw", {},
           {Wide(n), Wide(n), Wide(n, 0.5, 2.5), X(n), Scalar(0.1), Scalar(3), Scalar(0.5),
            Scalar(skip)});
    Expect("lamb_update", {},
           {Wide(n), Wide(n), Wide(n, 0.5, 2.5), X(n), Scalar(3), Scalar(0.5), Scalar(skip)});
    Expect("lamb_apply", {},
           {Wide(n), Wide(n), Scalar(3, DType::kF64), Scalar(5, DType::kF64), Scalar(0.1),
            Scalar(skip)});
  }
}

TEST_P(CudaPacks, Products) {
  // Alone, plus what is there, plus an addend, and plus an addend that shares its memory.
  const auto einsum = [&](const char* equation, const Shape& a, const Shape& b, const Shape& c) {
    Attrs attrs = {{"equation", std::string(equation)}};
    const std::vector<HostTensor> factors = {X(a), X(b)};
    const auto expect = [&](const HostTensor& addend) {
      Expect("einsum", attrs, factors);
      Expect("einsum", attrs, factors, {.present = {addend}});
      const std::vector<HostTensor> operands = {factors[0], factors[1], addend};
      Expect("einsum", attrs, operands);
      Expect("einsum", attrs, operands, {.aliased = {{2, 0}}});
    };
    expect(X(c));
    // The same in the dtype of sums, without rounding.
    const HostTensor wide = Wide(c);
    attrs.Set("dtype", std::string(Name(wide.spec.dtype)));
    expect(wide);
  };
  einsum("bsh,hnd->bsnd", {2, 16, 64}, {64, 4, 16}, {2, 16, 4, 16});
  einsum("bsnd,hnd->bsh", {2, 16, 4, 16}, {64, 4, 16}, {2, 16, 64});
  einsum("bsh,bsnd->hnd", {2, 16, 64}, {2, 16, 4, 16}, {64, 4, 16});
  einsum("bsnd,btnd->bnst", {2, 16, 4, 8}, {2, 24, 4, 8}, {2, 4, 16, 24});
  einsum("bnst,btnd->bsnd", {2, 4, 16, 24}, {2, 24, 4, 8}, {2, 16, 4, 8});
  einsum("bsh,hnd->dbns", {2, 8, 32}, {32, 3, 8}, {8, 2, 3, 8});
}

// Sizes that cuDNN takes, in bf16 and f16: causal or not, a window, grouped heads, more keys than
// queries.
TEST_P(CudaPacks, Attention) {
  struct Case {
    int64_t s, t, heads, kv_heads, d;
    bool causal;
    int64_t window = 0;
  };
  for (const Case& c :
       {Case{64, 64, 4, 4, 64, true}, Case{64, 128, 4, 2, 64, false}, Case{72, 72, 2, 1, 128, true},
        Case{40, 40, 2, 2, 32, true}, Case{200, 200, 4, 2, 64, true, 48},
        Case{64, 64, 2, 2, 64, true, 1}, Case{64, 64, 2, 2, 64, false, 9}}) {
    const Shape q = {2, c.s, c.heads, c.d}, k = {2, c.t, c.kv_heads, c.d};
    const Shape rows = {2, c.s, c.heads};
    const Attrs attrs{{"causal", c.causal}, {"window", c.window}};
    const std::vector<HostTensor> operands = {X(q, -1, 1), X(k, -1, 1), X(k, -1, 1)};
    Expect("attention", attrs, operands);
    // The gradient of what the forward pass really gave: delta and lse belong together.
    const OpDef& op = *CudaLawOps().Find("attention");
    const auto forward = RunKernel(op, Completed(op, attrs), operands);
    ASSERT_TRUE(forward.ok()) << forward.status();
    Expect("attention_grad", attrs,
           {X(q, -1, 1), operands[0], operands[1], operands[2], (*forward)[0], (*forward)[1]});
  }
}

// Blocks of those sizes: alone, after others, in either dtype; with o, of which cuDNN makes delta.
TEST_P(CudaPacks, AttentionBlocks) {
  for (bool causal : {false, true}) {
    const Shape q = {2, 72, 4, 64}, k = {2, 72, 2, 64}, rows = {2, 72, 4};
    Attrs attrs{{"causal", causal}};
    const HostTensor x = X(q, -1, 1), keys = X(k, -1, 1), values = X(k, -1, 1);
    HostTensor o_before = X(q, -1, 1), lse_before = Wide(rows, 2, 5);
    o_before.spec.dtype = lse_before.spec.dtype;
    for (size_t i = 0; i < lse_before.values.size(); i += 5) lse_before.values[i] = -HUGE_VAL;
    Expect("attention_block", attrs, {x, keys, values});
    Expect("attention_block", attrs, {x, keys, values, o_before, lse_before});
    attrs.Set("dtype", std::string(Name(x.spec.dtype)));
    Expect("attention_block", attrs, {x, keys, values, o_before, lse_before});
    const OpDef& op = *CudaLawOps().Find("attention_block");
    const auto forward = RunKernel(op, Completed(op, attrs), {x, keys, values});
    ASSERT_TRUE(forward.ok()) << forward.status();
    const HostTensor doo = X(q, -1, 1);
    const auto delta = RunKernel(*CudaLawOps().Find("attention_delta"), {}, {doo, (*forward)[0]});
    ASSERT_TRUE(delta.ok()) << delta.status();
    std::vector<HostTensor> operands = {doo, x, keys, values, (*forward)[1], (*delta)[0], Absent()};
    for (const Shape& shape : {q, k, k}) operands.push_back(Wide(shape, -1, 1));
    operands.push_back((*forward)[0]);
    Expect("attention_block_grad", {{"causal", causal}}, operands);
    for (int i : {7, 8, 9}) operands[i] = Absent();
    Expect("attention_block_grad", {{"causal", causal}}, operands);
  }
}

// As many logits as are made in two pieces; for 16-bit floats, in two groups, whose sums are kept
// wide.
TEST_P(CudaPacks, SlowHeadInPieces) {
  const int64_t rows = 2100, vocab = SizeOf(GetParam()) == 2 ? 262160 : 33000, hidden = 8;
  Expect("head_cross_entropy_with_grad", {},
         {X({rows, hidden}, -0.5, 0.5), X({vocab, hidden}, -0.5, 0.5),
          Tokens({rows}, -1, static_cast<int>(vocab)), Wide({rows}, -1, 1), Wide({rows}, -1, 1)});
}

INSTANTIATE_TEST_SUITE_P(All, CudaPacks,
                         ::testing::Values(DType::kF64, DType::kF32, DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace weft::testing
