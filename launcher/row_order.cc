#include "launcher/row_order.h"

namespace weft {
namespace {

constexpr int kRounds = 6;

}  // namespace

uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

int64_t Permute(uint64_t key, int64_t n, int64_t place) {
  int bits = 0;  // of a half
  while (bits < 31 && (int64_t{1} << (2 * bits)) < n) ++bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  uint64_t at = static_cast<uint64_t>(place);
  do {
    uint64_t left = at >> bits, right = at & mask;
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t next =
          left ^ (MixBits(MixBits(key + static_cast<uint64_t>(round)) ^ right) & mask);
      left = right;
      right = next;
    }
    at = left << bits | right;
  } while (at >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(at);
}

int64_t SampledRow(uint64_t seed, int64_t n, int64_t sample) {
  const uint64_t epoch = static_cast<uint64_t>(sample / n);
  return Permute(MixBits(MixBits(seed) ^ epoch), n, sample % n);
}

}  // namespace weft
