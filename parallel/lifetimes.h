// When each buffer of a program is live in the virtual step, and who begins and ends it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "parallel/lowered_program.h"
#include "parallel/place_memory.h"
#include "parallel/step_schedule.h"

namespace weft {

// The last firing of a stream that touches a buffer in a life.
struct LastTouch {
  int firing = -1;  // an index into StepSchedule::firings; -1: the stream never touches it
  int calls = 0;    // of the firing, up to the last that touches it; none if the actor has no calls
  int64_t end = 0;  // tick at which these are done
};

// One life of memory: from its first write to its last read.
struct BufferLife {
  // Ticks. What another stream than compute touches is live during every firing, of any stream,
  // that is under way when it is first or last touched: sharing its memory then never makes a
  // firing wait longer than the schedule has it.
  Lifetime time;
  int first = -1;  // the firing that writes it first: an index into StepSchedule::firings
  std::array<LastTouch, kNumStreams> last;  // by stream
};

// Makes lives of a host, one by one, those of it and of a guest that lies in its memory and is
// written first. As many of both.
void Join(const std::vector<BufferLife>& guest, std::vector<BufferLife>& host);

// Per buffer its lives over one step, in order; empty for memory that is never shared: what is
// carried from step to step, what has several slots, and variables.
std::vector<std::vector<BufferLife>> BufferLives(const LoweredProgram& program,
                                                 const StepSchedule& schedule);

}  // namespace weft
