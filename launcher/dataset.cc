#include "launcher/dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launcher/job_data.h"
#include "launcher/row_order.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Files up to so many tokens are checked against the vocabulary when opened, longer ones as they
// are read.
constexpr int64_t kCheckedTokens = int64_t{1} << 26;

absl::StatusOr<TokenSource> OpenSource(const Job::Data& data) {
  if (data.has_text()) return TokenSource::OpenText(data.text());
  switch (data.format()) {
    case Job::Data::LLMC: return TokenSource::OpenLlmc(data.tokens());
    case Job::Data::U16: return TokenSource::OpenRaw(data.tokens(), TokenSource::Width::kU16);
    case Job::Data::U32: return TokenSource::OpenRaw(data.tokens(), TokenSource::Width::kU32);
    case Job::Data::MEGATRON: return TokenSource::OpenMegatron(data.tokens());
    case Job::Data::AUTO: break;
  }
  return TokenSource::OpenAny(data.tokens());
}

}  // namespace

absl::StatusOr<Dataset> Dataset::Open(const Job& job, const FieldOrigins& origins, int entry) {
  const Job::Data& data = job.data(entry);
  const std::string where = WhereWritten(
      origins, absl::StrCat(DataPath(job, entry), data.has_text() ? ".text" : ".tokens"));
  absl::StatusOr<TokenSource> source = OpenSource(data);
  if (!source.ok()) return Annotate(source.status(), where);
  // Only the ops of a graph file know its vocabulary; they check what they look up.
  const int64_t vocab = job.model().has_decoder() ? job.model().decoder().vocab()
                                                  : std::numeric_limits<int32_t>::max();
  absl::StatusOr<Dataset> dataset = Create(*std::move(source), {.batch = job.train().global_batch(),
                                                                .sequence = data.sequence(),
                                                                .vocab = vocab,
                                                                .seed = job.train().seed(),
                                                                .held_out = HeldOutShare(job)});
  if (!dataset.ok()) return Annotate(dataset.status(), where);
  return dataset;
}

absl::StatusOr<Dataset> Dataset::Create(TokenSource source, const DatasetOptions& options) {
  const int64_t size = source.size();
  const int64_t held = static_cast<int64_t>(std::floor(size * options.held_out));
  const int64_t train = size - held;
  const int64_t needed = options.sequence + 1;
  if (train < needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", source.name(), "' has ", train, " training tokens",
        held > 0 ? absl::StrCat(" (and ", held, " held out)") : "", "; data.sequence: ",
        options.sequence, " needs at least ", needed, ". Use a longer file or a shorter sequence"));
  }
  if (options.held_out > 0 && held < 2) {
    return absl::InvalidArgumentError(absl::StrCat("data.held_out: ", options.held_out, " of the ",
                                                   size, " tokens of '", source.name(), "' leaves ",
                                                   held, "; evaluation needs at least 2"));
  }
  Dataset dataset(std::move(source), options, train);
  for (int64_t i = 0; i < std::min(size, kCheckedTokens); ++i) {
    WEFT_RETURN_IF_ERROR(dataset.Token(i).status());
  }
  return dataset;
}

absl::StatusOr<int32_t> Dataset::Token(int64_t index) const {
  const int64_t id = source_.At(index);
  if (id >= 0 && id < options_.vocab) return static_cast<int32_t>(id);
  return absl::OutOfRangeError(absl::StrCat("token ", index, " of '", source_.name(), "' is ", id,
                                            ", but model.decoder.vocab is ", options_.vocab,
                                            "; raise vocab or check data.format"));
}

int64_t Dataset::WindowStart(int64_t step, int64_t row) const {
  const uint64_t random = MixBits(MixBits(MixBits(options_.seed) ^ static_cast<uint64_t>(step)) ^
                                  static_cast<uint64_t>(row));
  const uint64_t places = static_cast<uint64_t>(train_tokens_ - options_.sequence);
  return static_cast<int64_t>((static_cast<unsigned __int128>(random) * places) >> 64);
}

