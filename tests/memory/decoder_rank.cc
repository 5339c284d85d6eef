#include "tests/memory/decoder_rank.h"

#include <algorithm>
#include <utility>

#include "launcher/job_graph.h"
#include "runtime/status.h"

namespace weft::testing {

absl::StatusOr<std::unique_ptr<DecoderProgram>> DecoderProgram::Make(
    const std::string& mesh, std::vector<std::string> sets) {
  auto made = std::make_unique<DecoderProgram>();
  sets.insert(sets.begin(), {"checkpoint.dir=", "data.sequence=32"});
  WEFT_ASSIGN_OR_RETURN(made->job_, LoadJob(WEFT_SOURCE_DIR "/examples/jobs/tiny.pbtxt",
                                            {.sets = sets, .mesh = mesh}));
  DefineAllOps(made->ops_);
  FillCpuKernels(made->ops_, made->kernels_);
  WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(made->job_, made->ops_));
  CompileOptions options;
  options.microbatches = static_cast<int>(made->job_.train().microbatches());
  WEFT_ASSIGN_OR_RETURN(made->program_, Compile(std::move(graph), made->ops_, options));
  return made;
}

DecoderRank::DecoderRank(const DecoderProgram& shared, Transport& transport)
    : shared_(shared), session_(shared.ops(), shared.kernels(), transport) {}

absl::Status DecoderRank::Load() {
  {
    // The session makes and initialises the variables; its own executor goes again.
    WEFT_ASSIGN_OR_RETURN(Graph graph, TrainGraph(shared_.job(), shared_.ops()));
    CompileOptions options;
    options.microbatches = static_cast<int>(shared_.job().train().microbatches());
    const auto nothing = [](std::string_view, int64_t, int64_t, const Operand&) {
      return absl::OkStatus();
    };
    WEFT_RETURN_IF_ERROR(session_.Load(std::move(graph), options, nothing, nothing).status());
  }
  WEFT_ASSIGN_OR_RETURN(Plan plan, InstantiatePlan(shared_.program(), session_.rank()));
  ExecutorOptions options{.kernels = shared_.kernels()};
  options.transport = &session_.transport();
  options.variables = [this](std::string_view name) -> void* {
    VariableStore::Entry* entry = session_.variables().Find(name);
    return entry == nullptr ? nullptr : entry->memory.data();
  };
  options.feed = [this](std::string_view name, int64_t step, int64_t microbatch,
                        const Operand& out) { return Feed(name, step, microbatch, out); };
  options.fetch = [this](std::string_view name, int64_t step, int64_t, const Operand& in) {
    if (name == "loss") losses_[step] = *in.as<float>();
    return absl::OkStatus();
  };
  for (int64_t step = 0; step < 200; ++step) losses_[step] = 0;  // later writes allocate nothing
  WEFT_ASSIGN_OR_RETURN(executor_, Executor::Create(std::move(plan), std::move(options)));
  return absl::OkStatus();
}

absl::Status DecoderRank::Feed(std::string_view name, int64_t step, int64_t microbatch,
                               const Operand& out) {
  if (name == "tokens" || name == "targets") {
    const int64_t shift = name == "targets" ? 1 : 0;
    const int64_t columns = out.shape[1];
    for (int64_t i = 0; i < out.elements(); ++i) {
      const int64_t row = out.box->dims[0].ToLogical(i / columns);
      const int64_t column = out.box->dims[1].ToLogical(i % columns) + shift;
      const int64_t mixed = (step * 7 + microbatch * 31 + row * 13 + column * column * 5) % 251;
      out.as<int32_t>()[i] = static_cast<int32_t>(mixed);
    }
    return absl::OkStatus();
  }
  float* const value = out.as<float>();
  if (name == "learning_rate") {
    *value = 1e-3f;
    auto* const at = static_cast<std::byte*>(out.data);
    lowest_learning_rate_ =
        lowest_learning_rate_ == nullptr ? at : std::min(lowest_learning_rate_, at);
  } else {
    const Job& job = shared_.job();
    *value = name == "step"
                 ? static_cast<float>(step + 1)
                 : 1.0f / static_cast<float>(job.train().global_batch() * job.data(0).sequence());
  }
  return absl::OkStatus();
}

std::byte* DecoderRank::arena() const {
  for (const ActorDef& actor : plan().actors()) {
    if (actor.feed().name() != "learning_rate") continue;
    const auto& offsets = plan().buffers(actor.feed().output().buffer()).offsets();
    return lowest_learning_rate_ - *std::min_element(offsets.begin(), offsets.end());
  }
  return nullptr;
}

}  // namespace weft::testing
