#include "launcher/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launcher/job.h"
#include "launcher/safetensors_writer.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr char kComplete[] = "COMPLETE";
constexpr char kJobFile[] = "job.pbtxt";
constexpr char kPartial[] = ".partial";    // being written
constexpr char kReplaced[] = ".replaced";  // about to be removed

std::string RankFile(const std::string& folder, int rank) {
  return absl::StrCat(folder, "/", absl::StrFormat("rank-%05d.safetensors", rank));
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::trunc);
  out << text;
  out.close();
  if (!out) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

// What COMPLETE says: "key=value" words.
struct Completion {
  int64_t ranks = 0;
  int64_t sequence = 0;  // from 1, in the order of writing
  int64_t step = 0;
  int64_t finite = 1;
};

std::string PrintCompletion(const Completion& c) {
  return absl::StrCat("ranks=", c.ranks, " sequence=", c.sequence, " step=", c.step,
                      " finite=", c.finite, "\n");
}

// nullopt: the folder is no complete checkpoint.
std::optional<Completion> ReadCompletion(const fs::path& folder) {
  std::ifstream in(folder / kComplete);
  if (!in) return std::nullopt;
  Completion c;
  for (std::string word; in >> word;) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
    const std::pair<const char*, int64_t*> fields[] = {
        {"ranks", &c.ranks}, {"sequence", &c.sequence}, {"step", &c.step}, {"finite", &c.finite}};
    for (const auto& [key, value] : fields) {
      if (pair.first == key && !absl::SimpleAtoi(pair.second, value)) return std::nullopt;
    }
  }
  return c;
}

struct Found {
  std::string folder;
  Completion completion;
};

// Complete checkpoints of `dir` in the order in which they were written.
std::vector<Found> Complete(const std::string& dir) {
  std::vector<Found> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, error)) {
    if (!absl::StartsWith(entry.path().filename().string(), "step-")) continue;
    if (const std::optional<Completion> c = ReadCompletion(entry.path())) {
      found.push_back({entry.path().string(), *c});
    }
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.completion.sequence, a.completion.step, a.folder) <
           std::tie(b.completion.sequence, b.completion.step, b.folder);
  });
  return found;
}

// Gives a complete folder its final name. At every moment the old or the new checkpoint is there:
// until the end both count as checkpoints under whatever name.
absl::Status MoveInto(const fs::path& written, const fs::path& folder) {
  const fs::path old = absl::StrCat(folder.string(), kReplaced);
  std::error_code error, ignored;
  if (fs::exists(folder, ignored)) {
    fs::remove_all(old, ignored);
    fs::rename(folder, old, error);
  }
  if (!error) fs::rename(written, folder, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot rename ", written.string(), ": ", error.message()));
  }
  fs::remove_all(old, ignored);
  return absl::OkStatus();
}

void Prune(const std::string& dir, size_t keep) {
  if (keep == 0) return;
  const std::vector<Found> found = Complete(dir);
  const Found* finite = nullptr;  // the last one
  for (const Found& f : found) {
    if (f.completion.finite != 0) finite = &f;
  }
  std::error_code ignored;
  for (size_t i = 0; i + keep < found.size(); ++i) {
    if (&found[i] != finite) fs::remove_all(found[i].folder, ignored);
  }
}

absl::Status WriteRankFile(const std::string& path, int64_t step, VariableStore& variables) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  std::map<std::string, std::string> metadata = {{"step", absl::StrCat(step)}};
  for (auto& [name, entry] : variables.entries()) {
    tensors.push_back({name, {entry.box.shape(), entry.spec.dtype}});
    metadata["box/" + name] = entry.box.ToString();
    metadata["shape/" + name] = ToString(entry.spec.shape);
  }
  WEFT_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsWriter> writer,
                        SafetensorsWriter::Create(path, std::move(tensors), std::move(metadata)));
  for (const auto& [name, entry] : variables.entries()) {
    Arena copy;  // one variable's at a time
    WEFT_ASSIGN_OR_RETURN(const std::byte* const contents, variables.Contents(entry, copy));
    WEFT_RETURN_IF_ERROR(writer->Write(name, 0, contents, entry.memory.bytes()));
  }
  return writer->Commit();
}

}  // namespace

absl::Status CheckCheckpointFolder(const std::string& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (!error && access(dir.c_str(), W_OK) != 0) {
    error = std::error_code(errno, std::generic_category());
  }
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cannot write to '", dir, "': ", error.message(), "; name another folder"));
}

absl::Status SaveCheckpoint(const Job& job, int64_t step, bool finite, VariableStore& variables,
                            Transport& transport) {
  const std::string& dir = job.checkpoint().dir();
  const std::string folder = absl::StrCat(dir, "/", absl::StrFormat("step-%08d", step));
  const std::string written = absl::StrCat(folder, kPartial);
  if (transport.rank() == 0) {
    std::error_code error;
    fs::remove_all(written, error);
    fs::create_directories(written, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat("cannot make ", written, ": ", error.message()));
    }
    WEFT_RETURN_IF_ERROR(WriteText(absl::StrCat(written, "/", kJobFile), PrintJob(job)));
  }
  WEFT_RETURN_IF_ERROR(Barrier(transport));
  WEFT_RETURN_IF_ERROR(WriteRankFile(RankFile(written, transport.rank()), step, variables));
  WEFT_RETURN_IF_ERROR(Barrier(transport));
  if (transport.rank() == 0) {
    const std::vector<Found> before = Complete(dir);
    const Completion completion{
        .ranks = transport.size(),
        .sequence = before.empty() ? 1 : before.back().completion.sequence + 1,
        .step = step,
        .finite = finite ? 1 : 0};
    WEFT_RETURN_IF_ERROR(
        WriteText(absl::StrCat(written, "/", kComplete), PrintCompletion(completion)));
    WEFT_RETURN_IF_ERROR(MoveInto(written, folder));
    Prune(dir, static_cast<size_t>(job.checkpoint().keep()));
  }
  // A rank that goes on may end the run, as one that is interrupted does, and all others with it.
  return Barrier(transport);
}

