#include "tests/kernels/op_parts.h"

#include <cmath>

#include "runtime/status.h"

namespace weft::testing {
namespace {

using Coordinates = std::vector<int>;

Coordinates CoordinatesOf(int rank, const std::vector<int>& sizes) {
  Coordinates at(sizes.size());
  for (int a = static_cast<int>(sizes.size()) - 1; a >= 0; --a) {
    at[a] = rank % sizes[a];
    rank /= sizes[a];
  }
  return at;
}

// What the axes do to operand or result i.
std::vector<Sbp> LayoutOf(const std::vector<Signature>& per_axis, bool input, size_t i) {
  std::vector<Sbp> layout;
  for (const Signature& s : per_axis) layout.push_back(input ? s.inputs[i] : s.outputs[i]);
  return layout;
}

Box BoxAt(const TensorSpec& spec, const std::vector<Sbp>& layout, const std::vector<int>& sizes,
          const Coordinates& at) {
  Box box = Box::Whole(spec.shape);
  for (size_t a = 0; a < layout.size(); ++a) {
    if (!layout[a].is_split()) continue;
    IndexSet& dim = box.dims[layout[a].dim()];
    dim = PartOf(dim, at[a], sizes[a], layout[a].order());
  }
  return box;
}

// Which of `count` summands of the partial axes a rank holds.
struct Summand {
  int index = 0;
  int count = 1;
  Monoid monoid = Monoid::kSum;
};

Summand SummandAt(const std::vector<Sbp>& layout, const std::vector<int>& sizes,
                  const Coordinates& at) {
  Summand summand;
  for (size_t a = 0; a < layout.size(); ++a) {
    if (!layout[a].is_partial()) continue;
    summand.index = summand.index * sizes[a] + at[a];
    summand.count *= sizes[a];
    summand.monoid = layout[a].monoid();
  }
  return summand;
}

// Sums: multiples of 1/16 whose last makes up the rest. Maxima: the value at one part, less
// elsewhere.
double SummandOf(double x, const Summand& summand, uint64_t seed, int64_t i) {
  if (summand.count == 1) return x;
  auto random = [&](int part) {
    return static_cast<double>(HashOf(seed + 977 * (part + 1), i) % 33) / 16 - 1;
  };
  if (summand.monoid == Monoid::kSum) {
    if (summand.index + 1 < summand.count) return random(summand.index);
    for (int part = 0; part + 1 < summand.count; ++part) x -= random(part);
    return x;
  }
  const bool holds = static_cast<int>(HashOf(seed, i) % summand.count) == summand.index;
  return holds ? x : x - 1 - std::abs(random(summand.index));
}

double Combine(Monoid monoid, double a, double b) {
  switch (monoid) {
    case Monoid::kSum: return a + b;
    case Monoid::kMax: return std::max(a, b);
    case Monoid::kLogAddExp: {
      const double high = std::max(a, b);
      return std::isinf(high) ? high : high + std::log1p(std::exp(-std::abs(a - b)));
    }
  }
  return 0;
}

// Result i of the ranks, in rank order, as one tensor.
absl::StatusOr<HostTensor> Join(const TensorSpec& spec, const std::vector<Sbp>& layout,
                                const std::vector<int>& sizes,
                                const std::vector<HostTensor>& parts) {
  HostTensor whole = Whole(spec, std::vector<double>(spec.elements()));
  std::vector<int> writes(spec.elements(), 0);
  int expected = 1;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    const Coordinates at = CoordinatesOf(static_cast<int>(rank), sizes);
    int first = 0;  // the rank at coordinate 0 of the broadcast axes
    for (size_t a = 0; a < layout.size(); ++a) {
      first = first * sizes[a] + (layout[a].is_broadcast() ? 0 : at[a]);
    }
    if (first != static_cast<int>(rank)) {
      if (parts[rank].values != parts[first].values) return absl::InternalError("copies differ");
      continue;
    }
    const Summand summand = SummandAt(layout, sizes, at);
    expected = summand.count;
    ForEachElement(parts[rank].box, spec.shape, [&](int64_t local, int64_t logical) {
      const double value = parts[rank].values[local];
      double& to = whole.values[logical];
      to = writes[logical]++ == 0 ? value : Combine(summand.monoid, to, value);
    });
  }
  for (int n : writes) {
    if (n != expected) return absl::InternalError(absl::StrCat("an element is made ", n, " times"));
  }
  return whole;
}

}  // namespace

absl::StatusOr<std::vector<HostTensor>> RunParts(const OpDef& op, const Attrs& attrs,
                                                 const std::vector<HostTensor>& inputs,
                                                 const std::vector<TensorSpec>& results,
                                                 const std::vector<Signature>& per_axis,
                                                 const std::vector<int>& sizes) {
  int ranks = 1;
  for (int size : sizes) ranks *= size;
  std::vector<std::vector<HostTensor>> parts(results.size());
  for (int rank = 0; rank < ranks; ++rank) {
    const Coordinates at = CoordinatesOf(rank, sizes);
    std::vector<HostTensor> local;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::vector<Sbp> layout = LayoutOf(per_axis, true, i);
      const Summand summand = SummandAt(layout, sizes, at);
      HostTensor x = inputs[i];
      for (size_t e = 0; e < x.values.size(); ++e) {
        x.values[e] = SummandOf(x.values[e], summand, i, static_cast<int64_t>(e));
      }
      local.push_back(Cut(x, BoxAt(x.spec, layout, sizes, at)));
    }
    RunOptions options;
    for (size_t o = 0; o < results.size(); ++o) {
      options.boxes.push_back(BoxAt(results[o], LayoutOf(per_axis, false, o), sizes, at));
    }
    WEFT_ASSIGN_OR_RETURN(std::vector<HostTensor> made, RunKernel(op, attrs, local, options));
    for (size_t o = 0; o < results.size(); ++o) parts[o].push_back(std::move(made[o]));
  }
  std::vector<HostTensor> joined;
  for (size_t o = 0; o < results.size(); ++o) {
    WEFT_ASSIGN_OR_RETURN(HostTensor whole,
                          Join(results[o], LayoutOf(per_axis, false, o), sizes, parts[o]));
    joined.push_back(std::move(whole));
  }
  return joined;
}

}  // namespace weft::testing
