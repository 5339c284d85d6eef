// The yardstick that a language model must beat to have learnt anything beyond spelling: an n-gram
// model over bytes, three bytes of context, all orders interpolated.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace weft {

// How often each string of one length occurs; open addressing over 32-bit keys. A value.
class GramCounts {
 public:
  explicit GramCounts(size_t expected = 1024);
  // Adds one to `key` and returns its count before.
  uint32_t Increment(uint32_t key);
  uint32_t Find(uint32_t key) const;  // 0 if it never occurred

 private:
  struct Entry {
    uint32_t key = 0;
    uint32_t count = 0;  // 0: free
  };
  size_t Slot(uint32_t key) const;
  void Grow();
  std::vector<Entry> entries_;  // a power of two
  size_t used_ = 0;
};

// P(next | context of k bytes) = a_k * seen(context next) / seen(context) + (1 - a_k) * P(next |
// one byte less), down to 1/256. The weights a_k depend on the context by how often it was seen and
// how many different bytes followed it (Bell and Witten's classes, as in Chen and Goodman, "An
// empirical study of smoothing techniques", 1998, section 2.4) and are fitted by expectation
// maximisation on the last twentieth of the training text. Immutable once trained; any thread.
class NgramModel {
 public:
  static constexpr int kContext = 3;

  explicit NgramModel(absl::Span<const uint8_t> training);

  // Of `next` after `context`, of which the last kContext bytes count; sums to 1 over `next`.
  double Probability(absl::Span<const uint8_t> context, uint8_t next) const;
  // Mean of -log2 P over `text`; what came before it is not known.
  double BitsPerByte(absl::Span<const uint8_t> text) const;

 private:
  static constexpr int kClasses = 64;
  using Weights = std::array<std::array<double, kClasses>, kContext + 1>;

  // What one order says of one byte.
  struct Vote {
    double probability = 0;
    int weight_class = -1;  // -1: the context was never seen
  };
  using Votes = std::array<Vote, kContext + 1>;

  void Count(absl::Span<const uint8_t> text, size_t begin, size_t end);
  void Fit(absl::Span<const uint8_t> text, size_t begin, size_t end);
  Votes VotesFor(absl::Span<const uint8_t> context, uint8_t next) const;
  double Mix(const Votes& votes) const;

  std::array<std::vector<uint32_t>, kContext + 1> seen_;       // by context
  std::array<std::vector<uint16_t>, kContext + 1> different_;  // bytes that followed it
  std::array<GramCounts, kContext + 1> grams_;                 // context and next byte
  Weights weights_;
};

}  // namespace weft
