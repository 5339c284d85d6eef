// CollectiveCase: one collective on one group of ranks at one size, as a benchmark runs it: the
// buffers, the call, and the result that it must have, element by element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/communicator.h"
#include "runtime/dtype.h"
#include "runtime/monoid.h"

namespace weft {

// kSendReceive: every rank sends to the next and receives from the one before, round a ring.
enum class Collective : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kBroadcast,
  kSendReceive,
};

// In the order in which they are benchmarked.
absl::Span<const Collective> AllCollectives();
// "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "sendrecv".
std::string_view Name(Collective collective);
// Reads what Name prints; InvalidArgument lists the names.
absl::StatusOr<Collective> ParseCollective(std::string_view name);
bool Reduces(Collective collective);
// Whether the result can lie where the input was.
bool HasInPlace(Collective collective);
// What algorithm bandwidth is multiplied by to give the bandwidth of a rank's link, as nccl-tests
// reckons: 2(n-1)/n, (n-1)/n or 1 for a group of n.
double BusFactor(Collective collective, int size);

// Of one thread at a time. Every member of the communicator makes the same case and the same calls.
class CollectiveCase {
 public:
  struct Shape {  // reductions by sum or max
    Collective collective = Collective::kAllReduce;
    int64_t bytes = 0;  // of the larger of input and output, rounded down to whole parts
    DType dtype = DType::kF32;
    Monoid monoid = Monoid::kSum;
  };

  // `communicator` outlives the case. The dtype can be reduced where the collective does so.
  CollectiveCase(const Shape& shape, Communicator& communicator);

  // Elements that each rank passes, as nccl-tests counts them: a part where the group shares the
  // whole, else all. And the bytes of the larger buffer.
  int64_t count() const { return count_; }
  int64_t bytes() const { return elements_ * SizeOf(shape_.dtype); }

  // Writes this rank's input, and into every other place what no result is.
  void Fill(bool in_place);
  // Runs the collective once; blocks until this rank's part is done.
  absl::Status Run(bool in_place);
  // The elements of this rank's result that are not as they must be after Fill and one Run.
  int64_t CountWrong(bool in_place) const;

 private:
  int rank() const { return communicator_.rank(); }
  int size() const { return communicator_.size(); }
  int64_t InputElements() const;
  int64_t OutputElements() const;
  std::byte* Input(bool in_place);
  std::byte* Output(bool in_place);
  // What element `i` of a rank's input, and of this rank's result, is.
  double InputValue(int of_rank, int64_t i) const;
  double ResultValue(int64_t i) const;

  const Shape shape_;
  Communicator& communicator_;
  int64_t count_ = 0;
  int64_t elements_ = 0;
  std::vector<int64_t> counts_;  // one part each
  std::vector<int64_t> offsets_;
  std::vector<int64_t> next_;  // all to the next rank
  std::vector<int64_t> previous_;
  std::vector<int64_t> zeros_;
  std::unique_ptr<std::byte[]> in_;
  std::unique_ptr<std::byte[]> out_;
};

}  // namespace weft
