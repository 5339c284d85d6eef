#include "launcher/collective_case.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "runtime/near_name.h"

namespace weft {
namespace {

constexpr Collective kCollectives[] = {Collective::kAllReduce,     Collective::kAllGather,
                                       Collective::kReduceScatter, Collective::kAllToAll,
                                       Collective::kBroadcast,     Collective::kSendReceive};
constexpr int kRoot = 0;

template <typename T>
void Write(std::byte* buffer, int64_t i, double value) {
  T element;
  if constexpr (std::is_class_v<T>) {
    element = T(static_cast<float>(value));
  } else {
    element = static_cast<T>(static_cast<int64_t>(value));  // integers wrap
  }
  std::memcpy(buffer + i * static_cast<int64_t>(sizeof(T)), &element, sizeof(T));
}

// Calls `visit` with a value of the C++ type of `dtype`.
template <typename Visit>
void WithType(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::kF32: return visit(float{});
    case DType::kF64: return visit(double{});
    case DType::kBF16: return visit(BFloat16{});
    case DType::kF16: return visit(Float16{});
    case DType::kI32: return visit(int32_t{});
    case DType::kI64: return visit(int64_t{});
    case DType::kU8: return visit(uint8_t{});
    case DType::kBool: return visit(bool{});
  }
}

}  // namespace

absl::Span<const Collective> AllCollectives() { return kCollectives; }

std::string_view Name(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce: return "all_reduce";
    case Collective::kAllGather: return "all_gather";
    case Collective::kReduceScatter: return "reduce_scatter";
    case Collective::kAllToAll: return "all_to_all";
    case Collective::kBroadcast: return "broadcast";
    case Collective::kSendReceive: return "sendrecv";
  }
  return "";
}

