// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel Random Numbers: As Easy as
// 1, 2, 3" (SC 2011). A sample is a function of (key, counter), so every rank can make exactly the
// samples of the logical indices that it holds. All is constexpr, so that CUDA kernels run the same
// code.
#pragma once

#include <array>
#include <cstdint>

namespace weft {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock Philox(PhiloxBlock counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// One word per logical index: word index % 4 of block index / 4. `stream` separates uses of one
// seed.
class PhiloxStream {
 public:
  constexpr PhiloxStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  // The block that holds `index`; kept, so that neighbours cost nothing.
  constexpr const PhiloxBlock& Block(uint64_t index) {
    const uint64_t block = index / 4;
    if (block != at_) {
      at_ = block;
      block_ = Philox({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                       static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                      {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
    }
    return block_;
  }
  constexpr uint32_t Word(uint64_t index) { return Block(index)[index % 4]; }

 private:
  uint64_t seed_, stream_;
  uint64_t at_ = ~uint64_t{0};
  PhiloxBlock block_{};
};

}  // namespace weft
