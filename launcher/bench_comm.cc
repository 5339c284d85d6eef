#include "launcher/bench_comm.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "launcher/machine_memory.h"
#include "runtime/cpu_communicator.h"
#include "runtime/human_units.h"
#include "runtime/reduce.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

constexpr size_t kMostSizes = 1000;
constexpr uint32_t kWorldTag = 1;
constexpr uint32_t kFirstAxisTag = 2;

// All groups along one axis.
struct GroupKind {
  std::string axis;
  std::unique_ptr<Communicator> communicator;  // of this rank's group
};

class CommBench {
 public:
  CommBench(Transport& transport, const CommBenchOptions& options, const MakeCommunicator& make,
            const std::function<void(const CommResult&)>& on_result)
      : transport_(transport), options_(options), make_(make), on_result_(on_result) {}

  absl::StatusOr<CommBenchReport> Run() {
    WEFT_RETURN_IF_ERROR(MakeGroups());
    CommBenchReport report;
    for (const GroupKind& kind : kinds_) {
      std::vector<TimedMessage> messages;
      for (Collective collective : Collectives()) {
        for (int64_t bytes : BenchSizes(options_)) {
          WEFT_ASSIGN_OR_RETURN(const CommResult result, Measure(kind, collective, bytes));
          on_result_(result);
          report.wrong += std::max<int64_t>(result.out_of_place.wrong, 0);
          if (result.in_place) report.wrong += std::max<int64_t>(result.in_place->wrong, 0);
          if (collective == Collective::kSendReceive) {
            messages.push_back({result.bytes, result.out_of_place.seconds});
          }
        }
      }
      if (!options_.links || kind.communicator->size() == 1) continue;
      WEFT_ASSIGN_OR_RETURN(const LinkCost link, FitLink(messages));
      report.groups.push_back({kind.axis, kind.communicator->size(), link});
    }
    return report;
  }

 private:
  std::vector<Collective> Collectives() const {
    std::vector<Collective> chosen = options_.collectives;
    if (chosen.empty()) chosen.assign(AllCollectives().begin(), AllCollectives().end());
    if (options_.links &&
        std::find(chosen.begin(), chosen.end(), Collective::kSendReceive) == chosen.end()) {
      chosen.push_back(Collective::kSendReceive);
    }
    return chosen;
  }

  absl::Status MakeGroups() {
    const Mesh mesh = options_.mesh.value_or(Mesh());
    const int index = mesh.IndexOf(transport_.rank());
    for (int a = 0; a < mesh.num_axes(); ++a) {
      if (mesh.axes()[a].size == 1) continue;
      std::vector<int> members;
      for (int member : mesh.Line(index, a)) members.push_back(mesh.ranks()[member]);
      GroupKind kind{mesh.axes()[a].name, nullptr};
      WEFT_ASSIGN_OR_RETURN(kind.communicator,
                            make_(transport_, std::move(members), kFirstAxisTag + a));
      kinds_.push_back(std::move(kind));
    }
    if (!kinds_.empty()) return absl::OkStatus();
    kinds_.emplace_back();
    WEFT_ASSIGN_OR_RETURN(kinds_.back().communicator, make_(transport_, AllRanks(), kFirstAxisTag));
    return absl::OkStatus();
  }

