#include "tests/system/mesh_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/executor.h"
#include "runtime/arena.h"
#include "runtime/status.h"
#include "tests/support/layout_parts.h"
#include "tests/support/run_ranks.h"

namespace weft::testing {
namespace {

HostTensor ReadOperand(const Operand& operand) {
  HostTensor x{*operand.logical, *operand.box, std::vector<double>(operand.elements())};
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = LoadElement(operand.dtype(), operand.data, static_cast<int64_t>(i));
  }
  return x;
}

// One rank's variables.
struct RankVariable {
  TensorSpec spec;
  Box box;
  Arena memory;
  Operand operand() const { return {memory.data(), &spec, &box, box.shape()}; }
};
using RankVariables = std::map<std::string, RankVariable, std::less<>>;

// What all ranks of one run hold.
class Run {
 public:
  Run(const Program& program, const KernelTable& kernels, const MeshRunOptions& options)
      : graph_(program.graph),
        kernels_(kernels),
        options_(options),
        variables_(mesh().size()),
        fetched_(mesh().size()) {}

  const Mesh& mesh() const { return graph_.meshes[0]; }

  absl::Status Initialise() {
    for (const Variable& variable : graph_.variables) {
      for (int rank = 0; rank < mesh().size(); ++rank) {
        RankVariable& mine = variables_[rank][variable.name];
        mine.spec = graph_.spec(variable.value);
        mine.box = BoxAt(mine.spec, LayoutOf(variable.value), rank);
        WEFT_ASSIGN_OR_RETURN(mine.memory,
                              Arena::Allocate(mine.box.elements() * SizeOf(mine.spec.dtype)));
        const Operand output = mine.operand();
        KernelContext context;
        context.outputs = absl::MakeConstSpan(&output, 1);
        context.attrs = &variable.init_attrs;
        WEFT_RETURN_IF_ERROR(kernels_.Find(variable.init_op)(context));
      }
    }
    return absl::OkStatus();
  }

  ExecutorOptions OptionsOf(int rank) {
    return {.kernels = kernels_,
            .variables = [this, rank](std::string_view name) -> void* {
              auto it = variables_[rank].find(name);
              return it == variables_[rank].end() ? nullptr : it->second.memory.data();
            },
            .feed = [this, rank](
                        std::string_view name, int64_t step, int64_t microbatch,
                        const Operand& out) { return Feed(rank, name, step, microbatch, out); },
            .fetch =
                [this, rank](std::string_view name, int64_t, int64_t, const Operand& in) {
                  fetched_[rank][std::string(name)].push_back(ReadOperand(in));
                  return absl::OkStatus();
                }};
  }

  absl::Status Collect(MeshRun& run) {
    for (const GraphOutput& output : graph_.outputs) {
      for (size_t firing = 0; firing < fetched_[0][output.name].size(); ++firing) {
        std::vector<HostTensor> parts;
        for (int rank = 0; rank < mesh().size(); ++rank) {
          const std::vector<HostTensor>& mine = fetched_[rank][output.name];
          if (mine.size() <= firing) {
            return absl::InternalError(absl::StrCat("rank ", rank, " lacks '", output.name, "'"));
          }
          parts.push_back(mine[firing]);
        }
        WEFT_ASSIGN_OR_RETURN(HostTensor whole, JoinValue(output.value, output.name, parts));
        run.outputs[output.name].push_back(std::move(whole));
      }
    }
    for (const Variable& variable : graph_.variables) {
      std::vector<HostTensor> parts;
      for (RankVariables& of_rank : variables_) {
        parts.push_back(ReadOperand(of_rank[variable.name].operand()));
      }
      WEFT_ASSIGN_OR_RETURN(run.variables[variable.name],
                            JoinValue(variable.value, variable.name, parts));
    }
    return absl::OkStatus();
  }

 private:
  GridLayout LayoutOf(Value v) const { return GridLayoutOf(graph_.info(v).layout, mesh()); }

  absl::StatusOr<HostTensor> JoinValue(Value v, const std::string& name,
                                       const std::vector<HostTensor>& parts) const {
    absl::StatusOr<HostTensor> whole = Join(graph_.spec(v), LayoutOf(v), parts);
    WEFT_RETURN_IF_ERROR(Annotate(
        whole.status(), absl::StrCat("'", name, "' ", ToString(graph_.info(v).layout, mesh()))));
    return whole;
  }

  absl::Status Feed(int rank, std::string_view name, int64_t step, int64_t microbatch,
                    const Operand& out) {
    for (const GraphInput& input : graph_.inputs) {
      if (input.name != name) continue;
      const HostTensor whole = options_.input(name, step, microbatch);
      if (whole.spec != *out.logical)
        return absl::InternalError(absl::StrCat("spec of ", std::string(name)));
      const HostTensor part = PartAt(whole, LayoutOf(input.value), rank, options_.seed);
      if (part.box != *out.box)
        return absl::InternalError(absl::StrCat("box of ", std::string(name)));
      for (size_t i = 0; i < part.values.size(); ++i) {
        StoreElement(out.dtype(), out.data, static_cast<int64_t>(i), part.values[i]);
      }
      return absl::OkStatus();
    }
    return absl::NotFoundError(absl::StrCat("no input ", std::string(name)));
  }

  const Graph& graph_;
  const KernelTable& kernels_;
  const MeshRunOptions& options_;
  std::vector<RankVariables> variables_;                                 // by rank
  std::vector<std::map<std::string, std::vector<HostTensor>>> fetched_;  // by rank
};

// One rank's steps.
absl::Status RunRank(const Plan& plan, ExecutorOptions options, int64_t steps) {
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                        Executor::Create(plan, std::move(options)));
  return executor->RunSteps(0, steps);
}

}  // namespace

absl::StatusOr<MeshRun> RunOnMesh(Graph graph, const OpRegistry& ops, const KernelTable& kernels,
                                  const MeshRunOptions& options) {
  MeshRun result;
  CompileOptions compile;
  compile.microbatches = options.microbatches;
  WEFT_ASSIGN_OR_RETURN(result.program, Compile(std::move(graph), ops, compile));
  Run run(result.program, kernels, options);
  WEFT_RETURN_IF_ERROR(run.Initialise());
  const int size = run.mesh().size();
  std::vector<Plan> plans;
  for (int rank = 0; rank < size; ++rank) {
    WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(result.program, rank));
    result.bytes_predicted += plan.bytes_sent_per_step() * options.steps;
    plans.push_back(std::move(plan));
  }
  std::vector<absl::Status> statuses(size);
  std::vector<int64_t> sent(size);
  RunRanks(size, {}, [&](Transport& transport) {
    const int rank = transport.rank();
    ExecutorOptions rank_options = run.OptionsOf(rank);
    rank_options.transport = &transport;
    statuses[rank] = RunRank(plans[rank], std::move(rank_options), options.steps);
    if (!statuses[rank].ok()) transport.Poison(statuses[rank]);
    sent[rank] = transport.total_bytes_sent();
  });
  for (int rank = 0; rank < size; ++rank) {
    WEFT_RETURN_IF_ERROR(statuses[rank]);
    result.bytes_sent += sent[rank];
  }
  WEFT_RETURN_IF_ERROR(run.Collect(result));
  return result;
}

}  // namespace weft::testing
