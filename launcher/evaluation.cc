#include "launcher/evaluation.h"

#include <algorithm>
#include <utility>

#include "launcher/batch_feed.h"
#include "launcher/job_graph.h"
#include "runtime/status.h"

namespace weft {

absl::StatusOr<std::unique_ptr<Evaluation>> Evaluation::Load(const Job& job, const OpRegistry& ops,
                                                             const BoundData& data,
                                                             Session& session) {
  std::unique_ptr<Evaluation> evaluation(new Evaluation(job, data));
  WEFT_ASSIGN_OR_RETURN(Graph graph, EvaluateGraph(job, ops));
  auto& values = evaluation->values_;
  for (const GraphOutput& output : graph.outputs) values[output.name];
  const auto keep = [&values](std::string_view name, int64_t batch, int64_t, const Operand& in) {
    values.find(name)->second[batch] = *in.as<float>();
    return absl::OkStatus();
  };
  auto program = session.Load(std::move(graph), CompileOptionsOf(job), BatchFeed(job, data, true),
                              keep, "held-out batch");
  if (!program.ok()) return Annotate(program.status(), ModelName(job));
  evaluation->program_ = *std::move(program);
  return evaluation;
}

absl::StatusOr<std::map<std::string, double>> Evaluation::Run() {
  const int64_t available = data_.held_out_batches();
  const int64_t limit = job_.evaluate().batches();
  const int64_t batches = limit > 0 ? std::min(limit, available) : available;
  for (auto& [name, values] : values_) values.assign(batches, 0);
  WEFT_RETURN_IF_ERROR(program_->Run(0, batches));
  std::map<std::string, double> means;
  for (const auto& [name, values] : values_) {
    double sum = 0, targets = 0;
    for (int64_t batch = 0; batch < batches; ++batch) {
      const double count = static_cast<double>(data_.HeldOutTargets(batch));
      sum += values[batch] * count;
      targets += count;
    }
    means[name] = sum / targets;
  }
  return means;
}

}  // namespace weft
