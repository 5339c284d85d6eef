// Tables that sort by a click on a heading and show more rows on demand.

const FIRST_ROWS = 200;

// A cell: what it sorts by, and what it shows if that is something else.
function cell(value, options) {
  return { value, ...(options || {}) };
}

// headings: text, or ">text" for numbers. rows: lists of cells.
function sortable(headings, rows, sortBy, descending) {
  let order = [...rows];
  let shown = FIRST_ROWS;
  const body = h("tbody");
  const more = h("button", { onclick: () => { shown += 5 * FIRST_ROWS; draw(); } });
  const heads = headings.map((text, column) => h("th", { class: text[0] === ">" ? "number" : null },
    h("button", { onclick: () => sort(column, nextDown(column)) }, text.replace(/^>/, ""))));
  // Numbers begin with the largest, texts with A; then the other way round.
  function nextDown(column) {
    const now = heads[column].getAttribute("aria-sort");
    return now === null ? headings[column][0] === ">" : now === "ascending";
  }
  function draw() {
    body.replaceChildren(...order.slice(0, shown).map((row) => h("tr", null, row.map((c, column) =>
      h("td", { class: [headings[column][0] === ">" ? "number" : "", c.class || ""].join(" ").trim() || null }, c.content !== undefined ? c.content : String(c.value))))));
    more.hidden = order.length <= shown;
    more.textContent = "Show more of " + plural(order.length, "row");
  }
  function sort(column, down) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
    order.sort((a, b) => (down ? -1 : 1) * compare(a[column].value, b[column].value));
    draw();
  }
  if (sortBy === undefined) draw();
  else sort(sortBy, Boolean(descending));
  return h("div", { class: "table" }, h("table", null, h("thead", null, h("tr", null, heads)), body), more);
}

// A name, which may be broken after its dots.
const nameCell = (name) => cell(name, { class: "name", content: name.split(/(?<=\.)/).flatMap((piece) => [piece, h("wbr")]) });
// A layout and the one that it becomes.
const changeCell = (from, to) => cell(from + to, { content: [h("div", { class: "change" }, layoutPills(from)), h("div", { class: "change" }, "\u2192 ", layoutPills(to))] });
const bytesCell = (bytes) => cell(bytes, { content: bytesText(bytes) });
const secondsCell = (seconds) => cell(seconds, { content: secondsText(seconds) });

// Filled when it is opened.
function tableOf(title, note, make) {
  const holder = h("div");
  const item = h("details", { class: "table-of", ontoggle: () => { if (item.open && !holder.firstChild) holder.append(make()); } },
    h("summary", null, h("b", null, title), h("span", { class: "soft" }, " " + note)), holder);
  return item;
}

function conversionsSection() {
  const most = Math.max(1, ...report.conversions.map(stepBytes));
  const rows = (silent) => report.conversions.filter((c) => silent || c.bytes > 0).map((c) => {
    const from = report.values[c.from];
    const op = report.ops[c.op];
    const bar = h("span", { class: "bar", style: "width: " + Math.round(60 * stepBytes(c) / most) + "px" });
    return [
      nameCell(from.name), changeCell(c.from_layout, c.to_layout),
      cell(c.how), cell(op.part), cell(report.blocks[op.block].name),
      cell(stepBytes(c), { content: [bar, bytesText(stepBytes(c))] }), cell(c.firings),
      secondsCell(c.seconds * c.firings), cell(c.reason, { class: "reason" }),
    ];
  });
  const holder = h("div");
  const draw = (silent) => holder.replaceChildren(sortable(
    ["value", "layout", "how", "part", "block", ">sent a step", ">times a step", ">time a step", "why"], rows(silent), 5, true));
  draw(false);
  const silent = report.conversions.filter((c) => c.bytes === 0).length;
  const byPart = PARTS.map((part) => [part, report.conversions.filter((c) => report.ops[c.op].part === part).reduce((sum, c) => sum + stepBytes(c), 0)]);
  return section("conversions", "Conversions",
    h("p", { class: "soft" }, "Changes of layout that the compiler put in because an op takes a value in another layout than it is made in. Together they send " +
      bytesText(report.bytes_sent) + " a step over all ranks: " + byPart.map(([part, bytes]) => part + " " + bytesText(bytes)).join(", ") + "."),
    silent > 0 ? h("label", { class: "controls" }, h("input", { type: "checkbox", onchange: (event) => draw(event.target.checked) }),
      "also the " + silent + " that send nothing (each rank makes its part from its own)") : null,
    holder);
}

