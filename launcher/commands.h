// The commands of the weft program. Each prints results to stdout and errors, once, to stderr.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/bench_comm.h"
#include "launcher/job.h"
#include "launcher/train.h"

namespace weft {

inline constexpr int kExitDone = 0;
inline constexpr int kExitBadJob = 2;      // config, graph or data
inline constexpr int kExitRankFailed = 3;  // a rank failed or was lost
inline constexpr int kExitStalled = 4;
inline constexpr int kExitInterrupted = 130;

// The exit code that tells a status: by who has to act.
int ExitCodeOf(const absl::Status& status);
// Prints a failure to stderr, on the one rank that speaks.
void ReportFailure(const absl::Status& status);

struct JobArguments {
  std::string path;
  JobOverrides overrides;
  int ranks = 0;  // 0: one, or as mpirun says
};

struct TrainCommand {
  JobArguments job;
  std::string metrics;
  TrainOptions options;
  bool verbose = false;
};

struct PlanCommand {
  JobArguments job;
  std::string format = "text";  // or json, dot, html
  std::string output;           // file; empty: stdout
  std::string cluster;          // file; empty: the defaults of CostModel
};

struct SimulateCommand {
  JobArguments job;
  std::string cluster;  // file
  int steps = 4;
};

struct GenerateCommand {
  std::string checkpoint;
  std::string prompt;
  int64_t tokens = 200;
  double temperature = 0.8;
  uint64_t seed = 1;
};

// Options as they are written; Run reads them.
struct BenchCommCommand {
  std::vector<std::string> collectives;
  std::string min_bytes = "8";
  std::string max_bytes = "16M";
  double factor = 0;  // 0: 2, or 1 with step_bytes
  std::string step_bytes;
  int iterations = 20;
  int warmup = 5;
  std::string op = "sum";
  std::string dtype = "f32";
  int check = 1;
  std::string mesh;
  int ranks = 0;  // 0: one, or as mpirun says
  bool json = false;
  std::string write_links;  // file
};

int Run(const TrainCommand& command);
int Run(const PlanCommand& command);
int Run(const SimulateCommand& command);
int Run(const GenerateCommand& command);
// Exits with kExitRankFailed if a result was wrong.
int Run(const BenchCommCommand& command);
// A benchmark that exists as a program of its own alone; says which.
int RunBenchElsewhere(const std::string& what);
// Devices, MPI, CPU features.
int RunDoctor();

}  // namespace weft
