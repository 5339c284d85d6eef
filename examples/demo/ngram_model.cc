#include "examples/demo/ngram_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

namespace weft {
namespace {

constexpr double kUniform = 1.0 / 256;
constexpr int kRounds = 12;  // of expectation maximisation; the fit moves below 1e-4 bits after 8

// The last `order` bytes of `context` as a number.
uint32_t Key(absl::Span<const uint8_t> context, int order) {
  uint32_t key = 0;
  for (int i = order; i > 0; --i) key = key << 8 | context[context.size() - i];
  return key;
}

}  // namespace

GramCounts::GramCounts(size_t expected) : entries_(std::bit_ceil(expected * 2)) {}

size_t GramCounts::Slot(uint32_t key) const {
  const size_t mask = entries_.size() - 1;
  size_t at = (key * 0x9E3779B97F4A7C15u >> 20) & mask;
  while (entries_[at].count != 0 && entries_[at].key != key) at = (at + 1) & mask;
  return at;
}

void GramCounts::Grow() {
  std::vector<Entry> old = std::exchange(entries_, std::vector<Entry>(entries_.size() * 2));
  for (const Entry& entry : old) {
    if (entry.count != 0) entries_[Slot(entry.key)] = entry;
  }
}

uint32_t GramCounts::Increment(uint32_t key) {
  size_t at = Slot(key);
  if (entries_[at].count == 0) {
    if (2 * (used_ + 1) > entries_.size()) {
      Grow();
      at = Slot(key);
    }
    ++used_;
    entries_[at].key = key;
  }
  return entries_[at].count++;
}

uint32_t GramCounts::Find(uint32_t key) const { return entries_[Slot(key)].count; }

NgramModel::NgramModel(absl::Span<const uint8_t> training) {
  for (int order = 0; order <= kContext; ++order) {
    seen_[order].resize(size_t{1} << 8 * order);
    different_[order].resize(size_t{1} << 8 * order);
    weights_[order].fill(0.5);
  }
  // The weights are fitted on text that the counts do not contain yet; then the counts get it too.
  const size_t fitted = training.size() - training.size() / 20;
  Count(training, 0, fitted);
  Fit(training, fitted, training.size());
  Count(training, fitted, training.size());
}

void NgramModel::Count(absl::Span<const uint8_t> text, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const absl::Span<const uint8_t> context = text.first(i);
    for (int order = 0; order <= kContext && order <= static_cast<int>(i); ++order) {
      const uint32_t key = Key(context, order);
      ++seen_[order][key];
      if (grams_[order].Increment(key << 8 | text[i]) == 0) ++different_[order][key];
    }
  }
}

NgramModel::Votes NgramModel::VotesFor(absl::Span<const uint8_t> context, uint8_t next) const {
  Votes votes;
  const int orders = static_cast<int>(std::min<size_t>(kContext, context.size()));
  for (int order = 0; order <= orders; ++order) {
    const uint32_t key = Key(context, order);
    const uint32_t seen = seen_[order][key];
    if (seen == 0) break;
    votes[order].probability = static_cast<double>(grams_[order].Find(key << 8 | next)) / seen;
    // Half octaves of how often the context was seen per different byte that followed it.
    const double often = static_cast<double>(seen) / different_[order][key];
    votes[order].weight_class = std::min(kClasses - 1, static_cast<int>(2 * std::log2(often)));
  }
  return votes;
}

double NgramModel::Mix(const Votes& votes) const {
  double probability = kUniform;
  for (int order = 0; order <= kContext && votes[order].weight_class >= 0; ++order) {
    const double weight = weights_[order][votes[order].weight_class];
    probability = weight * votes[order].probability + (1 - weight) * probability;
  }
  return probability;
}

// Each a_k becomes the share of the bytes, among those that reached order k, which the model
// believes order k itself foretold.
void NgramModel::Fit(absl::Span<const uint8_t> text, size_t begin, size_t end) {
  if (begin == end) return;
  std::vector<Votes> votes;
  votes.reserve(end - begin);
  for (size_t i = begin; i < end; ++i) votes.push_back(VotesFor(text.first(i), text[i]));
  for (int round = 0; round < kRounds; ++round) {
    Weights used = {}, reached = {};
    for (const Votes& v : votes) {
      std::array<double, kContext + 1> mixed;
      double probability = kUniform;
      int top = -1;
      while (top < kContext && v[top + 1].weight_class >= 0) {
        ++top;
        const double weight = weights_[top][v[top].weight_class];
        probability = weight * v[top].probability + (1 - weight) * probability;
        mixed[top] = probability;
      }
      double reach = 1;  // the chance that the byte was not foretold by a higher order
      for (int order = top; order >= 0; --order) {
        const int c = v[order].weight_class;
        const double share = weights_[order][c] * v[order].probability / mixed[order];
        used[order][c] += reach * share;
        reached[order][c] += reach;
        reach *= 1 - share;
      }
    }
    for (int order = 0; order <= kContext; ++order) {
      for (int c = 0; c < kClasses; ++c) {
        // Two bytes of prior keep a class with little evidence away from 0 and 1.
        weights_[order][c] = (used[order][c] + 1) / (reached[order][c] + 2);
      }
    }
  }
}

double NgramModel::Probability(absl::Span<const uint8_t> context, uint8_t next) const {
  return Mix(VotesFor(context, next));
}

double NgramModel::BitsPerByte(absl::Span<const uint8_t> text) const {
  double bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    bits -= std::log2(Probability(text.first(i), text[i]));
  }
  return text.empty() ? 0 : bits / static_cast<double>(text.size());
}

}  // namespace weft
