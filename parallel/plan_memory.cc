#include "parallel/plan_memory.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "parallel/place_memory.h"
#include "parallel/stream_timelines.h"

namespace weft {
namespace {

// Workspaces of less than this do not keep calls apart: a device may then run calls of one kernel
// that follow each other together (BatchedKernel).
constexpr int64_t kSmallWorkspace = 1 << 20;

// What a request stands for.
struct Owner {
  int buffer = -1;
  int slot = 0;
  int actor = -1;  // of a workspace
  int call = 0;
  std::vector<BufferLife> lives;  // empty: never shared
  int pool = -1;                  // the request in whose memory it lies; -1: its own
};

class MemoryPlanner {
 public:
  MemoryPlanner(const LoweredProgram& program, const StepSchedule& schedule,
                const std::vector<std::vector<BufferLife>>& lives, const MemorySizes& sizes)
      : program_(program), schedule_(schedule), lives_(lives), sizes_(sizes) {}

  PlannedMemory Run() {
    FindHosts();
    while (true) {
      if (requests_.empty()) {
        AskForBuffers();
        AskForWorkspaces();
      }
      const Placement placement = PlaceMemory(requests_);
      ReuseEdges edges = FindReuseEdges(program_, schedule_, Shared(placement));
      if (edges.unorderable.empty()) return Result(placement, std::move(edges.edges));
      if (PartHosts(edges.unorderable)) {
        requests_.clear();
        owners_.clear();
        pools_.clear();
        continue;
      }
      for (int r : edges.unorderable) KeepApart(r);
    }
  }

 private:
  // Gives what cannot share with others memory of its own for good. Workspaces of a stream of
  // conversions share that among themselves: they follow each other on the stream.
  void KeepApart(int r) {
    requests_[r].lifetimes.clear();
    owners_[r].lives.clear();
    if (owners_[r].actor < 0) return;
    const StreamId stream = program_.actors[owners_[r].actor].stream;
    if (stream == StreamId::kCompute) return;
    const auto [pool, is_first] = pools_.try_emplace(stream, r);
    if (is_first) return;
    int64_t& bytes = requests_[pool->second].bytes;
    bytes = std::max(bytes, requests_[r].bytes);
    requests_[r].bytes = 0;
    owners_[r].pool = pool->second;
  }

  // Decides who lies within whose memory: both live, and share what they have, as often a step.
  void FindHosts() {
    within_.assign(program_.buffers.size(), -1);
    guest_.assign(program_.buffers.size(), -1);
    for (size_t b = 0; b < sizes_.within.size(); ++b) {
      const int host = sizes_.within[b];
      if (host < 0 || guest_[b] >= 0 || within_[host] >= 0) continue;
      if (!Shares(b) || !Shares(host) || !Alternate(lives_[b], lives_[host])) continue;
      within_[b] = host;
      guest_[host] = static_cast<int>(b);
    }
  }

  // Whether each life of the guest begins after the host's life before and passes into the next.
  static bool Alternate(const std::vector<BufferLife>& guest, const std::vector<BufferLife>& host) {
    if (guest.size() != host.size()) return false;
    for (size_t i = 0; i < guest.size(); ++i) {
      if (guest[i].time.first > host[i].time.first) return false;
      if (i > 0 && guest[i].time.first <= host[i - 1].time.last) return false;
    }
    return true;
  }

  // Gives each the memory of its own again where no order keeps the host's lives apart. Whether
  // there was one.
  bool PartHosts(const std::vector<int>& requests) {
    bool found = false;
    for (int r : requests) {
      const int host = owners_[r].buffer;
      if (host < 0 || guest_[host] < 0) continue;
      within_[guest_[host]] = -1;
      guest_[host] = -1;
      found = true;
    }
    return found;
  }

  // A scalar is not worth a firing that waits for another stream.
  bool Shares(size_t b) const { return sizes_.buffers[b] > kArenaAlignment && !lives_[b].empty(); }

