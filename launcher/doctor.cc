#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launcher/commands.h"
#include "launcher/rank_place.h"
#include "launcher/ranks.h"
#include "runtime/mpi_transport.h"

namespace weft {
namespace {

// Which of the instruction sets that kernels choose between this processor lists.
std::string CpuFeatures() {
  std::ifstream in("/proc/cpuinfo");
  std::string line, found;
  while (std::getline(in, line)) {
    if (line.rfind("flags", 0) != 0) continue;
    for (absl::string_view flag : absl::StrSplit(line, ' ')) {
      for (absl::string_view wanted :
           {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}) {
        if (flag == wanted) absl::StrAppend(&found, found.empty() ? "" : " ", flag);
      }
    }
    break;
  }
  return found.empty() ? "none of avx2, avx512f, avx512_bf16, amx_bf16" : found;
}

}  // namespace

int RunDoctor() {
  if (!Ranks::speaks()) return kExitDone;
  std::printf("cpu cores      %u\n", std::thread::hardware_concurrency());
  std::printf("cpu features   %s\n", CpuFeatures().c_str());
  std::printf("mpi launcher   %s\n",
              StartedByMpi() ? "yes, ranks are processes" : "no (mpirun -n N weft train JOB)");
  std::printf("%s", DescribeGpus().c_str());
  return kExitDone;
}

}  // namespace weft
