// Plans end, whatever the timing: random graphs as the compiler lowers them, and random programs
// written by hand, on seeded streams that take turns at random or starve each other. What the check
// over all ranks refuses does get stuck, and what it lets pass does not.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graph/graph_builder.h"
#include "kernels/all_ops.h"
#include "parallel/compile.h"
#include "tests/system/random_program.h"
#include "tests/system/run_together.h"

namespace weft::testing {
namespace {

// Random layers over [rows, columns], random layouts, and parameters that a sum over microbatches
// updates.
class RandomGraph {
 public:
  RandomGraph(const OpRegistry& ops, Random& random)
      : random_(random), mesh_(PickMesh(random)), g_(ops, *Mesh::Parse(mesh_)) {}

  absl::StatusOr<Graph> Make() {
    const int64_t rows = Between(random_, 4, 13), columns = Between(random_, 4, 9);
    const TensorSpec square{{columns, columns}, DType::kF32};
    std::vector<Value> values = {Laid(g_.Input("x", {{rows, columns}, DType::kF32}))};
    const auto any = [&] { return values[random_() % values.size()]; };
    std::vector<Value> parameters;
    for (int i = Between(random_, 4, 12); i > 0; --i) {
      switch (random_() % 5) {
        case 0: values.push_back(Laid(g_.Op("scale", {any()}, {{"factor", 0.5}}))); break;
        case 1: values.push_back(Laid(g_.Op("gelu", {any()}))); break;
        case 2: values.push_back(Laid(g_.Op("add", {any(), any()}))); break;
        case 3: values.push_back(Laid(g_.Op("mul", {any(), any()}))); break;
        default:
          const std::string name = absl::StrCat("w", parameters.size());
          parameters.push_back(Laid(g_.Parameter(name, square, Constant(0.01))));
          values.push_back(
              Laid(g_.Op("einsum", {any(), parameters.back()}, {{"equation", "bi,io->bo"}})));
      }
    }
    for (const Value w : parameters) {
      const Value dw = g_.Op("einsum", {any(), any()}, {{"equation", "bi,bo->io"}});
      const Value sum = Laid(g_.Op("accumulate", {dw}));
      const Value step = g_.Op("scale", {sum}, {{"factor", 1e-3}});
      const Value updated = g_.Op("add", {w, step});
      g_.Update(w, updated);
      if (random_() % 2 == 0) g_.Output(absl::StrCat("updated", w.id), updated);
    }
    g_.Output("last", values.back());
    g_.Output("any", any());
    return g_.Build();
  }

 private:
  static std::string PickMesh(Random& random) {
    constexpr const char* kMeshes[] = {"a:2", "a:3", "a:2,b:2", "a:4", "a:3,b:2"};
    return kMeshes[random() % std::size(kMeshes)];
  }

  Value Laid(Value v) {
    if (random_() % 2 == 0) return v;
    std::string layout;
    const Mesh mesh = *Mesh::Parse(mesh_);
    for (const Mesh::Axis& axis : mesh.axes()) {
      constexpr const char* kSbps[] = {"S(0)", "S(1)", "B"};
      absl::StrAppend(&layout, layout.empty() ? "[" : ", ", axis.name, ":",
                      kSbps[random_() % std::size(kSbps)]);
    }
    g_.Annotate(v, absl::StrCat(layout, "]"));
    return v;
  }

  Random& random_;
  const std::string mesh_;
  GraphBuilder g_;
};

class RandomPlans : public ::testing::Test {
 protected:
  using Fetched = std::map<std::string, std::vector<float>>;

  RandomPlans() {
    DefineAllOps(ops_);
    FillCpuKernels(ops_, kernels_);
  }

  // What three steps hand out on all ranks; parameters start at 0.01.
  absl::StatusOr<Fetched> Run(const std::vector<Plan>& plans, uint64_t seed) {
    std::vector<std::map<std::string, std::vector<float>, std::less<>>> variables(plans.size());
    Fetched fetched;
    SeededRanks ranks(static_cast<int>(plans.size()), seed, TurnsOf(seed));
    for (size_t rank = 0; rank < plans.size(); ++rank) {
      for (const VariableBindingDef& def : plans[rank].variables()) {
        // One more, so that a part without elements has an address too.
        variables[rank][def.name()].assign(FromProto(def.box())->elements() + 1, 0.01f);
      }
      ExecutorOptions options{.kernels = kernels_};
      options.variables = [&mine = variables[rank]](std::string_view name) -> void* {
        return mine.find(name)->second.data();
      };
      options.feed = [](std::string_view, int64_t step, int64_t microbatch, const Operand& out) {
        for (int64_t i = 0; i < out.elements(); ++i) {
          const int64_t row = out.box->dims[0].ToLogical(i / out.shape[1]);
          const int64_t column = out.box->dims[1].ToLogical(i % out.shape[1]);
          out.as<float>()[i] =
              0.1f * static_cast<float>((step + 2 * microbatch + 3 * row + 5 * column) % 7 - 3);
        }
        return absl::OkStatus();
      };
      options.fetch = [&fetched, rank](std::string_view name, int64_t, int64_t, const Operand& in) {
        std::vector<float>& all = fetched[absl::StrCat(rank, " ", std::string(name))];
        all.insert(all.end(), in.as<float>(), in.as<float>() + in.elements());
        return absl::OkStatus();
      };
      const absl::Status added = ranks.Add(plans[rank], std::move(options));
      if (!added.ok()) return added;
    }
    const absl::Status ran = ranks.RunSteps(3);
    if (!ran.ok()) return ran;
    return fetched;
  }

