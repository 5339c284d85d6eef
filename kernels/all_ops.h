// Every op of weft, for whoever fills a registry (launcher, tests).
#pragma once

#include <map>
#include <string>

#include "graph/op_def.h"
#include "runtime/kernel.h"

namespace weft {

// Adds the definitions of all ops. Call once per registry, before threads share it.
void DefineAllOps(OpRegistry& ops);

// What sort of work each op is, by name, for people who look at where time goes: "contraction",
// "attention", "head", "norm", "embedding", "optimizer", "pointwise", "reduction", "movement" or
// "random".
std::map<std::string, std::string> OpKinds();

// Adds the CPU kernel of every op of `ops` that has one, under the op's name.
void FillCpuKernels(const OpRegistry& ops, KernelTable& kernels);

}  // namespace weft
