// The graph by block and part: boxes are ops, edges carry the layouts of values, red is a conversion.

const BOX = { width: 196, line: 14, most: 150 };
const blockOps = new Map();  // "block/part" -> op ids
report.ops.forEach((op, id) => {
  const key = op.block + "/" + op.part;
  if (!blockOps.has(key)) blockOps.set(key, []);
  blockOps.get(key).push(id);
});
const readersOf = new Map();  // value -> op ids
report.ops.forEach((op, id) => op.inputs.forEach((v) => {
  if (v < 0) return;
  if (!readersOf.has(v)) readersOf.set(v, []);
  readersOf.get(v).push(id);
}));

function clip(text, most) {
  return text.length <= most ? text : text.slice(0, most - 1) + "\u2026";
}

// Operands that come from elsewhere are named in the box, so that edges stay within the drawing.
function outsideLines(op, inside) {
  return op.inputs.filter((v) => v >= 0 && !inside.has(report.values[v].op)).map((v) => {
    const value = report.values[v];
    const word = value.op < 0 ? value.made_by + " " : value.part !== op.part ? value.part + ": " : "from ";
    return [word + shortName(value.name, op.block), layoutText(value.layout)];
  });
}

function boxOf(id, inside) {
  const op = report.ops[id];
  const conversion = conversionOfOp.get(id);
  if (conversion || op.kind === "conversion") {
    const c = conversion;
    const lines = c ? [c.how, layoutText(c.from_layout), "\u2192 " + layoutText(c.to_layout),
      c.bytes > 0 ? bytesText(stepBytes(c)) + " a step, " + secondsText(c.seconds * c.firings) : "sends nothing"] : [op.name];
    const outside = outsideLines(op, inside).map(([word]) => word);
    return { op, id, conversion, lines: lines.concat(outside), outside: [], width: BOX.width, height: (lines.length + outside.length) * BOX.line + 12 };
  }
  const outside = outsideLines(op, inside);
  const name = shortName(op.name, op.block);
  const lines = name === op.kind ? [op.kind] : [op.kind, name];
  return { op, id, lines, outside, width: BOX.width, height: (lines.length + outside.length * 2) * BOX.line + 12 };
}

function drawBox(node) {
  const kind = node.conversion || node.op.kind === "conversion"
    ? "conversion" + (node.conversion && node.conversion.bytes === 0 ? " silent" : "") : node.op.part;
  const left = node.x - node.width / 2;
  let y = node.y + 4;
  const text = (content, className) => s("text", { x: node.x, y: (y += BOX.line), "text-anchor": "middle", class: className },
    clip(content, className === "layout" ? 30 : 32));
  return s("g", {
    class: "op " + kind,
    onpointermove: (event) => showTip(event, ...describe(node)),
    onpointerleave: hideTip,
  }, s("rect", { x: left, y: node.y, width: node.width, height: node.height, rx: node.conversion ? 14 : 5 }),
    node.lines.map((line, i) => text(line, i === 0 ? "name" : node.conversion && (i === 1 || i === 2) ? "layout" : node.conversion ? "" : "dim")),
    node.outside.map(([word, layout]) => [text(word, "dim"), text(layout, "layout")]));
}

function describe(node) {
  const lines = [h("b", null, node.op.kind === "conversion" ? "conversion of layout" : node.op.kind), node.op.name];
  if (node.conversion) {
    const c = node.conversion;
    lines.push("Why: " + c.reason + ".", bytesText(c.bytes) + " over all ranks, " + c.firings + "x a step");
  }
  for (const v of node.op.inputs) if (v >= 0) lines.push("\u2192 " + report.values[v].name + "  " + report.values[v].type + " " + report.values[v].layout);
  for (const v of node.op.outputs) lines.push("\u2190 " + report.values[v].name + "  " + report.values[v].type + " " + report.values[v].layout);
  const actor = report.actors[node.op.actor];
  if (actor) lines.push("run by actor " + actor.name + ", stream " + actor.stream);
  return lines;
}

