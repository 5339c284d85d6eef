// Messages of a rank to itself, matched and copied without the network.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "runtime/transport.h"

namespace weft {

// Not synchronised; owned by a transport and used by whoever serves it.
class SelfMessages {
 public:
  // Matches a send with the oldest receive of its tag, or the reverse, and copies if their sizes
  // are equal. Answers the counterpart (both requests are the caller's to finish), or nullptr:
  // kept.
  Request* Match(Request* request);
  // Takes one of those kept, or answers nullptr.
  Request* Take();

 private:
  struct Waiting {
    RequestList sends;
    RequestList receives;
  };
  absl::flat_hash_map<uint32_t, Waiting> waiting_;  // by tag; entries stay
};

}  // namespace weft
