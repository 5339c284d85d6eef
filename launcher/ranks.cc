#include "launcher/ranks.h"

#include <mutex>
#include <thread>
#include <utility>
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
    std::mutex mutex;  // guards own
    absl::Status own;
    if (report != nullptr && speaks()) {
      mpi_->OnAgreement([&](const absl::Status& agreed) {
        const std::lock_guard<std::mutex> lock(mutex);
        report(mpi_->failed_rank() == mpi_->rank() && !own.ok() ? own : agreed);
      });
    }
    absl::Status status = RunOne(main, *mpi_);
    {
      const std::lock_guard<std::mutex> lock(mutex);
      own = std::move(status);
    }
    return mpi_->Close();
  }
  MemoryNetwork network(size_);
  std::vector<absl::Status> own(size_);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size_; ++rank) {
    threads.emplace_back([&, rank] { own[rank] = RunOne(main, network.endpoint(rank)); });
  }
  for (std::thread& thread : threads) thread.join();
  absl::Status failure = network.endpoint(0).status();
  if (failure.ok()) return failure;
  // The rank where it began says it best.
  const absl::Status& first = own[network.endpoint(0).failed_rank()];
  if (!first.ok()) failure = first;
  if (report != nullptr) report(failure);
  return failure;
}

}  // namespace weft
