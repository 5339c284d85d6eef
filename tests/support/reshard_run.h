// Runs conversions for real: planned, instantiated as plans of every rank, fired by executors over
// a transport, and what each rank then holds compared with the host's account of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actors/executor.h"
#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard.h"
#include "runtime/status.h"
#include "runtime/transport.h"
#include "tests/support/double_messages.h"
#include "tests/support/host_tensor.h"
#include "tests/support/plan_builder.h"
#include "tests/support/reshard_case.h"

namespace weft::testing {

// A stream that runs what is enqueued at once, on the actor thread: thousands of executors then
// need no threads of their own.
class ImmediateStream final : public Stream {
 public:
  using Stream::Stream;

 private:
  void Push(const Task& task) override {
    if (task.run != nullptr) {
      task.run(task.context, task.argument);
    } else {
      static_cast<const Stream*>(task.context)->completed().Await(task.argument);
    }
    completed_.Advance(completed_.value() + 1);
  }
};

// The steps of a case's conversions, one after the other.
inline absl::StatusOr<std::vector<ReshardStep>> StepsOf(const ReshardCase& c,
                                                        const CostModel& cost) {
  std::vector<ReshardStep> all;
  for (size_t i = 0; i + 1 < c.stops.size(); ++i) {
    WEFT_ASSIGN_OR_RETURN(std::vector<ReshardStep> steps,
                          PlanReshard(c.spec, c.stops[i].layout, c.stops[i].mesh,
                                      c.stops[i + 1].layout, c.stops[i + 1].mesh, cost));
    for (ReshardStep& step : steps) all.push_back(std::move(step));
  }
  return all;
}

// The plan of one rank: feed, the steps, fetch. No actors if the rank takes no part.
class ReshardPlan {
 public:
  static absl::StatusOr<Plan> Of(const ReshardCase& c, const std::vector<ReshardStep>& steps,
                                 int rank, int ranks) {
    ReshardPlan maker(c.spec, rank, ranks);
    maker.Feed(c.from());
    for (const ReshardStep& step : steps) WEFT_RETURN_IF_ERROR(maker.Step(step));
    maker.Fetch();
    maker.builder_.PlaceStaging();
    return std::move(maker.builder_.plan());
  }

 private:
  ReshardPlan(const TensorSpec& spec, int rank, int ranks)
      : spec_(spec), rank_(rank), builder_(rank, ranks), stream_(builder_.Stream("all")) {}

  // The rank's buffer under a layout, or -1 if it is not on the mesh.
  int Buffer(const Layout& layout, const Mesh& mesh) {
    const int index = mesh.IndexOf(rank_);
    if (index < 0) return -1;
    const Box box = BoxOf(spec_.shape, layout, mesh, index);
    const int buffer = builder_.Buffer("x", {spec_.shape.begin(), spec_.shape.end()}, box);
    builder_.plan().mutable_buffers(buffer)->set_dtype(static_cast<int>(spec_.dtype));
    return buffer;
  }
  int Actor(const std::string& name) {
    const int actor = builder_.Actor(name, stream_);
    builder_.Order({actor});
    return actor;
  }
  // Hands the current buffer, if there is one, to `actor`.
  OperandDef TakenBy(int actor) {
    const int channel = builder_.Channel("x", producer_, {{actor}});
    builder_.plan().mutable_channels(channel)->add_buffers(buffer_);
    return PlanBuilder::At(buffer_, channel);
  }
  void Feed(const Lying& from) {
    buffer_ = Buffer(from.layout, from.mesh);
    if (buffer_ < 0) return;
    producer_ = Actor("feed");
    builder_.Feed(producer_, "x", PlanBuilder::At(buffer_));
  }
  absl::Status Step(const ReshardStep& step) {
    WEFT_ASSIGN_OR_RETURN(RankReshard part, InstantiateStep(step, spec_, rank_));
    const int tag = tag_++;
    builder_.plan().set_bytes_sent_per_step(builder_.plan().bytes_sent_per_step() +
                                            BytesSent(step, spec_, rank_));
    const int output = Buffer(step.to, step.to_mesh);
    if (!part.all_reduce && !part.exchange) return absl::OkStatus();
    const int actor = Actor(absl::StrCat("step", tag, " ", step.ToString()));
    const OperandDef in = buffer_ < 0 ? PlanBuilder::At(-1) : TakenBy(actor);
    ActorDef* def = builder_.plan().mutable_actors(actor);
    if (part.all_reduce) {
      *def->mutable_all_reduce() = *std::move(part.all_reduce);
      def->mutable_all_reduce()->set_communicator(tag);
      *def->mutable_all_reduce()->mutable_input() = in;
      *def->mutable_all_reduce()->mutable_output() = PlanBuilder::At(output);
    } else {
      EXPECT_EQ(part.exchange->input().buffer() < 0, buffer_ < 0);
      EXPECT_EQ(part.exchange->output().buffer() < 0, output < 0);
      *def->mutable_exchange() = *std::move(part.exchange);
      def->mutable_exchange()->set_tag(tag);
      *def->mutable_exchange()->mutable_input() = in;
      *def->mutable_exchange()->mutable_output() = PlanBuilder::At(output);
    }
    buffer_ = output;
    producer_ = actor;
    return absl::OkStatus();
  }
  void Fetch() {
    if (buffer_ < 0) return;
    const int actor = Actor("fetch");
    builder_.Fetch(actor, "x", TakenBy(actor));
  }

