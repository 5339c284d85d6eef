// GraphBuilder: the C++ API by which an engineer writes a model. Errors stick: after the first one
// every call is harmless and Build returns it, naming the op and its shapes.
//
//   GraphBuilder g(registry, mesh);
//   Value x = g.Input("x", {{32, 64}, DType::kF32});
//   Value w = g.Parameter("w", {{64, 8}, DType::kF32}, Normal(0.02));
//   Value y = g.Op("einsum", {x, w}, {{"equation", "bi,io->bo"}});
//   g.Annotate(w, "[model:S(1)]");
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "graph/graph.h"

namespace weft {

// How a variable gets its first content: an op without operands, and its attributes (shape, dtype and
// seed are filled in by the builder where the op has them).
struct Initializer {
  std::string op;
  Attrs attrs;
};
Initializer Normal(double stddev, double mean = 0.0);
Initializer Constant(double value);

// Not thread-safe; owns the graph until Build.
class GraphBuilder {
 public:
  // `seed` keys all initialisers together with the variable's name.
  explicit GraphBuilder(const OpRegistry& ops, Mesh mesh = {}, int64_t seed = 1);
  // Goes on with a legal graph, as if all of it had been built here. Initialisers whose seed is 0
  // get one from `seed` and the variable's name.
  GraphBuilder(Graph graph, const OpRegistry& ops, int64_t seed);

  // Adds a mesh; its index. Values lie on the first mesh but for those made under OnMesh.
  int AddMesh(Mesh mesh);

  // Data bound by name for every microbatch (or step); `spec` is one microbatch's logical spec.
  Value Input(std::string name, TensorSpec spec, Rate rate = Rate::kMicrobatch);
  // A trainable variable; a variable that is not trained.
  Value Parameter(std::string name, TensorSpec spec, Initializer init);
  Value State(std::string name, TensorSpec spec, Initializer init);
  // Adds an op; as many values as it has results. `name` defaults to the op's, numbered.
  std::vector<Value> Emit(std::string_view op, std::vector<Value> inputs, Attrs attrs = {},
                          std::string name = "");
  // Emit of an op with one result.
  Value Op(std::string_view op, std::vector<Value> inputs, Attrs attrs = {}, std::string name = "") {
    return Emit(op, std::move(inputs), std::move(attrs), std::move(name))[0];
  }
  // States how a value lies on its mesh: "[data:S(0), model:B]".
  void Annotate(Value value, std::string_view layout);
  // Replaces the variable's content at the end of the step.
  void Update(Value variable, Value content);
  // A result for the host: loss, metrics, logits.
  void Output(std::string name, Value value);

  // Names made while a Scope lives get its prefix: "layers.3.attention"; "" adds none.
  class Scope {
   public:
    Scope(GraphBuilder& builder, std::string_view name);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    GraphBuilder& builder_;
    size_t length_;
  };

  // Inputs, variables and results made while an OnMesh lives lie on the mesh of that index.
  class OnMesh {
   public:
    OnMesh(GraphBuilder& builder, int mesh) : builder_(builder), outer_(builder.mesh_) {
      builder.mesh_ = mesh;
    }
    ~OnMesh() { builder_.mesh_ = outer_; }
    OnMesh(const OnMesh&) = delete;
    OnMesh& operator=(const OnMesh&) = delete;

   private:
    GraphBuilder& builder_;
    const int outer_;
  };
  // The mesh, and its index, on which values are made now.
  const Mesh& mesh() const { return graph_.meshes[mesh_]; }
  int mesh_index() const { return mesh_; }

  const TensorSpec& spec(Value value) const;
  const Graph& graph() const { return graph_; }
  const absl::Status& status() const { return status_; }
  // Records an error unless there is one already.
  void Fail(absl::Status status);
  // The finished, verified graph, or the first error. The builder is empty afterwards.
  absl::StatusOr<Graph> Build();

 private:
  Value NewValue(std::string name, TensorSpec spec, Rate rate);
  Value NewVariable(std::string name, TensorSpec spec, Initializer init, bool trainable);
  std::string Qualified(std::string_view name) const;
  std::string Unique(std::string name);
  absl::StatusOr<std::vector<Value>> TryEmit(std::string_view op, std::vector<Value> inputs,
                                             Attrs attrs, std::string name);

  const OpRegistry& ops_;
  int64_t seed_;
  Graph graph_;
  int mesh_ = 0;
  std::string prefix_;
  std::set<std::string> names_;
  std::map<std::string, int> next_number_;
  absl::Status status_;
};

}  // namespace weft
