// Every op of weft, for whoever fills a registry (launcher, tests).
#pragma once

#include "graph/op_def.h"
#include "runtime/kernel.h"

namespace weft {

// Adds the definitions of all ops. Call once per registry, before threads share it.
void DefineAllOps(OpRegistry& ops);

// Adds the CPU kernel of every op of `ops` that has one, under the op's name.
void FillCpuKernels(const OpRegistry& ops, KernelTable& kernels);

}  // namespace weft