  const TensorSpec& spec_;
  const int rank_;
  PlanBuilder builder_;
  const int stream_;
  int buffer_ = -1;  // where the tensor is by now
  int producer_ = -1;
  int tag_ = 0;
};

// What one rank ended with.
struct RankResult {
  std::vector<double> part;
  int64_t sent = 0;       // by the transport's counter
  int64_t predicted = 0;  // by the plan
};

// Executes the plan of one case on this rank.
inline absl::StatusOr<RankResult> RunReshardPlan(Plan plan, const ReshardCase& c,
                                                 Transport& transport) {
  RankResult result;
  result.predicted = plan.bytes_sent_per_step();
  if (plan.actors_size() == 0) return result;
  const KernelTable no_kernels;
  ExecutorOptions options{.kernels = no_kernels, .transport = &transport};
  options.feed = [&](std::string_view, int64_t, int64_t, const Operand& operand) {
    const std::vector<double> part =
        PartOf(LogicalValues(c.spec), c.spec, c.from(), c.from().mesh.IndexOf(transport.rank()));
    if (operand.elements() != static_cast<int64_t>(part.size())) {
      return absl::InternalError(
          absl::StrCat("the first part has ", operand.elements(), " elements, not ", part.size()));
    }
    for (size_t i = 0; i < part.size(); ++i) {
      StoreElement(c.spec.dtype, operand.data, static_cast<int64_t>(i), part[i]);
    }
    return absl::OkStatus();
  };
  options.fetch = [&](std::string_view, int64_t, int64_t, const Operand& operand) {
    for (int64_t i = 0; i < operand.elements(); ++i) {
      result.part.push_back(LoadElement(c.spec.dtype, operand.data, i));
    }
    return absl::OkStatus();
  };
  options.make_stream = [](const std::string& name, int64_t) {
    return std::make_unique<ImmediateStream>(name);
  };
  WEFT_ASSIGN_OR_RETURN(auto executor, Executor::Create(std::move(plan), std::move(options)));
  const int64_t before = transport.total_bytes_sent();
  WEFT_RETURN_IF_ERROR(executor->Run(0));
  result.sent = transport.total_bytes_sent() - before;
  return result;
}

// Runs the cases as one rank of 8; all ranks call it with the same. Each rank checks its bytes,
// rank 0 every rank's part. Answers how many cases of each row were run (a typed error counts as
// the right result of an illegal layout).
inline std::map<std::string, int> RunReshardCases(Transport& transport,
                                                  const std::vector<ReshardCase>& cases,
                                                  const CostModel& cost) {
  std::map<std::string, int> run;
  for (const ReshardCase& c : cases) {
    SCOPED_TRACE(c.ToString());
    const absl::StatusOr<std::vector<ReshardStep>> steps = StepsOf(c, cost);
    const bool legal = std::all_of(c.stops.begin(), c.stops.end(),
                                   [&](const Lying& stop) { return IsLegal(c.spec, stop); });
    ++run[c.row];
    if (!legal) {
      EXPECT_EQ(steps.status().code(), absl::StatusCode::kInvalidArgument) << steps.status();
      continue;
    }
    EXPECT_TRUE(steps.ok()) << steps.status();
    if (!steps.ok()) return run;
    absl::StatusOr<Plan> plan = ReshardPlan::Of(c, *steps, transport.rank(), transport.size());
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok()) return run;
    const absl::StatusOr<RankResult> result = RunReshardPlan(*std::move(plan), c, transport);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return run;
    EXPECT_EQ(result->sent, result->predicted);

    const std::vector<int>& ranks = c.to().mesh.ranks();
    if (transport.rank() != 0) {
      if (c.to().mesh.IndexOf(transport.rank()) >= 0) {
        EXPECT_EQ(SendDoubles(transport, 0, result->part), absl::OkStatus());
      }
      continue;
    }
    std::vector<std::vector<double>> parts;
    for (int rank : ranks) {
      if (rank == 0) {
        parts.push_back(result->part);
      } else {
        absl::StatusOr<std::vector<double>> part = ReceiveDoubles(transport, rank);
        EXPECT_TRUE(part.ok()) << part.status();
        if (!part.ok()) return run;
        parts.push_back(*std::move(part));
      }
    }
    EXPECT_EQ(WrongPart(c, parts), "");
  }
  return run;
}

}  // namespace weft::testing
