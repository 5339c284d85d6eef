#include "launcher/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

// The shortest text that reads back as the same double.
std::string Number(double value) {
  if (!std::isfinite(value)) return "null";
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, end.ptr);
}

// Bytes that are no text become U+FFFD.
std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string PrintMetrics(const StepMetrics& m) {
  std::string text = absl::StrCat("{\"step\":", m.step, ",\"loss\":", Number(m.loss));
  absl::StrAppend(&text, ",\"grad_norm\":", Number(m.grad_norm), ",\"lr\":", Number(m.lr));
  absl::StrAppend(&text, ",\"tokens\":", m.tokens, ",\"tokens_per_s\":", Number(m.tokens_per_s));
  absl::StrAppend(&text, ",\"step_ms\":", Number(m.step_ms), ",\"mfu\":", Number(m.mfu));
  absl::StrAppend(&text, ",\"bytes_sent\":", m.bytes_sent);
  absl::StrAppend(&text, ",\"mem_peak_bytes\":", m.mem_peak_bytes);
  if (m.loss_scale) {
    absl::StrAppend(&text, ",\"loss_scale\":", Number(*m.loss_scale),
                    ",\"skipped\":", m.skipped ? "true" : "false");
  }
  for (const auto& [key, value] : m.more) {
    absl::StrAppend(&text, ",", JsonString(key), ":", Number(value));
  }
  return text + "}";
}

absl::StatusOr<MetricsFile> MetricsFile::Open(const std::string& path) {
  std::error_code ignored;  // open() below gives the reason
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, ignored);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot write metrics to '", path, "': ", std::strerror(errno)));
  }
  return MetricsFile(path, fd);
}

MetricsFile::~MetricsFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status MetricsFile::Append(const StepMetrics& metrics) {
  const std::string line = PrintMetrics(metrics) + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t written = write(fd_, line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      return absl::InternalError(
          absl::StrCat("cannot write metrics to '", path_, "': ", std::strerror(errno)));
    }
    done += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

}  // namespace weft
