// weft's CPU all-reduce over MPI beside MPI_Allreduce, on ranks of this machine. MPI starts once
// per process and weft's transport must make all of its calls, so the two sides are runs of their
// own: without --side the program starts both under mpirun in turn, several times, and prints one
// JSON line per size with the best time of each.
//
//   bench_comm [--ranks 2] [--rounds 3] [--min_bytes 1024] [--max_bytes 67108864] [--factor 4]
//              [--share 1]
//
// With --share 0 what is short goes in messages too, not through memory that the ranks share.
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "runtime/cpu_communicator.h"
#include "runtime/mpi_transport.h"
#include "runtime/rendezvous.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Seconds per call: the best of many short batches, which other programs interrupt less than few
// long ones, after a warm-up. Every rank makes as many calls.
double TimePerCall(int64_t bytes, const std::function<void()>& call) {
  const int calls = static_cast<int>(std::clamp<int64_t>((1 << 20) / bytes, 1, 100));
  const int batches = static_cast<int>(std::clamp<int64_t>((512 << 20) / (bytes * calls), 5, 2000));
  for (int i = 0; i < calls + 2; ++i) call();
  double best = 1e30;
  for (int batch = 0; batch < batches; ++batch) {
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    best = std::min(best, Seconds(Clock::now() - begin) / calls);
  }
  return best;
}

struct Sizes {
  int64_t min_bytes, max_bytes, factor;
};

void Measure(const Sizes& sizes, bool print,
             const std::function<void(const float* in, float* out, int64_t count)>& all_reduce) {
  for (int64_t bytes = sizes.min_bytes; bytes <= sizes.max_bytes; bytes *= sizes.factor) {
    const int64_t count = bytes / 4;
    const std::vector<float> in(count, 1.0f);
    std::vector<float> out(count);
    const double seconds = TimePerCall(bytes, [&] { all_reduce(in.data(), out.data(), count); });
    if (print) std::printf("%lld %.9f\n", static_cast<long long>(bytes), seconds);
  }
}

int RunMpi(const Sizes& sizes) {
  MPI_Init(nullptr, nullptr);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  Measure(sizes, rank == 0, [](const float* in, float* out, int64_t count) {
    MPI_Allreduce(in, out, static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
  });
  MPI_Finalize();
  return 0;
}

int RunWeft(const Sizes& sizes, bool share) {
  auto transport = StartMpi();
  if (!transport.ok()) return 1;
  std::vector<int> ranks((*transport)->size());
  std::iota(ranks.begin(), ranks.end(), 0);
  auto communicator = CpuCommunicator::Create(**transport, ranks, 1);
  if (!communicator.ok()) return 1;
  absl::Status status;
  // As an actor does when it is made; for one element, so that it holds for all that is short.
  if (share) status = (*communicator)->Reserve(1, DType::kF32, Monoid::kSum);
  Measure(sizes, (*transport)->rank() == 0, [&](const float* in, float* out, int64_t count) {
    status.Update((*communicator)->AllReduce(in, out, count, DType::kF32, Monoid::kSum));
  });
  status.Update((*transport)->Close());
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

// The better of what is in `best` and one more run of a side. Empty on failure.
bool RunSide(const std::string& command, std::map<int64_t, double>* best) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return false;
  long long bytes = 0;
  double seconds = 0;
  while (std::fscanf(pipe, "%lld %lf", &bytes, &seconds) == 2) {
    const auto [entry, is_new] = best->emplace(bytes, seconds);
    entry->second = std::min(entry->second, seconds);
  }
  return pclose(pipe) == 0;
}

int RunBoth(const std::string& program, int ranks, int rounds, bool share, const Sizes& sizes) {
  const std::string command =
      "mpirun --allow-run-as-root --oversubscribe -n " + std::to_string(ranks) + " " + program +
      " --min_bytes " + std::to_string(sizes.min_bytes) + " --max_bytes " +
      std::to_string(sizes.max_bytes) + " --factor " + std::to_string(sizes.factor) + " --share " +
      (share ? "1" : "0") + " --side ";
  std::map<int64_t, double> weft;
  std::map<int64_t, double> mpi;
  for (int round = 0; round < rounds; ++round) {
    if (!RunSide(command + "mpi", &mpi) || !RunSide(command + "weft", &weft)) return 1;
  }
  for (const auto& [bytes, seconds] : weft) {
    std::printf(
        "{\"benchmark\": \"all_reduce\", \"ranks\": %d, \"dtype\": \"f32\", \"bytes\": %lld, "
        "\"weft_us\": %.2f, \"mpi_us\": %.2f, \"weft_gb_per_s\": %.4f, "
        "\"mpi_gb_per_s\": %.4f, \"bandwidth_ratio\": %.3f}\n",
        ranks, static_cast<long long>(bytes), seconds * 1e6, mpi[bytes] * 1e6,
        static_cast<double>(bytes) / seconds * 1e-9, static_cast<double>(bytes) / mpi[bytes] * 1e-9,
        mpi[bytes] / seconds);
  }
  return 0;
}

}  // namespace
}  // namespace weft

int main(int argc, char** argv) {
  std::map<std::string, std::string> options = {{"--side", ""},
                                                {"--ranks", "2"},
                                                {"--rounds", "3"},
                                                {"--min_bytes", "1024"},
                                                {"--max_bytes", "67108864"},
                                                {"--factor", "4"},
                                                {"--share", "1"}};
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  const auto number = [&](const char* name) {
    return std::max(1LL, std::atoll(options[name].c_str()));
  };
  const weft::Sizes sizes{number("--min_bytes"), number("--max_bytes"),
                          std::max(2LL, number("--factor"))};
  if (options["--side"] == "mpi") return weft::RunMpi(sizes);
  const bool share = options["--share"] != "0";
  if (options["--side"] == "weft") return weft::RunWeft(sizes, share);
  return weft::RunBoth(argv[0], static_cast<int>(number("--ranks")),
                       static_cast<int>(number("--rounds")), share, sizes);
}
