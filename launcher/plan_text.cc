#include "launcher/plan_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/job_graph.h"
#include "parallel/compile.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kLargestHolders = 12;

std::string Layouts(const Program& program) {
  const Graph& graph = program.graph;
  std::string text = "layouts\n";
  const auto row = [&](const std::string& what, Value v) {
    absl::StrAppendFormat(&text, "  %-10s %-44s %-16s %s\n", what, graph.info(v).name,
                          graph.spec(v).ToString(), ToString(graph.info(v).layout, graph.mesh(v)));
  };
  for (const GraphInput& input : graph.inputs) row("input", input.value);
  for (const Variable& variable : graph.variables) row("variable", variable.value);
  for (const Node& node : graph.nodes) {
    for (Value v : node.outputs) row(node.is_reshard() ? "conversion" : node.op->name, v);
  }
  return text;
}

std::string Conversions(const Program& program) {
  std::string text = absl::StrCat("conversions: ", program.conversions.size(), "\n");
  for (const Conversion& c : program.conversions) {
    absl::StrAppendFormat(&text, "  %s: %s -> %s by %s for %s, %d bytes a %s, %.1f us\n", c.value,
                          c.from, c.to, c.how, c.consumer, c.bytes,
                          c.microbatch ? "microbatch" : "step", c.seconds * 1e6);
  }
  return text;
}

int64_t LocalBytes(const BufferDef& buffer) {
  int64_t elements = 1;
  for (const IndexSetDef& dim : buffer.box().dims()) {
    int64_t size = 0;
    for (int i = 0; i + 1 < dim.bounds_size(); i += 2) size += dim.bounds(i + 1) - dim.bounds(i);
    elements *= size;
  }
  return elements * SizeOf(static_cast<DType>(buffer.dtype()));
}

std::string RankText(const Plan& plan) {
  int64_t variables = 0;
  std::vector<std::pair<int64_t, std::string>> holders;
  for (const BufferDef& buffer : plan.buffers()) {
    const int64_t bytes = LocalBytes(buffer);
    if (!buffer.variable().empty()) variables += bytes;
    const int slots = std::max(1, buffer.offsets_size());
    holders.push_back({bytes * slots, buffer.name()});
  }
  std::sort(holders.rbegin(), holders.rend());
  std::string text = absl::StrFormat(
      "rank %d: arena %d bytes, variables %d bytes, sends %d bytes a step\n  largest buffers:\n",
      plan.rank(), plan.arena_bytes(), variables, plan.bytes_sent_per_step());
  for (size_t i = 0; i < std::min(kLargestHolders, holders.size()); ++i) {
    absl::StrAppendFormat(&text, "    %12d  %s\n", holders[i].first, holders[i].second);
  }
  return text;
}

std::string Schedule(const Plan& plan) {
  std::string text = "channels (slots, writes per slot, reads per slot, initial)\n";
  for (const ChannelDef& channel : plan.channels()) {
    absl::StrAppendFormat(&text, "  %-44s %d, %d, [%s], %d\n", channel.name(), channel.slots(),
                          channel.writes_per_slot(),
                          absl::StrJoin(channel.consumers(), ",",
                                        [](std::string* out, const ConsumerDef& c) {
                                          absl::StrAppend(out, c.reads_per_slot());
                                        }),
                          channel.initial());
  }
  for (const StreamDef& stream : plan.streams()) {
    absl::StrAppend(&text, "stream ", stream.name(), "\n");
    for (int actor : stream.order()) {
      absl::StrAppend(&text, "  ", plan.actors(actor).name(), "\n");
    }
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> PlanText(const Job& job, const OpRegistry& ops) {
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(job, ops));
  CompileOptions options;
  options.microbatches = static_cast<int>(job.train().microbatches());
  WEFT_ASSIGN_OR_RETURN(const Program program, Compile(std::move(graph), ops, options));
  const Mesh& mesh = program.graph.meshes[0];
  std::string text = absl::StrCat(
      "job ", job.name(), ", mesh {", mesh.ToString(), "}, ", mesh.size(),
      mesh.size() == 1 ? " rank, " : " ranks, ", NumParameters(DecoderOf(job)), " parameters, ",
      program.graph.nodes.size(), " ops, ", program.lowered.actors.size(), " actors\n");
  absl::StrAppend(&text, Layouts(program), Conversions(program));
  for (int rank : mesh.ranks()) {
    WEFT_ASSIGN_OR_RETURN(const Plan plan, InstantiatePlan(program, rank));
    absl::StrAppend(&text, RankText(plan));
    if (rank == mesh.ranks().front()) absl::StrAppend(&text, Schedule(plan));
  }
  return text;
}

}  // namespace weft
