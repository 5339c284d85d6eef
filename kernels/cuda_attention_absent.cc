// Stands in for cuda_attention_cudnn.cc where cuDNN's frontend is not installed.
#include "kernels/cuda_attention_plans.h"

namespace weft {

absl::StatusOr<std::unique_ptr<AttentionPlans>> AttentionPlans::Make() {
  return std::unique_ptr<AttentionPlans>();
}

}  // namespace weft
