// The ten lines that a user of an installed weft writes first.
#include <iostream>

#include "runtime/box.h"
#include "runtime/tensor_spec.h"

int main() {
  const weft::TensorSpec spec{.shape = {4, 6}, .dtype = weft::DType::kF32};
  const weft::Box whole = weft::Box::Whole(spec.shape);
  std::cout << spec.ToString() << " holds " << whole.elements() << " elements\n";
  return whole.elements() == spec.elements() ? 0 : 1;
}
