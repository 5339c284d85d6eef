#include "actors/failure.h"

#include "absl/strings/str_cat.h"

namespace weft {

void Failure::Record(const absl::Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!status_.ok()) return;
  status_ = status;
  failed_.store(true, std::memory_order_release);
}

void Failure::Set(const absl::Status& status) {
  if (failed()) return;
  if (transport_ != nullptr) {
    transport_->Poison(status);  // ignored if another rank failed before
    const absl::Status spread = transport_->status();
    if (!spread.ok()) return Record(spread);
  }
  Record(absl::Status(status.code(), absl::StrCat("rank ", rank_, " failed: ", status.message())));
}

void Failure::Poll() {
  if (failed() || transport_ == nullptr) return;
  const absl::Status spread = transport_->status();
  if (!spread.ok()) Record(spread);
}

absl::Status Failure::status() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return status_;
}

}  // namespace weft
