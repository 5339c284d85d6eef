// PlanReport: all that weft says of a compiled job, as plain data. Text, JSON, DOT and HTML are
// written from it alone, so that they cannot tell different stories. docs/plan_json.md explains
// every field; names here and there are the same.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "graph/mesh.h"
#include "launcher/memory_holders.h"
#include "launcher/mesh_choice.h"
#include "parallel/cost_model.h"

namespace weft {

// Which part of a training step something belongs to.
enum class PlanPart : uint8_t { kForward, kBackward, kOptimizer };
// "forward", "backward", "optimizer".
const char* Name(PlanPart part);

// Cross references are indices into the vectors of the report; -1: none. Bytes are payload, seconds
// modelled by the cost model and rounded to nanoseconds.
struct PlanReport {
  struct Job {
    std::string name;
    int64_t microbatches = 1;
    int64_t microbatch_rows = 0;
    int64_t parameters = 0;
  };
  // What the cost model takes a rank and its links for.
  struct Machine {
    double flops_per_second = 0;
    double memory_bytes_per_second = 0;
    double link_bytes_per_second = 0;
    double link_latency = 0;               // seconds
    std::vector<CostModel::Group> groups;  // links measured along an axis
  };
  // How good the layouts are, by the cost model.
  struct Layouts {
    std::string proof;   // "optimal", "optimal on each axis", "not proved optimal"
    double seconds = 0;  // of a step's ops and conversions one after another
  };
  // A piece of the model: a layer, or what comes before or after all layers.
  struct Block {
    std::string name;
    int same_as = -1;  // an earlier block with the same ops, types and layouts
  };
  struct Value {
    std::string name;
    std::string made_by;  // "input", "variable", "conversion", or the op's name
    std::string type;     // "f32[16,128]"
    std::string layout;   // "[data:S(0), model:B]"
    int mesh = 0;
    int64_t bytes = 0;  // of the logical tensor
    int op = -1;        // that makes it
    int block = 0;
    PlanPart part = PlanPart::kForward;
    bool microbatch = false;  // made once per microbatch, else once per step
    bool annotated = false;   // its layout is the user's word
  };
  struct Op {
    std::string name;
    std::string kind;          // the op's name; "conversion"
    std::vector<int> inputs;   // values; -1 for an absent operand
    std::vector<int> outputs;  // values
    int block = 0;
    PlanPart part = PlanPart::kForward;
    bool microbatch = false;
    int actor = -1;  // that runs it
  };
  // A change of layout that no op asked for by name: the compiler put it in.
  struct Conversion {
    int op = -1;
    int from = -1, to = -1;  // values
    std::string from_layout, to_layout;
    std::string how;       // "all-reduce over model", "exchange", "local"
    std::string consumer;  // the op, output or update that takes the result
    std::string reason;    // in words
    bool asked = false;    // an annotation wants it
    int64_t bytes = 0;     // sent by all ranks in one firing
    int64_t firings = 1;   // per step
    double seconds = 0;    // of one firing
  };
  // A stage of a pipeline, or all ranks: those that lie on the same meshes and so run the same
  // actors in the same order.
  struct Stage {
    std::vector<int> meshes;
    std::vector<int> ranks;
  };
  struct Actor {
    std::string name;
    std::vector<int> stages;  // several for a conversion between them and for what all ranks do
    std::string stream;
    std::string kind;  // "compute", "conversion", "feed", "fetch"
    int64_t firings = 1;
    std::vector<int> ops;
    int kernels = 0;  // calls, copies made by lowering included
    int block = -1;
    PlanPart part = PlanPart::kForward;
    double seconds = 0;  // of one firing, on the mesh's first rank
  };
  struct Channel {
    struct Reader {
      int actor = 0;
      int reads_per_slot = 1;
    };
    std::string name;
    int slots = 1;
    int writes_per_slot = 1;
    int initial = 0;
    int writer = 0;  // actor
    std::vector<Reader> readers;
    int64_t bytes = 0;  // of one slot; 0: only an order
  };
  struct Firing {
    int actor = 0;
    int microbatch = -1;  // -1: once per step
    double begin = 0, end = 0;
  };
  struct Stream {
    std::string name;
    std::vector<int> order;        // actors, as they fire in a step
    std::vector<Firing> timeline;  // by begin; empty where times were not asked for
  };
  struct Holder : MemoryHolder {
    std::string category;                              // one of kMemoryCategories
    std::vector<std::pair<double, double>> lifetimes;  // seconds; none: always
  };
  struct MemoryPoint {
    double seconds = 0;          // from here on
    std::vector<int64_t> bytes;  // by kMemoryCategories
  };
  struct Memory {
    int64_t arena_bytes = 0;
    int64_t lower_bound_bytes = 0;  // no placement of the arena needs less
    int64_t variable_bytes = 0;
    std::vector<Holder> holders;     // largest first
    std::vector<MemoryPoint> curve;  // empty where times were not asked for
  };
  // One rank in full.
  struct Rank {
    int rank = 0;
    int stage = 0;
    std::vector<Channel> channels;
    std::vector<Stream> streams;
    Memory memory;
  };
  // Ranks that do the same at the same time (launcher/rank_twins.h): what is said of one of them
  // holds for all.
  struct RankClass {
    std::vector<int> ranks;
    int stage = 0;
    int64_t arena_bytes = 0;
    int64_t variable_bytes = 0;
    int64_t bytes_sent = 0;  // a step, by each of them
  };
  struct Timeline {
    int rank = 0;
    std::vector<Stream> streams;  // without orders
  };
  struct Wait {
    double seconds = 0;
    int rank = 0;
    std::string actor, cause;
  };
  // By a run of all ranks' plans on virtual streams; absent where it was not asked for or there are
  // too many kinds of ranks.
  struct Prediction {
    bool known = false;
    double step_seconds = 0;
    double exposed_seconds = 0;                        // messages travel while nothing computes, on
    int exposed_rank = 0;                              // the rank where that is longest
    std::vector<std::pair<std::string, double>> busy;  // by stream, on the rank where it is longest
    std::vector<Wait> waits;                           // longest first
  };

  Job job;
  Machine machine;
  MeshChoice mesh_choice;  // no alternatives unless the mesh was AUTO
  Layouts layouts;
  std::vector<Mesh> meshes;
  int num_ranks = 1;
  int64_t bytes_sent = 0;  // a step, by all ranks
  bool times = true;       // whether seconds are filled in
  std::vector<Block> blocks;
  std::vector<Value> values;
  std::vector<Op> ops;
  std::vector<Conversion> conversions;
  std::vector<Stage> stages;
  std::vector<Actor> actors;  // of all stages, in the order of the data flow
  std::vector<RankClass> rank_classes;
  std::vector<Rank> ranks;          // the first of each class
  std::vector<Timeline> timelines;  // of the same ranks
  Prediction prediction;
  std::vector<std::string> left_out;  // what is not in here, in words
};

// What memory is for, in the order in which a picture piles it up.
inline constexpr const char* kMemoryCategories[] = {"variables", "inputs",    "activations",
                                                    "gradients", "optimizer", "workspace"};
inline constexpr int kNumMemoryCategories = 6;

}  // namespace weft
