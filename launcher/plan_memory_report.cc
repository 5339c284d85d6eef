#include "launcher/plan_memory_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "launcher/step_times.h"
#include "parallel/place_memory.h"
#include "parallel/plan_memory.h"
#include "parallel/stream_timelines.h"

namespace weft {
namespace {

// More than a picture has columns.
constexpr size_t kMostCurvePoints = 2000;

// Of each of equal stretches of the curve what is most.
void Thin(std::vector<PlanReport::MemoryPoint>& curve) {
  if (curve.size() <= kMostCurvePoints) return;
  const auto sum = [](const PlanReport::MemoryPoint& point) {
    return std::accumulate(point.bytes.begin(), point.bytes.end(), int64_t{0});
  };
  std::vector<PlanReport::MemoryPoint> kept;
  const size_t stride = curve.size() / kMostCurvePoints + 1;
  for (size_t i = 0; i < curve.size(); i += stride) {
    size_t most = i;
    for (size_t j = i; j < std::min(curve.size(), i + stride); ++j) {
      if (sum(curve[j]) > sum(curve[most])) most = j;
    }
    kept.push_back({curve[i].seconds, curve[most].bytes});
  }
  curve = std::move(kept);
}

enum Category { kVariables, kInputs, kActivations, kGradients, kOptimizerValues, kWorkspace };

int64_t Aligned(int64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

class MemoryReporter {
 public:
  MemoryReporter(const Graph& graph, const StageRows& rows, const Plan& plan,
                 const std::vector<PlanReport::Value>& values,
                 const std::vector<PlanReport::Stream>& timeline)
      : graph_(graph),
        stage_(*rows.stage),
        plan_(plan),
        times_(rows, timeline),
        timed_(!timeline.empty()) {
    for (const PlanReport::Value& value : values) rows_[value.name] = &value;
    for (int b = 0; b < plan.buffers_size(); ++b) {
      if (plan.buffers(b).has_within()) guests_[plan.buffers(b).within()] = b;
    }
  }

  PlanReport::Memory Run() {
    PlanReport::Memory memory;
    memory.arena_bytes = plan_.arena_bytes();
    memory.lower_bound_bytes = plan_.arena_lower_bound();
    memory.variable_bytes = VariableBytes(plan_);
    for (const MemoryHolder& holder : MemoryHolders(plan_)) {
      memory.holders.push_back(Holder(holder));
    }
    if (timed_) memory.curve = Curve(memory.variable_bytes);
    return memory;
  }

 private:
  using Bytes = std::array<int64_t, kNumMemoryCategories>;

  Category CategoryOf(int buffer) const {
    if (buffer < 0) return kWorkspace;
    if (!plan_.buffers(buffer).variable().empty()) return kVariables;
    const auto row = rows_.find(graph_.info(stage_.lowered.buffers[buffer].value).name);
    if (row == rows_.end()) return kActivations;
    if (row->second->made_by == "input") return kInputs;
    switch (row->second->part) {
      case PlanPart::kForward: return kActivations;
      case PlanPart::kBackward: return kGradients;
      case PlanPart::kOptimizer: return kOptimizerValues;
    }
    return kActivations;
  }

  PlanReport::Holder Holder(const MemoryHolder& base) const {
    PlanReport::Holder holder{base, kMemoryCategories[CategoryOf(base.buffer)], {}};
    if (timed_ && base.buffer >= 0) {
      for (const BufferLife& life : LivesOf(base.buffer, base.bytes / base.slots)) {
        holder.lifetimes.emplace_back(times_.Seconds(life.time.first),
                                      times_.Seconds(life.time.last + 1));
      }
    }
    return holder;
  }

  // Empty: always there. What is no larger than the alignment never shares
  // (parallel/plan_memory.cc).
  std::vector<BufferLife> LivesOf(int buffer, int64_t bytes) const {
    if (bytes <= kArenaAlignment) return {};
    std::vector<BufferLife> lives = stage_.lives[buffer];
    const auto guest = guests_.find(buffer);
    if (guest != guests_.end()) Join(stage_.lives[guest->second], lives);
    return lives;
  }

  void Live(const Lifetime& time, Category category, int64_t bytes) {
    changes_[time.first][category] += Aligned(bytes);
    changes_[time.last + 1][category] -= Aligned(bytes);
  }

  // Of a kernel call; of a conversion, which has no calls, for its whole firing. 0 of other actors
  // without calls.
  int64_t WorkspaceOf(int actor, size_t call) const {
    const ActorDef& def = plan_.actors(actor);
    if (def.has_all_reduce()) return def.all_reduce().workspace_bytes();
    if (def.has_exchange()) return def.exchange().workspace_bytes();
    if (static_cast<int>(call) >= def.compute().calls_size()) return 0;
    return def.compute().calls(static_cast<int>(call)).workspace_bytes();
  }

  // By the rules of parallel/plan_memory.cc.
  void AddWorkspaces() {
    const StreamTimelines timelines(stage_.lowered, stage_.schedule);
    for (const ScheduledFiring& firing : stage_.schedule.firings) {
      const LoweredActor& actor = stage_.lowered.actors[firing.actor];
      std::vector<int64_t> bytes, begins = {firing.begin};
      for (size_t c = 0; c < std::max<size_t>(1, actor.calls.size()); ++c) {
        bytes.push_back(WorkspaceOf(firing.actor, c));
        begins.push_back(actor.calls.empty() ? firing.end : begins.back() + actor.calls[c].ticks);
      }
      for (size_t c = 0, end = 0; c < bytes.size(); c = end) {
        end = EndOfWorkspaces(actor, bytes, c);
        Lifetime life{begins[c], begins[end] - 1};
        if (actor.stream != StreamId::kCompute) life = timelines.Widen(life);
        for (size_t i = c; i < end; ++i) {
          if (bytes[i] > 0) Live(life, kWorkspace, bytes[i]);
        }
      }
    }
  }

  std::vector<PlanReport::MemoryPoint> Curve(int64_t variable_bytes) {
    changes_[0][kVariables] += variable_bytes;
    const Lifetime always{0, stage_.schedule.ticks - 1};
    for (const MemoryHolder& holder : MemoryHolders(plan_)) {
      if (holder.buffer < 0) continue;
      const Category category = CategoryOf(holder.buffer);
      if (category == kVariables || plan_.buffers(holder.buffer).has_within()) continue;
      const int64_t bytes = holder.bytes / holder.slots;
      const std::vector<BufferLife> lives = LivesOf(holder.buffer, bytes);
      for (const BufferLife& life : lives) Live(life.time, category, bytes);
      for (int slot = 0; lives.empty() && slot < holder.slots; ++slot) {
        Live(always, category, bytes);
      }
    }
    AddWorkspaces();
    std::vector<PlanReport::MemoryPoint> curve;
    Bytes live = {};
    for (const auto& [tick, change] : changes_) {
      for (int c = 0; c < kNumMemoryCategories; ++c) live[c] += change[c];
      if (tick >= stage_.schedule.ticks) break;
      const double seconds = times_.Seconds(tick);
      if (!curve.empty() && std::equal(live.begin(), live.end(), curve.back().bytes.begin())) {
        continue;
      }
      curve.push_back({seconds, {live.begin(), live.end()}});
    }
    PlanReport::MemoryPoint end{times_.Seconds(stage_.schedule.ticks), curve.back().bytes};
    Thin(curve);
    curve.push_back(std::move(end));
    return curve;
  }

  const Graph& graph_;
  const StageProgram& stage_;
  const Plan& plan_;
  const StepTimes times_;
  const bool timed_;
  std::map<std::string, const PlanReport::Value*> rows_;
  std::map<int, int> guests_;         // by the buffer within whose memory they lie
  std::map<int64_t, Bytes> changes_;  // by tick
};

}  // namespace

PlanReport::Memory ReportMemory(const Graph& graph, const StageRows& rows, const Plan& plan,
                                const std::vector<PlanReport::Value>& values,
                                const std::vector<PlanReport::Stream>& timeline) {
  return MemoryReporter(graph, rows, plan, values, timeline).Run();
}

}  // namespace weft
