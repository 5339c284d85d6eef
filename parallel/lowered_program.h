// LoweredProgram: the graph as actors and channels, the same for every rank of a mesh. Boxes, sizes
// and memory offsets come when a rank's plan is instantiated from it (parallel/instantiate_plan.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graph/graph.h"

namespace weft {

// What comes in does not queue behind what goes out: the next step is fed while this one computes.
enum class StreamId : int { kCompute = 0, kCommunication = 1, kFeed = 2, kFetch = 3 };
inline constexpr int kNumStreams = 4;
// By StreamId; the names of a plan's streams.
inline constexpr const char* kStreamNames[kNumStreams] = {"compute", "communication", "feed",
                                                          "fetch"};

// Virtual time is counted in ticks, so that the order of events is exact.
inline constexpr double kTicksPerSecond = 1e9;

struct LoweredBuffer {
  std::string name;
  Value value;           // its spec and layout say what lies here
  std::string variable;  // not empty: the variable's memory instead of the arena
  int slots = 1;
};

struct LoweredConsumer {
  int actor = 0;
  int reads_per_slot = 1;
};

struct LoweredChannel {
  int buffer = 0;
  int producer = 0;
  std::vector<LoweredConsumer> consumers;
  int writes_per_slot = 1;
  int initial = 0;
};

// One kernel call of a compute actor.
struct LoweredCall {
  std::string kernel;  // empty: a copy
  std::string name;
  int node = -1;             // -1: a copy made by lowering
  std::vector<int> inputs;   // buffers, -1 absent
  std::vector<int> outputs;  // buffers, -1 not wanted
  std::vector<int> accumulate;
  int64_t ticks = 1;  // EstimateTimes
};

struct LoweredActor {
  enum class Kind { kCompute, kReshard, kFeed, kFetch };
  Kind kind = Kind::kCompute;
  std::string name;
  StreamId stream = StreamId::kCompute;
  // The graph's meshes on whose ranks it reads and writes; they differ in conversions alone.
  int from_mesh = 0, to_mesh = 0;
  int depth = 0;                   // place in data-flow order, over all ranks' actors
  int firings = 1;                 // per step
  std::vector<LoweredCall> calls;  // compute
  int node = -1;                   // reshard
  int input_buffer = -1;           // reshard, fetch
  int output_buffer = -1;          // reshard, feed
  std::vector<int> awaited;        // buffers without elements: of what is made before it fires
  std::string host_name;           // feed, fetch
  std::vector<int> inputs;         // channels
  std::vector<int> outputs;
  // Parallel to inputs and outputs: after how many calls of a firing free and full leave; the
  // number of calls: when the firing ends. Before that only if another stream is there to see it.
  std::vector<int> free_after;
  std::vector<int> full_after;
  int64_t ticks = 1;  // of one firing; EstimateTimes
};

struct LoweredProgram {
  std::vector<LoweredBuffer> buffers;
  std::vector<LoweredChannel> channels;
  std::vector<LoweredActor> actors;  // in an order that respects data flow within a step
  int microbatches = 1;
};

// Lowers a graph whose layouts are decided and whose conversions are nodes: nodes of one stream and
// one rate fuse into segments (parallel/segments.h; `bucket_bytes` is how much of the gradients
// leaves a segment before it is cut), values that cross become channels, variables close their loop
// with one full slot. Errors: a variable that takes a
// sum over microbatches as it is (Unimplemented); those of FormSegments (InvalidArgument).
absl::StatusOr<LoweredProgram> Lower(const Graph& graph, int microbatches, int64_t bucket_bytes);

// Decides free_after and full_after of every actor anew, from calls, channels and streams. Lower
// has done it; for a program whose parts have changed since.
void SetDepartures(LoweredProgram& program);

}  // namespace weft
