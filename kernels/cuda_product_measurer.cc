#include "kernels/cuda_product_measurer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_kernels.h"
#include "kernels/cuda_matmul.h"
#include "kernels/device_workspace.h"
#include "runtime/attrs.h"
#include "runtime/cuda_status.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Key = ProductKey;

constexpr int kCandidates = 16;
constexpr int kRounds = 7;
// Rounds after which only candidates near the fastest go on.
constexpr int kRoundsOfAll = 2;
constexpr double kNear = 1.1;
// Seconds of one timing, at least; of work before a product's first; and before the very first, in
// which the device's clocks come to what they are in a long run.
constexpr double kTiming = 1e-3;
constexpr double kWarmUp = 10e-3;
constexpr double kFirstWarmUp = 300e-3;
// What is left to the libraries' own needs.
constexpr int64_t kReserve = int64_t{512} << 20;

// Bytes from the first element of a stored operand to behind its last, a multiple of the alignment.
int64_t SpanOf(int64_t rows, int64_t columns, int64_t ld, int64_t batch, int64_t apart,
               DType dtype) {
  const int64_t elements = (batch - 1) * std::abs(apart) + (columns - 1) * ld + rows;
  return (elements * SizeOf(dtype) + 2 * kMatmulAlignment - 1) / kMatmulAlignment *
         kMatmulAlignment;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

struct CudaProductMeasurer::Call {
  MatmulSize size;
  MatmulView a, b;
  MatmulTarget c;
  const void* addend;
  void* workspace;
  int64_t workspace_bytes;
  std::array<int64_t, 4> spans;  // bytes of the operands and of the addend, 0 without one
  int64_t bytes;                 // of all memory
};

absl::StatusOr<std::unique_ptr<ProductMeasurer>> CudaProductMeasurer::Make(CudaHandles& handles) {
  std::unique_ptr<CudaProductMeasurer> made(new CudaProductMeasurer(handles));
  AddRandomCuda(made->kernels_);
  cudaDeviceProp facts;
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaGetDeviceProperties(&facts, handles.device()), "name of the device"));
  made->machine_ = absl::StrCat(facts.name, ", cuBLASLt ", cublasLtGetVersion());
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaStreamCreateWithFlags(&made->stream_, cudaStreamNonBlocking), "stream"));
  for (cudaEvent_t& event : made->events_) {
    WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventCreate(&event), "event"));
  }
  return std::unique_ptr<ProductMeasurer>(std::move(made));
}

