// What ranks do together beside a plan: meet, hand out a string (the job, an error to print once),
// and collect one from each.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/transport.h"

namespace weft {

// Returns once every rank of the transport has called it. Blocks the calling thread; one thread per
// rank at a time. Fails only with the transport's poison.
absl::Status Barrier(Transport& transport);

// Copies `bytes` of rank `root` to `bytes` of every other rank, along a binomial tree. Blocks; one
// thread per rank at a time, every rank with the same root.
absl::Status BroadcastBytes(Transport& transport, int root, std::string* bytes);

// The `bytes` of every rank, by rank, on rank `root`; nothing on the others. Blocks; one thread per
// rank at a time, every rank with the same root.
absl::StatusOr<std::vector<std::string>> GatherBytes(Transport& transport, int root,
                                                     std::string bytes);

// bytes[i] goes to rank peers[i]; answers what each of them sent here, in that order. `peers`,
// distinct and not this rank, name this one in turn. Blocks; one thread per rank at a time.
absl::StatusOr<std::vector<std::string>> SwapBytes(Transport& transport,
                                                   absl::Span<const int> peers,
                                                   absl::Span<const std::string> bytes);

}  // namespace weft
