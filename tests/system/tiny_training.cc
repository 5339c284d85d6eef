#include "tests/system/tiny_training.h"

#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/executor.h"
#include "launcher/job_graph.h"
#include "runtime/arena.h"
#include "runtime/status.h"
#include "tests/support/run_ranks.h"

namespace weft::testing {
namespace {

// A rank's part of the variables, as they are before the first step. Fake GPUs have host memory.
class Variables {
 public:
  absl::Status Initialise(const Graph& graph, const KernelTable& kernels, int rank) {
    for (const Variable& variable : graph.variables) {
      const ValueInfo& info = graph.info(variable.value);
      const Mesh& mesh = graph.mesh(variable.value);
      const int index = mesh.IndexOf(rank);
      if (index < 0) continue;  // of another stage
      const Box box = BoxOf(info.spec.shape, info.layout, mesh, index);
      WEFT_ASSIGN_OR_RETURN(Arena memory,
                            Arena::Allocate(box.elements() * SizeOf(info.spec.dtype)));
      const Operand output{memory.data(), &info.spec, &box, box.shape()};
      KernelContext context;
      context.outputs = absl::MakeConstSpan(&output, 1);
      context.attrs = &variable.init_attrs;
      WEFT_RETURN_IF_ERROR(kernels.Find(variable.init_op)(context));
      memory_[variable.name] = std::move(memory);
    }
    return absl::OkStatus();
  }
  void* Find(std::string_view name) const {
    const auto it = memory_.find(name);
    return it == memory_.end() ? nullptr : it->second.data();
  }

 private:
  std::map<std::string, Arena, std::less<>> memory_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TinyTraining>> TinyTraining::Make(
    const std::string& mesh, int microbatches, bool fast_links,
    const std::vector<std::string>& more) {
  auto made = std::make_unique<TinyTraining>();
  std::vector<std::string> sets = {
      "checkpoint.dir=",          "data.sequence=8",
      "model.decoder.layers=12",  "model.decoder.hidden=32",
      "model.decoder.ffn=64",     "train.global_batch=12",
      "train.deterministic=true", absl::StrCat("train.microbatches=", microbatches)};
  sets.insert(sets.end(), more.begin(), more.end());
  WEFT_ASSIGN_OR_RETURN(made->job_, LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                            {.sets = sets, .mesh = mesh}));
  DefineAllOps(made->ops_);
  FillCpuKernels(made->ops_, made->kernels_);
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(made->job_, made->ops_));
  // For the CPU, whose kernels fake GPUs run, and their scratch.
  CompileOptions options = CompileOptionsOf(made->job_);
  if (fast_links) {
    options.cost.link_bytes_per_second = 1e11;
    options.cost.link_latency = 1e-8;
  }
  WEFT_ASSIGN_OR_RETURN(made->program_, Compile(std::move(graph), made->ops_, options));
  return made;
}

int TinyTraining::size() const {
  int size = 0;
  for (const StageProgram& stage : program_.stages) size += static_cast<int>(stage.ranks.size());
  return size;
}

std::vector<TinyTraining::Rank> TinyTraining::Run(const Options& options) const {
  std::vector<Rank> ranks(size());
  std::atomic<int> started{0};
  RunRanks(size(), {}, [&](Transport& transport) {
    Rank& rank = ranks[transport.rank()];
    rank.status = RunRank(options, transport, started, rank);
    if (!rank.status.ok()) transport.Poison(rank.status);
  });
  return ranks;
}

absl::Status TinyTraining::RunRank(const Options& options, Transport& transport,
                                   std::atomic<int>& started, Rank& rank) const {
  constexpr int kLateYields = 100'000;
  Variables variables;
  WEFT_RETURN_IF_ERROR(variables.Initialise(program_.graph, kernels_, transport.rank()));
  WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(program_, transport.rank()));
  const KernelTable fake_kernels = FakeGpuKernels();
  std::unique_ptr<FakeGpu> gpu;
  if (options.host != nullptr) gpu = std::make_unique<FakeGpu>(*options.host, transport.rank());
  if (options.prepare) options.prepare(plan, *gpu);
  std::mutex fetching;
  ExecutorOptions executor_options{.kernels = gpu != nullptr ? fake_kernels : kernels_};
  executor_options.device = gpu.get();
  executor_options.transport = &transport;
  executor_options.variables = [&](std::string_view name) { return variables.Find(name); };
  executor_options.feed = [this](std::string_view name, int64_t step, int64_t microbatch,
                                 const Operand& out) { return Feed(name, step, microbatch, out); };
  executor_options.fetch = [&](std::string_view name, int64_t, int64_t, const Operand& in) {
    const std::lock_guard<std::mutex> lock(fetching);
    std::vector<float>& values = rank.outputs[std::string(name)];
    values.insert(values.end(), in.as<float>(), in.as<float>() + in.elements());
    return absl::OkStatus();
  };
  executor_options.deadline = std::chrono::seconds(30);
  executor_options.recording = options.recording;
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                        Executor::Create(std::move(plan), std::move(executor_options)));
  if (transport.rank() == options.late) {
    while (started < transport.size() - 1) std::this_thread::yield();
    for (int i = 0; i < kLateYields; ++i) std::this_thread::yield();
  }
  ++started;
  const absl::Status status = executor->RunSteps(0, options.steps);
  if (gpu != nullptr) rank.batches = gpu->kernels_state().batches;
  return status;
}

absl::Status TinyTraining::Feed(std::string_view name, int64_t step, int64_t microbatch,
                                const Operand& out) const {
  if (name == "tokens" || name == "targets") {
    const int64_t shift = name == "targets" ? 1 : 0;
    const int64_t columns = out.shape[1];
    for (int64_t i = 0; i < out.elements(); ++i) {
      const int64_t row = out.box->dims[0].ToLogical(i / columns);
      const int64_t column = out.box->dims[1].ToLogical(i % columns) + shift;
      const int64_t token = (step * 7 + microbatch * 31 + row * 13 + column * column * 5) % 251;
      out.as<int32_t>()[i] = static_cast<int32_t>(token);
    }
    return absl::OkStatus();
  }
  const auto tokens = static_cast<float>(job_.train().global_batch() * job_.data(0).sequence());
  *out.as<float>() = name == "step"            ? static_cast<float>(step + 1)
                     : name == "learning_rate" ? 1e-3f
                                               : 1.0f / tokens;
  return absl::OkStatus();
}

int64_t CallsInStep(const Plan& plan, std::string_view kernel) {
  int64_t calls = 0;
  for (const ActorDef& actor : plan.actors()) {
    for (const KernelCallDef& call : actor.compute().calls()) {
      if (call.kernel() == kernel) calls += actor.firings_per_step();
    }
  }
  return calls;
}

}  // namespace weft::testing
