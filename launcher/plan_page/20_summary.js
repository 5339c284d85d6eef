// What one must know first, and the words that the rest uses.

function card(value, label) {
  return h("div", { class: "card" }, h("b", null, value), h("span", null, label));
}

function meshText(mesh) {
  if (mesh.axes.length === 0) return "one rank";
  return mesh.axes.map((a) => a.name + ":" + a.size).join(" x ");
}

function summary() {
  const prediction = report.prediction;
  const sending = report.conversions.filter((c) => c.bytes > 0);
  const fullest = Math.max(...report.rank_classes.map((c) => c.arena_bytes + c.variable_bytes));
  const cards = [
    card(plural(report.num_ranks, "rank"), "as " + meshText(report.meshes[0]) + (report.stages.length > 1 ? ", in " + report.stages.length + " pipeline stages" : "")),
    card(countText(report.job.parameters), "parameters"),
  ];
  if (prediction) {
    const share = prediction.step_seconds > 0 ? prediction.exposed_communication_seconds / prediction.step_seconds : 0;
    cards.push(card(secondsText(prediction.step_seconds), "predicted time of a step"));
    cards.push(card(secondsText(prediction.exposed_communication_seconds),
      "of it communication that nothing hides (" + (100 * share).toFixed(0) + " %), on rank " + prediction.exposed_rank));
  }
  cards.push(card(bytesText(report.bytes_sent), "sent a step by all ranks, in " + plural(sending.length, "conversion")));
  cards.push(card(bytesText(fullest), "memory of the fullest rank: variables and arena"));
  cards.push(card(plural(report.ops.length, "op"), "run by " + plural(report.actors.length, "actor") + (report.stages.length > 1 ? " on all stages" : " a rank")));
  cards.push(card(countText(report.job.microbatches),
    (report.job.microbatches === 1 ? "microbatch" : "microbatches") + " a step, of " + plural(report.job.microbatch_rows, "row")));
  return cards;
}

function machineText() {
  const m = report.machine;
  return "Times are modelled, not measured: " + (m.flops_per_second / 1e9).toPrecision(3) + " GFLOP/s and " +
    (m.memory_bytes_per_second / 1e9).toPrecision(3) + " GB/s of memory a rank, links of " +
    (m.link_bytes_per_second / 1e9).toPrecision(3) + " GB/s with " + secondsText(m.link_latency_seconds) + " of latency." +
    m.groups.map((g) => " Along " + (g.axis || "any axis") + " of " + g.size + ": " + (g.bytes_per_second / 1e9).toPrecision(3) + " GB/s with " + secondsText(g.latency_seconds) + ".").join("") +
    " For this machine the layouts are " + report.layouts.proof + ".";
}

function terms() {
  const axis = report.meshes[0].axes[0] ? report.meshes[0].axes[0].name : "data";
  const rows = [
    ["mesh", "The ranks as a grid with named axes. A layout says, for each axis, what its ranks hold of a tensor:"],
    [layoutPills("[" + axis + ":S(0)]"), "Split along dimension 0: each rank along the axis holds its own slice."],
    [layoutPills("[" + axis + ":B]"), "Broadcast: every rank along the axis holds the same."],
    [layoutPills("[" + axis + ":P(sum)]"), "Partial: every rank holds a summand; the tensor is their sum, once somebody adds them up."],
    ["conversion", "A change of layout between the op that makes a value and the one that takes it. Those that send messages are what a mesh costs."],
    ["actor", "What fires when its inputs are full: a list of kernels, a conversion, or a copy from or to the host."],
  ];
  if (report.stages.length > 1) {
    rows.push(["stage", "Ranks that lie on the same meshes and so run the same actors: a part of a pipeline, which passes microbatches on to the next."]);
  }
  return h("details", { class: "table-of", open: innerWidth > 600 }, h("summary", null, h("b", null, "How to read this page")),
    h("dl", { class: "terms" }, rows.map(([term, text]) => [h("dt", null, term), h("dd", null, text)])));
}

function header() {
  return [
    h("h1", null, "Plan of job ", report.job.name),
    h("p", { class: "soft" }, "What weft decided before anything ran: how each tensor lies on the ranks, what is sent between them and why, what is in memory, and when everything happens in one training step."),
    h("div", { class: "cards" }, summary()),
    report.left_out.map((text) => h("div", { class: "note" }, "Not on this page: " + text + ".")),
    terms(),
    h("p", { class: "soft" }, machineText()),
  ];
}
