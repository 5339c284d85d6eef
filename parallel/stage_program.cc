#include "parallel/stage_program.h"

#include <map>
#include <set>
#include <utility>

namespace weft {
namespace {

// The part of a program that lies on some meshes.
class Part {
 public:
  Part(const Graph& graph, const LoweredProgram& whole, const std::vector<int>& meshes)
      : graph_(graph), whole_(whole), meshes_(meshes.begin(), meshes.end()) {}

  LoweredProgram Make() {
    part_.microbatches = whole_.microbatches;
    ChooseActors();
    ChooseBuffers();
    ChooseChannels();
    for (size_t a = 0; a < whole_.actors.size(); ++a) {
      if (actor_[a] >= 0) part_.actors.push_back(Renumbered(whole_.actors[a]));
    }
    for (const LoweredChannel& channel : channels_) part_.channels.push_back(channel);
    SetDepartures(part_);
    return std::move(part_);
  }

 private:
  bool Has(int mesh) const { return meshes_.count(mesh) > 0; }

  // The new number of one that is kept, else -1 ("not here").
  static int NewNumber(const std::vector<int>& numbers, int old) {
    return old < 0 ? -1 : numbers[old];
  }
  static std::vector<int> NewNumbers(const std::vector<int>& numbers, const std::vector<int>& old) {
    std::vector<int> kept;
    for (int i : old) {
      if (numbers[i] >= 0) kept.push_back(numbers[i]);
    }
    return kept;
  }

  void ChooseActors() {
    int kept = 0;
    for (const LoweredActor& actor : whole_.actors) {
      const bool here =
          Has(actor.to_mesh) || (Has(actor.from_mesh) && actor.stream == StreamId::kCommunication);
      actor_.push_back(here ? kept++ : -1);
    }
  }

  void ChooseBuffers() {
    for (const LoweredBuffer& buffer : whole_.buffers) {
      const bool here = Has(graph_.info(buffer.value).mesh);
      buffer_.push_back(here ? static_cast<int>(part_.buffers.size()) : -1);
      if (here) part_.buffers.push_back(buffer);
    }
  }

  void ChooseChannels() {
    for (const LoweredChannel& channel : whole_.channels) {
      LoweredChannel here = channel;
      here.consumers.clear();
      for (const LoweredConsumer& consumer : channel.consumers) {
        if (actor_[consumer.actor] < 0) continue;
        here.consumers.push_back({actor_[consumer.actor], consumer.reads_per_slot});
      }
      here.buffer = buffer_[channel.buffer];
      here.producer = actor_[channel.producer];
      const bool kept = here.buffer >= 0 && here.producer >= 0 && !here.consumers.empty();
      channel_.push_back(kept ? static_cast<int>(channels_.size()) : -1);
      if (kept) channels_.push_back(std::move(here));
      // Slots are credits of a channel; a result that nobody here reads needs one.
      if (!kept && buffer_[channel.buffer] >= 0) part_.buffers[buffer_[channel.buffer]].slots = 1;
    }
  }

  LoweredActor Renumbered(LoweredActor actor) const {
    actor.input_buffer = NewNumber(buffer_, actor.input_buffer);
    actor.output_buffer = NewNumber(buffer_, actor.output_buffer);
    actor.awaited = NewNumbers(buffer_, actor.awaited);
    actor.inputs = NewNumbers(channel_, actor.inputs);
    actor.outputs = NewNumbers(channel_, actor.outputs);
    for (LoweredCall& call : actor.calls) {
      for (std::vector<int>* operands : {&call.inputs, &call.outputs}) {
        for (int& b : *operands) b = NewNumber(buffer_, b);
      }
    }
    return actor;
  }

  const Graph& graph_;
  const LoweredProgram& whole_;
  const std::set<int> meshes_;
  std::vector<int> actor_, buffer_, channel_;  // old number -> new, -1: not here
  std::vector<LoweredChannel> channels_;
  LoweredProgram part_;
};

}  // namespace

std::vector<StageProgram> SplitByRanks(const Graph& graph, const LoweredProgram& whole) {
  std::map<int, std::vector<int>> meshes_of;  // by rank
  for (size_t m = 0; m < graph.meshes.size(); ++m) {
    for (int rank : graph.meshes[m].ranks()) meshes_of[rank].push_back(static_cast<int>(m));
  }
  std::vector<StageProgram> parts;
  std::map<std::vector<int>, size_t> part_of;  // by meshes
  for (auto& [rank, meshes] : meshes_of) {
    const auto [it, is_new] = part_of.try_emplace(meshes, parts.size());
    if (is_new) {
      StageProgram& part = parts.emplace_back();
      part.meshes = meshes;
      part.lowered = Part(graph, whole, meshes).Make();
    }
    parts[it->second].ranks.push_back(rank);
  }
  return parts;
}

}  // namespace weft
