// Runs a function as every rank of an in-memory network, one thread each.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "runtime/memory_transport.h"

namespace weft::testing {

inline void RunRanks(int size, const LinkModel& links,
                     const std::function<void(Transport&)>& rank_main) {
  MemoryNetwork network(size, links);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&network, &rank_main, rank] { rank_main(network.endpoint(rank)); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace weft::testing
