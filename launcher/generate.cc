#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/all_ops.h"
#include "launcher/checkpoint.h"
#include "launcher/commands.h"
#include "launcher/job_graph.h"
#include "launcher/ranks.h"
#include "launcher/session.h"
#include "launcher/tokenizer.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Draws from softmax(logits / temperature); temperature 0 takes the largest.
int32_t Sample(absl::Span<const float> logits, double temperature, std::mt19937_64& random) {
  const auto top = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return static_cast<int32_t>(top - logits.begin());
  std::vector<double> weights;
  for (float logit : logits) weights.push_back(std::exp((logit - *top) / temperature));
  return static_cast<int32_t>(
      std::discrete_distribution<int>(weights.begin(), weights.end())(random));
}

class Generator {
 public:
  Generator(const GenerateCommand& command, const Job& job, const std::string& folder,
            const OpRegistry& ops, const KernelTable& kernels, Transport& transport)
      : command_(command),
        job_(job),
        folder_(folder),
        ops_(ops),
        window_(job.data(0).sequence()),
        transport_(transport),
        session_(ops, kernels, transport) {}

  absl::Status Run() {
    WEFT_RETURN_IF_ERROR(Load());
    std::mt19937_64 random(command_.seed);
    context_ = EncodeBytes(command_.prompt.empty() ? "\n" : command_.prompt);
    if (transport_.rank() == 0) std::printf("%s", command_.prompt.c_str());
    for (int64_t i = 0; i < command_.tokens; ++i) {
      WEFT_RETURN_IF_ERROR(program_->Run(i, 1));
      // Every rank has the logits and draws the same token.
      const int32_t token = Sample(logits_, command_.temperature, random);
      context_.push_back(token);
      if (transport_.rank() == 0) {
        std::printf("%s", DecodeBytes({token}).c_str());
        std::fflush(stdout);
      }
    }
    if (transport_.rank() == 0) std::printf("\n");
    return absl::OkStatus();
  }

 private:
  // The last tokens that fit the window; position of the newest in it.
  int64_t Newest() const {
    return std::min<int64_t>(window_, static_cast<int64_t>(context_.size())) - 1;
  }

  absl::Status Load() {
    WEFT_ASSIGN_OR_RETURN(Graph graph, GenerateGraph(job_, ops_, 1, window_));
    const auto feed = [this](std::string_view, int64_t, int64_t, const Operand& out) {
      const int64_t used = Newest() + 1;
      const int64_t first = static_cast<int64_t>(context_.size()) - used;
      int32_t* tokens = out.as<int32_t>();
      for (int64_t i = 0; i < out.elements(); ++i) {
        const int64_t column = out.box->dims[1].ToLogical(i);
        tokens[i] = column < used ? context_[first + column] : 0;
      }
      return absl::OkStatus();
    };
    const auto fetch = [this](std::string_view, int64_t, int64_t, const Operand& in) {
      const int64_t vocab = in.logical->shape[2];
      const float* row = in.as<float>() + Newest() * vocab;
      logits_.assign(row, row + vocab);
      return absl::OkStatus();
    };
    WEFT_ASSIGN_OR_RETURN(program_, session_.Load(std::move(graph), CompileOptions(), feed, fetch));
    return RestoreCheckpoint(folder_, job_, RestoreScope::kModel, session_.variables(), transport_)
        .status();
  }

  const GenerateCommand& command_;
  const Job& job_;
  const std::string& folder_;
  const OpRegistry& ops_;
  const int64_t window_;
  Transport& transport_;
  Session session_;
  std::unique_ptr<Session::Runnable> program_;
  std::vector<int32_t> context_;
  std::vector<float> logits_;
};

absl::Status Generate(const GenerateCommand& command, Ranks& ranks) {
  WEFT_ASSIGN_OR_RETURN(const std::string folder, FindCheckpoint(command.checkpoint));
  const absl::StatusOr<Job> job = CheckpointJob(folder);
  WEFT_RETURN_IF_ERROR(job.status());
  if (job->model().has_decoder() && !job->data(0).has_text()) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " was trained on the token ids of '", job->data(0).tokens(),
                     "', whose tokenizer weft does not have; generate needs a model of text "
                     "(data.text, tokenizer: BYTES)"));
  }
  WEFT_RETURN_IF_ERROR(CheckRanks(*job, ranks.size()));
  OpRegistry ops;
  KernelTable kernels;
  DefineAllOps(ops);
  FillCpuKernels(ops, kernels);
  return ranks.Run([&](Transport& transport) {
    return Generator(command, *job, folder, ops, kernels, transport).Run();
  });
}

// Alone, as many threads as the checkpoint has ranks.
absl::StatusOr<Ranks> RanksFor(const std::string& checkpoint) {
  absl::StatusOr<Ranks> ranks = Ranks::Start(0);
  if (!ranks.ok() || ranks->size() > 1) return ranks;
  const absl::StatusOr<std::string> folder = FindCheckpoint(checkpoint);
  if (!folder.ok()) return ranks;
  const absl::StatusOr<Job> job = CheckpointJob(*folder);
  if (!job.ok()) return ranks;
  WEFT_ASSIGN_OR_RETURN(const Mesh mesh, MeshOf(*job));
  return mesh.size() > 1 ? Ranks::Start(mesh.size()) : std::move(ranks);
}

}  // namespace

int Run(const GenerateCommand& command) {
  absl::StatusOr<Ranks> ranks = RanksFor(command.checkpoint);
  const absl::Status status = ranks.ok() ? Generate(command, *ranks) : ranks.status();
  ReportFailure(status);
  return ExitCodeOf(status);
}

}  // namespace weft
