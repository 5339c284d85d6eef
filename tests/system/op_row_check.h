// Checks a row of op_rows.h, forward, backward and converted, on real ranks: what every rank holds
// against the logical result, computed on the host by one rank's kernel; which conversions there
// are; and that every rank sends the bytes that its plan predicts. Failures are GoogleTest's.
#pragma once

#include <string>

#include "runtime/transport.h"
#include "tests/system/op_rows.h"

namespace weft::testing {

// The row in words, for traces.
std::string Describe(const OpRow& row);

// On ranks that are threads of this process.
void CheckRow(const OpRow& row);

// As one rank of a job: the row lies on four ranks from `first_rank` on, all of which call this.
// The first of them looks at what all hold.
void CheckRowAsRank(const OpRow& row, int first_rank, Transport& transport);

}  // namespace weft::testing