absl::StatusOr<std::string> NewestCheckpoint(const std::string& dir) {
  const std::vector<Found> found = Complete(dir);
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("no complete checkpoint in '", dir, "'"));
  }
  return found.back().folder;
}

absl::StatusOr<std::string> FindCheckpoint(const std::string& path) {
  if (ReadCompletion(path)) return path;
  std::error_code ignored;
  if (fs::exists(fs::path(path) / kJobFile, ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "' has no valid ", kComplete,
                     ": it was not written to the end; name another checkpoint"));
  }
  return NewestCheckpoint(path);
}

namespace {

// The rank's file holds a variable of this name, and the same part of the same tensor.
absl::Status CheckVariable(const SafetensorsFile& file, const std::string& name,
                           const VariableStore::Entry& entry) {
  const SafetensorsEntry* found = file.Find(name);
  const TensorSpec local{entry.box.shape(), entry.spec.dtype};
  if (found == nullptr || !(found->spec == local)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "variable '", name, "' is ", found == nullptr ? "missing" : found->spec.ToString(),
        ", the job has ", local.ToString()));
  }
  const auto saved = [&](const char* what) {
    const auto it = file.metadata().find(absl::StrCat(what, name));
    return it == file.metadata().end() ? std::string("unknown") : it->second;
  };
  const std::string shape = ToString(entry.spec.shape), box = entry.box.ToString();
  if (saved("shape/") == shape && saved("box/") == box) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "variable '", name, "' holds ", saved("box/"), " of ", saved("shape/"), ", the job needs ",
      box, " of ", shape, "; resume with the layouts of the run that wrote it"));
}

absl::Status CheckNothingMore(const SafetensorsFile& file, VariableStore& variables) {
  for (const SafetensorsEntry& entry : file.entries()) {
    if (variables.Find(entry.name) != nullptr) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("variable '", entry.name, "' is not in the job; resume the same model"));
  }
  return absl::OkStatus();
}

absl::Status CheckJob(const Job& saved, const Job& job, RestoreScope scope) {
  if (saved.mesh() != job.mesh()) {
    return absl::InvalidArgumentError(absl::StrCat("made on mesh \"", saved.mesh(),
                                                   "\", this job has \"", job.mesh(),
                                                   "\"; resume on the same mesh"));
  }
  const auto optimizer = [](const Job& j) {
    const auto* field = j.optimizer().GetReflection()->GetOneofFieldDescriptor(
        j.optimizer(), Job::Optimizer::descriptor()->FindOneofByName("kind"));
    return field == nullptr ? std::string("none") : std::string(field->name());
  };
  if (scope == RestoreScope::kAll && optimizer(saved) != optimizer(job)) {
    return absl::InvalidArgumentError(absl::StrCat("made by optimizer ", optimizer(saved),
                                                   ", this job has ", optimizer(job),
                                                   "; resume with the same optimizer"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> RestoreCheckpoint(const std::string& folder, const Job& job,
                                          RestoreScope scope, VariableStore& variables,
                                          Transport& transport) {
  WEFT_ASSIGN_OR_RETURN(const Job saved, CheckpointJob(folder));
  WEFT_RETURN_IF_ERROR(Annotate(CheckJob(saved, job, scope), folder));
  const std::string path = RankFile(folder, transport.rank());
  WEFT_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  const auto step = file.metadata().find("step");
  int64_t finished = 0;
  if (step == file.metadata().end() || !absl::SimpleAtoi(step->second, &finished)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " names no step"));
  }
  const std::optional<Completion> completion = ReadCompletion(folder);
  if (!completion || completion->step != finished || completion->ranks != transport.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is of step ", finished, ", which is not what ", kComplete,
                     " beside it says; use a checkpoint whose files belong together"));
  }
  if (scope == RestoreScope::kAll) {
    WEFT_RETURN_IF_ERROR(Annotate(CheckNothingMore(file, variables), folder));
  }
  for (auto& [name, entry] : variables.entries()) {
    WEFT_RETURN_IF_ERROR(Annotate(CheckVariable(file, name, entry), folder));
  }
  for (auto& [name, entry] : variables.entries()) {
    const SafetensorsEntry* found = file.Find(name);
    WEFT_RETURN_IF_ERROR(variables.SetContents(entry, file.data(*found)));
  }
  return finished;
}

absl::StatusOr<Job> CheckpointJob(const std::string& folder) {
  return LoadJob(absl::StrCat(folder, "/", kJobFile));
}

}  // namespace weft
