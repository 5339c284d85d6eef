#include "parallel/reuse_edges.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "parallel/step_clocks.h"

namespace weft {
namespace {

// Steady state shows within two steps: the second takes over memory from the first.
constexpr int kSteps = 2;

// A life of some step that must be over before a firing of that or the next step begins.
struct Need {
  const BufferLife* life;
  int step;
  int memory;  // an index into what FindReuseEdges was given
};

// One instance of "after": `calls` calls (none: all) of firing `before` of `before_step` end before
// firing `after` of `after_step` begins to write `memory`.
struct Instance {
  int before = 0, before_step = 0, calls = 0;
  int after = 0, after_step = 0;
  int memory = 0;
};

class EdgeFinder {
 public:
  EdgeFinder(const LoweredProgram& program, const StepSchedule& schedule)
      : program_(program), schedule_(schedule) {
    firing_of_.resize(program.actors.size());
    for (size_t f = 0; f < schedule.firings.size(); ++f) {
      firing_of_[schedule.firings[f].actor].push_back(static_cast<int>(f));
    }
  }

  ReuseEdges Run(const std::vector<SharedMemory>& memory) {
    FindNeeds(memory);
    FindInstances();
    ReuseEdges result;
    std::set<int> unorderable;
    for (const auto& [actors, instances] : instances_) {
      if (const auto edge = MakeEdge(actors.first, actors.second, instances)) {
        result.edges.push_back(*edge);
      } else {
        for (const Instance& instance : instances) unorderable.insert(instance.memory);
      }
    }
    result.unorderable.assign(unorderable.begin(), unorderable.end());
    return result;
  }

 private:
  // Who held the memory before each life: a map of the arena, played through the lives in order.
  void FindNeeds(const std::vector<SharedMemory>& memory) {
    struct Start {
      int64_t tick;
      int step;
      int memory;
      const BufferLife* life;
    };
    std::vector<Start> starts;
    for (size_t m = 0; m < memory.size(); ++m) {
      for (const BufferLife& life : *memory[m].lives) {
        for (int step = 0; step < kSteps; ++step) {
          starts.push_back(
              {step * schedule_.ticks + life.time.first, step, static_cast<int>(m), &life});
        }
      }
    }
    std::stable_sort(starts.begin(), starts.end(),
                     [](const Start& a, const Start& b) { return a.tick < b.tick; });
    std::map<int64_t, std::pair<int64_t, Need>> holders;  // begin -> end, who
    for (const Start& start : starts) {
      const auto [begin, end] = std::pair(memory[start.memory].begin, memory[start.memory].end);
      std::vector<Need>& needs = needs_[{start.step, start.life->first}];
      auto at = holders.lower_bound(begin);
      if (at != holders.begin() && std::prev(at)->second.first > begin) --at;
      while (at != holders.end() && at->first < end) {
        const auto [from, held] = *at;
        const auto [to, need] = held;
        at = holders.erase(at);
        if (need.memory != start.memory || memory[start.memory].renewed) needs.push_back(need);
        if (from < begin) holders[from] = {begin, need};
        if (to > end) at = holders.insert({end, {to, need}}).first;
      }
      holders[begin] = {end, {start.life, start.step, start.memory}};
    }
  }

  void FindInstances() {
    std::vector<std::vector<Clock>> begins(kSteps, std::vector<Clock>(schedule_.firings.size()));
    PlayClocks(program_, schedule_, kSteps, [&](int step, int f, Clock& clock) {
      const auto needs = needs_.find({step, f});
      if (needs != needs_.end()) {
        const int own = static_cast<int>(ActorOf(f).stream);
        for (const Need& need : needs->second) {
          for (int s = 0; s < kNumStreams; ++s) {
            const LastTouch& touch = need.life->last[s];
            if (s == own || touch.firing < 0) continue;
            if (clock[s] >= need.step * schedule_.ticks + touch.end) continue;
            instances_[{schedule_.firings[touch.firing].actor, schedule_.firings[f].actor}]
                .push_back({touch.firing, need.step, touch.calls, f, step, need.memory});
            Merge(begins[need.step][touch.firing], clock);
            clock[s] = std::max(clock[s], need.step * schedule_.ticks + touch.end);
          }
        }
      }
      begins[step][f] = clock;
    });
  }

  const LoweredActor& ActorOf(int firing) const {
    return program_.actors[schedule_.firings[firing].actor];
  }

  // Where firing k >= 0 of an actor, counted over all steps, stands in the order of all firings.
  int64_t Position(int actor, int64_t k) const {
    const int64_t firings = static_cast<int64_t>(firing_of_[actor].size());
    return k / firings * static_cast<int64_t>(schedule_.firings.size()) +
           firing_of_[actor][k % firings];
  }

  // Whether consumer firing k, waiting for producer firing `before(k)`, agrees with the schedule.
  template <typename Before>
  bool Feasible(int producer, int consumer, Before before) const {
    const int64_t firings = static_cast<int64_t>(firing_of_[consumer].size());
    for (int64_t k = 0; k < kSteps * firings; ++k) {
      const int64_t b = before(k);
      if (b >= 0 && Position(producer, b) >= Position(consumer, k)) return false;
    }
    return true;
  }

  std::optional<ReuseEdge> MakeEdge(int producer, int consumer,
                                    const std::vector<Instance>& instances) const {
    const int64_t writes = program_.actors[producer].firings;
    const int64_t reads = program_.actors[consumer].firings;
    int after = 0;
    for (const Instance& instance : instances) after = std::max(after, instance.calls);
    const auto orders = [&](auto before) {
      for (const Instance& instance : instances) {
        const int64_t b = instance.before_step * writes + schedule_.firings[instance.before].index;
        const int64_t k = instance.after_step * reads + schedule_.firings[instance.after].index;
        if (before(k) < b) return false;
      }
      return Feasible(producer, consumer, before);
    };
    // Firing by firing, then step by step; of this round or the one before.
    for (int initial = 0; initial < 2 && writes == reads; ++initial) {
      if (orders([&](int64_t k) { return k - initial; })) {
        return ReuseEdge{.producer = producer,
                         .consumer = consumer,
                         .initial = initial,
                         .slots = initial + kSteps * static_cast<int>(writes),
                         .after = after};
      }
    }
    for (int initial = 0; initial < 2; ++initial) {
      if (orders([&](int64_t k) { return (k / reads + 1 - initial) * writes - 1; })) {
        return ReuseEdge{.producer = producer,
                         .consumer = consumer,
                         .writes_per_slot = static_cast<int>(writes),
                         .reads_per_slot = static_cast<int>(reads),
                         .initial = initial,
                         .slots = initial + kSteps,
                         .after = after};
      }
    }
    return std::nullopt;
  }

  const LoweredProgram& program_;
  const StepSchedule& schedule_;
  std::vector<std::vector<int>> firing_of_;                         // per actor, by index
  std::map<std::pair<int, int>, std::vector<Need>> needs_;          // by step and firing
  std::map<std::pair<int, int>, std::vector<Instance>> instances_;  // by actors
};

}  // namespace

ReuseEdges FindReuseEdges(const LoweredProgram& program, const StepSchedule& schedule,
                          const std::vector<SharedMemory>& memory) {
  return EdgeFinder(program, schedule).Run(memory);
}

}  // namespace weft