  // Of a host: those of its guest joined.
  std::vector<BufferLife> LivesOf(size_t b) const {
    if (!Shares(b)) return {};
    std::vector<BufferLife> lives = lives_[b];
    if (guest_[b] >= 0) Join(lives_[guest_[b]], lives);
    return lives;
  }

  void AskForBuffers() {
    for (size_t b = 0; b < program_.buffers.size(); ++b) {
      const LoweredBuffer& buffer = program_.buffers[b];
      if (!buffer.variable.empty()) continue;
      if (within_[b] >= 0) continue;
      for (int slot = 0; slot < buffer.slots; ++slot) {
        Ask(sizes_.buffers[b], {.buffer = static_cast<int>(b), .slot = slot, .lives = LivesOf(b)});
      }
    }
  }

  void AskForWorkspaces() {
    std::map<std::pair<int, int>, Owner> owners;
    const StreamTimelines timelines(program_, schedule_);
    for (size_t f = 0; f < schedule_.firings.size(); ++f) {
      const ScheduledFiring& firing = schedule_.firings[f];
      const LoweredActor& actor = program_.actors[firing.actor];
      const std::vector<int64_t>& bytes = sizes_.workspaces[firing.actor];
      // When calls begin, and the last one ends.
      std::vector<int64_t> begins = {firing.begin};
      for (const LoweredCall& call : actor.calls) begins.push_back(begins.back() + call.ticks);
      if (actor.calls.empty()) begins.push_back(firing.end);
      size_t first = 0, behind = 0;  // the run of calls that includes c
      for (size_t c = 0; c < bytes.size(); ++c) {
        if (c == behind) {
          first = c;
          behind = EndOfWorkspaces(actor, bytes, c);
        }
        if (bytes[c] > 0) {
          const int64_t at = begins[first], end = begins[behind];
          BufferLife life{.time = {at, end - 1}, .first = static_cast<int>(f), .last = {}};
          life.last[static_cast<int>(actor.stream)] = {
              .firing = static_cast<int>(f),
              .calls = actor.calls.empty() ? 0 : static_cast<int>(behind),
              .end = end};
          if (actor.stream != StreamId::kCompute) life.time = timelines.Widen(life.time);
          Owner& owner = owners[{firing.actor, static_cast<int>(c)}];
          owner.actor = firing.actor;
          owner.call = static_cast<int>(c);
          owner.lives.push_back(life);
        }
      }
    }
    for (auto& [call, owner] : owners) {
      const int64_t bytes = sizes_.workspaces[owner.actor][owner.call];
      Ask(bytes, std::move(owner));
    }
  }

  void Ask(int64_t bytes, Owner owner) {
    MemoryRequest request{bytes, {}};
    for (const BufferLife& life : owner.lives) request.lifetimes.push_back(life.time);
    requests_.push_back(std::move(request));
    owners_.push_back(std::move(owner));
  }

  // All requests, as they lie; parallel to them.
  std::vector<SharedMemory> Shared(const Placement& placement) const {
    std::vector<SharedMemory> memory;
    for (size_t r = 0; r < requests_.size(); ++r) {
      const int buffer = owners_[r].buffer;
      memory.push_back({.lives = &owners_[r].lives,
                        .begin = placement.offsets[r],
                        .end = placement.offsets[r] + requests_[r].bytes,
                        .renewed = buffer >= 0 && guest_[buffer] >= 0});
    }
    return memory;
  }

  std::string NameOf(const Owner& owner) const {
    if (owner.buffer >= 0) return program_.buffers[owner.buffer].name;
    const LoweredActor& actor = program_.actors[owner.actor];
    return absl::StrCat("workspace of ",
                        actor.calls.empty() ? actor.name : actor.calls[owner.call].name);
  }

