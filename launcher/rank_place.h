// RankPlace: where a rank of this process computes: on the CPU or on a GPU of the machine.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"
#include "launcher/product_tuning.h"
#include "launcher/session.h"
#include "runtime/device.h"
#include "runtime/kernel.h"

namespace weft {

// A rank among those of its machine.
struct LocalRank {
  int rank = 0;
  int ranks = 1;
};

// Of rank `rank` of `size`: among the threads of this process, or among the machine's processes as
// the launcher counts them.
LocalRank LocalRankOf(int rank, int size);

struct RankPlace {
  std::unique_ptr<Device> device;  // null: the CPU
  KernelTable kernels;             // the device's
  Recording recording = Recording::kAuto;
  std::unique_ptr<ProductTuning>
      tuning;  // null: off. Goes before the device, whose handles it uses

  SessionPlace ForSession() const {
    if (device == nullptr) return {};
    return {device.get(), &kernels, recording, tuning.get()};
  }
};

// Whether the ranks of this machine can run on the job's device. InvalidArgument,
// FailedPrecondition or Unimplemented say what is missing (a build with CUDA, a driver, as many
// GPUs as ranks) and what to do. `ranks`: of this machine.
absl::Status CheckDevice(const Job& job, int ranks, const FieldOrigins& origins);

// The place of a rank. Ranks of a machine have a GPU each, in the order of both. Errors as for
// CheckDevice, and CUDA's own.
absl::StatusOr<RankPlace> MakeRankPlace(const Job& job, LocalRank local);

// What `weft doctor` says of GPUs, a line each.
std::string DescribeGpus();

}  // namespace weft
