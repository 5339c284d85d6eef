// Memory predicted is memory used: the decoder's training step touches its arena up to the last
// line, nothing beside what the plan names, and takes from the heap nothing that grows with the
// tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/memory/decoder_rank.h"
#include "tests/memory/heap_count.h"
#include "tests/support/run_ranks.h"

namespace weft::testing {
namespace {

constexpr int64_t kLine = 64;
constexpr std::byte kUntouched{0xff};  // NaN where a float is read

int64_t BytesOfBuffer(const BufferDef& def) {
  int64_t bytes = SizeOf(static_cast<DType>(def.dtype()));
  for (const IndexSetDef& dim : def.box().dims()) {
    int64_t size = 0;
    for (int i = 0; i + 1 < dim.bounds_size(); i += 2) size += dim.bounds(i + 1) - dim.bounds(i);
    bytes *= size;
  }
  return bytes;
}

// By byte of the arena, whether the plan gives it to something.
std::vector<bool> NamedBytes(const Plan& plan) {
  std::vector<bool> named(plan.arena_bytes(), false);
  const auto mark = [&named](int64_t offset, int64_t bytes) {
    std::fill(named.begin() + offset, named.begin() + offset + bytes, true);
  };
  for (const BufferDef& def : plan.buffers()) {
    for (const int64_t offset : def.offsets()) mark(offset, BytesOfBuffer(def));
  }
  for (const ActorDef& actor : plan.actors()) {
    for (const KernelCallDef& call : actor.compute().calls()) {
      mark(call.workspace_offset(), call.workspace_bytes());
    }
    mark(actor.all_reduce().workspace_offset(), actor.all_reduce().workspace_bytes());
    mark(actor.exchange().workspace_offset(), actor.exchange().workspace_bytes());
  }
  return named;
}

struct Case {
  const char* mesh;
  int microbatches;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.mesh << " in " << c.microbatches;
}

class ArenaUseTest : public ::testing::TestWithParam<Case> {};

TEST_P(ArenaUseTest, TouchedIsWhatThePlanNames) {
  const auto program = DecoderProgram::Make(
      GetParam().mesh, {absl::StrCat("train.microbatches=", GetParam().microbatches)});
  ASSERT_TRUE(program.ok()) << program.status();
  const int ranks = (*program)->program().graph.meshes[0].size();
  std::vector<std::map<int64_t, float>> plain(ranks), blanked(ranks);
  RunRanks(ranks, {}, [&](Transport& transport) {
    DecoderRank rank(**program, transport);
    const absl::Status loaded = rank.Load();
    ASSERT_TRUE(loaded.ok()) << loaded;
    ASSERT_TRUE(rank.Run(0, 4).ok());
    plain[transport.rank()] = rank.losses();
  });
  RunRanks(ranks, {}, [&](Transport& transport) {
    DecoderRank rank(**program, transport);
    ASSERT_TRUE(rank.Load().ok());
    ASSERT_TRUE(rank.Run(0, 2).ok());
    const Plan& plan = rank.plan();
    const std::vector<bool> named = NamedBytes(plan);
    std::byte* const arena = rank.arena();
    ASSERT_NE(arena, nullptr);
    std::vector<bool> touched(plan.arena_bytes(), false);
    for (int64_t step = 2; step < 4; ++step) {
      std::memset(arena, static_cast<int>(kUntouched), plan.arena_bytes());
      ASSERT_TRUE(rank.Run(step, 1).ok());
      for (int64_t i = 0; i < plan.arena_bytes(); ++i) {
        if (arena[i] != kUntouched) touched[i] = true;
      }
    }
    int64_t highest = 0, lines = 0, beside = 0;
    for (int64_t line = 0; line < plan.arena_bytes(); line += kLine) {
      const int64_t end = std::min(line + kLine, plan.arena_bytes());
      bool any = false;
      for (int64_t i = line; i < end; ++i) {
        any = any || touched[i];
        beside += touched[i] && !named[i] ? 1 : 0;
      }
      if (any) highest = line + kLine;
      lines += any ? 1 : 0;
    }
    EXPECT_EQ(highest, plan.arena_bytes());
    EXPECT_EQ(beside, 0) << "bytes that the plan gives to nobody";
    EXPECT_GT(lines * kLine, plan.arena_bytes() * 95 / 100) << "of the arena's bytes";
    RecordProperty(absl::StrCat("arena_rank_", transport.rank()),
                   std::to_string(plan.arena_bytes()));
    blanked[transport.rank()] = rank.losses();
  });
  // What a step leaves in the arena is no input of the next.
  EXPECT_EQ(plain, blanked);
}

INSTANTIATE_TEST_SUITE_P(Meshes, ArenaUseTest,
                         ::testing::Values(Case{"data:1", 1}, Case{"data:1", 4}, Case{"data:2", 1},
                                           Case{"data:3", 2}, Case{"model:3", 1},
                                           Case{"model:2", 4}, Case{"data:2,model:2", 2}));

// What executor, transport and kernels hold beside arena and variables, after some steps.
void HeldBeside(const char* mesh, int sequence, int64_t* heap, int64_t* arena) {
  const auto program = DecoderProgram::Make(mesh, {absl::StrCat("data.sequence=", sequence)});
  ASSERT_TRUE(program.ok()) << program.status();
  std::vector<int64_t> arenas((*program)->program().graph.meshes[0].size());
  int64_t most = 0;
  const int64_t before = HeapBytes();
  // All ranks hold what they hold while one looks.
  std::barrier all(static_cast<std::ptrdiff_t>(arenas.size()));
  RunRanks(static_cast<int>(arenas.size()), {}, [&](Transport& transport) {
    DecoderRank rank(**program, transport);
    absl::Status status = rank.Load();
    if (status.ok()) status = rank.Run(0, 3);
    EXPECT_EQ(status, absl::OkStatus());
    if (status.ok()) arenas[transport.rank()] = rank.plan().arena_bytes();
    all.arrive_and_wait();
    if (transport.rank() == 0) most = HeapBytes() - before;
    all.arrive_and_wait();
  });
  *heap = most;
  *arena = arenas[0];
}

TEST(HeapTest, DoesNotGrowWithTheTensors) {
  for (const char* mesh : {"data:1", "model:2"}) {
    int64_t short_heap = 0, short_arena = 0, long_heap = 0, long_arena = 0;
    HeldBeside(mesh, 32, &short_heap, &short_arena);
    HeldBeside(mesh, 256, &long_heap, &long_arena);
    ASSERT_GT(long_arena, 3 * short_arena);
    EXPECT_LT(long_heap - short_heap, (long_arena - short_arena) / 100)
        << mesh << ": heap from " << short_heap << " to " << long_heap << ", arena from "
        << short_arena << " to " << long_arena;
  }
}

}  // namespace
}  // namespace weft::testing
