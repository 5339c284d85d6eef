// The order in which rows are trained on: drawn from the seed, computed place by place, the same on
// every rank and after a restart, whatever the number of rows.
#pragma once

#include <cstdint>

namespace weft {

// SplitMix64's finaliser (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
// 2014): 64 bits in, 64 unrelated ones out.
uint64_t MixBits(uint64_t x);

// Where `place` (0 <= place < n) lies in the permutation of 0 .. n-1 that `key` draws: a Feistel
// network over the next power of four, walked until it is below n (Black, Rogaway: Ciphers with
// arbitrary finite domains, 2002).
int64_t Permute(uint64_t key, int64_t n, int64_t place);

// The row, of n, that is sample number `sample` (0, 1, ...) of a training run: every n samples take
// every row once, each time in another order.
int64_t SampledRow(uint64_t seed, int64_t n, int64_t sample);

}  // namespace weft