// Channels and stream lists are the same on all ranks of a stage but for bytes.
function stageTables(rank) {
  const name = (a) => (a >= 0 ? report.actors[a].name : "");
  const where = " on rank " + rank.rank + stageText(rank.stage);
  return [
    tableOf("Channels", "slots between actors" + where, () => sortable(
      ["channel", ">slots", ">bytes a slot", ">writes a slot", ">full at start", "from", "to"],
      rank.channels.map((c) => [nameCell(c.name), cell(c.slots), bytesCell(c.bytes), cell(c.writes_per_slot), cell(c.initial),
        nameCell(name(c.writer)), nameCell(c.readers.map((r) => name(r.actor) + (r.reads_per_slot > 1 ? " (" + r.reads_per_slot + " reads)" : "")).join(", "))]))),
    rank.streams.map((stream) => tableOf("Stream " + stream.name, "what fires in which order" + where, () => sortable(
      [">#", "actor", "kind", ">kernels", ">modelled time"], stream.order.map((a, i) => [cell(i + 1), nameCell(name(a)), cell(report.actors[a].kind),
        cell(report.actors[a].kernels), secondsCell(report.actors[a].seconds)])))),
  ];
}

function tablesSection() {
  const meshes = report.meshes.length > 1;
  return section("tables", "Tables",
    tableOf("Values", "type and layout of everything the graph makes", () => sortable(
      ["value", "made by", "type", "layout", ...(meshes ? ["mesh"] : []), "part", "block", ">bytes"],
      report.values.map((v) => [nameCell(v.name), cell(v.made_by), cell(v.type),
        cell(v.layout, { content: [layoutPills(v.layout), v.annotated ? h("span", { class: "soft" }, " as annotated") : null] }),
        ...(meshes ? [cell(v.mesh, { content: report.meshes[v.mesh].text + " (" + v.mesh + ")" })] : []),
        cell(v.part), cell(report.blocks[v.block].name), bytesCell(v.bytes)]))),
    report.mesh_choice ? tableOf("Meshes", "what was chosen from for " + report.mesh_choice.asked + ", the best first", () => sortable(
      ["mesh", "optimizer states", ">predicted step", "why not"],
      report.mesh_choice.alternatives.map((a) => [cell(a.mesh), cell(a.shards_states ? "split over data" : "as parameters"),
        a.refusal ? cell(Infinity, { content: "-" }) : secondsCell(a.step_seconds), cell(a.refusal)]))) : null,
    tableOf("Ranks", "those that do the same at the same time; memory and bytes sent of each", () => sortable(
      ["ranks", ...(report.stages.length > 1 ? [">stage"] : []), ">arena", ">variables", ">together", ">sends a step"],
      report.rank_classes.map((c) => [cell(rangesText(c.ranks)), ...(report.stages.length > 1 ? [cell(c.stage)] : []),
        bytesCell(c.arena_bytes), bytesCell(c.variable_bytes), bytesCell(c.arena_bytes + c.variable_bytes), bytesCell(c.bytes_sent)]))),
    report.ranks.filter((rank, i) => report.ranks.findIndex((other) => other.stage === rank.stage) === i).map(stageTables),
    report.prediction && report.prediction.waits.length > 0 ? tableOf("Waits", "when computation stands still, longest first", () => sortable(
      [">seconds a step", ">rank", "what waits", "for"], report.prediction.waits.map((w) => [secondsCell(w.seconds), cell(w.rank), nameCell(w.actor), nameCell(w.cause)]))) : null);
}