// Gradients of parameters leave the flow of the backward part for the optimizer: a list beside the
// drawing, each a chain of ops down to the last one, which the optimizer reads.
function parameterGradients(ids) {
  const inside = new Set(ids);
  const chains = new Map();  // op -> the chain that it belongs to
  for (const id of [...ids].reverse()) {
    const readers = report.ops[id].outputs.flatMap((v) => readersOf.get(v) || []);
    const own = readers.filter((reader) => inside.has(reader));
    if (readers.length === 0 || own.some((reader) => !chains.has(reader))) continue;
    if (own.length === 0 && readers.some((reader) => report.ops[reader].part !== "optimizer")) continue;
    const chain = own.length > 0 ? chains.get(own[0]) : [];
    if (own.some((reader) => chains.get(reader) !== chain)) continue;
    chain.unshift(id);
    chains.set(id, chain);
  }
  return chains;
}

function gradientsTable(block, chains) {
  const rows = [...new Set(chains.values())].map((chain) => {
    const ops = chain.map((id) => report.ops[id]);
    const own = chain.map((id) => conversionOfOp.get(id)).filter((c) => c);
    const made = report.values[ops[0].outputs[0]];
    const last = report.values[ops[ops.length - 1].outputs[0]];
    const name = (ops.find((op) => op.kind === "accumulate") || ops[0]).name;
    return [nameCell(shortName(name, block)), cell(ops.filter((op) => op.kind !== "conversion").map((op) => op.kind).join(", ")),
      made.layout === last.layout ? cell(made.layout, { content: layoutPills(made.layout) }) : changeCell(made.layout, last.layout),
      cell(own.map((c) => c.how).join(", ") || "stays"), bytesCell(own.reduce((sum, c) => sum + stepBytes(c), 0))];
  });
  return sortable(["gradient of", "made by", "layout", "conversion", ">sent a step"], rows);
}

function drawPart(block, part) {
  const every = blockOps.get(block + "/" + part) || [];
  const chains = part === "backward" ? parameterGradients(every) : new Map();
  const ids = every.filter((id) => !chains.has(id));
  const gradients = chains.size > 0 ? h("div", null, h("h3", { style: "margin-top: 12px" }, "gradients of parameters",
    h("span", { class: "soft" }, " made of the values above, for the optimizer")), gradientsTable(block, chains)) : null;
  if (ids.length === 0) return gradients;
  const shown = ids.slice(0, BOX.most);
  const inside = new Set(shown);
  const place = new Map(shown.map((id, n) => [id, n]));
  const nodes = shown.map((id) => boxOf(id, inside));
  const edges = [];
  const values = [];
  const seen = new Set();
  shown.forEach((id, n) => report.ops[id].inputs.forEach((v) => {
    if (v < 0 || !place.has(report.values[v].op) || seen.has(v + "/" + n)) return;
    seen.add(v + "/" + n);
    edges.push([place.get(report.values[v].op), n]);
    values.push(v);
  }));
  const plan = layered(nodes, edges, 14);
  const labelled = new Set();
  const lines = [];
  const labels = [];
  edges.forEach(([from, to], e) => {
    const converted = [from, to].some((n) => report.ops[shown[n]].kind === "conversion");
    lines.push(s("path", { d: curve(plan.paths[e]), class: "edge" + (converted ? " converted" : ""), "marker-end": "url(#arrow-" + (converted ? "convert" : "soft") + ")" }));
    const key = from + report.values[values[e]].layout;
    if (labelled.has(key)) return;  // one label for a layout, near where the value is made
    labelled.add(key);
    const [x, y] = plan.paths[e][0];
    const [nx] = plan.paths[e][1];
    labels.push(s("text", { x: x + (nx - x) * 0.14, y: y + 17 + 11 * (labelsAt(labels, from)), "text-anchor": "middle", class: "layout halo", "data-from": from },
      layoutText(report.values[values[e]].layout)));
  });
  const drawing = s("svg", { style: "width: 100%; max-width: " + plan.width + "px; min-width: " + Math.round(0.78 * plan.width) + "px", viewBox: "0 0 " + plan.width + " " + plan.height, role: "img",
      "aria-label": part + " of " + report.blocks[block].name }, lines, nodes.map(drawBox), labels);
  return [
    h("div", { class: "scroll" }, drawing),
    gradients,
    ids.length > shown.length ? h("div", { class: "note" }, plural(ids.length - shown.length, "further op") + " not drawn; see the table of values.") : null,
  ];
}
const labelsAt = (labels, from) => labels.filter((label) => label.getAttribute("data-from") === String(from)).length;

