#include "launcher/rank_place.h"

#include "runtime/mpi_transport.h"

namespace weft {

LocalRank LocalRankOf(int rank, int size) {
  if (StartedByMpi()) return {LaunchedLocalRank(), LaunchedLocalRanks()};
  return {rank, size};
}

}  // namespace weft