  OpRegistry ops_;
  KernelTable kernels_;
};

// Compiled plans: 400, each with two seeds and the same results.
TEST_F(RandomPlans, CompiledGraphsEnd) {
  int plans_run = 0, exchanges = 0, all_reduces = 0, edges = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Random random(seed);
    absl::StatusOr<Graph> graph = RandomGraph(ops_, random).Make();
    ASSERT_TRUE(graph.ok()) << seed << ": " << graph.status();
    CompileOptions options;
    options.microbatches = Between(random, 1, 3);
    options.cost.link_latency = random() % 2 == 0 ? 1e-7 : 1e-5;
    options.cost.link_bytes_per_second = random() % 2 == 0 ? 1e8 : 1e10;
    const absl::StatusOr<Program> program = Compile(*std::move(graph), ops_, options);
    ASSERT_TRUE(program.ok()) << seed << ": " << program.status();
    std::vector<Plan> plans;
    for (const int rank : program->graph.meshes[0].ranks()) {
      absl::StatusOr<Plan> plan = InstantiatePlan(*program, rank);
      ASSERT_TRUE(plan.ok()) << seed << ": " << plan.status();
      for (const ActorDef& actor : plan->actors()) {
        exchanges += actor.has_exchange();
        all_reduces += actor.has_all_reduce();
      }
      for (const ChannelDef& channel : plan->channels()) edges += channel.buffers_size() == 0;
      plans.push_back(*std::move(plan));
    }
    const absl::Status together = CheckTogether(plans);
    ASSERT_TRUE(together.ok()) << seed << ": " << together;
    const absl::StatusOr<Fetched> first = Run(plans, 2 * seed), second = Run(plans, 2 * seed + 1);
    ASSERT_TRUE(first.ok()) << seed << ": " << first.status();
    ASSERT_TRUE(second.ok()) << seed << ": " << second.status();
    ASSERT_EQ(*first, *second) << seed;
    ++plans_run;
  }
  EXPECT_GT(exchanges, 400);
  EXPECT_GT(all_reduces, 100);
  EXPECT_GT(edges, 100);
  RecordProperty("plans", plans_run);
}

TEST_F(RandomPlans, ProgramsByHandEnd) {
  int ended = 0, tried = 0;
  for (uint64_t seed = 0; ended < 600; ++seed, ++tried) {
    ASSERT_LT(tried, 6000) << "too few random programs are valid";
    Random random(seed);
    RandomProgram program(random);
    if (!program.Order()) continue;
    const std::vector<Plan> plans = program.Plans();
    const absl::Status together = CheckTogether(plans);
    ASSERT_TRUE(together.ok()) << seed << ": " << together;
    const absl::Status ran = RunByHand(plans, seed);
    ASSERT_TRUE(ran.ok()) << seed << ": " << ran;
    ++ended;
  }
  RecordProperty("plans", ended);
}

// With lists that no longer project one order, what the check lets pass still ends. Of what it
// refuses, some ends as well, one collective taken for another: refused all the more.
TEST_F(RandomPlans, DisturbedListsEndIfTheCheckLetsThem) {
  int ends = 0, stuck = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Random random(seed);
    RandomProgram program(random);
    if (!program.Order()) continue;
    program.Disturb();
    program.Disturb();
    const std::vector<Plan> plans = program.Plans();
    const absl::Status together = CheckTogether(plans);
    const absl::Status ran = RunByHand(plans, seed);
    if (together.ok()) {
      ASSERT_TRUE(ran.ok()) << seed << ": " << ran;
      ++ends;
    } else {
      ASSERT_TRUE(absl::IsFailedPrecondition(together) || absl::IsInvalidArgument(together))
          << together;
      stuck += ran.ok() ? 0 : 1;
    }
  }
  EXPECT_GT(ends, 20);
  EXPECT_GT(stuck, 20);
}

}  // namespace
}  // namespace weft::testing
