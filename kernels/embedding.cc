// embedding: rows of a table by token. The table may be split by vocabulary: a rank gives zeros for
// tokens whose row it lacks, and the parts add up.
#include <algorithm>
#include <cstring>

#include "graph/grad_context.h"
#include "kernels/device_workspace.h"
#include "kernels/infer.h"
#include "kernels/op_list.h"
#include "kernels/row_math.h"
#include "kernels/scratch.h"
#include "kernels/wide_row.h"

namespace weft {
namespace {

absl::Status TokenError(std::string_view op, int64_t token, int64_t vocab) {
  return absl::OutOfRangeError(absl::StrCat(std::string(op), ": token ", token,
                                            " is not below the vocabulary size ", vocab,
                                            "; give the table more rows, or check the data"));
}

absl::Status EmbeddingCpu(const KernelContext& k) {
  const Operand &tokens = k.in(0), &table = k.in(1), &out = k.out(0);
  const IndexSet& rows = table.box->dims[0];
  const IndexSet& columns = table.box->dims[1];
  const int64_t row_bytes = columns.size() * SizeOf(table.dtype());
  const int64_t n = tokens.elements();
  char* to = out.as<char>();
  for (int64_t i = 0; i < n; ++i, to += row_bytes) {
    const int32_t token = tokens.as<int32_t>()[i];
    if (token >= table.logical->shape[0]) {
      return TokenError("embedding", token, table.logical->shape[0]);
    }
    const int64_t row = token < 0 ? -1 : rows.ToLocal(token);
    if (row < 0) {
      std::memset(to, 0, row_bytes);
    } else {
      std::memcpy(to, table.as<char>() + row * row_bytes, row_bytes);
    }
  }
  return absl::OkStatus();
}

// Adds rows in token order, so that the sum does not depend on timing.
template <typename T>
absl::Status EmbeddingGrad(const KernelContext& k) {
  using W = ArithmeticOf<T>;
  const Operand &tokens = k.in(0), &dy = k.in(1), &out = k.out(0);
  const IndexSet& rows = out.box->dims[0];
  const int64_t h = out.shape[1], n = tokens.elements();
  Scratch scratch(k.workspace);
  W* sums;
  if constexpr (std::is_same_v<T, W>) {
    sums = out.as<T>();
    if (!k.adds(0)) std::fill_n(sums, out.elements(), W(0));
  } else {
    sums = scratch.Take<W>(out.elements());
    if (k.adds(0)) {
      ConvertRow(sums, out.as<T>(), out.elements());
    } else {
      std::fill_n(sums, out.elements(), W(0));
    }
  }
  W* wide = scratch.Take<W>(h);
  for (int64_t i = 0; i < n; ++i) {
    const int32_t token = tokens.as<int32_t>()[i];
    if (token >= out.logical->shape[0]) {
      return TokenError("embedding_grad", token, out.logical->shape[0]);
    }
    const int64_t row = token < 0 ? -1 : rows.ToLocal(token);
    if (row >= 0) RowAdd(sums + row * h, WideRow(dy.as<T>() + i * h, h, wide), h, 1);
  }
  if constexpr (!std::is_same_v<T, W>) ConvertRow(out.as<T>(), sums, out.elements());
  return absl::OkStatus();
}

absl::Status EmbeddingGradCpu(const KernelContext& k) {
  return RunForFloat(k.out(0).dtype(), [&](auto type) { return EmbeddingGrad<decltype(type)>(k); });
}

int64_t EmbeddingGradWorkspace(const CostContext& c) {
  const TensorSpec& out = c.outputs[0];
  const int64_t h = out.shape[1];
  Scratch scratch(nullptr);
  if (out.dtype == DType::kF64) {
    scratch.Take<double>(h);
  } else {
    if (IsHalf(out.dtype)) scratch.Take<float>(out.elements());
    scratch.Take<float>(h);
  }
  return scratch.used();
}

InferredSpecs InferEmbedding(const InferContext& c) {
  const TensorSpec &tokens = c.in(0), &table = c.in(1);
  if (tokens.dtype != DType::kI32 || table.rank() != 2 || !IsFloat(table.dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("embedding needs i32 tokens and a float table [vocab,hidden], got ",
                     tokens.ToString(), " and ", table.ToString()));
  }
  TensorSpec out{tokens.shape, table.dtype};
  out.shape.push_back(table.shape[1]);
  return std::vector<TensorSpec>{out};
}

InferredSpecs InferEmbeddingGrad(const InferContext& c) {
  const TensorSpec &tokens = c.in(0), &dy = c.in(1);
  const bool fits = dy.rank() == tokens.rank() + 1 &&
                    std::equal(tokens.shape.begin(), tokens.shape.end(), dy.shape.begin());
  if (tokens.dtype != DType::kI32 || !fits) {
    return absl::InvalidArgumentError(
        absl::StrCat("embedding_grad needs i32 tokens [...] and dy [...,hidden], got ",
                     tokens.ToString(), " and ", dy.ToString()));
  }
  WEFT_RETURN_IF_ERROR(RequireFloat(dy));
  return std::vector<TensorSpec>{{{c.attrs.Int("vocab"), dy.shape.back()}, dy.dtype}};
}

// Factors of both ops: one per token dimension, then vocabulary and hidden.
FactorMap EmbeddingLayout(const LayoutContext& c) {
  FactorMap map;
  std::vector<int> rows;
  for (int d = 0; d < c.in(0).rank(); ++d) rows.push_back(map.Add({absl::StrCat("d", d), {}}));
  const int vocab = map.Add({"vocab", {Monoid::kSum}});
  const int hidden = map.Add({"hidden", {}});
  map.inputs = {rows, {vocab, hidden}};
  rows.push_back(hidden);
  map.outputs = {rows};
  map.linear = {{Monoid::kSum, {1}}};
  return map;
}

FactorMap EmbeddingGradLayout(const LayoutContext& c) {
  FactorMap map;
  std::vector<int> rows;
  for (int d = 0; d < c.in(0).rank(); ++d) {
    rows.push_back(map.Add({absl::StrCat("d", d), {Monoid::kSum}}));
  }
  const int vocab = map.Add({"vocab", {}});
  const int hidden = map.Add({"hidden", {}});
  map.inputs = {rows, rows};
  map.inputs[1].push_back(hidden);
  map.outputs = {{vocab, hidden}};
  map.linear = {{Monoid::kSum, {1}}};
  return map;
}

}  // namespace

void DefineEmbedding(OpRegistry& ops) {
  ops.Add({
      .name = "embedding",
      .inputs = {"tokens", "table"},
      .outputs = {"y"},
      .attrs = {},
      .infer = InferEmbedding,
      .layout = EmbeddingLayout,
      .gradient = [](GradContext& g) -> std::vector<Value> {
        const int64_t vocab = g.spec(g.input(1)).shape[0];
        return {Value(),
                g.Emit1("embedding_grad", {g.input(0), g.output_grad(0)}, {{"vocab", vocab}})};
      },
      .cost =
          [](const CostContext& c) {
            return Cost{.flops = static_cast<double>(c.outputs[0].elements()),
                        .bytes = 2.0 * c.outputs[0].bytes()};
          },
      .cpu = EmbeddingCpu,
  });
  ops.Add({
      .name = "embedding_grad",
      .inputs = {"tokens", "dy"},
      .outputs = {"dtable"},
      .attrs = {{"vocab", int64_t{0}}},
      .infer = InferEmbeddingGrad,
      .layout = EmbeddingGradLayout,
      .cost =
          [](const CostContext& c) {
            return Cost{.flops = static_cast<double>(c.inputs[1].elements()),
                        .bytes = static_cast<double>(c.bytes())};
          },
      .workspace = EmbeddingGradWorkspace,
      .cuda_workspace = EmbeddingGradCudaWorkspace,
      .cpu = EmbeddingGradCpu,
      .accumulates = {0},
  });
}

}  // namespace weft