CudaProductMeasurer::~CudaProductMeasurer() {
  Release();
  for (cudaEvent_t event : events_) {
    if (event != nullptr) (void)cudaEventDestroy(event);
  }
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

void CudaProductMeasurer::Release() {
  (void)cudaFree(memory_);
  memory_ = nullptr;
  bytes_ = 0;
}

absl::Status CudaProductMeasurer::List(std::string_view name, Kernel kernel,
                                       const KernelContext& context, ProductSet& products) {
  if (name != "einsum" && name != "head_cross_entropy" && name != "head_cross_entropy_grad" &&
      name != "head_cross_entropy_with_grad") {
    return absl::OkStatus();
  }
  // Kernels clear what nothing is added to.
  for (const absl::Span<const Operand> operands : {context.inputs, context.outputs}) {
    for (const Operand& x : operands) {
      if (x.data != nullptr && x.elements() == 0) return absl::OkStatus();
    }
  }
  handles_.set_listing(&products);
  const absl::Status status = kernel(context);
  handles_.set_listing(nullptr);
  return Annotate(status, absl::StrCat("listing the products of ", std::string(name)));
}

CudaProductMeasurer::Call CudaProductMeasurer::CallOf(const ProductKey& key, char* base) const {
  const auto in = static_cast<DType>(key[Key::kOperands]);
  const auto out = static_cast<DType>(key[Key::kResult]);
  const int64_t m = key[Key::kM], n = key[Key::kN], k = key[Key::kK], batch = key[Key::kBatch];
  const bool turned_a = (key[Key::kTransposed] & 1) != 0;
  const bool turned_b = (key[Key::kTransposed] & 2) != 0;
  const int64_t ld_a = key[Key::kFirstLd], ld_b = key[Key::kSecondLd], ld_c = key[Key::kResultLd];
  Call call;
  call.size = {m, n, k, batch};
  call.spans = {SpanOf(turned_a ? k : m, turned_a ? m : k, ld_a, batch, key[Key::kFirstBatch], in),
                SpanOf(turned_b ? n : k, turned_b ? k : n, ld_b, batch, key[Key::kSecondBatch], in),
                SpanOf(m, n, ld_c, batch, key[Key::kResultBatch], out), 0};
  if (key[Key::kAdds] != 0) call.spans[3] = call.spans[2];
  // Nobody looks at these where there is no memory, and alignment is all that they tell.
  char* at = base != nullptr ? base : reinterpret_cast<char*>(uintptr_t{1} << 40);
  char* const begin = at;
  std::array<char*, 4> data;
  const Key::Field alignments[] = {Key::kFirstAlignment, Key::kSecondAlignment,
                                   Key::kResultAlignment, Key::kAddendAlignment};
  for (int i = 0; i < 4; ++i) {
    data[i] = at + key[alignments[i]] % kMatmulAlignment;
    at += call.spans[i];
  }
  call.a = {data[0], in, turned_a ? ld_a : 1, turned_a ? 1 : ld_a, key[Key::kFirstBatch]};
  call.b = {data[1], in, turned_b ? ld_b : 1, turned_b ? 1 : ld_b, key[Key::kSecondBatch]};
  call.c = {data[2], out, 1, ld_c, key[Key::kResultBatch]};
  call.addend = key[Key::kAdds] != 0 ? data[3] : nullptr;
  const bool scratch = key[Key::kWorkspace] > 0;
  call.workspace = scratch ? at : nullptr;
  call.workspace_bytes = scratch ? key[Key::kWorkspace] + kMatmulAlignment : 0;
  call.bytes = at - begin + call.workspace_bytes;
  return call;
}

absl::StatusOr<bool> CudaProductMeasurer::Matches(const ProductKey& key, const Call& call) {
  KernelContext context;
  context.device = &handles_;
  ProductSet made;
  handles_.set_listing(&made);
  const absl::Status status = MatmulCuda(context, call.size, call.a, call.b, call.addend, call.c,
                                         call.workspace, call.workspace_bytes);
  handles_.set_listing(nullptr);
  WEFT_RETURN_IF_ERROR(status);
  return made.contains(key);
}

absl::StatusOr<bool> CudaProductMeasurer::Accepts(const ProductKey& key,
                                                  const ProductAlgorithm& algorithm) {
  const Call call = CallOf(key, nullptr);
  WEFT_ASSIGN_OR_RETURN(const bool matches, Matches(key, call));
  if (!matches) return false;
  KernelContext context;
  context.device = &handles_;
  return MatmulAccepts(context, call.size, call.a, call.b, call.addend, call.c,
                       call.workspace_bytes, algorithm);
}

absl::StatusOr<bool> CudaProductMeasurer::MakeRoom(int64_t bytes) {
  if (bytes <= bytes_) return true;
  Release();
  size_t left = 0, all = 0;
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaMemGetInfo(&left, &all), "free memory"));
  if (bytes > static_cast<int64_t>(left) - kReserve) return false;
  const absl::Status status =
      CudaStatus(cudaMalloc(&memory_, bytes), absl::StrCat(bytes, " bytes to time products in"));
  if (absl::IsResourceExhausted(status)) {
    memory_ = nullptr;
    return false;
  }
  WEFT_RETURN_IF_ERROR(status);
  bytes_ = bytes;
  return true;
}

absl::Status CudaProductMeasurer::Fill(void* data, DType dtype, int64_t elements, int64_t seed) {
  const TensorSpec spec{{elements}, dtype};
  const Box box = Box::Whole(spec.shape);
  const Operand out{data, &spec, &box, spec.shape};
  const Attrs attrs{{"mean", 0.0}, {"stddev", 1.0}, {"seed", seed}};
  KernelContext context;
  context.outputs = absl::MakeConstSpan(&out, 1);
  context.attrs = &attrs;
  context.native_stream = stream_;
  context.device = &handles_;
  return kernels_.Find("random_normal")(context);
}

