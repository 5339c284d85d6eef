// RowTable: rows of numbers in a file, CSV or array, one for each row of a graph's input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "launcher/job.pb.h"
#include "launcher/mapped_file.h"
#include "runtime/tensor_spec.h"

namespace weft {

// Owns its file or what was read from it; movable; reads are safe from any thread.
class RowTable {
 public:
  // How a number is stored, little-endian.
  enum class Stored : uint8_t { kBool, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kF16, kF32, kF64 };

  // `row` is what one row of the input is: its shape without rows, and its type. Errors, all
  // InvalidArgument but NotFound for the file, say "file:line:column" for CSV.
  //
  // CSV: a line is a row. Its first line names the columns (data.header), of which data.columns
  // says which to take, in that order; all of them if it says nothing. Fields may stand in double
  // quotes; lines end in \n or \r\n; a number is finite and fits the type. Read once, as a whole.
  static absl::StatusOr<RowTable> OpenCsv(const Job::Data& data, const TensorSpec& row);
  // An array [rows, row...], row-major, memory-mapped: NumPy's .npy (versions 1 to 3), known by its
  // first bytes, or nothing but numbers of data.type.
  static absl::StatusOr<RowTable> OpenArray(const Job::Data& data, const TensorSpec& row);

  const std::string& name() const { return name_; }  // path, for errors
  const TensorSpec& row() const { return row_; }
  int64_t rows() const { return rows_; }
  // Writes the elements of row `r` at `offsets` (within the row), in the row's type, densely to
  // `out`. Whole numbers go into any type that holds them, others into floats alone, where they are
  // rounded; OutOfRange names the row.
  absl::Status Read(int64_t r, absl::Span<const int64_t> offsets, void* out) const;

 private:
  RowTable(std::string name, TensorSpec row);
  // Sets `data_` to numbers of kind `stored` in the shape of `found`, checked against the row.
  absl::Status Hold(const uint8_t* data, Stored stored, const Shape& found);

  std::string name_;
  TensorSpec row_;
  MappedFile file_;
  std::vector<uint8_t> parsed_;
  const uint8_t* data_ = nullptr;  // into file_ or parsed_
  Stored stored_ = Stored::kF32;
  int64_t rows_ = 0;
};

// Bytes of one number.
int64_t BytesOf(RowTable::Stored stored);

}  // namespace weft
