#include "launcher/trace_events.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actors/plan_messages.h"
#include "kernels/all_ops.h"
#include "launcher/collective_case.h"
#include "parallel/estimate_times.h"
#include "runtime/box_proto.h"
#include "runtime/status.h"

namespace weft {
namespace {

using Json = nlohmann::ordered_json;

// What is the same of all events of a call, or of an actor that makes none.
struct Description {
  Json event;            // without times
  double bus_bytes = 0;  // of collectives: bytes over time is the bus bandwidth
};

class EventWriter {
 public:
  EventWriter(const Program& program, const Plan& plan, int64_t shift)
      : program_(program), plan_(plan), shift_(shift), kinds_(OpKinds()) {}

  absl::Status Add(const FiringTime& time) {
    WEFT_ASSIGN_OR_RETURN(const Description* description, Describe(time.actor, time.call));
    Json event = description->event;
    SetTimes(time.begin, time.end, &event);
    SetFiring(time, &event["args"]);
    if (time.host_bound > 0) event["args"]["host_bound_us"] = Microseconds(time.host_bound);
    if (description->bus_bytes > 0 && time.end > time.begin) {  // bytes a nanosecond are GB/s
      event["args"]["busbw_gb_per_s"] =
          description->bus_bytes / static_cast<double>(time.end - time.begin);
    }
    Write(event);
    return absl::OkStatus();
  }

  // A compute actor's firing, around its calls.
  void AddActor(const FiringTime& first, const FiringTime& last) {
    const ActorDef& actor = plan_.actors(first.actor);
    Json event = Event(actor, actor.name(), "actor");
    SetTimes(first.begin, last.end, &event);
    SetFiring(first, &event["args"]);
    Write(event);
  }

  void AddNames(const std::string& device) {
    const auto name = [this](const char* what, int thread, Json args) {
      Write({{"ph", "M"}, {"name", what}, {"pid", plan_.rank()}, {"tid", thread}, {"args", args}});
    };
    name("process_name", 0, {{"name", absl::StrCat("rank ", plan_.rank(), " (", device, ")")}});
    name("process_sort_index", 0, {{"sort_index", plan_.rank()}});
    for (int s = 0; s < plan_.streams_size(); ++s) {
      name("thread_name", s, {{"name", plan_.streams(s).name()}});
      name("thread_sort_index", s, {{"sort_index", s}});
    }
  }

  std::string Take() { return std::move(text_); }

 private:
  static double Microseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e3; }
  static void SetFiring(const FiringTime& time, Json* args) {
    (*args)["step"] = time.step + 1;  // as metrics count
    (*args)["microbatch"] = time.microbatch;
  }
  void SetTimes(int64_t begin, int64_t end, Json* event) const {
    (*event)["ts"] = Microseconds(begin + shift_);
    (*event)["dur"] = Microseconds(end - begin);
  }
  Json Event(const ActorDef& actor, const std::string& name, const char* category) const {
    return {{"name", name},        {"cat", category},       {"ph", "X"},
            {"pid", plan_.rank()}, {"tid", actor.stream()}, {"args", Json::object()}};
  }
  void Write(const Json& event) {
    absl::StrAppend(&text_, text_.empty() ? "" : ",\n",
                    event.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  absl::StatusOr<const Description*> Describe(int actor, int call) {
    const auto [it, added] = descriptions_.try_emplace({actor, call});
    if (added) {
      WEFT_ASSIGN_OR_RETURN(it->second, plan_.actors(actor).has_compute()
                                            ? DescribeCall(actor, call)
                                            : DescribeActor(actor));
    }
    return &it->second;
  }

  Description DescribeCall(int a, int c) const {
    const ActorDef& actor = plan_.actors(a);
    const KernelCallDef& call = actor.compute().calls(c);
    const auto kind = kinds_.find(call.kernel());
    Json event = Event(actor, call.name(), "kernel");
    Json& args = event["args"];
    args["op"] = call.kernel().empty() ? "copy" : call.kernel();
    args["kind"] = call.kernel().empty()  ? "movement"
                   : kind == kinds_.end() ? "other"
                                          : kind->second;
    args["actor"] = actor.name();
    const LoweredCall& lowered = program_.StageOf(plan_.rank())->lowered.actors[a].calls[c];
    if (lowered.node >= 0) {
      const Node& node = program_.graph.nodes[lowered.node];
      const int index = program_.graph.mesh(node.outputs[0]).IndexOf(plan_.rank());
      const Cost cost = CallCost(program_.graph, lowered, index);
      args["flops"] = cost.flops;
      args["bytes"] = cost.bytes;
    }
    return {std::move(event)};
  }

  absl::StatusOr<Description> DescribeActor(int a) const {
    const ActorDef& actor = plan_.actors(a);
    const bool feeds = actor.has_feed();
    if (feeds || actor.has_fetch()) {
      const char* const kind = feeds ? "feed" : "fetch";
      Description description{Event(actor, actor.name(), kind)};
      description.event["args"] = {{"op", kind}, {"kind", kind}};
      return description;
    }
    WEFT_ASSIGN_OR_RETURN(const std::vector<PlanMessage> messages, MessagesOf(plan_, a));
    int64_t sent = 0, received = 0;
    for (const PlanMessage& message : messages) {
      (message.is_send ? sent : received) += message.bytes;
    }
    Description description{Event(actor, actor.name(), "collective")};
    Json& args = description.event["args"];
    if (actor.has_all_reduce()) {
      const AllReduceDef& def = actor.all_reduce();
      const BufferDef& buffer = plan_.buffers(def.input().buffer());
      WEFT_ASSIGN_OR_RETURN(const Box box, FromProto(buffer.box()));
      const int64_t bytes = box.elements() * SizeOf(static_cast<DType>(buffer.dtype()));
      args = {{"op", "all_reduce"},
              {"kind", "collective"},
              {"ranks", def.ranks_size()},
              {"bytes", bytes}};
      description.bus_bytes =
          static_cast<double>(bytes) * BusFactor(Collective::kAllReduce, def.ranks_size());
    } else {
      // Of an all-gather, a reduce-scatter or an all-to-all, (n - 1) / n of the whole crosses a
      // rank's link; of a message, all of it.
      const int64_t crosses = std::max(sent, received);
      args = {{"op", "exchange"}, {"kind", "collective"}, {"bytes", crosses}};
      description.bus_bytes = static_cast<double>(crosses);
    }
    args["bytes_sent"] = sent;
    return description;
  }

  const Program& program_;
  const Plan& plan_;
  const int64_t shift_;
  const std::map<std::string, std::string> kinds_;
  std::map<std::pair<int, int>, Description> descriptions_;  // by actor and call
  std::string text_;
};

}  // namespace

absl::StatusOr<std::string> TraceEvents(const Program& program, const Plan& plan,
                                        const std::string& device,
                                        const std::vector<FiringTime>& times, int64_t shift) {
  EventWriter writer(program, plan, shift);
  if (times.empty()) return std::string();
  writer.AddNames(device);
  const auto firing = [](const FiringTime& t) { return std::tuple(t.actor, t.step, t.microbatch); };
  for (size_t i = 0; i < times.size(); ++i) {
    if (plan.actors(times[i].actor).has_compute() &&
        (i == 0 || firing(times[i - 1]) != firing(times[i]))) {
      size_t last = i;
      while (last + 1 < times.size() && firing(times[last + 1]) == firing(times[i])) ++last;
      writer.AddActor(times[i], times[last]);
    }
    WEFT_RETURN_IF_ERROR(writer.Add(times[i]));
  }
  return writer.Take();
}

}  // namespace weft