  // All requests live at the first tick at which most bytes are.
  std::vector<Holder> Peak() const {
    std::map<int64_t, int64_t> change;
    for (const MemoryRequest& request : requests_) {
      for (const Lifetime& life : request.lifetimes) {
        change[life.first] += request.bytes;
        change[life.last + 1] -= request.bytes;
      }
    }
    int64_t live = 0, most = -1, peak = 0;
    for (const auto& [tick, delta] : change) {
      live += delta;
      if (live > most) std::tie(most, peak) = std::pair(live, tick);
    }
    std::vector<Holder> holders;
    for (size_t r = 0; r < requests_.size(); ++r) {
      const std::vector<Lifetime>& lives = requests_[r].lifetimes;
      const bool holds = lives.empty() || std::any_of(lives.begin(), lives.end(), [&](Lifetime l) {
                           return l.first <= peak && peak <= l.last;
                         });
      if (holds && requests_[r].bytes > 0) {
        holders.push_back({NameOf(owners_[r]), requests_[r].bytes});
      }
    }
    std::stable_sort(holders.begin(), holders.end(),
                     [](const Holder& a, const Holder& b) { return a.bytes > b.bytes; });
    return holders;
  }

  PlannedMemory Result(const Placement& placement, std::vector<ReuseEdge> edges) const {
    PlannedMemory result;
    result.edges = std::move(edges);
    result.bytes = placement.bytes;
    result.lower_bound = placement.lower_bound;
    result.peak = Peak();
    result.offsets.resize(program_.buffers.size());
    for (const std::vector<int64_t>& bytes : sizes_.workspaces) {
      result.workspaces.emplace_back(bytes.size(), 0);
    }
    for (size_t r = 0; r < owners_.size(); ++r) {
      const Owner& owner = owners_[r];
      if (owner.buffer >= 0) {
        result.offsets[owner.buffer].push_back(placement.offsets[r]);
      } else {
        result.workspaces[owner.actor][owner.call] =
            placement.offsets[owner.pool < 0 ? r : static_cast<size_t>(owner.pool)];
      }
    }
    result.within = within_;
    for (size_t b = 0; b < within_.size(); ++b) {
      if (within_[b] >= 0) result.offsets[b] = result.offsets[within_[b]];
    }
    return result;
  }

  const LoweredProgram& program_;
  const StepSchedule& schedule_;
  const std::vector<std::vector<BufferLife>>& lives_;
  const MemorySizes& sizes_;
  std::vector<int> within_;  // by buffer: in whose memory it lies; -1: in its own
  std::vector<int> guest_;   // by buffer: who lies in its memory; -1: nobody
  std::vector<MemoryRequest> requests_;
  std::vector<Owner> owners_;      // parallel to requests_
  std::map<StreamId, int> pools_;  // requests
};

}  // namespace

size_t EndOfWorkspaces(const LoweredActor& actor, const std::vector<int64_t>& bytes, size_t call) {
  size_t end = call + 1;
  const auto small = [&](size_t c) { return bytes[c] < kSmallWorkspace; };
  while (small(call) && end < actor.calls.size() && small(end) &&
         actor.calls[end].kernel == actor.calls[call].kernel) {
    ++end;
  }
  return end;
}

PlannedMemory PlanMemory(const LoweredProgram& program, const StepSchedule& schedule,
                         const std::vector<std::vector<BufferLife>>& lives,
                         const MemorySizes& sizes) {
  return MemoryPlanner(program, schedule, lives, sizes).Run();
}

std::shared_ptr<const PlannedMemory> MemoryPlans::Get(const MemorySizes& sizes,
                                                      const std::function<PlannedMemory()>& make) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [known, plan] : known_) {
      if (known == sizes) return plan;
    }
  }
  auto plan = std::make_shared<const PlannedMemory>(make());
  const std::lock_guard lock(mutex_);
  known_.emplace_front(sizes, plan);
  if (known_.size() > kKept) known_.pop_back();
  return plan;
}

}  // namespace weft
