// Places of ranks in a build with CUDA.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_product_measurer.h"
#include "launcher/product_file.h"
#include "launcher/rank_place.h"
#include "runtime/cuda_collectives.h"
#include "runtime/cuda_device.h"
#include "runtime/human_units.h"
#include "runtime/mpi_transport.h"
#include "runtime/status.h"

namespace weft {
namespace {

// Whether the launcher of this process has given it a GPU of its own, so that all processes see one
// and call it 0.
bool HasOneOfItsOwn(int devices) {
  return devices == 1 && StartedByMpi() && std::getenv("CUDA_VISIBLE_DEVICES") != nullptr;
}

// Times differ between runs, and what they choose sums differently: bits that must be the same in
// every run are not for AUTO.
bool TunesProducts(const Job& job) {
  switch (job.train().gemm_tuning()) {
    case Job::Train::AUTO: return !job.train().deterministic();
    case Job::Train::ON: return true;
    case Job::Train::OFF: return false;
  }
  return false;
}

std::string VersionText(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

}  // namespace

absl::Status CheckDevice(const Job& job, int ranks, const FieldOrigins& origins) {
  if (job.train().device() == Job::Train::CPU) return absl::OkStatus();
  const std::string where = WhereWritten(origins, "train.device");
  const absl::StatusOr<int> devices = CountCudaDevices();
  if (!devices.ok()) return Annotate(devices.status(), where);
  if (ranks <= *devices || HasOneOfItsOwn(*devices)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      where, ": ", ranks, " ranks on this machine, but this process sees ", *devices,
      *devices == 1 ? " GPU" : " GPUs", ", and each rank needs one; start at most ", *devices,
      " here (a smaller mesh, or more machines), look at CUDA_VISIBLE_DEVICES, or use device: "
      "CPU"));
}

absl::StatusOr<RankPlace> MakeRankPlace(const Job& job, LocalRank local) {
  RankPlace place;
  if (job.train().device() == Job::Train::CPU) return place;
  WEFT_RETURN_IF_ERROR(CheckDevice(job, local.ranks, {}));
  WEFT_ASSIGN_OR_RETURN(const int devices, CountCudaDevices());
  const int ordinal = local.rank % devices;
  WEFT_ASSIGN_OR_RETURN(place.device, CudaDevice::Make(ordinal));
  WEFT_ASSIGN_OR_RETURN(std::unique_ptr<DeviceState> handles, MakeCudaHandles(ordinal));
  auto* const cuda = static_cast<CudaHandles*>(handles.get());
  cuda->set_deterministic(job.train().deterministic());
  cuda->set_tf32(job.train().dtype() == Job::Train::TF32);
  place.device->set_state(std::move(handles), [cuda] { return cuda->TakeFault(); });
  FillCudaKernels(place.kernels);
  if (TunesProducts(job)) {
    place.tuning = std::make_unique<ProductTuning>();
    WEFT_ASSIGN_OR_RETURN(place.tuning->measurer, CudaProductMeasurer::Make(*cuda));
    place.tuning->cache =
        job.train().has_gemm_cache() ? job.train().gemm_cache() : DefaultProductFile();
    place.tuning->say = [](const std::string& message) {
      std::fprintf(stderr, "weft: %s\n", message.c_str());
    };
  }
  switch (job.train().cuda_graphs()) {
    case Job::Train::AUTO: break;
    case Job::Train::ON: place.recording = Recording::kOn; break;
    case Job::Train::OFF: place.recording = Recording::kOff; break;
  }
  return place;
}

std::string DescribeGpus() {
  int runtime = 0, driver = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaDriverGetVersion(&driver);
  std::string text =
      absl::StrCat("cuda           ", VersionText(runtime), ", driver ",
                   driver == 0 ? "not found" : absl::StrCat("for ", VersionText(driver)),
                   "\nnccl           ", NcclVersion(), "\n");
  const absl::StatusOr<int> devices = CountCudaDevices();
  if (!devices.ok()) {
    absl::StrAppend(&text, "gpus           ", std::string(devices.status().message()), "\n");
    return text;
  }
  for (int ordinal = 0; ordinal < *devices; ++ordinal) {
    const absl::StatusOr<CudaDeviceFacts> facts = FactsOfCudaDevice(ordinal);
    const std::string what =
        facts.ok()
            ? absl::StrFormat("%s, compute capability %d.%d, %d multiprocessors, %s (%s free)",
                              facts->name, facts->major, facts->minor, facts->multiprocessors,
                              HumanBytes(facts->memory_bytes), HumanBytes(facts->free_bytes))
            : std::string(facts.status().message());
    absl::StrAppend(&text, absl::StrFormat("%-15s", absl::StrCat("gpu ", ordinal)), what, "\n");
  }
  return text;
}

}  // namespace weft
