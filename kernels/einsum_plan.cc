#include "kernels/einsum_plan.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

enum Side { kA, kB, kC };
constexpr int64_t kAbsent = -1;

struct Label {
  int64_t extent = 1;
  std::array<int64_t, 3> stride = {kAbsent, kAbsent, kAbsent};  // in A, B, C
  bool in(Side side) const { return stride[side] != kAbsent; }
};
using Labels = absl::InlinedVector<Label, 8>;

bool Distinct(std::string_view labels) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels.find(labels[i], i + 1) != std::string_view::npos) return false;
  }
  return true;
}

bool Letters(std::string_view labels) {
  return std::all_of(labels.begin(), labels.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  });
}

// The labels of the equation with extents above 1, in the order of `text`, with dense strides.
void AddLabels(std::string_view text, Side side, absl::Span<const int64_t> shape,
               absl::InlinedVector<char, 8>& names, Labels& labels) {
  int64_t stride = 1;
  for (int d = static_cast<int>(text.size()) - 1; d >= 0; --d) {
    auto at = std::find(names.begin(), names.end(), text[d]);
    if (at == names.end()) {
      names.push_back(text[d]);
      Label label;
      label.extent = shape[d];
      labels.push_back(label);
      at = names.end() - 1;
    }
    labels[at - names.begin()].stride[side] = stride;
    stride *= shape[d];
  }
}

// Labels in the order of one operand, outermost first; labels that it lacks are last. Stable; by
// insertion, since std::stable_sort allocates.
void SortBy(Side side, Labels& labels) {
  const auto outer = [side](const Label& x, const Label& y) {
    return x.stride[side] > y.stride[side];
  };
  for (auto next = labels.begin(); next != labels.end(); ++next) {
    std::rotate(std::upper_bound(labels.begin(), next, *next, outer), next, next + 1);
  }
}

// The labels by role: in all three; in A and C; in B and C; summed.
struct Groups {
  Labels batch, m, n, k;
  Labels& of(const Label& x) {
    if (!x.in(kC)) return k;
    if (x.in(kA)) return x.in(kB) ? batch : m;
    return n;
  }
};

// Replaces the strides of `side` by those of a dense copy over the groups in order.
EinsumPacking Pack(Side side, std::initializer_list<Labels*> groups) {
  EinsumPacking packing;
  packing.used = true;
  packing.elements = 1;
  for (Labels* group : groups) {
    for (Label& x : *group) {
      packing.dims.push_back({x.extent, x.in(side) ? x.stride[side] : 0});
    }
  }
  for (auto group = std::rbegin(groups); group != std::rend(groups); ++group) {
    for (auto x = (*group)->rbegin(); x != (*group)->rend(); ++x) {
      x->stride[side] = packing.elements;
      packing.elements *= x->extent;
    }
  }
  return packing;
}

// The labels as one dimension, if both operands step through them evenly.
std::optional<EinsumDim> Merge(const Labels& labels, Side first, Side second) {
  EinsumDim merged{1, 1, 1, 1};
  std::array<int64_t, 3> strides = {1, 1, 1};
  for (size_t i = labels.size(); i-- > 0;) {
    const Label& x = labels[i];
    if (!x.in(first) || !x.in(second)) return std::nullopt;
    if (i + 1 == labels.size()) strides = x.stride;
    for (Side side : {first, second}) {
      if (x.stride[side] != strides[side] * merged.extent) return std::nullopt;
    }
    merged.extent *= x.extent;
  }
  merged.a = strides[kA];
  merged.b = strides[kB];
  merged.c = strides[kC];
  return merged;
}

bool HasUnitStride(const EinsumDim& x, int64_t x_stride, const EinsumDim& y, int64_t y_stride) {
  return x.extent == 1 || y.extent == 1 || x_stride == 1 || y_stride == 1;
}