  std::vector<int> AllRanks() const {
    std::vector<int> all(transport_.size());
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  absl::StatusOr<CommResult> Measure(const GroupKind& kind, Collective collective, int64_t bytes) {
    CollectiveCase measured({collective, bytes, options_.dtype, options_.monoid},
                            *kind.communicator);
    CommResult result;
    result.collective = collective;
    result.axis = kind.axis;
    result.group = kind.communicator->size();
    result.bytes = measured.bytes();
    result.count = measured.count();
    result.dtype = options_.dtype;
    result.monoid = options_.monoid;
    if (collective == Collective::kAllReduce) {
      WEFT_RETURN_IF_ERROR(
          kind.communicator->Reserve(result.count, options_.dtype, options_.monoid));
    }
    WEFT_ASSIGN_OR_RETURN(result.out_of_place, MeasurePass(measured, result, false));
    if (HasInPlace(collective)) {
      WEFT_ASSIGN_OR_RETURN(result.in_place, MeasurePass(measured, result, true));
    }
    return result;
  }

  absl::StatusOr<CommResult::Pass> MeasurePass(CollectiveCase& measured, const CommResult& result,
                                               bool in_place) {
    using Clock = std::chrono::steady_clock;
    measured.Fill(in_place);
    for (int i = 0; i < options_.warmup; ++i) WEFT_RETURN_IF_ERROR(measured.Run(in_place));
    WEFT_RETURN_IF_ERROR(Barrier(transport_));
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < options_.iterations; ++i) WEFT_RETURN_IF_ERROR(measured.Run(in_place));
    const double own = std::chrono::duration<double>(Clock::now() - begin).count();
    int64_t wrong = 0;
    if (options_.check) {
      measured.Fill(in_place);
      WEFT_RETURN_IF_ERROR(measured.Run(in_place));
      wrong = measured.CountWrong(in_place);
    }
    CommResult::Pass pass;
    WEFT_RETURN_IF_ERROR(OverAllRanks(own, wrong, &pass));
    // A clock that did not move would make the bandwidth infinite.
    pass.seconds = std::max(pass.seconds, 1e-9) / options_.iterations;
    if (!options_.check) pass.wrong = -1;
    pass.algbw = static_cast<double>(result.bytes) / pass.seconds;
    pass.busbw = pass.algbw * BusFactor(result.collective, result.group);
    return pass;
  }

  // The slowest rank's time and everyone's wrong elements, over a communicator of its own, not the
  // one that is measured. Meets all ranks.
  absl::Status OverAllRanks(double seconds, int64_t wrong, CommResult::Pass* pass) {
    if (world_ == nullptr) {
      WEFT_ASSIGN_OR_RETURN(world_, CpuCommunicator::Create(transport_, AllRanks(), kWorldTag));
    }
    WEFT_RETURN_IF_ERROR(world_->AllReduce(&seconds, &pass->seconds, 1, DType::kF64, Monoid::kMax));
    return world_->AllReduce(&wrong, &pass->wrong, 1, DType::kI64, Monoid::kSum);
  }

  Transport& transport_;
  const CommBenchOptions& options_;
  const MakeCommunicator& make_;
  const std::function<void(const CommResult&)>& on_result_;
  std::vector<GroupKind> kinds_;
  std::unique_ptr<CpuCommunicator> world_;  // what ranks tell each other of their results
};

}  // namespace

std::vector<int64_t> BenchSizes(const CommBenchOptions& options) {
  std::vector<int64_t> sizes;
  for (int64_t bytes = options.min_bytes; bytes <= options.max_bytes;) {
    sizes.push_back(bytes);
    const double next = options.factor > 1 ? static_cast<double>(bytes) * options.factor
                                           : static_cast<double>(bytes) + options.step_bytes;
    if (next > static_cast<double>(options.max_bytes) || sizes.size() > kMostSizes) break;
    bytes = std::max(bytes + 1, static_cast<int64_t>(next));
  }
  return sizes;
}

absl::StatusOr<int64_t> ParseBytes(const std::string& text) {
  constexpr const char* kUnits = "KMG";
  std::string digits = text;
  int64_t unit = 1;
  if (!digits.empty()) {
    const std::string units = kUnits;
    const size_t at =
        units.find(static_cast<char>(std::toupper(static_cast<unsigned char>(digits.back()))));
    if (at != std::string::npos) {
      unit = int64_t{1} << (10 * (at + 1));
      digits.pop_back();
    }
  }
  int64_t value = 0;
  if (!absl::SimpleAtoi(digits, &value) || value < 0 ||
      value > std::numeric_limits<int64_t>::max() / unit) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a number of bytes such as 8, 64K, 32M or 1G"));
  }
  return value * unit;
}