absl::Status Dataset::CheckRequest(const Box& box, absl::Span<int32_t> tokens,
                                   absl::Span<int32_t> targets) const {
  const Box whole = Box::Whole({options_.batch, options_.sequence});
  if (box.dims.size() != 2 || !(box.Intersect(whole) == box)) {
    return absl::InvalidArgumentError(
        absl::StrCat("box ", box.ToString(), " is not within the batch ", whole.ToString()));
  }
  const size_t elements = static_cast<size_t>(box.elements());
  if ((!tokens.empty() && tokens.size() != elements) ||
      (!targets.empty() && targets.size() != elements)) {
    return absl::InvalidArgumentError(absl::StrCat("box ", box.ToString(), " has ", elements,
                                                   " places, the buffers ", tokens.size(), " and ",
                                                   targets.size()));
  }
  return absl::OkStatus();
}

absl::Status Dataset::FillRow(int64_t begin, int64_t end, const IndexSet& columns, int32_t* tokens,
                              int32_t* targets) const {
  int64_t local = 0;
  for (const Interval& interval : columns.intervals()) {
    for (int64_t column = interval.begin; column < interval.end; ++column, ++local) {
      const int64_t at = begin + column;
      const bool valid = at + 1 < end;
      if (tokens != nullptr) {
        tokens[local] = 0;
        if (at < end) {
          WEFT_ASSIGN_OR_RETURN(tokens[local], Token(at));
        }
      }
      if (targets != nullptr) {
        targets[local] = kIgnoredTarget;
        if (valid) {
          WEFT_ASSIGN_OR_RETURN(targets[local], Token(at + 1));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Dataset::FillRows(int64_t step, const Box& box, absl::Span<int32_t> tokens,
                               absl::Span<int32_t> targets) const {
  WEFT_RETURN_IF_ERROR(CheckRequest(box, tokens, targets));
  const int64_t width = box.dims[1].size();
  for (int64_t r = 0; r < box.dims[0].size(); ++r) {
    WEFT_RETURN_IF_ERROR(FillRow(WindowStart(step, box.dims[0].ToLogical(r)), train_tokens_,
                                 box.dims[1], tokens.empty() ? nullptr : &tokens[r * width],
                                 targets.empty() ? nullptr : &targets[r * width]));
  }
  return absl::OkStatus();
}

absl::Status Dataset::FillHeldOutRows(int64_t index, const Box& box, absl::Span<int32_t> tokens,
                                      absl::Span<int32_t> targets) const {
  WEFT_RETURN_IF_ERROR(CheckRequest(box, tokens, targets));
  if (index < 0 || index >= held_out_batches()) {
    return absl::OutOfRangeError(
        absl::StrCat("held-out batch ", index, " of ", held_out_batches()));
  }
  const int64_t width = box.dims[1].size();
  for (int64_t r = 0; r < box.dims[0].size(); ++r) {
    const int64_t window = index * options_.batch + box.dims[0].ToLogical(r);
    WEFT_RETURN_IF_ERROR(FillRow(train_tokens_ + window * options_.sequence, source_.size(),
                                 box.dims[1], tokens.empty() ? nullptr : &tokens[r * width],
                                 targets.empty() ? nullptr : &targets[r * width]));
  }
  return absl::OkStatus();
}

int64_t Dataset::held_out_batches() const {
  const int64_t targets = std::max<int64_t>(0, held_out_tokens() - 1);
  const int64_t per_batch = options_.batch * options_.sequence;
  return (targets + per_batch - 1) / per_batch;
}

int64_t Dataset::HeldOutTargets(int64_t index) const {
  const int64_t per_batch = options_.batch * options_.sequence;
  const int64_t left = std::max<int64_t>(0, held_out_tokens() - 1) - index * per_batch;
  return std::clamp<int64_t>(left, 0, per_batch);
}

}  // namespace weft
