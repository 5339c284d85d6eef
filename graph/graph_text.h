// The text form of graphs (protobuf text of graph/graph.proto), for job files, golden tests and
// --dump_passes. Text and graph say the same thing: text -> graph -> text is the identity on what
// GraphText prints, and graph -> text -> graph keeps names, order, layouts and attributes.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "graph/graph.h"

namespace weft {

// Canonical text of any graph, before or after the passes.
std::string GraphText(const Graph& graph);

// Reads GraphText's form from untrusted text. `file` stands before the line number in errors; `mesh`
// is what a text that names no mesh lies on. The graph's nodes point into `ops`, which must outlive
// it. Errors: InvalidArgument
// "file:line: node 'x': ..." for syntax, unknown ops, undefined or repeated names, wrong
// attributes, shapes and layouts; whatever comes out is legal by Verify.
absl::StatusOr<Graph> ParseGraphText(std::string_view text, const OpRegistry& ops,
                                     std::string_view file = "graph", const Mesh& mesh = {});

}  // namespace weft
