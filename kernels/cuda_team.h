// Rows dealt to teams: equal groups of a block's warps, each with a row at a time, which its
// threads keep in registers where it is short enough.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "kernels/cuda_block.h"
#include "kernels/cuda_element.h"
#include "kernels/cuda_launch.h"

namespace weft {

// Packs of a row that a thread of a team holds, where a kernel has no reason to choose another
// number.
inline constexpr int kHeldPacks = 4;

inline bool TeamHolds(int64_t packs, int held = kHeldPacks) {
  return packs <= int64_t{held} * kBlockThreads;
}

// Threads of a team for rows of `packs` packs: a power of two of whole warps, at most a block.
inline int TeamSizeFor(int64_t packs, int held = kHeldPacks) {
  int size = kWarp;
  while (size < kBlockThreads && int64_t{size} * held < packs) size *= 2;
  return size;
}

// Blocks for `rows` rows, each by a team of this size.
inline unsigned TeamGridFor(int64_t rows, int size) {
  const int64_t teams = kBlockThreads / size;
  return GridFor((rows + teams - 1) / teams, 1);
}

// The calling thread's place in its team. A block has kBlockThreads threads.
struct Team {
  int size;   // a power of two
  int rank;   // of this thread in its team
  int index;  // of the team in its block

  __device__ explicit Team(int size)
      : size(size), rank(threadIdx.x & (size - 1)), index(threadIdx.x / size) {}
  __device__ int teams() const { return kBlockThreads / size; }

  // Waits for the threads of this team, which has a hardware barrier of its own.
  __device__ void Sync() const {
    asm volatile("bar.sync %0, %1;" ::"r"(index + 1), "r"(size) : "memory");
  }

  // Over the team, in a fixed order; all its threads must call and get the result.
  template <typename Combine, typename T>
  __device__ T Reduce(T value, Combine combine) const {
    __shared__ T partial[kBlockThreads / kWarp];
    value = WarpReduce(value, combine);
    if (size == kWarp) return value;
    Sync();  // the last call's readers are done
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    Sync();
    const int warps = size / kWarp;
    value = partial[index * warps + (threadIdx.x & (warps - 1))];
#pragma unroll 1
    for (int step = warps / 2; step > 0; step /= 2) {
      value = combine(value, __shfl_xor_sync(kAllLanes, value, step));
    }
    return value;
  }
};

// f(slot, pack) for the packs of a row that are this thread's; slots are constants where the row is
// held, so that what f indexes by them stays in registers.
template <bool kHeld, int kSlots = kHeldPacks, typename F>
__device__ inline void ForEachPack(const Team& team, int packs, F&& f) {
  if constexpr (kHeld) {
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      const int pack = slot * team.size + team.rank;
      if (pack < packs) f(slot, pack);
    }
  } else {
    for (int pack = team.rank; pack < packs; pack += team.size) f(0, pack);
  }
}

// A thread's packs of one row: held, or read anew at each use.
template <bool kHeld, int N, typename T, int kSlots = kHeldPacks>
class TeamRow {
 public:
  __device__ TeamRow(const Team& team, const T* row, int packs) : row_(row) {
    if constexpr (kHeld) {
      ForEachPack<true, kSlots>(team, packs, [&](int slot, int pack) {
        held_[slot] = reinterpret_cast<const Pack<T, N>*>(row)[pack];
      });
    }
  }
  __device__ void Get(int slot, int pack, WideOf<T> (&to)[N]) const {
    if constexpr (kHeld) {
      const Pack<T, N> pack_of_slot = Reread(held_[slot]);
#pragma unroll
      for (int i = 0; i < N; ++i) to[i] = Widen(pack_of_slot.at[i]);
    } else {
      LoadPack<N>(row_ + static_cast<int64_t>(pack) * N, to);
    }
  }

 private:
  // The pack as if it had just been loaded: else the compiler keeps the wide values of one use for
  // the next, in twice the registers.
  __device__ static Pack<T, N> Reread(const Pack<T, N>& pack) {
    if constexpr (sizeof(T) == 2 && N % 2 == 0) {
      uint32_t words[N / 2];
      memcpy(words, &pack, sizeof(pack));
#pragma unroll
      for (uint32_t& word : words) asm volatile("" : "+r"(word));
      Pack<T, N> again;
      memcpy(&again, words, sizeof(again));
      return again;
    } else {
      return pack;
    }
  }

  const T* row_;
  Pack<T, N> held_[kHeld ? kSlots : 1];
};

}  // namespace weft
