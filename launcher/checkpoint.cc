#include "launcher/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/job.h"
#include "launcher/safetensors_writer.h"
#include "runtime/rendezvous.h"
#include "runtime/status.h"

namespace weft {
namespace {

namespace fs = std::filesystem;

constexpr char kComplete[] = "COMPLETE";
constexpr char kJobFile[] = "job.pbtxt";

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

// Complete checkpoints of `dir`, oldest first.
std::vector<std::string> Complete(const std::string& dir) {
  std::vector<std::string> folders;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "step-") && fs::exists(entry.path() / kComplete, error)) {
      folders.push_back(entry.path().string());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

absl::Status WriteRankFile(const std::string& path, int64_t step, VariableStore& variables) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  std::vector<const void*> data;
  std::map<std::string, std::string> metadata = {{"step", absl::StrCat(step)}};
  for (auto& [name, entry] : variables.entries()) {
    tensors.push_back({name, {entry.box.shape(), entry.spec.dtype}});
    data.push_back(entry.memory.data());
    metadata["box/" + name] = entry.box.ToString();
    metadata["shape/" + name] = ToString(entry.spec.shape);
  }
  return WriteSafetensors(path, tensors, data, metadata);
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

absl::Status SaveCheckpoint(const Job& job, int64_t step, VariableStore& variables,
                            Transport& transport) {
  const std::string folder =
      absl::StrCat(job.checkpoint().dir(), "/", absl::StrFormat("step-%08d", step));
  std::error_code error;
  if (transport.rank() == 0) {
    fs::create_directories(folder, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat("cannot make ", folder, ": ", error.message()));
    }
    fs::remove(fs::path(folder) / kComplete, error);
    WEFT_RETURN_IF_ERROR(WriteText(absl::StrCat(folder, "/", kJobFile), PrintJob(job)));
  }
  WEFT_RETURN_IF_ERROR(Barrier(transport));
  WEFT_RETURN_IF_ERROR(WriteRankFile(RankFile(folder, transport.rank()), step, variables));
  WEFT_RETURN_IF_ERROR(Barrier(transport));
  if (transport.rank() == 0) {
    WEFT_RETURN_IF_ERROR(
        WriteText(absl::StrCat(folder, "/", kComplete), absl::StrCat(transport.size(), "\n")));
    std::vector<std::string> folders = Complete(job.checkpoint().dir());
    const size_t keep = static_cast<size_t>(job.checkpoint().keep());
    for (size_t i = 0; keep > 0 && i + keep < folders.size(); ++i)
      fs::remove_all(folders[i], error);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> NewestCheckpoint(const std::string& dir) {
  const std::vector<std::string> folders = Complete(dir);
  if (folders.empty()) {
    return absl::NotFoundError(absl::StrCat("no complete checkpoint in '", dir, "'"));
  }
  return folders.back();
}

absl::StatusOr<int64_t> RestoreCheckpoint(const std::string& folder, const Job& job,
                                          VariableStore& variables, Transport& transport) {
  WEFT_ASSIGN_OR_RETURN(const Job saved, CheckpointJob(folder));
  if (saved.mesh() != job.mesh()) {
    return absl::InvalidArgumentError(absl::StrCat(folder, " was made on mesh \"", saved.mesh(),
                                                   "\", this job has \"", job.mesh(),
                                                   "\"; resume on the same mesh"));
  }
  WEFT_ASSIGN_OR_RETURN(const SafetensorsFile file,
                        SafetensorsFile::Open(RankFile(folder, transport.rank())));
  const auto step = file.metadata().find("step");
  int64_t finished = 0;
  if (step == file.metadata().end() || !absl::SimpleAtoi(step->second, &finished)) {
    return absl::InvalidArgumentError(absl::StrCat(folder, " names no step"));
  }
  for (auto& [name, entry] : variables.entries()) {
    const SafetensorsEntry* found = file.Find(name);
    const TensorSpec local{entry.box.shape(), entry.spec.dtype};
    if (found == nullptr || !(found->spec == local)) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder, ": variable '", name, "' is ",
                       found == nullptr ? "missing" : found->spec.ToString(), ", the job has ",
                       local.ToString()));
    }
    std::memcpy(entry.memory.data(), file.data(*found), local.bytes());
  }
  return finished;
}

absl::StatusOr<Job> CheckpointJob(const std::string& folder) {
  return LoadJob(absl::StrCat(folder, "/", kJobFile));
}

}  // namespace weft
