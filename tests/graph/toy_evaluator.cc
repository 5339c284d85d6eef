#include <cmath>

#include "runtime/logging.h"
#include "tests/graph/toy_ops.h"

namespace weft::testing {
namespace {

// Index of an operand's element under element `flat` of a result that it is broadcast to.
int64_t BroadcastIndex(const Shape& to, const Shape& from, int64_t flat) {
  int64_t index = 0, stride = 1;
  for (int d = static_cast<int>(to.size()) - 1, f = static_cast<int>(from.size()) - 1; d >= 0;
       --d, --f) {
    if (f >= 0 && from[f] != 1) index += (flat % to[d]) * stride;
    if (f >= 0) stride *= from[f];
    flat /= to[d];
  }
  return index;
}

struct Call {
  const Node& node;
  std::vector<TensorSpec> in_specs, out_specs;
  std::vector<Numbers> in;

  Numbers Map(double (*f)(double, double), bool binary) const {
    Numbers y(out_specs[0].elements());
    for (size_t i = 0; i < y.size(); ++i) {
      const double a = in[0][BroadcastIndex(out_specs[0].shape, in_specs[0].shape, i)];
      y[i] = f(a, binary ? in[1][BroadcastIndex(out_specs[0].shape, in_specs[1].shape, i)] : 0);
    }
    return y;
  }
};

Numbers Matmul(const Call& c) {
  const bool ta = c.node.attrs.Bool("transpose_a"), tb = c.node.attrs.Bool("transpose_b");
  const int64_t m = c.out_specs[0].shape[0], n = c.out_specs[0].shape[1];
  const int64_t k = c.in_specs[0].shape[ta ? 0 : 1];
  Numbers y(m * n);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t l = 0; l < k; ++l) {
        y[i * n + j] += c.in[0][ta ? l * m + i : i * k + l] * c.in[1][tb ? j * k + l : l * n + j];
      }
    }
  }
  return y;
}

Numbers ReduceSum(const Call& c) {
  Shape kept = c.in_specs[0].shape;
  for (int64_t axis : c.node.attrs.Ints("axes")) kept[axis] = 1;
  Numbers y(c.out_specs[0].elements());
  for (size_t i = 0; i < c.in[0].size(); ++i) {
    y[BroadcastIndex(c.in_specs[0].shape, kept, static_cast<int64_t>(i))] += c.in[0][i];
  }
  return y;
}

std::vector<Numbers> Sgd(const Call& c) {
  Numbers param = c.in[0], momentum = c.in[1];
  for (size_t i = 0; i < param.size(); ++i) {
    const double grad = c.in[2][i] * c.in[4][0] + c.node.attrs.Float("weight_decay") * param[i];
    momentum[i] = c.node.attrs.Float("momentum") * momentum[i] + grad;
    param[i] -= c.in[3][0] * momentum[i];
  }
  return {param, momentum};
}

double Squares(const Numbers& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return sum;
}

std::vector<Numbers> Run(const Call& c) {
  const std::string& op = c.node.op->name;
  const auto first = [](double a, double) { return a; };
  if (op == "add") return {c.Map([](double a, double b) { return a + b; }, true)};
  if (op == "mul") return {c.Map([](double a, double b) { return a * b; }, true)};
  if (op == "square") return {c.Map([](double a, double) { return a * a; }, false)};
  if (op == "floor") return {c.Map([](double a, double) { return std::floor(a); }, false)};
  if (op == "cast" || op == "broadcast_to" || op == "accumulate" || op == "pick") {
    return {c.Map(first, false)};
  }
  if (op == "reshape") return {c.in[0]};
  if (op == "matmul") return {Matmul(c)};
  if (op == "reduce_sum") return {ReduceSum(c)};
  if (op == "sgd") return Sgd(c);
  if (op == "fill") return {Numbers(c.out_specs[0].elements(), c.node.attrs.Float("value"))};
  if (op == "sum_squares") return {{Squares(c.in[0])}};
  if (op == "scale") {
    Numbers y = c.in[0];
    for (double& v : y) v *= c.node.attrs.Float("factor");
    return {y};
  }
  if (op == "add_n") {
    Numbers y(c.in[0].size());
    for (const Numbers& x : c.in) {
      for (size_t i = 0; i < y.size(); ++i) y[i] += x[i];
    }
    return {y};
  }
  if (op == "halves") {
    const auto middle = c.in[0].begin() + static_cast<int64_t>(c.in[0].size() / 2);
    return {Numbers(c.in[0].begin(), middle), Numbers(middle, c.in[0].end())};
  }
  if (op == "join") {
    Numbers y = c.in[0];
    y.insert(y.end(), c.in[1].begin(), c.in[1].end());
    return {y};
  }
  if (op == "clip_scale") {
    const double scale = c.in.size() > 1 ? c.in[1][0] : 1;
    const double norm = std::sqrt(c.in[0][0]) / scale, max = c.node.attrs.Float("max_norm");
    return {{(max == 0 ? 1.0 : std::min(1.0, max / (norm + 1e-6))) / scale}, {norm}};
  }
  if (op == "loss_scale_update") {  // of a step that is not skipped, nor the last before growth
    return {c.in[0], {c.in[1][0] + 1}, {c.in[2][0] + 1}, {0}};
  }
  LOG(FATAL) << "no toy evaluation of " << op;
  return {};
}

}  // namespace

StepResult RunStep(const Graph& graph, int microbatches, const Feeds& feeds,
                   const std::map<std::string, Numbers>& variables) {
  // [value][microbatch]; one entry for per-step values.
  std::vector<std::vector<Numbers>> contents(graph.values.size());
  for (const GraphInput& input : graph.inputs) contents[input.value.id] = feeds.at(input.name);
  for (const Variable& variable : graph.variables) {
    auto it = variables.find(variable.name);
    contents[variable.value.id] = {
        it != variables.end() ? it->second : Numbers(graph.spec(variable.value).elements())};
  }
  for (const Node& node : graph.nodes) {
    int firings = 1;
    for (Value v : node.inputs) {
      if (v && graph.info(v).rate == Rate::kMicrobatch) firings = microbatches;
    }
    for (int m = 0; m < firings; ++m) {
      Call call{node, InputSpecs(graph, node), OutputSpecs(graph, node), {}};
      for (Value v : node.inputs) {
        call.in.push_back(!v ? Numbers() : contents[v.id][contents[v.id].size() > 1 ? m : 0]);
      }
      const std::vector<Numbers> results = Run(call);
      for (size_t i = 0; i < results.size(); ++i) {
        std::vector<Numbers>& content = contents[node.outputs[i].id];
        if (m > 0 && node.op->sums_microbatches) {
          for (size_t e = 0; e < results[i].size(); ++e) content[0][e] += results[i][e];
        } else {
          content.push_back(results[i]);
        }
      }
    }
  }
  StepResult result;
  for (const GraphOutput& output : graph.outputs) {
    result.outputs[output.name] = contents[output.value.id][0];
  }
  for (const Variable& variable : graph.variables) {
    if (variable.update) result.updates[variable.name] = contents[variable.update.id][0];
  }
  return result;
}

}  // namespace weft::testing
