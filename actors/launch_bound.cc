#include "actors/launch_bound.h"

namespace weft {
namespace {

// Of the 1024 that CUDA takes.
constexpr int64_t kMostCalls = 768;

}  // namespace

bool LaunchBound::IsFull(const Stream& stream, int64_t calls) {
  const int64_t completed = stream.completed().value();
  for (; ended_ < launched_ && ends_[ended_ % ends_.size()] <= completed; ++ended_) {
    pending_ -= calls_[ended_ % calls_.size()];
  }
  return ended_ < launched_ && pending_ + calls > kMostCalls;
}

void LaunchBound::Add(const Stream& stream, int64_t calls) {
  ends_[launched_ % ends_.size()] = stream.submitted();
  calls_[launched_ % calls_.size()] = calls;
  pending_ += calls;
  ++launched_;
}

}  // namespace weft
