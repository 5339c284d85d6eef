// Places of ranks in a build without CUDA: the CPU.
#include "absl/strings/str_cat.h"
#include "launcher/rank_place.h"

namespace weft {

absl::Status CheckDevice(const Job& job, int, const FieldOrigins& origins) {
  if (job.train().device() == Job::Train::CPU) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(WhereWritten(origins, "train.device"),
                   ": this weft is built without CUDA; use device: CPU, or build it where nvcc is "
                   "(docs/cuda.md)"));
}

absl::StatusOr<RankPlace> MakeRankPlace(const Job& job, LocalRank) {
  const absl::Status status = CheckDevice(job, 1, {});
  if (!status.ok()) return status;
  return RankPlace();
}

std::string DescribeGpus() {
  return "cuda           not in this build; jobs with device: CUDA are refused\n";
}

}  // namespace weft
