// Sample operands for every registered op, on which the op laws are checked.
#pragma once

#include <string>
#include <vector>

#include "runtime/attrs.h"
#include "runtime/dtype.h"
#include "tests/support/host_tensor.h"

namespace weft::testing {

struct OpSample {
  std::string op;
  Attrs attrs;
  std::vector<HostTensor> inputs;
  // Results whose weighted sum is the loss of the gradient law.
  std::vector<int> differentiate = {0};
  // Operands that the op's gradient takes as constants.
  std::vector<int> constants = {};
};

// Samples of all ops with float operands of `dtype` (parameters of optimizers stay f32 for bf16 and
// f16). Extents are small primes and the like, so that every split is uneven.
std::vector<OpSample> OpSamples(DType dtype);

}  // namespace weft::testing