absl::StatusOr<Collective> ParseCollective(std::string_view name) {
  std::vector<std::string> known;
  for (Collective collective : kCollectives) {
    if (Name(collective) == name) return collective;
    known.emplace_back(Name(collective));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no collective '", std::string(name), "'", Suggest(std::string(name), known)));
}

bool Reduces(Collective collective) {
  return collective == Collective::kAllReduce || collective == Collective::kReduceScatter;
}

bool HasInPlace(Collective collective) {
  return collective != Collective::kAllToAll && collective != Collective::kSendReceive;
}

double BusFactor(Collective collective, int size) {
  const double others = static_cast<double>(size - 1) / size;
  switch (collective) {
    case Collective::kAllReduce: return 2 * others;
    case Collective::kAllGather:
    case Collective::kReduceScatter:
    case Collective::kAllToAll: return others;
    case Collective::kBroadcast:
    case Collective::kSendReceive: return 1;
  }
  return 1;
}

CollectiveCase::CollectiveCase(const Shape& shape, Communicator& communicator)
    : shape_(shape), communicator_(communicator), zeros_(size(), 0) {
  const bool parts = shape.collective == Collective::kAllGather ||
                     shape.collective == Collective::kReduceScatter ||
                     shape.collective == Collective::kAllToAll;
  const int64_t all = shape.bytes / SizeOf(shape.dtype);
  count_ = parts ? all / size() : all;
  elements_ = parts ? count_ * size() : count_;
  counts_.assign(size(), count_);
  for (int r = 0; r < size(); ++r) offsets_.push_back(r * count_);
  next_ = previous_ = zeros_;
  next_[(rank() + 1) % size()] = count_;
  previous_[(rank() + size() - 1) % size()] = count_;
  in_ = std::make_unique<std::byte[]>(bytes());
  out_ = std::make_unique<std::byte[]>(bytes());
}

int64_t CollectiveCase::InputElements() const {
  return shape_.collective == Collective::kAllGather ? count_ : elements_;
}

int64_t CollectiveCase::OutputElements() const {
  return shape_.collective == Collective::kReduceScatter ? count_ : elements_;
}

// In place everything lies in out_: a part is this rank's of the whole.
std::byte* CollectiveCase::Input(bool in_place) {
  if (!in_place) return in_.get();
  const bool part = shape_.collective == Collective::kAllGather;
  return out_.get() + (part ? rank() * count_ * SizeOf(shape_.dtype) : 0);
}

std::byte* CollectiveCase::Output(bool in_place) {
  const bool part = in_place && shape_.collective == Collective::kReduceScatter;
  return out_.get() + (part ? rank() * count_ * SizeOf(shape_.dtype) : 0);
}

// Small whole numbers, whose sums in any order are exact before they are rounded to the dtype.
double CollectiveCase::InputValue(int of_rank, int64_t i) const {
  const int64_t value = (i + i / 7 + 2 * of_rank) % 3;
  return static_cast<double>(shape_.dtype == DType::kBool ? value % 2 : value);
}

double CollectiveCase::ResultValue(int64_t i) const {
  switch (shape_.collective) {
    case Collective::kAllReduce:
    case Collective::kReduceScatter: break;
    case Collective::kAllGather: return InputValue(static_cast<int>(i / count_), i % count_);
    case Collective::kAllToAll:
      return InputValue(static_cast<int>(i / count_), rank() * count_ + i % count_);
    case Collective::kBroadcast: return InputValue(kRoot, i);
    case Collective::kSendReceive: return InputValue((rank() + size() - 1) % size(), i);
  }
  if (shape_.collective == Collective::kReduceScatter) i += rank() * count_;
  double result = InputValue(0, i);
  for (int r = 1; r < size(); ++r) {
    const double value = InputValue(r, i);
    result = shape_.monoid == Monoid::kSum ? result + value : std::max(result, value);
  }
  return result;
}

void CollectiveCase::Fill(bool in_place) {
  WithType(shape_.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kJunk = 0xfd;  // no result of the values above in any dtype
    std::memset(in_.get(), kJunk, bytes());
    std::memset(out_.get(), kJunk, bytes());
    const bool sends = shape_.collective != Collective::kBroadcast || rank() == kRoot;
    std::byte* const input = Input(in_place);
    for (int64_t i = 0; sends && i < InputElements(); ++i) {
      Write<T>(input, i, InputValue(rank(), i));
    }
  });
}

absl::Status CollectiveCase::Run(bool in_place) {
  const std::byte* const in = Input(in_place);
  std::byte* const out = Output(in_place);
  switch (shape_.collective) {
    case Collective::kAllReduce:
      return communicator_.AllReduce(in, out, count_, shape_.dtype, shape_.monoid);
    case Collective::kAllGather: return communicator_.AllGather(in, out, counts_, shape_.dtype);
    case Collective::kReduceScatter:
      return communicator_.ReduceScatter(in, out, counts_, shape_.dtype, shape_.monoid);
    case Collective::kAllToAll:
      return communicator_.AllToAll(in, {counts_, offsets_}, out, {counts_, offsets_},
                                    shape_.dtype);
    case Collective::kBroadcast:
      if (!in_place && rank() == kRoot) std::memcpy(out, in, bytes());
      return communicator_.Broadcast(out, count_, shape_.dtype, kRoot);
    case Collective::kSendReceive:
      return communicator_.AllToAll(in, {next_, zeros_}, out, {previous_, zeros_}, shape_.dtype);
  }
  return absl::InternalError("no such collective");
}

int64_t CollectiveCase::CountWrong(bool in_place) const {
  int64_t wrong = 0;
  const std::byte* const out = const_cast<CollectiveCase*>(this)->Output(in_place);
  WithType(shape_.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kBytes = sizeof(T);
    std::byte wanted[kBytes];
    for (int64_t i = 0; i < OutputElements(); ++i) {
      Write<T>(wanted, 0, ResultValue(i));
      if (std::memcmp(wanted, out + i * kBytes, kBytes) != 0) ++wrong;
    }
  });
  return wrong;
}

}  // namespace weft