absl::StatusOr<DType> ParseBenchDType(const std::string& name) {
  constexpr std::pair<const char*, DType> kNcclNames[] = {
      {"float", DType::kF32},     {"double", DType::kF64}, {"half", DType::kF16},
      {"bfloat16", DType::kBF16}, {"int32", DType::kI32},  {"int64", DType::kI64},
      {"uint8", DType::kU8}};
  for (const auto& [nccl, dtype] : kNcclNames) {
    if (name == nccl) return dtype;
  }
  return ParseDType(name);
}

absl::Status CheckCommBench(const CommBenchOptions& options, int ranks, int local_ranks) {
  const auto wrong = [](const std::string& what) { return absl::InvalidArgumentError(what); };
  if (options.min_bytes < SizeOf(options.dtype)) {
    return wrong(absl::StrCat("--min-bytes must be at least ", SizeOf(options.dtype),
                              ", an element of ", std::string(Name(options.dtype))));
  }
  if (options.max_bytes < options.min_bytes) {
    return wrong(absl::StrCat("--max-bytes ", options.max_bytes, " is below --min-bytes ",
                              options.min_bytes));
  }
  const double needed = 3.0 * static_cast<double>(options.max_bytes) * local_ranks;
  if (needed > static_cast<double>(MachineMemoryBytes())) {
    return absl::ResourceExhaustedError(
        absl::StrCat("buffers of ", local_ranks, " ranks for --max-bytes ", options.max_bytes,
                     " exceed the machine's ", HumanBytes(MachineMemoryBytes()),
                     "; give a smaller --max-bytes"));
  }
  if (!(options.factor >= 1)) return wrong("--factor must be at least 1");
  if (options.factor == 1 && options.step_bytes < 1 && options.max_bytes > options.min_bytes) {
    return wrong("sizes do not grow: give --factor above 1, or --step-bytes");
  }
  if (BenchSizes(options).size() > kMostSizes) {
    return wrong(
        absl::StrCat("more than ", kMostSizes, " sizes; give a larger --factor or --step-bytes"));
  }
  if (options.iterations < 1) return wrong("--iters must be at least 1");
  if (options.warmup < 0) return wrong("--warmup must be at least 0");
  const auto& chosen = options.collectives;
  const bool reduces = chosen.empty() || std::any_of(chosen.begin(), chosen.end(), Reduces);
  if (reduces)
    WEFT_RETURN_IF_ERROR(Annotate(CheckReducible(options.dtype, options.monoid), "--op"));
  if (options.links && BenchSizes(options).back() / SizeOf(options.dtype) ==
                           options.min_bytes / SizeOf(options.dtype)) {
    return wrong("--write-links needs two sizes or more; widen --min-bytes to --max-bytes");
  }
  if (options.links && ranks == 1) {
    return wrong("--write-links: one rank has no links; give --ranks, or run under mpirun");
  }
  if (options.mesh) {
    if (options.mesh->size() != ranks) {
      return wrong(absl::StrCat("--mesh ", options.mesh->ToString(), " has ", options.mesh->size(),
                                " places and there are ", ranks,
                                " ranks; give as many with --ranks or mpirun -n"));
    }
    for (int rank : options.mesh->ranks()) {
      if (rank >= ranks) {
        return wrong(absl::StrCat("--mesh ", options.mesh->ToString(), ": there are ranks 0 to ",
                                  ranks - 1));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<CommBenchReport> BenchComm(Transport& transport, const CommBenchOptions& options,
                                          const MakeCommunicator& make,
                                          const std::function<void(const CommResult&)>& on_result) {
  return CommBench(transport, options, make, on_result).Run();
}

}  // namespace weft
