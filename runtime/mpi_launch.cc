// What the environment says of an MPI launcher, before or without MPI itself.
#include <algorithm>
#include <cstdlib>

#include "runtime/mpi_transport.h"

namespace weft {
namespace {

// The first of `names` that is set, as a number; `fallback` if none is.
int Number(std::initializer_list<const char*> names, int fallback) {
  for (const char* name : names) {
    if (const char* text = std::getenv(name)) return std::atoi(text);
  }
  return fallback;
}

}  // namespace

bool StartedByMpi() { return Number({"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}, -1) >= 0; }

int LaunchedRank() { return Number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}, 0); }

int LaunchedLocalRank() {
  return Number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}, 0);
}

int LaunchedLocalRanks() {
  return std::max(1, Number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, 1));
}

}  // namespace weft
