// TimedRun: a plan's protocol played with durations of the test's choice, and what its arena went
// through. Written against plan.proto alone, so that it can judge the compiler that wrote the plan.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "runtime/plan.pb.h"

namespace weft {

// Plays one rank by itself: transfers take their time but need no partner. A firing starts when its
// stream is free and its messages are there; a compute actor's messages leave early: free after the
// last call that touches the channel's buffer, full after the last that writes it.
class TimedRun {
 public:
  // Durations of calls vary over three orders of magnitude by `seed`. The plan outlives the run.
  TimedRun(const Plan& plan, uint64_t seed);

  // False if the lists do not run to the end.
  bool Run(int steps);
  // One line for each read of something that was overwritten before the read was over.
  std::vector<std::string> Overwritten() const;

 private:
  struct ChannelState {
    std::vector<double> filled;              // when each generation became full
    std::vector<std::vector<double>> freed;  // per consumer, when it left each generation
    std::vector<int> reads;                  // per consumer: of the slot under reading
    int writes = 0;                          // of the slot under writing
  };
  // A call's use of bytes [begin, end) of the arena; owners are buffers, workspaces have their own.
  struct Use {
    bool write = false;
    double from = 0, to = 0;
  };
  struct Memory {
    std::string name;
    int64_t begin = 0, end = 0;
    std::vector<Use> uses;
  };

  // Of one firing, by buffer: when its last call ends that touches it, and that writes it.
  struct Ends {
    std::map<int, double> touched, written;
  };

  bool Fire(int actor);
  bool Start(int actor, double* start) const;
  void Touch(const OperandDef& operand, bool write, double from, double to, Ends* ends);
  void Send(int actor, const Ends& ends, double end);
  int ConsumerIndex(int channel, int actor) const;

  const Plan& plan_;
  std::mt19937_64 random_;
  std::vector<ChannelState> channels_;
  std::vector<double> stream_free_;
  std::vector<Memory> memory_;                // by buffer; then workspaces
  std::map<std::string, size_t> workspaces_;  // by call
};

}  // namespace weft
