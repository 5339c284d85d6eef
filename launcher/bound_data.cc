#include "launcher/bound_data.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/job_data.h"
#include "launcher/row_order.h"
#include "runtime/status.h"

namespace weft {
namespace {

// One row of an input, whose first dimension counts rows.
TensorSpec RowOf(const TensorSpec& input) {
  TensorSpec row = input;
  row.shape.erase(row.shape.begin());
  return row;
}

// Where the elements of a row that `box` holds lie within the row, in the order of the box.
std::vector<int64_t> OffsetsInRow(const Box& box, const Shape& row) {
  std::vector<int64_t> offsets = {0};
  for (size_t d = 0; d < row.size(); ++d) {
    std::vector<int64_t> finer;
    for (int64_t offset : offsets) {
      for (const Interval& interval : box.dims[d + 1].intervals()) {
        for (int64_t i = interval.begin; i < interval.end; ++i) {
          finer.push_back(offset * row[d] + i);
        }
      }
    }
    offsets = std::move(finer);
  }
  return offsets;
}

}  // namespace

absl::StatusOr<BoundData> BoundData::Open(const Job& job, const Graph& graph,
                                          const FieldOrigins& origins) {
  BoundData data(job.train().global_batch(), job.train().seed());
  for (int i = 0; i < job.data_size(); ++i) {
    WEFT_RETURN_IF_ERROR(data.Add(job, i, graph, origins));
  }
  WEFT_RETURN_IF_ERROR(Annotate(data.CountRows(job), WhereWritten(origins, "data")));
  return data;
}

absl::Status BoundData::Add(const Job& job, int entry, const Graph& graph,
                            const FieldOrigins& origins) {
  const Job::Data& data = job.data(entry);
  const std::string path = DataPath(job, entry);
  if (IsStream(data)) {
    WEFT_ASSIGN_OR_RETURN(Dataset opened, Dataset::Open(job, origins, entry));
    const int stream = static_cast<int>(streams_.size());
    streams_.push_back(std::move(opened));
    if (data.has_input()) {
      bindings_.push_back({.input = data.input(), .stream = stream, .targets = data.shift() == 1});
    } else {
      bindings_.push_back({.input = "tokens", .stream = stream});
      bindings_.push_back({.input = "targets", .stream = stream, .targets = true});
    }
    return absl::OkStatus();
  }
  for (const GraphInput& input : graph.inputs) {
    if (input.name != data.input()) continue;
    const TensorSpec row = RowOf(graph.spec(input.value));
    absl::StatusOr<RowTable> table =
        data.has_csv() ? RowTable::OpenCsv(data, row) : RowTable::OpenArray(data, row);
    if (!table.ok()) {
      return Annotate(
          table.status(),
          WhereWritten(origins, absl::StrCat(path, data.has_csv() ? ".csv" : ".array")));
    }
    bindings_.push_back({.input = data.input(), .table = static_cast<int>(tables_.size())});
    tables_.push_back(*std::move(table));
  }
  return absl::OkStatus();
}

absl::Status BoundData::CountRows(const Job& job) {
  for (const Dataset& other : streams_) {
    const int64_t want = streams_[0].train_tokens(), got = other.train_tokens();
    if (want == got) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("one stream has ", want, " training tokens and another ", got,
                     "; they are cut at the same places, so they must be as long"));
  }
  for (const RowTable& other : tables_) {
    if (tables_[0].rows() == other.rows()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "'", other.name(), "' has ", other.rows(), " rows but '", tables_[0].name(), "' has ",
        tables_[0].rows(), "; row r of every input belongs together, so they must be as many"));
  }
  if (tables_.empty()) return absl::OkStatus();
  const int64_t rows = tables_[0].rows();
  const double share = HeldOutShare(job);
  held_out_rows_ = static_cast<int64_t>(std::floor(static_cast<double>(rows) * share));
  train_rows_ = rows - held_out_rows_;
  if (train_rows_ < 1 || (share > 0 && held_out_rows_ < batch_)) {
    return absl::InvalidArgumentError(absl::StrCat("data.held_out: ", share, " of the ", rows,
                                                   " rows of '", tables_[0].name(), "' is ",
                                                   held_out_rows_, "; it must be a batch of ",
                                                   batch_, " at least and leave some to train on"));
  }
  return absl::OkStatus();
}

const BoundData::Binding* BoundData::Find(std::string_view input) const {
  for (const Binding& binding : bindings_) {
    if (binding.input == input) return &binding;
  }
  return nullptr;
}

bool BoundData::feeds_targets(std::string_view input) const {
  const Binding* binding = Find(input);
  return binding != nullptr && binding->targets;
}

absl::Status BoundData::Fill(std::string_view input, bool held_out, int64_t step, const Box& box,
                             void* out) const {
  const Binding* binding = Find(input);
  if (binding == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the graph has an input '", std::string(input), "' that no data is bound to"));
  }
  if (binding->table >= 0) return FillRows(tables_[binding->table], held_out, step, box, out);
  const Dataset& stream = streams_[binding->stream];
  const absl::Span<int32_t> none;
  const absl::Span<int32_t> values(static_cast<int32_t*>(out), static_cast<size_t>(box.elements()));
  if (values.empty()) return absl::OkStatus();
  const absl::Span<int32_t> tokens = binding->targets ? none : values;
  const absl::Span<int32_t> targets = binding->targets ? values : none;
  return held_out ? stream.FillHeldOutRows(step, box, tokens, targets)
                  : stream.FillRows(step, box, tokens, targets);
}

absl::Status BoundData::FillRows(const RowTable& table, bool held_out, int64_t step, const Box& box,
                                 void* out) const {
  const std::vector<int64_t> offsets = OffsetsInRow(box, table.row().shape);
  const int64_t bytes = static_cast<int64_t>(offsets.size()) * SizeOf(table.row().dtype);
  std::byte* at = static_cast<std::byte*>(out);
  for (const Interval& interval : box.dims[0].intervals()) {
    for (int64_t row = interval.begin; row < interval.end; ++row, at += bytes) {
      const int64_t sample = step * batch_ + row;
      const int64_t from = held_out ? train_rows_ + sample : SampledRow(seed_, train_rows_, sample);
      WEFT_RETURN_IF_ERROR(table.Read(from, offsets, at));
    }
  }
  return absl::OkStatus();
}

int64_t BoundData::held_out_batches() const {
  return streams_.empty() ? held_out_rows_ / batch_ : streams_[0].held_out_batches();
}

int64_t BoundData::HeldOutTargets(int64_t index) const {
  return streams_.empty() ? batch_ : streams_[0].HeldOutTargets(index);
}

}  // namespace weft
