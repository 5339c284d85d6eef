#include "launcher/plan_dot.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "runtime/human_units.h"

namespace weft {
namespace {

std::string Quote(const std::string& text) {
  return absl::StrCat(
      "\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
}

constexpr int kManyReaders = 4;
constexpr const char* kFill[] = {"#dceafc", "#fde8d3", "#e3f1e0"};  // by part

class DotWriter {
 public:
  explicit DotWriter(const PlanReport& report) : report_(report) {
    for (size_t c = 0; c < report.conversions.size(); ++c) {
      conversion_of_[report.conversions[c].op] = &report.conversions[c];
    }
    readers_.assign(report.values.size(), 0);
    for (const PlanReport::Op& op : report.ops) {
      for (int v : op.inputs) readers_[v < 0 ? 0 : v] += v >= 0;
    }
  }

  std::string Write() {
    absl::StrAppend(&text_, "digraph ", Quote(report_.job.name), " {\n",
                    "  graph [label=", Quote(Title()),
                    ", labelloc=t, fontname=\"sans-serif\", rankdir=TB, newrank=true];\n",
                    "  node [shape=box, style=filled, fillcolor=white, fontname=\"sans-serif\", "
                    "fontsize=10];\n"
                    "  edge [fontname=\"sans-serif\", fontsize=8, color=\"#667085\"];\n");
    for (size_t b = 0; b < report_.blocks.size(); ++b) Block(static_cast<int>(b));
    for (const PlanReport::Op& op : report_.ops) Edges(op);
    return text_ + "}\n";
  }

 private:
  std::string Title() const {
    return absl::StrCat(
        "job ", report_.job.name, " on ", report_.meshes[0].ToString(), ": ",
        HumanBytes(report_.bytes_sent),
        " sent a step by all ranks\nred: conversions of layout; optimizer states and scalars "
        "that many ops read are not drawn");
  }

  bool Folded(int block) const { return report_.blocks[block].same_as >= 0; }

  // What would hide the rest: optimizer states, and scalars that every update takes.
  bool Hidden(int v) const {
    const PlanReport::Value& value = report_.values[v];
    if (value.op < 0 && value.part == PlanPart::kOptimizer) return true;
    return readers_[v] >= kManyReaders && absl::EndsWith(value.type, "[]");
  }

  std::string NodeOfOp(int op) const {
    const int block = report_.ops[op].block;
    return Folded(block) ? absl::StrCat("block", block) : absl::StrCat("op", op);
  }
  std::string NodeOfValue(int v) const {
    const PlanReport::Value& value = report_.values[v];
    if (value.op >= 0) return NodeOfOp(value.op);
    return Folded(value.block) ? absl::StrCat("block", value.block) : absl::StrCat("value", v);
  }

  void Block(int b) {
    const PlanReport::Block& block = report_.blocks[b];
    if (Folded(b)) {
      absl::StrAppend(&text_, "  block", b, " [shape=folder, label=",
                      Quote(absl::StrCat(block.name, "\nas ", report_.blocks[block.same_as].name)),
                      "];\n");
      return;
    }
    absl::StrAppend(&text_, "  subgraph cluster_block", b, " {\n    label=", Quote(block.name),
                    "; color=\"#98a2b3\"; fontsize=14;\n");
    for (PlanPart part : {PlanPart::kForward, PlanPart::kBackward, PlanPart::kOptimizer}) {
      absl::StrAppend(&text_, "    subgraph cluster_block", b, "_", Name(part),
                      " {\n      label=", Quote(Name(part)), "; color=\"#d0d5dd\"; fontsize=11;\n");
      for (size_t v = 0; v < report_.values.size(); ++v) Source(static_cast<int>(v), b, part);
      for (size_t o = 0; o < report_.ops.size(); ++o) Op(static_cast<int>(o), b, part);
      absl::StrAppend(&text_, "    }\n");
    }
    absl::StrAppend(&text_, "  }\n");
  }

  // An input or variable.
  void Source(int v, int block, PlanPart part) {
    const PlanReport::Value& value = report_.values[v];
    if (value.op >= 0 || value.block != block || value.part != part || Hidden(v)) return;
    absl::StrAppend(
        &text_, "      value", v, " [shape=", value.made_by == "variable" ? "cylinder" : "cds",
        ", label=", Quote(absl::StrCat(value.name, "\n", value.type, "\n", value.layout)), "];\n");
  }

  // Where there are several.
  std::string MeshOf(const PlanReport::Op& op) const {
    if (report_.meshes.size() == 1 || op.outputs.empty()) return "";
    return absl::StrCat("\nmesh ", report_.values[op.outputs[0]].mesh);
  }

  void Op(int o, int block, PlanPart part) {
    const PlanReport::Op& op = report_.ops[o];
    if (op.block != block || op.part != part) return;
    const auto conversion = conversion_of_.find(o);
    absl::StrAppend(&text_, "      op", o);
    if (conversion == conversion_of_.end()) {
      absl::StrAppend(&text_, " [fillcolor=\"", kFill[static_cast<int>(op.part)],
                      "\", label=", Quote(absl::StrCat(op.kind, "\n", op.name, MeshOf(op))),
                      "];\n");
      return;
    }
    const PlanReport::Conversion& c = *conversion->second;
    absl::StrAppend(&text_, " [shape=octagon, fillcolor=\"#fecdca\", color=\"#b42318\", label=",
                    Quote(absl::StrCat(c.how, "\n", c.from_layout, " to ", c.to_layout, "\n",
                                       HumanBytes(c.bytes * c.firings), " a step")),
                    ", tooltip=", Quote(c.reason), "];\n");
  }

  // Edges out of or into a folded block are drawn once.
  void Edges(const PlanReport::Op& op) {
    const std::string to = NodeOfOp(static_cast<int>(&op - report_.ops.data()));
    for (int v : op.inputs) {
      if (v < 0 || Hidden(v)) continue;
      const std::string from = NodeOfValue(v);
      if (from == to) continue;
      const bool folded = from[0] == 'b' || to[0] == 'b';
      if (folded && !drawn_.insert({from, to}).second) continue;
      const PlanReport::Value& value = report_.values[v];
      const bool converts = op.kind == "conversion" || value.made_by == "conversion";
      absl::StrAppend(&text_, "  ", from, " -> ", to,
                      " [label=", Quote(absl::StrCat(value.layout, "\n", value.type)),
                      converts ? ", color=\"#b42318\", fontcolor=\"#b42318\"" : "", "];\n");
    }
  }

  const PlanReport& report_;
  std::map<int, const PlanReport::Conversion*> conversion_of_;
  std::vector<int> readers_;  // by value: how many
  std::set<std::pair<std::string, std::string>> drawn_;
  std::string text_;
};

}  // namespace

std::string PlanDot(const PlanReport& report) { return DotWriter(report).Write(); }

}  // namespace weft
