#include "launcher/step_forecast.h"

#include <algorithm>

#include "actors/plan_check.h"
#include "runtime/marked_graph.h"

namespace weft {
namespace {

// Adds one rank's actors, channels and streams. Ranks of a program have the same actors, so a
// conversion's members are those with the same index.
void AddRank(const Plan& plan, MarkedGraph* all) {
  const MarkedGraph rank = ToMarkedGraph(plan);
  const int first_actor = static_cast<int>(all->actors.size());
  for (size_t a = 0; a < rank.actors.size(); ++a) {
    MarkedGraph::Actor actor = rank.actors[a];
    const ActorDef& def = plan.actors(static_cast<int>(a));
    actor.stream += all->streams;
    actor.group = def.has_all_reduce() || def.has_exchange() ? static_cast<int>(a) : -1;
    all->actors.push_back(std::move(actor));
  }
  for (MarkedGraph::Channel channel : rank.channels) {
    channel.producer += first_actor;
    for (MarkedGraph::Consumer& consumer : channel.consumers) consumer.actor += first_actor;
    all->channels.push_back(std::move(channel));
  }
  for (std::vector<int> list : rank.lists) {
    for (int& actor : list) actor += first_actor;
    all->lists.push_back(std::move(list));
  }
  all->streams += rank.streams;
}

}  // namespace

StepForecast ForecastStep(const std::vector<Plan>& plans) {
  StepForecast forecast;
  MarkedGraph all;
  for (const Plan& plan : plans) {
    AddRank(plan, &all);
    std::vector<double> busy(plan.streams_size(), 0);
    for (const ActorDef& actor : plan.actors()) {
      busy[actor.stream()] += actor.seconds() * actor.firings_per_step();
    }
    forecast.busy.resize(std::max(forecast.busy.size(), busy.size()), 0);
    for (size_t s = 0; s < busy.size(); ++s) {
      forecast.busy[s] = std::max(forecast.busy[s], busy[s]);
    }
  }
  forecast.seconds = RunMarkedGraph(all, 2).seconds - RunMarkedGraph(all, 1).seconds;
  return forecast;
}

}  // namespace weft
