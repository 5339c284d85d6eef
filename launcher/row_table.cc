#include "launcher/row_table.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

template <typename T>
T Load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

// A number as it was stored: `whole` or `real`.
struct Number {
  bool is_whole = true;
  int64_t whole = 0;
  double real = 0;

  static Number Whole(int64_t value) { return {true, value, static_cast<double>(value)}; }
  static Number Real(double value) { return {false, 0, value}; }
};

Number LoadNumber(RowTable::Stored stored, const uint8_t* at) {
  switch (stored) {
    case RowTable::Stored::kBool: return Number::Whole(*at != 0);
    case RowTable::Stored::kI8: return Number::Whole(Load<int8_t>(at));
    case RowTable::Stored::kU8: return Number::Whole(*at);
    case RowTable::Stored::kI16: return Number::Whole(Load<int16_t>(at));
    case RowTable::Stored::kU16: return Number::Whole(Load<uint16_t>(at));
    case RowTable::Stored::kI32: return Number::Whole(Load<int32_t>(at));
    case RowTable::Stored::kU32: return Number::Whole(Load<uint32_t>(at));
    case RowTable::Stored::kI64: return Number::Whole(Load<int64_t>(at));
    case RowTable::Stored::kF16:
      return Number::Real(static_cast<double>(static_cast<float>(Load<Float16>(at))));
    case RowTable::Stored::kF32: return Number::Real(static_cast<double>(Load<float>(at)));
    case RowTable::Stored::kF64: return Number::Real(Load<double>(at));
  }
  return {};
}

template <typename T>
void Put(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

template <typename T>
bool PutWhole(const Number& number, uint8_t* to) {
  if (!number.is_whole || number.whole < std::numeric_limits<T>::min() ||
      number.whole > std::numeric_limits<T>::max()) {
    return false;
  }
  Put(to, static_cast<T>(number.whole));
  return true;
}

// Whether `type` holds the number; then it is at `to`.
bool PutNumber(const Number& number, DType type, uint8_t* to) {
  switch (type) {
    case DType::kF32: Put(to, static_cast<float>(number.real)); return true;
    case DType::kF64: Put(to, number.real); return true;
    case DType::kBF16: Put(to, BFloat16(static_cast<float>(number.real))); return true;
    case DType::kF16: Put(to, Float16(static_cast<float>(number.real))); return true;
    case DType::kI32: return PutWhole<int32_t>(number, to);
    case DType::kI64: return PutWhole<int64_t>(number, to);
    case DType::kU8: return PutWhole<uint8_t>(number, to);
    case DType::kBool: {
      if (!number.is_whole || number.whole < 0 || number.whole > 1) return false;
      *to = static_cast<uint8_t>(number.whole);
      return true;
    }
  }
  return false;
}

}  // namespace

int64_t BytesOf(RowTable::Stored stored) {
  switch (stored) {
    case RowTable::Stored::kBool:
    case RowTable::Stored::kI8:
    case RowTable::Stored::kU8: return 1;
    case RowTable::Stored::kI16:
    case RowTable::Stored::kU16:
    case RowTable::Stored::kF16: return 2;
    case RowTable::Stored::kI32:
    case RowTable::Stored::kU32:
    case RowTable::Stored::kF32: return 4;
    case RowTable::Stored::kI64:
    case RowTable::Stored::kF64: return 8;
  }
  return 1;
}

RowTable::RowTable(std::string name, TensorSpec row)
    : name_(std::move(name)), row_(std::move(row)) {}

absl::Status RowTable::Hold(const uint8_t* data, Stored stored, const Shape& found) {
  const bool fits = !found.empty() && Shape(found.begin() + 1, found.end()) == row_.shape;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", name_, "' is ", ToString(found), ", but a row of the input is ", row_.ToString(),
        "; the array's first dimension counts rows, the others must be those"));
  }
  if (stored >= Stored::kF16 && !IsFloat(row_.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", name_, "' holds floating-point numbers, which do not go into an input of ",
        std::string(Name(row_.dtype)), "; store whole numbers"));
  }
  if (found[0] == 0) return absl::InvalidArgumentError(absl::StrCat("'", name_, "' has no rows"));
  data_ = data;
  stored_ = stored;
  rows_ = found[0];
  return absl::OkStatus();
}

absl::Status RowTable::Read(int64_t r, absl::Span<const int64_t> offsets, void* out) const {
  const int64_t from = BytesOf(stored_), to = SizeOf(row_.dtype);
  const uint8_t* row = data_ + r * row_.elements() * from;
  uint8_t* at = static_cast<uint8_t*>(out);
  for (int64_t offset : offsets) {
    const Number number = LoadNumber(stored_, row + offset * from);
    if (!PutNumber(number, row_.dtype, at)) {
      return absl::OutOfRangeError(absl::StrCat("row ", r, " of '", name_, "' holds ", number.real,
                                                ", which is no ", std::string(Name(row_.dtype))));
    }
    at += to;
  }
  return absl::OkStatus();
}

}  // namespace weft
