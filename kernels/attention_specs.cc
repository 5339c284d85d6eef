#include "kernels/attention_specs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/attention_geometry.h"
#include "kernels/infer.h"
#include "runtime/status.h"

namespace weft {

std::map<std::string, Attr> AttentionAttrs() {
  return {{"causal", false}, {"scale", 0.0}, {"window", int64_t{0}}};
}

bool IsGiven(const InferContext& c, int i) { return i < c.num_inputs() && c.in(i) != TensorSpec{}; }

absl::StatusOr<TensorSpec> CheckHeads(const InferContext& c, std::string_view op, int first) {
  const TensorSpec &q = c.in(first), &k = c.in(first + 1), &v = c.in(first + 2);
  WEFT_RETURN_IF_ERROR(RequireFloat(q));
  const auto error = [&](std::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(op), " of q ", q.ToString(), ", k ",
                                                   k.ToString(), ", v ", v.ToString(), ": ",
                                                   std::string(what)));
  };
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4) {
    return error("each must be [batch,sequence,heads,head_dim]");
  }
  if (q.dtype != k.dtype || q.dtype != v.dtype) return error("dtypes differ; cast them to one");
  if (q.shape[0] != k.shape[0] || k.shape[0] != v.shape[0]) return error("batches differ");
  if (k.shape[1] != v.shape[1]) return error("k and v differ in length");
  if (k.shape[2] != v.shape[2]) return error("k and v differ in heads");
  if (q.shape[3] != k.shape[3]) return error("q and k differ in head_dim");
  if (k.shape[2] == 0 || q.shape[2] % k.shape[2] != 0) {
    return error("the heads of k and v must divide those of q");
  }
  if (c.attrs.Int("window") < 0) {
    return error(
        absl::StrCat("window is ", c.attrs.Int("window"), "; it counts positions, 0 being none"));
  }
  return TensorSpec{{q.shape[0], q.shape[1], q.shape[2], v.shape[3]}, q.dtype};
}

absl::Status CheckIfGiven(const InferContext& c, int i, std::string_view name,
                          const TensorSpec& want) {
  if (!IsGiven(c, i) || c.in(i) == want) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(std::string(name), " is ", c.in(i).ToString(),
                                                 "; it must be ", want.ToString(), " or absent"));
}

absl::Status CheckVisible(const InferContext& c, int i, const TensorSpec& o) {
  return CheckIfGiven(c, i, "visible, the key positions [begin, end) that each row of q sees,",
                      {{o.shape[0], o.shape[1], 2}, DType::kI32});
}

DType BlockResultDType(const Attrs& attrs, DType operands) {
  return attrs.String("dtype") == Name(operands) ? operands : WideDType(operands);
}

AttentionFactors::AttentionFactors(const LayoutContext& c, int q, Options options) {
  const int batch = map.Add({.name = "batch"});
  const bool grouped = c.in(q).shape[2] != c.in(q + 1).shape[2];
  const int kv_head = map.Add({.name = "kv_heads"});
  int head = kv_head;
  if (grouped) {
    Factor heads{.name = "heads", .runs_of = kv_head};
    if (options.sums) heads.reduce = {Monoid::kSum};
    head = map.Add(heads);
  }
  int queries = kWhole, keys = kWhole;
  if (options.meets && c.in(q).shape[1] == c.in(q + 1).shape[1]) {
    keys = map.Add({.name = "keys"});
    queries = map.Add({.name = "queries", .reduce = {Monoid::kSum}, .meets = keys});
  }
  rows = {batch, queries, head, kWhole};
  statistics = {batch, queries, head};
  kv_rows = {batch, keys, kv_head, kWhole};
  visible = {batch, queries, kWhole};
}

std::vector<int> AttentionFactors::IfGiven(const LayoutContext& c, int i,
                                           const std::vector<int>& dims) const {
  return IsGiven(c, i) ? dims : std::vector<int>();
}

double SeenShare(const Attrs& attrs, double t) {
  const auto window = static_cast<double>(attrs.Int("window"));
  const double near = window > 0 && window < t ? window / t : 1;
  return near * (2 - near) * (attrs.Bool("causal") ? 0.5 : 1.0);
}

Cost AttentionCost(const CostContext& c, int q, double products, double share) {
  const AttentionSize size(c.inputs[q].shape, c.inputs[q + 1].shape, c.inputs[q + 2].shape);
  const double pairs = static_cast<double>(size.batch * size.heads) * size.s * size.t * share;
  return {.flops = pairs * (products * (size.d + size.dv) + 5) + 1,
          .bytes = static_cast<double>(c.bytes())};
}

}  // namespace weft
