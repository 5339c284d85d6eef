// What this process maps of weft's shared memory.
#pragma once

#include <fstream>
#include <string>

namespace weft::testing {

struct SharedMappings {
  int nameless = 0;  // nobody can find it any more
  int named = 0;     // its name is still in /dev/shm
};

inline SharedMappings CountSharedMappings() {
  SharedMappings count;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/dev/shm/weft-") == std::string::npos) continue;
    ++(line.ends_with("(deleted)") ? count.nameless : count.named);
  }
  return count;
}

}  // namespace weft::testing
