#include "tests/system/rank_run.h"

#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/executor.h"
#include "runtime/arena.h"
#include "runtime/status.h"

namespace weft::testing {
namespace {

HostTensor ReadOperand(const Operand& operand) {
  HostTensor x{*operand.logical, *operand.box, std::vector<double>(operand.elements())};
  for (size_t i = 0; i < x.values.size(); ++i) {
    x.values[i] = LoadElement(operand.dtype(), operand.data, static_cast<int64_t>(i));
  }
  return x;
}

class RankRun {
 public:
  RankRun(const Program& program, const KernelTable& kernels, const MeshRunOptions& options,
          Transport& transport)
      : program_(program),
        graph_(program.graph),
        kernels_(kernels),
        options_(options),
        transport_(transport),
        index_(graph_.meshes[0].IndexOf(transport.rank())) {}

  absl::StatusOr<RankHeld> Execute() {
    if (index_ < 0) return absl::InvalidArgumentError("the rank is not on the mesh");
    WEFT_RETURN_IF_ERROR(Initialise());
    WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(program_, transport_.rank()));
    plan.set_world_size(transport_.size());  // others of the job may be idle
    held_.bytes_predicted = plan.bytes_sent_per_step() * options_.steps;
    WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                          Executor::Create(std::move(plan), Options()));
    const int64_t before = transport_.total_bytes_sent();
    WEFT_RETURN_IF_ERROR(executor->RunSteps(0, options_.steps));
    held_.bytes_sent = transport_.total_bytes_sent() - before;
    for (const auto& [name, variable] : variables_) {
      held_.variables[name] = ReadOperand(variable.operand());
    }
    return std::move(held_);
  }

 private:
  struct RankVariable {
    TensorSpec spec;
    Box box;
    Arena memory;
    Operand operand() const { return {memory.data(), &spec, &box, box.shape()}; }
  };

  Box BoxHere(Value v) const { return BoxAt(graph_.spec(v), GridLayoutOfValue(graph_, v), index_); }

  absl::Status Initialise() {
    for (const Variable& variable : graph_.variables) {
      RankVariable& mine = variables_[variable.name];
      mine.spec = graph_.spec(variable.value);
      mine.box = BoxHere(variable.value);
      WEFT_ASSIGN_OR_RETURN(mine.memory,
                            Arena::Allocate(mine.box.elements() * SizeOf(mine.spec.dtype)));
      const Operand output = mine.operand();
      KernelContext context;
      context.outputs = absl::MakeConstSpan(&output, 1);
      context.attrs = &variable.init_attrs;
      WEFT_RETURN_IF_ERROR(kernels_.Find(variable.init_op)(context));
    }
    for (const GraphOutput& output : graph_.outputs) held_.outputs[output.name];
    return absl::OkStatus();
  }

  ExecutorOptions Options() {
    return {.kernels = kernels_,
            .transport = &transport_,
            .variables = [this](std::string_view name) -> void* {
              auto it = variables_.find(name);
              return it == variables_.end() ? nullptr : it->second.memory.data();
            },
            .feed = [this](std::string_view name, int64_t step, int64_t microbatch,
                           const Operand& out) { return Feed(name, step, microbatch, out); },
            .fetch = [this](std::string_view name, int64_t, int64_t,
                            const Operand& in) { return Fetch(name, in); }};
  }

  absl::Status Feed(std::string_view name, int64_t step, int64_t microbatch, const Operand& out) {
    for (const GraphInput& input : graph_.inputs) {
      if (input.name != name) continue;
      const HostTensor whole = options_.input(name, step, microbatch);
      if (whole.spec != *out.logical)
        return absl::InternalError(absl::StrCat("spec of ", std::string(name)));
      const HostTensor part =
          PartAt(whole, GridLayoutOfValue(graph_, input.value), index_, options_.seed);
      if (part.box != *out.box)
        return absl::InternalError(absl::StrCat("box of ", std::string(name)));
      for (size_t i = 0; i < part.values.size(); ++i) {
        StoreElement(out.dtype(), out.data, static_cast<int64_t>(i), part.values[i]);
      }
      return absl::OkStatus();
    }
    return absl::NotFoundError(absl::StrCat("no input ", std::string(name)));
  }

