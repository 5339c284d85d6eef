#include "tests/system/ring_case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "runtime/status.h"
#include "tests/system/op_row_graph.h"

namespace weft::testing {
namespace {

// Uniform in [-1, 1), rounded to bf16: exact in every type. `scale` is a power of two or so.
HostTensor Random(TensorSpec spec, uint64_t seed, double scale) {
  std::vector<double> values(spec.elements());
  for (size_t i = 0; i < values.size(); ++i) {
    const double unit = static_cast<double>(HashOf(seed, i) >> 11) / (uint64_t{1} << 52) - 1;
    values[i] = static_cast<float>(BFloat16(static_cast<float>(unit * scale)));
  }
  return Whole(std::move(spec), std::move(values));
}

HostTensor Visible(const RingCase& c) {
  HostTensor visible = Whole({{c.batch, c.sequence, 2}, DType::kI32}, {});
  for (int64_t b = 0; b < c.batch; ++b) {
    int64_t begin = 0;
    std::vector<int64_t> documents = c.documents;
    if (documents.empty()) documents = {c.sequence};
    for (int64_t length : documents) {
      for (int64_t i = 0; i < length; ++i) {
        const bool blind = (begin + i) % 3 == 1 && (begin + i) / 3 < c.blind;
        visible.values.push_back(static_cast<double>(begin));
        visible.values.push_back(static_cast<double>(blind ? begin : begin + length));
      }
      begin += length;
    }
  }
  return visible;
}

bool HasVisible(const RingCase& c) { return !c.documents.empty() || c.blind > 0; }

std::string LayoutOf(const RingCase& c, const Mesh& mesh, bool has_heads, bool is_query = true) {
  std::vector<std::string> axes;
  for (const Mesh::Axis& axis : mesh.axes()) {
    if (axis.name == c.heads_axis) {
      if (has_heads) axes.push_back(absl::StrCat(axis.name, ":S(2)"));
    } else if (is_query || axis.name != c.queries_axis) {
      axes.push_back(absl::StrCat(axis.name, c.zigzag ? ":S(1; zigzag)" : ":S(1)"));
    }
  }
  return absl::StrCat("[", absl::StrJoin(axes, ", "), "]");
}

struct Inputs {
  std::map<std::string, TensorSpec> specs;
};

Inputs InputsOf(const RingCase& c) {
  const int64_t dv = c.dv == 0 ? c.d : c.dv;
  Inputs inputs;
  inputs.specs["q"] = {{c.batch, c.sequence, c.heads, c.d}, c.dtype};
  inputs.specs["k"] = {{c.batch, c.sequence, c.kv_heads, c.d}, c.dtype};
  inputs.specs["v"] = {{c.batch, c.sequence, c.kv_heads, dv}, c.dtype};
  inputs.specs["do"] = {{c.batch, c.sequence, c.heads, dv}, c.dtype};
  if (c.sink) {
    inputs.specs["sink"] = {{c.heads}, c.dtype == DType::kF64 ? DType::kF64 : DType::kF32};
  }
  if (HasVisible(c)) inputs.specs["visible"] = {{c.batch, c.sequence, 2}, DType::kI32};
  return inputs;
}

absl::StatusOr<Graph> RingGraph(const RingCase& c) {
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Parse(c.mesh));
  GraphBuilder g(AllOps(), mesh);
  const std::string rows = LayoutOf(c, mesh, true), plain = LayoutOf(c, mesh, false);
  const std::string key_rows = LayoutOf(c, mesh, true, false);
  std::map<std::string, Value> in;
  for (const auto& [name, spec] : InputsOf(c).specs) {
    in[name] = g.Input(name, spec);
    if (name != "sink")
      g.Annotate(in[name], name == "visible"            ? plain
                           : name == "k" || name == "v" ? key_rows
                                                        : rows);
  }
  const auto output = [&](const std::string& name, Value v, const std::string& layout) {
    g.Annotate(v, layout);
    g.Output(name, v);
  };
  const Attrs attrs = {{"causal", c.causal}, {"window", c.window}};
  const Value visible = in["visible"];
  Value q = in["q"], o, lse;
  for (int layer = 0; layer < c.layers; ++layer) {
    std::vector<Value> operands = {q, in["k"], in["v"]};
    if (visible) operands.push_back(visible);
    const std::vector<Value> y = g.Emit("attention", operands, attrs);
    if (!g.status().ok()) return g.status();
    o = y[0];
    lse = y[1];
    Value doo = in["do"], dlse;
    if (c.sink) {
      const std::vector<Value> s = g.Emit("attention_sink", {o, lse, in["sink"]}, {});
      const std::vector<Value> ds =
          g.Emit("attention_sink_grad", {doo, Value(), o, lse, in["sink"]}, {});
      if (!g.status().ok()) return g.status();
      output("o", s[0], rows);
      output("lse", s[1], rows);
      doo = ds[0];
      dlse = ds[1];
      g.Output("dsink", ds[2]);
    } else if (layer + 1 == c.layers) {
      output("o", o, rows);
      output("lse", lse, rows);
    }
    std::vector<Value> grad = {doo, q, in["k"], in["v"], o, lse};
    if (dlse || visible) grad.push_back(dlse);
    if (visible) grad.push_back(visible);
    const std::vector<Value> d = g.Emit("attention_grad", grad, attrs);
    if (!g.status().ok()) return g.status();
    const std::string suffix = layer + 1 == c.layers ? "" : absl::StrCat(".", layer);
    output("dq" + suffix, d[0], rows);
    output("dk" + suffix, d[1], key_rows);
    output("dv" + suffix, d[2], key_rows);
    q = o;
  }
  return g.Build();
}

MeshRunOptions OptionsOf(const RingCase& c) {
  const std::map<std::string, TensorSpec> specs = InputsOf(c).specs;
  MeshRunOptions options;
  options.microbatches = c.microbatches;
  options.meeting = c.meeting;
  options.links = c.links;
  options.input = [c, specs](std::string_view name, int64_t, int64_t microbatch) {
    if (name == "visible") return Visible(c);
    const TensorSpec& spec = specs.at(std::string(name));
    const uint64_t seed = name[0] + (name.size() > 1 ? 7 * name[1] : 0) + 1000 * microbatch;
    return Random(spec, seed, name == "q" ? c.scale_q : 1);
  };
  return options;
}

}  // namespace

