// BoundData: which data each input of a job's graph gets. Every rank asks for its own box of the
// global batch; what lies there depends on seed, step, row and place within the row alone, never on
// the rank or the mesh.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graph/graph.h"
#include "launcher/dataset.h"
#include "launcher/job.pb.h"
#include "launcher/job_text.h"
#include "launcher/row_table.h"
#include "runtime/kernel.h"

namespace weft {

// Immutable after creation: every method is safe from any thread. Movable.
class BoundData {
 public:
  // Opens the files of a resolved job, whose graph this is. Errors say where the job names the
  // file: those of the files themselves (launcher/dataset.h, launcher/row_table.h), numbers of rows
  // that differ between inputs, too few rows.
  static absl::StatusOr<BoundData> Open(const Job& job, const Graph& graph,
                                        const FieldOrigins& origins);

  // Whether an entry of the job feeds `input`.
  bool feeds(std::string_view input) const { return Find(input) != nullptr; }
  // Whether that are the tokens one further on, kIgnoredTarget where there are none.
  bool feeds_targets(std::string_view input) const;

  // Fills the part `box` of the batch of `step`, whose dimension 0 counts rows of the global batch,
  // densely in the input's type. Streams: launcher/dataset.h. Row r of step s of a table is sample
  // s * batch + r of an order in which every row comes once before any comes again
  // (launcher/row_order.h), the same for all inputs. `held_out`: of held-out batch `step`; a
  // table's are its last rows, in their order.
  absl::Status Fill(std::string_view input, bool held_out, int64_t step, const Box& box,
                    void* out) const;

  // Of a table whole batches alone: a row that is not there cannot be left out of a loss.
  int64_t held_out_batches() const;
  // What the loss of held-out batch `index` is a mean over (TargetsPerStep).
  int64_t HeldOutTargets(int64_t index) const;

 private:
  // One input: an index into streams_ (which tokens and targets may share) or into tables_.
  struct Binding {
    std::string input;
    int stream = -1;
    int table = -1;
    bool targets = false;
  };

  BoundData(int64_t batch, uint64_t seed) : batch_(batch), seed_(seed) {}
  const Binding* Find(std::string_view input) const;
  absl::Status Add(const Job& job, int entry, const Graph& graph, const FieldOrigins& origins);
  // Splits the rows into those of training and those held out, if they are as many in all entries.
  absl::Status CountRows(const Job& job);
  absl::Status FillRows(const RowTable& table, bool held_out, int64_t step, const Box& box,
                        void* out) const;

  int64_t batch_;
  uint64_t seed_;
  std::vector<Dataset> streams_;  // a job has those or tables
  std::vector<RowTable> tables_;
  std::vector<Binding> bindings_;
  int64_t train_rows_ = 0, held_out_rows_ = 0;  // of tables
};

}  // namespace weft
