// `weft plan`: compiles a job and describes it in one of four forms, all written from one
// PlanReport.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "graph/op_def.h"
#include "launcher/job.pb.h"
#include "launcher/make_plan_report.h"
#include "launcher/plan_report.h"

namespace weft {

enum class PlanFormat : uint8_t { kText, kJson, kDot, kHtml };
// "text", "json", "dot", "html"; InvalidArgument for anything else.
absl::StatusOr<PlanFormat> ParsePlanFormat(const std::string& name);

// Compiles the job's training graph and looks at it and at the plans of its ranks. Runs nothing,
// needs no data. Errors: those of TrainGraph, Compile and MakePlanReport.
absl::StatusOr<PlanReport> ReportPlan(const Job& job, const OpRegistry& ops,
                                      const PlanReportOptions& options = {});

std::string FormatPlan(const PlanReport& report, PlanFormat format);

}  // namespace weft