std::string RingCase::Describe() const {
  std::string text = absl::StrCat(mesh, " ", sequence, " ", heads, "/", kv_heads, "/", d);
  if (dv != 0) absl::StrAppend(&text, " dv ", dv);
  absl::StrAppend(&text, causal ? " causal" : " full", zigzag ? " zigzag " : " contiguous ",
                  std::string(Name(dtype)));
  if (window > 0) absl::StrAppend(&text, " window ", window);
  if (!documents.empty()) absl::StrAppend(&text, " documents ", absl::StrJoin(documents, ","));
  return text;
}

absl::StatusOr<MeshRun> RunRing(const RingCase& c) {
  WEFT_ASSIGN_OR_RETURN(Graph graph, RingGraph(c));
  return RunOnMesh(std::move(graph), AllOps(), AllKernels(), OptionsOf(c));
}

absl::StatusOr<MeshRun> RunRingAsRank(const RingCase& c, Transport& transport) {
  WEFT_ASSIGN_OR_RETURN(Graph graph, RingGraph(c));
  return RunAsRank(std::move(graph), AllOps(), AllKernels(), OptionsOf(c), transport);
}

RingResults ResultsOf(const MeshRun& run) {
  RingResults results;
  for (const auto& [name, values] : run.outputs) results[name] = values.back();
  return results;
}

absl::StatusOr<RingResults> ExactRing(RingCase c) {
  c.mesh = "seq:1";
  c.heads_axis = c.queries_axis = "";
  c.dtype = DType::kF64;
  c.links = {};
  WEFT_ASSIGN_OR_RETURN(const MeshRun run, RunRing(c));
  return ResultsOf(run);
}

double RelativeError(const HostTensor& got, const HostTensor& want) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (std::isinf(want.values[i]) && got.values[i] == want.values[i]) continue;
    difference += std::pow(got.values[i] - want.values[i], 2);
    size += std::pow(want.values[i], 2);
  }
  return size == 0 ? std::sqrt(difference) : std::sqrt(difference / size);
}

double AbsoluteError(const HostTensor& got, const HostTensor& want) {
  double most = 0;
  for (size_t i = 0; i < want.values.size(); ++i) {
    if (std::isinf(want.values[i]) && got.values[i] == want.values[i]) continue;
    const double difference = std::abs(got.values[i] - want.values[i]);
    if (!(difference <= most)) most = difference;
  }
  return most;
}

}  // namespace weft::testing
