#include "graph/op_def.h"

#include "absl/strings/str_cat.h"
#include "runtime/logging.h"

namespace weft {
namespace {

FactorMap Aligned(const LayoutContext& c, int except) {
  FactorMap map;
  const TensorSpec& out = c.outputs[0];
  std::vector<int> ids;
  for (int d = 0; d < out.rank(); ++d) {
    ids.push_back(d == except ? kWhole : map.Add({.name = absl::StrCat("d", d)}));
  }
  auto row = [&](const TensorSpec& spec) {
    std::vector<int> dims;
    const int skip = out.rank() - spec.rank();
    for (int d = 0; d < spec.rank(); ++d) {
      const bool same = d + skip >= 0 && spec.shape[d] == out.shape[d + skip];
      dims.push_back(same ? ids[d + skip] : kWhole);
    }
    return dims;
  };
  for (const TensorSpec& spec : c.inputs) map.inputs.push_back(row(spec));
  for (const TensorSpec& spec : c.outputs) map.outputs.push_back(row(spec));
  return map;
}

}  // namespace

FactorMap LayoutContext::Elementwise() const { return Aligned(*this, kWhole); }

FactorMap LayoutContext::ElementwiseExcept(int dim) const { return Aligned(*this, dim); }

int64_t CostContext::bytes() const {
  int64_t bytes = 0;
  for (const TensorSpec& spec : inputs) bytes += spec.bytes();
  for (const TensorSpec& spec : outputs) bytes += spec.bytes();
  return bytes;
}

void OpRegistry::Add(OpDef op) {
  CHECK(op.infer != nullptr && op.layout != nullptr && op.cost != nullptr)
      << "op '" << op.name << "' must define infer, layout and cost";
  CHECK(op.wide_result.empty() || (op.outputs.size() == 1 && op.attrs.contains(op.wide_result)))
      << "op '" << op.name << "' must have one result and attribute '" << op.wide_result << "'";
  std::string name = op.name;
  const bool added = ops_.emplace(name, std::move(op)).second;
  CHECK(added) << "op '" << name << "' is defined twice";
}

const OpDef* OpRegistry::Find(std::string_view name) const {
  auto it = ops_.find(name);
  return it == ops_.end() ? nullptr : &it->second;
}

std::vector<const OpDef*> OpRegistry::All() const {
  std::vector<const OpDef*> all;
  for (const auto& [name, op] : ops_) all.push_back(&op);
  return all;
}

}  // namespace weft
