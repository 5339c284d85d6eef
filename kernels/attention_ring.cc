#include "kernels/attention_ring.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention_specs.h"
#include "kernels/wide_row.h"
#include "runtime/dtype.h"

namespace weft {
namespace {

// Says how far from queries the keys are that they see, or from keys the queries.
void Begin(RingContext& ring, bool queries_travel) {
  const int64_t window = ring.attrs().Int("window");
  if (window == 0) return;
  const bool causal = ring.attrs().Bool("causal");
  ring.LimitReach(1, causal && queries_travel ? 0 : window - 1,
                  causal && !queries_travel ? 0 : window - 1);
}

Attrs BlockAttrs(const RingContext& ring, int meeting) {
  const bool causal = ring.attrs().Bool("causal");
  // Contiguous parts are in each other's past, all of them, or not at all; the slowest rank counts.
  double density = causal && (ring.zigzag() || meeting == 0) ? 0.5 : 1.0;
  const double rows = static_cast<double>(ring.spec(ring.output(0)).shape[1]) / ring.parts();
  const auto window = static_cast<double>(ring.attrs().Int("window"));
  if (window > 0 && meeting == 0) density = SeenShare(ring.attrs(), rows);
  if (window > 0 && meeting > 0) density = std::min(density, window / (2 * rows));
  return {{"causal", causal},
          {"scale", ring.attrs().Float("scale")},
          {"window", ring.attrs().Int("window")},
          {"density", density}};
}

Value AsResult(RingContext& ring, int output, Value value) {
  const Value result = ring.output(output);
  const DType dtype = ring.spec(result).dtype;
  if (ring.spec(value).dtype == dtype) return value;
  return ring.Emit1("cast", {value}, {{"dtype", std::string(Name(dtype))}}, result);
}

// The operands of attention_grad.
struct GradOperands {
  explicit GradOperands(const RingContext& ring)
      : doo(ring.input(0)),
        q(ring.input(1)),
        k(ring.input(2)),
        v(ring.input(3)),
        o(ring.input(4)),
        lse(ring.input(5)),
        dlse(ring.input(6)),
        visible(ring.input(7)) {}
  // o as the meetings get it: delta must be its product with do alone.
  Value met_o() const { return dlse ? Value() : o; }
  Value doo, q, k, v, o, lse, dlse, visible, delta;
};

// Bytes of a travelling gradient of the value.
int64_t GradBytes(const RingContext& ring, Value value) {
  const DType dtype = ring.spec(value).dtype;
  return ring.LocalBytes(value) / SizeOf(dtype) * SizeOf(WideDType(dtype));
}

bool QueriesAreFewer(const RingContext& ring, const GradOperands& x) {
  int64_t queries = GradBytes(ring, x.q), keys = GradBytes(ring, x.k) + GradBytes(ring, x.v);
  for (Value v : {x.doo, x.q, x.met_o(), x.lse, /*delta:*/ x.lse, x.visible}) {
    if (v) queries += ring.LocalBytes(v);
  }
  for (Value v : {x.k, x.v}) keys += ring.LocalBytes(v);
  return queries < keys;
}

void TurnKeys(RingContext& ring, const GradOperands& x) {
  Value dq, dk, dv, dk_sum, dv_sum;
  for (int m = 0; m < ring.meetings(); ++m) {
    const Value k = ring.At(x.k, m), v = ring.At(x.v, m);
    const std::vector<Value> made =
        ring.Emit("attention_block_grad",
                  {x.doo, x.q, k, v, x.lse, x.delta, x.visible, dq, Value(), Value(), x.met_o()},
                  BlockAttrs(ring, m), {ring.output(0), {ring.output(1), m}, {ring.output(2), m}});
    dq = made[0];
    if (m == 0) {
      dk = made[1];
      dv = made[2];
      continue;
    }
    dk_sum = ring.Carry(dk_sum, made[1], m);
    dv_sum = ring.Carry(dv_sum, made[2], m);
    ring.End(m, dv_sum);
  }
  ring.Return(0, AsResult(ring, 0, dq));
  ring.Return(1, AsResult(ring, 1, ring.Home(dk, dk_sum)));
  ring.Return(2, AsResult(ring, 2, ring.Home(dv, dv_sum)));
}

void TurnQueries(RingContext& ring, const GradOperands& x) {
  Value dq, dk, dv, dq_sum;
  for (int m = 0; m < ring.meetings(); ++m) {
    const Value q = ring.At(x.q, m);
    const std::vector<Value> made =
        ring.Emit("attention_block_grad",
                  {ring.At(x.doo, m), q, x.k, x.v, ring.At(x.lse, m), ring.At(x.delta, m),
                   ring.At(x.visible, m), Value(), dk, dv, ring.At(x.met_o(), m)},
                  BlockAttrs(ring, m), {{ring.output(0), m}, ring.output(1), ring.output(2)});
    dk = made[1];
    dv = made[2];
    if (m == 0) {
      dq = made[0];
      continue;
    }
    dq_sum = ring.Carry(dq_sum, made[0], m);
    ring.End(m, dq_sum);
  }
  ring.Return(0, AsResult(ring, 0, ring.Home(dq, dq_sum)));
  ring.Return(1, AsResult(ring, 1, dk));
  ring.Return(2, AsResult(ring, 2, dv));
}

}  // namespace

void UnrollAttention(RingContext& ring) {
  Begin(ring, /*queries_travel=*/false);
  const Value q = ring.input(0), visible = ring.input(3);
  Value o, lse;
  for (int m = 0; m < ring.meetings(); ++m) {
    Attrs attrs = BlockAttrs(ring, m);
    if (m + 1 == ring.meetings()) {
      attrs.Set("dtype", std::string(Name(ring.spec(ring.output(0)).dtype)));
    }
    const std::vector<Value> made =
        ring.Emit("attention_block",
                  {q, ring.At(ring.input(1), m), ring.At(ring.input(2), m), o, lse, visible},
                  std::move(attrs), {ring.output(0), ring.output(1)});
    o = made[0];
    lse = made[1];
    ring.End(m, lse);
  }
  ring.Return(0, o);
  ring.Return(1, lse);
}

void UnrollAttentionGrad(RingContext& ring) {
  GradOperands x(ring);
  const bool queries_travel = QueriesAreFewer(ring, x);
  Begin(ring, queries_travel);
  ring.StartAfter(x.doo);
  x.delta = ring.Emit1("attention_delta", {x.doo, x.o, x.dlse}, {}, x.lse);
  if (queries_travel) {
    TurnQueries(ring, x);
  } else {
    TurnKeys(ring, x);
  }
}

}  // namespace weft