// The plan that packs exactly the operands of `mask`, if there is one.
std::optional<EinsumPlan> TryPlan(Groups groups, unsigned mask) {
  const auto packs = [mask](Side side) { return (mask >> side & 1) != 0; };
  EinsumPlan plan;
  SortBy(kC, groups.batch);
  SortBy(packs(kC) ? kA : kC, groups.m);
  SortBy(packs(kC) ? kB : kC, groups.n);
  SortBy(packs(kA) ? kB : kA, groups.k);
  if (packs(kA)) plan.a = Pack(kA, {&groups.batch, &groups.m, &groups.k});
  if (packs(kB)) plan.b = Pack(kB, {&groups.batch, &groups.k, &groups.n});
  if (packs(kC)) plan.c = Pack(kC, {&groups.batch, &groups.m, &groups.n});
  const std::optional<EinsumDim> m = Merge(groups.m, kA, kC);
  const std::optional<EinsumDim> n = Merge(groups.n, kB, kC);
  const std::optional<EinsumDim> k = Merge(groups.k, kA, kB);
  if (!m || !n || !k) return std::nullopt;
  if (!HasUnitStride(*m, m->a, *k, k->a) || !HasUnitStride(*k, k->b, *n, n->b) ||
      !HasUnitStride(*m, m->c, *n, n->c)) {
    return std::nullopt;
  }
  plan.m = *m;
  plan.n = *n;
  plan.k = *k;
  for (const Label& x : groups.batch) {
    plan.batch.push_back({x.extent, x.stride[kA], x.stride[kB], x.stride[kC]});
  }
  return plan;
}

}  // namespace

absl::StatusOr<EinsumEquation> ParseEinsum(std::string_view text) {
  const size_t comma = text.find(','), arrow = text.find("->");
  if (comma == std::string_view::npos || arrow == std::string_view::npos || comma > arrow) {
    return absl::InvalidArgumentError(
        absl::StrCat("equation \"", std::string(text), "\" is not of the form \"bsh,hf->bsf\""));
  }
  EinsumEquation e{text.substr(0, comma), text.substr(comma + 1, arrow - comma - 1),
                   text.substr(arrow + 2)};
  for (std::string_view part : {e.a, e.b, e.out}) {
    if (!Letters(part) || !Distinct(part)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "equation \"", std::string(text), "\": \"", std::string(part),
          "\" must be letters, each at most once"));
    }
  }
  for (char c : e.out) {
    if (e.a.find(c) == std::string_view::npos && e.b.find(c) == std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("equation \"", std::string(text), "\": label '",
                                                     std::string(1, c),
                                                     "' of the result is in no operand"));
    }
  }
  return e;
}

EinsumPlan PlanEinsum(const EinsumEquation& equation, absl::Span<const int64_t> a_shape,
                      absl::Span<const int64_t> b_shape) {
  absl::InlinedVector<char, 8> names;
  Labels labels;
  AddLabels(equation.a, kA, a_shape, names, labels);
  AddLabels(equation.b, kB, b_shape, names, labels);
  absl::InlinedVector<int64_t, 6> c_shape;
  for (char c : equation.out) {
    c_shape.push_back(labels[std::find(names.begin(), names.end(), c) - names.begin()].extent);
  }
  AddLabels(equation.out, kC, c_shape, names, labels);
  Groups groups;
  bool empty = false;
  for (const Label& x : labels) {
    empty = empty || x.extent == 0;
    if (x.extent > 1) groups.of(x).push_back(x);
  }
  std::optional<EinsumPlan> best;
  int64_t best_elements = 0;
  for (unsigned mask = 0; mask < 8; ++mask) {
    std::optional<EinsumPlan> plan = TryPlan(groups, mask);
    if (!plan) continue;
    const int64_t elements = plan->a.elements + plan->b.elements + plan->c.elements;
    if (!best || elements < best_elements) {
      best = std::move(plan);
      best_elements = elements;
    }
    if (mask == 0) break;
  }
  CHECK(best.has_value()) << "packing every operand always works";
  best->empty = empty;
  return *std::move(best);
}

}  // namespace weft
