#include "launcher/ranks.h"

#include <mutex>
#include <thread>
#include <vector>

#include "runtime/memory_transport.h"
#include "runtime/mpi_transport.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr int kMaxThreads = 1024;

absl::Status RunOne(const RankMain& main, Transport& transport) {
  const absl::Status status = main(transport);
  if (!status.ok()) transport.Poison(status);
  return status;
}

}  // namespace

absl::StatusOr<Ranks> Ranks::Start(int threads) {
  Ranks ranks;
  if (StartedByMpi()) {
    if (threads > 0) {
      return absl::InvalidArgumentError(
          "--ranks makes ranks inside one process; under mpirun or srun leave it out");
    }
    WEFT_ASSIGN_OR_RETURN(ranks.mpi_, StartMpi());
    ranks.size_ = ranks.mpi_->size();
    return ranks;
  }
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("--ranks ", threads, "; it must be from 1 to ", kMaxThreads));
  }
  ranks.size_ = threads == 0 ? 1 : threads;
  return ranks;
}

bool Ranks::speaks() { return LaunchedRank() == 0; }

absl::Status Ranks::Run(const RankMain& main, const FailureReport& report) {
  if (mpi_ != nullptr) {
    const absl::Status status = RunOne(main, *mpi_);
    const bool reports = report != nullptr && speaks();
    if (!status.ok() && reports) report(status);
    const absl::Status closed = mpi_->Close();
    if (!status.ok()) return status;
    if (!closed.ok() && reports) report(closed);
    return closed;
  }
  MemoryNetwork network(size_);
  std::mutex mutex;
  absl::Status first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size_; ++rank) {
    threads.emplace_back([&, rank] {
      const absl::Status status = RunOne(main, network.endpoint(rank));
      const std::lock_guard<std::mutex> lock(mutex);
      if (first.ok()) first = status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!first.ok() && report != nullptr) report(first);
  return first;
}

}  // namespace weft
