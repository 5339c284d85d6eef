// MemoryProof: that no byte of a plan's arena is ever overwritten before its last reader is done,
// nor read before its writer is. Written against plan.proto alone, so that it can judge the
// compiler that wrote the plan.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/plan.pb.h"

namespace weft {

// Plays one rank's protocol with vector clocks: what is certainly over on every stream when a
// firing begins, by the order of its own stream and by the messages it waits for. Which firing
// waits for which does not depend on time, so what is ordered in this one run is ordered in every
// run, whatever the durations. Transfers need no partner here: the other ranks can only delay.
class MemoryProof {
 public:
  // The plan outlives it.
  explicit MemoryProof(const Plan& plan);

  // False if the lists do not run to the end.
  bool Run(int steps);
  // One line for each use of memory that nothing orders after an earlier one it conflicts with; the
  // first hundred.
  const std::vector<std::string>& conflicts() const { return conflicts_; }
  // Uses that were looked at.
  int64_t uses() const { return uses_; }

 private:
  // Per stream, how many calls from its begin are over. A firing without calls counts as one.
  using Clock = std::vector<int64_t>;

  struct ChannelState {
    std::vector<Clock> filled;              // by generation
    std::vector<std::vector<Clock>> freed;  // by consumer and generation
    std::vector<int> reads;                 // by consumer: of the slot under reading
    int writes = 0;                         // of the slot under writing
  };
  // Bytes with one history: who lies there, and up to where each stream has used and written them.
  struct Segment {
    int64_t end = 0;
    std::string owner;
    Clock used, written;
  };
  // A call of a firing under way.
  struct Place {
    const Clock* clock = nullptr;  // at the firing's begin
    int stream = 0;
    int64_t end = 0;  // position of the stream when the call is over
    std::string name;
  };

  bool Fire(int actor);
  bool Start(int actor, Clock* clock) const;
  void Send(int actor, const Clock& clock, int64_t begin, int64_t end);
  void UseOperand(int actor, const OperandDef& operand, bool output, bool write, const Place& at);
  void Use(const std::string& owner, int64_t begin, int64_t bytes, bool write, const Place& at);
  // Splits segments so that [begin, end) consists of whole ones.
  void Cut(int64_t begin, int64_t end);
  int ConsumerIndex(int channel, int actor) const;

  const Plan& plan_;
  std::vector<ChannelState> channels_;
  std::vector<Clock> streams_;        // what is over when the stream goes on
  std::vector<int64_t> fired_;        // by actor
  std::map<int64_t, Segment> arena_;  // by first byte; together the whole arena
  std::vector<std::string> conflicts_;
  int64_t uses_ = 0;
};

}  // namespace weft
