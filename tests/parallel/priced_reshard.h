// What the planner finds for a conversion, and what that costs.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "parallel/instantiate_reshard.h"
#include "parallel/reshard.h"
#include "parallel/reshard_cost.h"
#include "tests/support/reshard_case.h"

namespace weft::testing {

struct Priced {
  std::vector<ReshardStep> steps;
  int64_t bytes = 0;
  double seconds = 0;

  void Add(ReshardStep step, const TensorSpec& spec, const CostModel& cost) {
    bytes += TotalBytesSent(step, spec);
    seconds += StepSeconds(step, spec, cost);
    steps.push_back(std::move(step));
  }
};

inline Priced PlanOf(const TensorSpec& spec, const Lying& from, const Lying& to,
                     const CostModel& cost = CostModel()) {
  Priced plan;
  auto steps = PlanReshard(spec, from.layout, from.mesh, to.layout, to.mesh, cost);
  EXPECT_TRUE(steps.ok()) << steps.status();
  if (!steps.ok()) return plan;
  for (ReshardStep& step : *steps) plan.Add(std::move(step), spec, cost);
  const auto said = ReshardSeconds(spec, from.layout, from.mesh, to.layout, to.mesh, cost);
  EXPECT_TRUE(said.ok() && std::abs(*said - plan.seconds) <= 1e-9 * plan.seconds);
  return plan;
}

}  // namespace weft::testing