absl::StatusOr<double> CudaProductMeasurer::Time(const ProductKey& key, const Call& call,
                                                 const MatmulPlan& plan, int calls) {
  KernelContext context;
  context.native_stream = stream_;
  context.device = &handles_;
  handles_.PlanOf(key) = plan;
  for (int i = -1; i < calls; ++i) {
    if (i == 0) {
      WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(events_[0], stream_), "event"));
    }
    WEFT_RETURN_IF_ERROR(MatmulCuda(context, call.size, call.a, call.b, call.addend, call.c,
                                    call.workspace, call.workspace_bytes));
  }
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventRecord(events_[1], stream_), "event"));
  WEFT_RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(events_[1]), "timed products"));
  float milliseconds = 0;
  WEFT_RETURN_IF_ERROR(
      CudaStatus(cudaEventElapsedTime(&milliseconds, events_[0], events_[1]), "time"));
  return milliseconds * 1e-3 / calls;
}

// Candidates take turns, so that a device that becomes slower as it heats up does so for all.
absl::StatusOr<std::vector<double>> CudaProductMeasurer::TimeAll(
    const ProductKey& key, const Call& call, const std::vector<MatmulPlan>& plans) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  // What the first does wrong it would do in a step as well: an error. Others are left out.
  WEFT_ASSIGN_OR_RETURN(const double once, Time(key, call, plans[0], 1));
  const auto calls_in = [&](double seconds) {
    return static_cast<int>(std::clamp(std::ceil(seconds / once), 1.0, 1e4));
  };
  const double warm_up = std::exchange(hot_, true) ? kWarmUp : kFirstWarmUp;
  WEFT_RETURN_IF_ERROR(Time(key, call, plans[0], calls_in(warm_up)).status());
  const int calls = calls_in(kTiming);
  std::vector<std::vector<double>> samples(plans.size());
  std::vector<double> middle(plans.size(), kNever);
  std::vector<bool> out(plans.size(), false);
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < plans.size(); ++i) {
      if (out[i]) continue;
      const absl::StatusOr<double> seconds = Time(key, call, plans[i], calls);
      if (!seconds.ok() && i == 0) return seconds.status();
      out[i] = !seconds.ok();
      if (seconds.ok()) samples[i].push_back(*seconds);
      middle[i] = out[i] ? kNever : Median(samples[i]);
    }
    if (round + 1 != kRoundsOfAll) continue;
    const double least = *std::min_element(middle.begin(), middle.end());
    // The first goes on whatever it takes: what is gained is told against it.
    for (size_t i = 1; i < plans.size(); ++i) out[i] = out[i] || middle[i] > kNear * least;
  }
  return middle;
}

absl::StatusOr<std::optional<ProductAlgorithm>> CudaProductMeasurer::Measure(
    const ProductKey& key) {
  const int64_t bytes = CallOf(key, nullptr).bytes;
  WEFT_ASSIGN_OR_RETURN(const bool room, MakeRoom(bytes));
  if (!room) return std::nullopt;
  const Call call = CallOf(key, static_cast<char*>(memory_));
  WEFT_ASSIGN_OR_RETURN(const bool matches, Matches(key, call));
  if (!matches) return std::nullopt;
  KernelContext context;
  context.device = &handles_;
  WEFT_ASSIGN_OR_RETURN(const std::vector<MatmulPlan> plans,
                        MatmulCandidates(context, call.size, call.a, call.b, call.addend, call.c,
                                         call.workspace_bytes, kCandidates));
  if (plans.empty()) return std::nullopt;
  char* at = static_cast<char*>(memory_);
  for (int i = 0; i < 4; ++i) {
    if (call.spans[i] == 0) continue;
    const DType dtype = i >= 2 ? call.c.dtype : call.a.dtype;
    WEFT_RETURN_IF_ERROR(Fill(at, dtype, call.spans[i] / SizeOf(dtype), i + 1));
    at += call.spans[i];
  }
  absl::StatusOr<std::vector<double>> seconds = TimeAll(key, call, plans);
  handles_.ForgetPlan(key);
  if (!seconds.ok()) {
    return Annotate(seconds.status(), absl::StrCat("timing the product ", key.ToString()));
  }
  const int kept = FastestCandidate(*seconds);
  ProductAlgorithm algorithm;
  std::memcpy(algorithm.words.data(), &plans[kept].algorithm, sizeof(algorithm.words));
  algorithm.workspace_bytes = plans[kept].workspace_bytes;
  algorithm.seconds = (*seconds)[kept];
  algorithm.first_seconds = (*seconds)[0];
  return algorithm;
}

void CudaProductMeasurer::Adopt(ProductAlgorithms algorithms) {
  Release();
  handles_.set_algorithms(std::move(algorithms));
}

}  // namespace weft