  absl::Status Fetch(std::string_view name, const Operand& in) {
    for (const GraphOutput& output : graph_.outputs) {
      if (output.name != name) continue;
      if (*in.box != BoxHere(output.value))
        return absl::InternalError(absl::StrCat("box of ", std::string(name)));
      held_.outputs[output.name].push_back(ReadOperand(in));
      return absl::OkStatus();
    }
    return absl::NotFoundError(absl::StrCat("no output ", std::string(name)));
  }

  const Program& program_;
  const Graph& graph_;
  const KernelTable& kernels_;
  const MeshRunOptions& options_;
  Transport& transport_;
  const int index_;  // on the mesh
  std::map<std::string, RankVariable, std::less<>> variables_;
  RankHeld held_;
};

void Append(const std::vector<double>& from, std::vector<double>& to) {
  to.insert(to.end(), from.begin(), from.end());
}

// Takes numbers one after the other, and notices when there are too few.
class DoubleReader {
 public:
  explicit DoubleReader(const std::vector<double>& values) : values_(values) {}
  double Next() { return next_ < values_.size() ? values_[next_++] : Missing(); }
  HostTensor Part(const TensorSpec& spec, Box box) {
    HostTensor part{spec, std::move(box), {}};
    part.values.resize(part.box.elements());
    for (double& value : part.values) value = Next();
    return part;
  }
  bool exact() const { return !short_ && next_ == values_.size(); }

 private:
  double Missing() {
    short_ = true;
    return 0;
  }
  const std::vector<double>& values_;
  size_t next_ = 0;
  bool short_ = false;
};

}  // namespace

absl::StatusOr<RankHeld> RunRank(const Program& program, const KernelTable& kernels,
                                 const MeshRunOptions& options, Transport& transport) {
  absl::StatusOr<RankHeld> held = RankRun(program, kernels, options, transport).Execute();
  if (!held.ok()) transport.Poison(held.status());
  return held;
}

std::vector<double> ToDoubles(const RankHeld& held) {
  std::vector<double> values = {static_cast<double>(held.bytes_sent),
                                static_cast<double>(held.bytes_predicted)};
  for (const auto& [name, firings] : held.outputs) {
    values.push_back(static_cast<double>(firings.size()));
    for (const HostTensor& part : firings) Append(part.values, values);
  }
  for (const auto& [name, part] : held.variables) Append(part.values, values);
  return values;
}

absl::StatusOr<RankHeld> FromDoubles(const Graph& graph, int index,
                                     const std::vector<double>& values) {
  RankHeld held;
  std::map<std::string, Value> outputs, variables;  // in the order of RankHeld's
  for (const GraphOutput& output : graph.outputs) outputs[output.name] = output.value;
  for (const Variable& variable : graph.variables) variables[variable.name] = variable.value;
  DoubleReader reader(values);
  const auto part = [&](Value v) {
    return reader.Part(graph.spec(v), BoxAt(graph.spec(v), GridLayoutOfValue(graph, v), index));
  };
  held.bytes_sent = static_cast<int64_t>(reader.Next());
  held.bytes_predicted = static_cast<int64_t>(reader.Next());
  for (const auto& [name, value] : outputs) {
    const auto firings = static_cast<int64_t>(reader.Next());
    std::vector<HostTensor>& parts = held.outputs[name];
    for (int64_t firing = 0; firing < firings; ++firing) parts.push_back(part(value));
  }
  for (const auto& [name, value] : variables) held.variables[name] = part(value);
  if (!reader.exact()) {
    return absl::InternalError(
        absl::StrCat("the rank at ", index, " holds another number of elements"));
  }
  return held;
}

}  // namespace weft::testing
