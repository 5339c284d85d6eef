#include "launcher/session.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/machine_memory.h"
#include "launcher/make_contents.h"
#include "runtime/logging.h"
#include "runtime/mpi_transport.h"
#include "runtime/status.h"

namespace weft {

absl::Status Session::Runnable::Submit(int64_t step) {
  const StallWatch::Scope watched(watch_, executor_.get());
  return executor_->Launch(step);
}

absl::StatusOr<int64_t> Session::Runnable::Collect() {
  CHECK_GT(in_flight(), 0);
  const StallWatch::Scope watched(watch_, executor_.get());
  WEFT_RETURN_IF_ERROR(executor_->Await(collected_));
  return executor_->bytes_sent(collected_++);
}

void Session::AnnotateVariables(Graph& graph) const {
  for (const Variable& variable : graph.variables) {
    const auto known = layouts_.find(variable.name);
    std::optional<Layout>& annotation = graph.values[variable.value.id].annotation;
    if (known != layouts_.end() && !annotation) annotation = known->second;
  }
}

absl::Status Session::BindVariables(const Program& program) {
  const Graph& graph = program.graph;
  for (const Variable& variable : graph.variables) {
    const ValueInfo& info = graph.info(variable.value);
    const Mesh& mesh = graph.mesh(variable.value);
    layouts_.try_emplace(variable.name, info.layout);
    const int index = mesh.IndexOf(rank());
    if (index < 0) continue;  // of another pipeline stage
    bool added = false;
    WEFT_ASSIGN_OR_RETURN(VariableStore::Entry * entry,
                          variables_.Add(variable.name, info.spec,
                                         BoxOf(info.spec.shape, info.layout, mesh, index), &added));
    if (!added) continue;
    WEFT_RETURN_IF_ERROR(
        Annotate(Initialise(variable, *entry), absl::StrCat("initialising '", variable.name, "'")));
  }
  return absl::OkStatus();
}

absl::Status Session::Initialise(const Variable& variable, VariableStore::Entry& entry) {
  const Kernel kernel = kernels_.Find(variable.init_op);
  if (kernel == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("op '", variable.init_op, "' has no kernel on the CPU"));
  }
  Operand output = entry.operand();
  Arena host;
  const bool on_host = place_.device == nullptr || place_.device->queue() == nullptr;
  if (!on_host) {
    WEFT_ASSIGN_OR_RETURN(host, Arena::Allocate(entry.memory.bytes()));
    output.data = host.data();
  }
  const int ranks_here = StartedByMpi() ? LaunchedLocalRanks() : size();
  const int threads =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / ranks_here);
  WEFT_RETURN_IF_ERROR(MakeContents(kernel, variable.init_attrs, output, threads));
  return on_host ? absl::OkStatus() : variables_.SetContents(entry, host.data());
}

absl::StatusOr<std::unique_ptr<Session::Runnable>> Session::Load(Graph graph,
                                                                 const CompileOptions& options,
                                                                 Feed feed, Fetch fetch,
                                                                 std::string step_word) {
  auto runnable = std::make_unique<Runnable>();
  CompileOptions within = options;
  // Kernels of another device than the plan's would find scratch of the wrong size.
  if (place_.device != nullptr && place_.device->queue() != nullptr) {
    within.device = DeviceKind::kCuda;
  }
  if (within.memory_bytes == 0 && place_.device != nullptr) {
    within.memory_bytes = place_.device->memory_bytes();
  }
  if (within.memory_bytes == 0) {
    within.memory_bytes = MachineMemoryBytes() / (StartedByMpi() ? LaunchedLocalRanks() : size());
  }
  AnnotateVariables(graph);
  WEFT_ASSIGN_OR_RETURN(runnable->program_, Compile(std::move(graph), ops_, within));
  const Graph& compiled = runnable->program_.graph;
  if (WorldSize(compiled) != size()) {
    return absl::InvalidArgumentError(absl::StrCat("mesh ", compiled.meshes[0].ToString(), " has ",
                                                   WorldSize(compiled), " ranks but ", size(),
                                                   " are running"));
  }
  WEFT_ASSIGN_OR_RETURN(runnable->plan_, InstantiatePlan(runnable->program_, rank()));
  WEFT_RETURN_IF_ERROR(BindVariables(runnable->program_));
  ExecutorOptions executor_options{
      .kernels = place_.kernels != nullptr ? *place_.kernels : kernels_,
      .device = place_.device,
      .transport = &transport_,
      .variables = [this](std::string_view name) -> void* {
        VariableStore::Entry* entry = variables_.Find(name);
        return entry == nullptr ? nullptr : entry->memory.data();
      },
      .feed = std::move(feed),
      .fetch = std::move(fetch),
      .recording = place_.recording,
      .step_word = std::move(step_word)};
  if (watch_ != nullptr) {
    executor_options.on_report = [this](const StallReport& report) { watch_->Answer(report); };
  }
  runnable->watch_ = watch_;
  WEFT_ASSIGN_OR_RETURN(runnable->executor_,
                        Executor::Create(runnable->plan_, std::move(executor_options)));
  if (place_.tuning != nullptr) {
    WEFT_ASSIGN_OR_RETURN(const ProductSet products,
                          ListProducts(*runnable->executor_, *place_.tuning->measurer));
    WEFT_RETURN_IF_ERROR(TuneProducts(products, transport_, *place_.tuning));
  }
  return runnable;
}

}  // namespace weft
