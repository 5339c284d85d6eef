// What ranks do together before there is a plan: meet, and hand out a string (the plan itself, the
// job, an error to print once).
#pragma once

#include <string>

#include "absl/status/status.h"
#include "runtime/transport.h"

namespace weft {

// Returns once every rank of the transport has called it. Blocks the calling thread; one thread per
// rank at a time. Fails only with the transport's poison.
absl::Status Barrier(Transport& transport);

// Copies `bytes` of rank `root` to `bytes` of every other rank, along a binomial tree. Blocks; one
// thread per rank at a time, every rank with the same root.
absl::Status BroadcastBytes(Transport& transport, int root, std::string* bytes);

}  // namespace weft