// One for all drawings; not inside of any, since what a closed block holds is not there.
function arrowHead() {
  return s("svg", { width: 0, height: 0, style: "position: absolute", "aria-hidden": "true" },
    s("defs", null, ["soft", "convert"].map((name) => s("marker", { id: "arrow-" + name, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
      markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, s("path", { d: "M0 0L8 4L0 8z", fill: "var(--" + name + ")" })))));
}

// Independent updates of many variables are a list, not a picture.
function optimizerTable(block) {
  const ids = blockOps.get(block + "/optimizer") || [];
  return sortable(["op", "name", "takes", "makes"], ids.map((id) => {
    const op = report.ops[id];
    const takes = op.inputs.filter((v) => v >= 0).slice(0, 6).map((v) => h("div", null, report.values[v].part === "backward" ? "gradient of " : "", shortName(report.values[v].name, block), " ", layoutPills(report.values[v].layout)));
    if (op.inputs.length > 6) takes.push(h("div", { class: "soft" }, "and " + (op.inputs.length - 6) + " more"));
    const makes = op.outputs.map((v) => h("div", null, layoutPills(report.values[v].layout)));
    return [cell(op.kind), nameCell(shortName(op.name, block)), cell(takes.length + op.inputs.length, { content: takes }), cell(makes.length, { content: makes })];
  }));
}

const shownParts = new Set(location.hash === "#everything" ? PARTS : ["forward", "backward"]);

function fillBlock(holder, block) {
  holder.replaceChildren(...PARTS.filter((part) => shownParts.has(part) && blockOps.has(block + "/" + part)).map((part) =>
    h("div", { class: "part" }, h("h3", null, part, h("span", { class: "soft" }, " " + PART_NOTES[part])),
      part === "optimizer" ? optimizerTable(block) : drawPart(block, part))));
  if (holder.childElementCount === 0) holder.append(h("p", { class: "soft" }, "Nothing of the chosen parts."));
}
const PART_NOTES = {
  forward: "from the input to the loss, top to bottom",
  backward: "gradients, from the loss back",
  optimizer: "once a step: norm of the gradients, new parameters and states",
};

function blockSummary(block, repeats) {
  const ops = report.ops.filter((op) => op.block === block);
  const own = report.conversions.filter((c) => report.ops[c.op].block === block && c.bytes > 0);
  const bytes = own.reduce((sum, c) => sum + stepBytes(c), 0);
  const times = repeats.length > 0 ? " \u00d7 " + (repeats.length + 1) : "";
  const same = repeats.length > 0
    ? "the same: " + (repeats.length > 2 ? repeats[0] + " to " + repeats[repeats.length - 1] : repeats.join(" and ")) + "; " : "";
  return h("summary", null, h("b", null, report.blocks[block].name + times),
    h("span", { class: "soft" }, same + plural(ops.length, "op") + ", " + (own.length > 0
      ? plural(own.length, "conversion") + " that send " + bytesText(bytes) + " a step" + (repeats.length > 0 ? " each" : "")
      : "nothing is sent")));
}

function graphSection() {
  const holders = [];
  const blocks = report.blocks.map((block, b) => ({ block, b })).filter(({ block, b }) =>
    block.same_as < 0 && report.ops.some((op) => op.block === b));
  const first = blocks.find(({ block }) => /\d/.test(block.name)) || blocks[0];
  const details = blocks.map(({ b }) => {
    const repeats = report.blocks.filter((other) => other.same_as === b).map((other) => other.name);
    const holder = h("div", { class: "parts" });
    const item = h("details", { class: "block", ontoggle: () => { if (item.open) fillBlock(holder, b); } }, blockSummary(b, repeats), holder);
    holders.push([item, holder, b]);
    if (first && b === first.b) { item.open = true; fillBlock(holder, b); }
    return item;
  });
  const toggles = PARTS.map((part) => h("button", {
    "aria-pressed": String(shownParts.has(part)),
    onclick: (event) => {
      if (!shownParts.delete(part)) shownParts.add(part);
      event.target.setAttribute("aria-pressed", String(shownParts.has(part)));
      for (const [item, holder, b] of holders) if (item.open) fillBlock(holder, b);
    },
  }, part));
  return section("graph", "Graph by layer",
    h("p", { class: "soft" }, "Each box is an op, each edge a value with its layout. Red boxes are conversions: what they do, what they send in a step over all ranks, and, when you point at one, why it is there; dashed ones send nothing. Equal layers are drawn once."),
    h("div", { class: "controls" }, "Show", toggles),
    legend([["forward", "forward"], ["backward", "backward"], ["convert", "conversion of layout"]]), details);
}
