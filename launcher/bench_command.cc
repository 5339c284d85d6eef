#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/bench_comm.h"
#include "launcher/bench_comm_text.h"
#include "launcher/cluster.h"
#include "launcher/commands.h"
#include "launcher/ranks.h"
#include "runtime/cpu_communicator.h"
#include "runtime/status.h"

namespace weft {
namespace {

const char kLinksComment[] =
    "Groups measured by weft bench comm; flops and memory_bandwidth are not measured by it.";

absl::StatusOr<CommBenchOptions> ReadOptions(const BenchCommCommand& command) {
  CommBenchOptions options;
  for (const std::string& name : command.collectives) {
    WEFT_ASSIGN_OR_RETURN(options.collectives.emplace_back(), ParseCollective(name));
  }
  const auto bytes = [](const char* flag, const std::string& text) -> absl::StatusOr<int64_t> {
    const absl::StatusOr<int64_t> value = ParseBytes(text);
    return value.ok() ? value : Annotate(value.status(), flag);
  };
  WEFT_ASSIGN_OR_RETURN(options.min_bytes, bytes("--min-bytes", command.min_bytes));
  WEFT_ASSIGN_OR_RETURN(options.max_bytes, bytes("--max-bytes", command.max_bytes));
  if (!command.step_bytes.empty()) {
    if (command.factor > 1) {
      return absl::InvalidArgumentError(
          "--factor and --step-bytes both say how sizes grow; give one");
    }
    options.factor = 1;
    WEFT_ASSIGN_OR_RETURN(options.step_bytes, bytes("--step-bytes", command.step_bytes));
  } else if (command.factor != 0) {
    options.factor = command.factor;
  }
  options.iterations = command.iterations;
  options.warmup = command.warmup;
  options.check = command.check != 0;
  WEFT_ASSIGN_OR_RETURN(options.monoid, ParseMonoid(command.op));
  const absl::StatusOr<DType> dtype = ParseBenchDType(command.dtype);
  if (!dtype.ok()) return Annotate(dtype.status(), "--dtype");
  options.dtype = *dtype;
  if (!command.mesh.empty()) {
    absl::StatusOr<Mesh> mesh = Mesh::Parse(command.mesh);
    if (!mesh.ok()) return Annotate(mesh.status(), "--mesh");
    options.mesh = *std::move(mesh);
  }
  options.links = !command.write_links.empty();
  return options;
}

absl::Status CannotWrite(const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat("--write-links: cannot write ", path, ": ", std::strerror(errno)));
}

// The cluster that the links go to: that of the file, if it is there. Errors before anything is
// measured: a file that is no cluster, or that cannot be written.
absl::StatusOr<Cluster> ClusterToWrite(const std::string& path) {
  absl::StatusOr<Cluster> cluster = LoadCluster(path);
  const bool is_new = absl::IsNotFound(cluster.status());
  if (!is_new && !cluster.ok()) return cluster;
  if (!std::ofstream(path, std::ios::app)) return CannotWrite(path);
  if (!is_new) return cluster;
  std::remove(path.c_str());
  cluster.emplace();
  cluster->set_name("measured");
  return cluster;
}

absl::Status WriteLinks(const std::string& path, const std::vector<CostModel::Group>& groups,
                        Cluster cluster) {
  SetGroups(groups, &cluster);
  std::ofstream out(path);
  out << ClusterText(cluster, kLinksComment);
  out.close();
  return out ? absl::OkStatus() : CannotWrite(path);
}

// Prints results as they come, in either form.
class ResultPrinter {
 public:
  explicit ResultPrinter(bool json) : json_(json) {}

  void Print(const CommResult& result) {
    if (json_) return Put(BenchJson(result));
    if (last_.bytes < 0 || last_.collective != result.collective || last_.axis != result.axis) {
      Put(BenchHeading(result));
    }
    Put(BenchRow(result));
    last_ = result;
  }
  void Print(const CommBenchReport& report, bool checked) {
    if (json_) return;
    Put(checked ? absl::StrCat("# wrong elements: ", report.wrong, "\n")
                : "# results were not checked\n");
    for (const CostModel::Group& group : report.groups) Put("# " + LinkLine(group) + "\n");
  }

 private:
  static void Put(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
  const bool json_;
  CommResult last_{.axis = "", .bytes = -1};
};

absl::Status BenchRank(Transport& transport, const BenchCommCommand& command,
                       const CommBenchOptions& options) {
  const bool speaks = transport.rank() == 0;
  Cluster cluster;
  if (speaks && options.links) {
    WEFT_ASSIGN_OR_RETURN(cluster, ClusterToWrite(command.write_links));
  }
  ResultPrinter printer(command.json);
  const auto make = [](Transport& on, std::vector<int> ranks,
                       uint32_t tag) -> absl::StatusOr<std::unique_ptr<Communicator>> {
    return CpuCommunicator::Create(on, std::move(ranks), tag);
  };
  WEFT_ASSIGN_OR_RETURN(const CommBenchReport report,
                        BenchComm(transport, options, make, [&](const CommResult& result) {
                          if (speaks) printer.Print(result);
                        }));
  if (speaks) printer.Print(report, options.check);
  if (report.wrong > 0) {
    return absl::DataLossError(absl::StrCat(report.wrong, " elements of results are wrong"));
  }
  return speaks && options.links
             ? WriteLinks(command.write_links, report.groups, std::move(cluster))
             : absl::OkStatus();
}

}  // namespace

int Run(const BenchCommCommand& command) {
  absl::StatusOr<Ranks> ranks = Ranks::Start(command.ranks);
  if (!ranks.ok()) {
    ReportFailure(ranks.status());
    return ExitCodeOf(ranks.status());
  }
  const absl::StatusOr<CommBenchOptions> options = ReadOptions(command);
  absl::Status ready = options.status();
  if (ready.ok()) {
    ready = CheckCommBench(*options, ranks->size(), ranks->processes() ? 1 : ranks->size());
  }
  return ExitCodeOf(ranks->Run(
      [&](Transport& transport) {
        return ready.ok() ? BenchRank(transport, command, *options) : ready;
      },
      ReportFailure));
}

int RunBenchElsewhere(const std::string& what) {
  const absl::Status status = absl::UnimplementedError(
      absl::StrCat("weft bench ", what,
                   " is not in this program; scripts/bench.sh, in the sources, builds and runs the "
                   "benchmarks that there are"));
  ReportFailure(status);
  return ExitCodeOf(status);
}

}  // namespace weft
