#include "launcher/plan_json.h"

#include "absl/strings/str_cat.h"

namespace weft {
namespace {

using Json = nlohmann::ordered_json;

template <typename Items, typename Write>
Json List(const Items& items, Write write) {
  Json list = Json::array();
  for (const auto& item : items) list.push_back(write(item));
  return list;
}

Json OfMesh(const Mesh& mesh) {
  return {{"text", mesh.ToString()},
          {"axes", List(mesh.axes(),
                        [](const Mesh::Axis& a) {
                          return Json{{"name", a.name}, {"size", a.size}};
                        })},
          {"ranks", mesh.ranks()}};
}

Json OfGroup(const CostModel::Group& group) {
  return {{"axis", group.axis},
          {"size", group.size},
          {"bytes_per_second", group.link.bytes_per_second},
          {"latency_seconds", group.link.latency}};
}

Json OfMeshChoice(const MeshChoice& choice) {
  if (choice.alternatives.empty()) return nullptr;
  return {{"asked", choice.asked},
          {"alternatives", List(choice.alternatives, [](const MeshAlternative& a) {
             return Json{{"mesh", a.mesh},
                         {"shards_states", a.shards_states},
                         {"step_seconds", a.step_seconds},
                         {"refusal", a.refusal}};
           })}};
}

Json OfBlock(const PlanReport::Block& block) {
  return {{"name", block.name}, {"same_as", block.same_as}};
}

Json OfValue(const PlanReport::Value& v) {
  return {{"name", v.name},
          {"made_by", v.made_by},
          {"type", v.type},
          {"layout", v.layout},
          {"mesh", v.mesh},
          {"bytes", v.bytes},
          {"op", v.op},
          {"block", v.block},
          {"part", Name(v.part)},
          {"rate", v.microbatch ? "microbatch" : "step"},
          {"annotated", v.annotated}};
}

Json OfOp(const PlanReport::Op& op) {
  return {{"name", op.name},
          {"kind", op.kind},
          {"inputs", op.inputs},
          {"outputs", op.outputs},
          {"block", op.block},
          {"part", Name(op.part)},
          {"rate", op.microbatch ? "microbatch" : "step"},
          {"actor", op.actor}};
}

Json OfConversion(const PlanReport::Conversion& c) {
  return {{"op", c.op},
          {"from", c.from},
          {"to", c.to},
          {"from_layout", c.from_layout},
          {"to_layout", c.to_layout},
          {"how", c.how},
          {"consumer", c.consumer},
          {"reason", c.reason},
          {"asked", c.asked},
          {"bytes", c.bytes},
          {"firings", c.firings},
          {"seconds", c.seconds}};
}

Json OfActor(const PlanReport::Actor& a) {
  return {{"name", a.name},       {"stages", a.stages},   {"stream", a.stream}, {"kind", a.kind},
          {"firings", a.firings}, {"kernels", a.kernels}, {"ops", a.ops},       {"block", a.block},
          {"part", Name(a.part)}, {"seconds", a.seconds}};
}

Json OfChannel(const PlanReport::Channel& c) {
  return {{"name", c.name},
          {"slots", c.slots},
          {"writes_per_slot", c.writes_per_slot},
          {"initial", c.initial},
          {"writer", c.writer},
          {"readers", List(c.readers,
                           [](const PlanReport::Channel::Reader& r) {
                             return Json{{"actor", r.actor}, {"reads_per_slot", r.reads_per_slot}};
                           })},
          {"bytes", c.bytes}};
}

Json OfHolder(const PlanReport::Holder& h) {
  return {{"name", h.name},   {"bytes", h.bytes},        {"slots", h.slots},
          {"part", h.part},   {"category", h.category},  {"from", h.from},
          {"until", h.until}, {"lifetimes", h.lifetimes}};
}

Json OfMemory(const PlanReport::Memory& m) {
  return {{"arena_bytes", m.arena_bytes},
          {"lower_bound_bytes", m.lower_bound_bytes},
          {"variable_bytes", m.variable_bytes},
          {"holders", List(m.holders, OfHolder)},
          {"curve", List(m.curve, [](const PlanReport::MemoryPoint& p) {
             Json row = {p.seconds};
             for (int64_t bytes : p.bytes) row.push_back(bytes);
             return row;
           })}};
}

Json OfRank(const PlanReport::Rank& rank) {
  return {{"rank", rank.rank},
          {"stage", rank.stage},
          {"channels", List(rank.channels, OfChannel)},
          {"streams", List(rank.streams,
                           [](const PlanReport::Stream& s) {
                             return Json{{"name", s.name}, {"order", s.order}};
                           })},
          {"memory", OfMemory(rank.memory)}};
}

Json OfTimeline(const PlanReport::Timeline& timeline) {
  return {{"rank", timeline.rank},
          {"streams", List(timeline.streams, [](const PlanReport::Stream& s) {
             return Json{{"name", s.name},
                         {"firings", List(s.timeline, [](const PlanReport::Firing& f) {
                            return Json{f.actor, f.microbatch, f.begin, f.end};
                          })}};
           })}};
}

Json OfPrediction(const PlanReport& report) {
  const PlanReport::Prediction& p = report.prediction;
  if (!p.known) return nullptr;
  return {{"step_seconds", p.step_seconds},
          {"exposed_communication_seconds", p.exposed_seconds},
          {"exposed_rank", p.exposed_rank},
          {"busy", List(p.busy,
                        [](const auto& stream) {
                          return Json{{"stream", stream.first}, {"seconds", stream.second}};
                        })},
          {"waits", List(p.waits, [](const PlanReport::Wait& w) {
             return Json{
                 {"seconds", w.seconds}, {"rank", w.rank}, {"actor", w.actor}, {"cause", w.cause}};
           })}};
}

// Objects and lists whose elements are worth a line each, down to `depth`.
void Write(const Json& json, int depth, int indent, std::string* out) {
  if (depth == 0 || !json.is_structured() || json.empty()) {
    absl::StrAppend(out, json.dump());
    return;
  }
  const std::string pad(indent + 1, ' ');
  absl::StrAppend(out, json.is_object() ? "{" : "[");
  bool first = true;
  for (const auto& [key, value] : json.items()) {
    absl::StrAppend(out, first ? "\n" : ",\n", pad);
    if (json.is_object()) absl::StrAppend(out, Json(key).dump(), ": ");
    Write(value, depth - 1, indent + 1, out);
    first = false;
  }
  absl::StrAppend(out, "\n", std::string(indent, ' '), json.is_object() ? "}" : "]");
}

}  // namespace

nlohmann::ordered_json PlanJson(const PlanReport& report) {
  const PlanReport::Job& job = report.job;
  const PlanReport::Machine& machine = report.machine;
  return {{"schema", "weft.plan"},
          {"version", kPlanJsonVersion},
          {"job",
           {{"name", job.name},
            {"microbatches", job.microbatches},
            {"microbatch_rows", job.microbatch_rows},
            {"parameters", job.parameters}}},
          {"machine",
           {{"flops_per_second", machine.flops_per_second},
            {"memory_bytes_per_second", machine.memory_bytes_per_second},
            {"link_bytes_per_second", machine.link_bytes_per_second},
            {"link_latency_seconds", machine.link_latency},
            {"groups", List(machine.groups, OfGroup)}}},
          {"mesh_choice", OfMeshChoice(report.mesh_choice)},
          {"layouts", {{"proof", report.layouts.proof}, {"seconds", report.layouts.seconds}}},
          {"meshes", List(report.meshes, OfMesh)},
          {"num_ranks", report.num_ranks},
          {"bytes_sent", report.bytes_sent},
          {"prediction", OfPrediction(report)},
          {"left_out", report.left_out},
          {"blocks", List(report.blocks, OfBlock)},
          {"values", List(report.values, OfValue)},
          {"ops", List(report.ops, OfOp)},
          {"conversions", List(report.conversions, OfConversion)},
          {"stages", List(report.stages,
                          [](const PlanReport::Stage& s) {
                            return Json{{"meshes", s.meshes}, {"ranks", s.ranks}};
                          })},
          {"actors", List(report.actors, OfActor)},
          {"rank_classes", List(report.rank_classes,
                                [](const PlanReport::RankClass& c) {
                                  return Json{{"ranks", c.ranks},
                                              {"stage", c.stage},
                                              {"arena_bytes", c.arena_bytes},
                                              {"variable_bytes", c.variable_bytes},
                                              {"bytes_sent", c.bytes_sent}};
                                })},
          {"memory_categories", kMemoryCategories},
          {"ranks", List(report.ranks, OfRank)},
          {"timelines", List(report.timelines, OfTimeline)}};
}

std::string PlanJsonText(const PlanReport& report) {
  std::string text;
  Write(PlanJson(report), /*depth=*/2, 0, &text);
  return text + "\n";
}

}  // namespace weft
