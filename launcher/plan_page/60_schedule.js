// The step as a timeline: a row for each stream of each rank, a bar for each firing. Canvas, since there
// may be tens of thousands of them.

const ROW = { height: 22, gap: 4, rank: 22, axis: 24, left: 112, leftNarrow: 64 };

// What of [begin, end) lies outside of the sorted, disjoint `covers`.
function outside(begin, end, covers) {
  const pieces = [];
  let at = begin;
  let low = 0;
  let high = covers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (covers[middle][1] <= begin) low = middle + 1; else high = middle;
  }
  for (let i = low; i < covers.length && covers[i][0] < end; ++i) {
    if (covers[i][0] > at) pieces.push([at, covers[i][0]]);
    at = Math.max(at, covers[i][1]);
  }
  if (at < end) pieces.push([at, end]);
  return pieces;
}

function rowsOf(timelines) {
  const rows = [];
  for (const timeline of timelines) {
    const compute = timeline.streams.find((stream) => stream.name === "compute");
    const covers = (compute ? compute.firings : []).map((f) => [f[2], f[3]]);
    timeline.streams.forEach((stream, i) => {
      if (stream.firings.length === 0) return;
      rows.push({ rank: i === 0 ? timeline.rank : null, of: timeline.rank, stream: stream.name, firings: stream.firings,
        covers: stream.name === "communication" ? covers : null });
    });
  }
  return rows;
}

function scheduleView(rows, end) {
  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": "timeline of firings; plus and minus zoom, arrows move" });
  const view = { from: 0, to: end };
  let palette = {};
  const narrow = () => canvas.clientWidth < 600;
  const left = () => (narrow() ? ROW.leftNarrow : ROW.left);
  const tops = [];
  let height = ROW.axis;
  for (const row of rows) {
    if (row.rank !== null) height += ROW.rank;
    tops.push(height);
    height += ROW.height + ROW.gap;
  }
  height += 6;
  canvas.style.height = height + "px";

  const toX = (seconds) => left() + (seconds - view.from) / (view.to - view.from) * (canvas.clientWidth - left() - 8);
  const toSeconds = (x) => view.from + (x - left()) / (canvas.clientWidth - left() - 8) * (view.to - view.from);

  function colourOf(actor, row) {
    if (row.covers) return palette["hidden-comm"];
    if (actor.kind === "feed" || actor.kind === "fetch") return palette.host;
    if (actor.kind === "conversion") return palette.convert;
    return palette[actor.part];
  }

  function drawRow(g, row, top, width) {
    const bottom = ROW.height;
    let lastX = -1;
    for (const [a, microbatch, begin, finish] of row.firings) {
      if (finish < view.from || begin > view.to) continue;
      const x0 = Math.max(left(), toX(begin));
      const x1 = Math.min(width - 8, toX(finish));
      if (x1 < lastX + 0.4 && x1 - x0 < 0.5) continue;  // too small to be seen beside the last one
      lastX = x1;
      const actor = report.actors[a];
      g.fillStyle = colourOf(actor, row);
      g.fillRect(x0, top, Math.max(1, x1 - x0 - (x1 - x0 > 3 ? 1 : 0)), bottom);
      if (row.covers) {
        g.fillStyle = palette.convert;
        for (const [from, to] of outside(begin, finish, row.covers)) {
          const e0 = Math.max(left(), toX(from));
          const e1 = Math.min(width - 8, toX(to));
          if (e1 > e0) g.fillRect(e0, top, Math.max(0.7, e1 - e0), bottom);
        }
      }
      const label = (microbatch >= 0 ? "#" + microbatch + " " : "") + actor.name;
      if (x1 - x0 > 46) {
        g.save();
        g.beginPath(); g.rect(x0, top, x1 - x0 - 4, bottom); g.clip();
        g.fillStyle = palette.label;
        g.fillText(label, x0 + 4, top + 15);
        g.restore();
      }
    }
  }

  function draw() {
    const width = canvas.clientWidth;
    if (width === 0) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    for (const name of ["forward", "backward", "optimizer", "convert", "hidden-comm", "host", "ink", "soft", "line", "card"]) palette[name] = colour(name);
    palette.label = matchMedia("(prefers-color-scheme: dark)").matches ? "#0d1117" : "#ffffff";
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio);
    g.fillStyle = palette.card;
    g.fillRect(0, 0, width, height);
    g.font = "11px system-ui, sans-serif";
    const span = view.to - view.from;
    const ticks = ticksOf(span, narrow() ? 3 : 9, 10);
    const step = ticks.length > 1 ? ticks[1] : span;
    for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
      g.strokeStyle = palette.line;
      g.beginPath(); g.moveTo(toX(at), 16); g.lineTo(toX(at), height); g.stroke();
      g.fillStyle = palette.soft;
      g.fillText(secondsText(Math.abs(at) < step * 1e-6 ? 0 : at), Math.min(toX(at) + 2, width - 44), 12);
    }
    rows.forEach((row, i) => {
      g.fillStyle = palette.ink;
      if (row.rank !== null) {
        g.font = "600 12px system-ui, sans-serif";
        g.fillText(ranksText(row.rank) + stageText(stageOf(row.rank)), 6, tops[i] - 6);
        g.font = "11px system-ui, sans-serif";
      }
      g.fillStyle = palette.soft;
      g.fillText(narrow() ? row.stream.slice(0, 7) : row.stream, 6, tops[i] + 15);
      drawRow(g, row, tops[i], width);
    });
    canvas.dataset.rows = rows.length;
    canvas.dataset.from = view.from;
    canvas.dataset.to = view.to;
  }

  function zoom(factor, at) {
    const span = Math.min(end, Math.max(end / 1e5, (view.to - view.from) * factor));
    const share = (at - view.from) / (view.to - view.from);
    move(at - share * span, span);
  }
  function move(from, span) {
    view.from = Math.max(0, Math.min(end - span, from));
    view.to = view.from + span;
    draw();
  }
  function firingAt(event) {
    const box = canvas.getBoundingClientRect();
    const seconds = toSeconds(event.clientX - box.left);
    const y = event.clientY - box.top;
    const i = tops.findIndex((top) => y >= top && y < top + ROW.height);
    if (i < 0) return null;
    const slack = (view.to - view.from) / canvas.clientWidth;
    const firing = rows[i].firings.find(([, , begin, finish]) => begin - slack <= seconds && seconds < finish + slack);
    return firing ? { row: rows[i], firing } : null;
  }
  function describe({ row, firing: [a, microbatch, begin, finish] }) {
    const actor = report.actors[a];
    const lines = [h("b", null, actor.name),
      "rank " + row.of + ", stream " + row.stream + (microbatch >= 0 ? ", microbatch " + microbatch : ", once a step"),
      secondsText(begin) + " to " + secondsText(finish) + ": " + secondsText(finish - begin)];
    if (row.covers) {
      const exposed = outside(begin, finish, row.covers).reduce((sum, [from, to]) => sum + to - from, 0);
      lines.push(secondsText(exposed) + " of it while nothing computes");
    }
    for (const op of actor.ops) {
      const c = conversionOfOp.get(op);
      if (c) lines.push(c.how + ", " + bytesText(c.bytes) + " over all ranks", "Why: " + c.reason + ".");
    }
    if (actor.kind === "compute") {
      const kinds = actor.ops.slice(0, 8).map((op) => report.ops[op].kind).join(", ");
      lines.push(plural(actor.ops.length, "op") + ": " + kinds + (actor.ops.length > 8 ? ", \u2026" : ""));
    }
    return lines;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, from: view.from }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointermove", (event) => {
    const span = view.to - view.from;
    if (drag) move(drag.from - (event.clientX - drag.x) / (canvas.clientWidth - left() - 8) * span, span);
    const found = firingAt(event);
    if (found) showTip(event, ...describe(found)); else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("dblclick", (event) => zoom(0.4, toSeconds(event.clientX - canvas.getBoundingClientRect().left)));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;  // the page scrolls
    event.preventDefault();
    const delta = event.deltaY || event.deltaX;
    zoom(delta > 0 ? 1.25 : 0.8, toSeconds(event.clientX - canvas.getBoundingClientRect().left));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const span = view.to - view.from;
    const middle = (view.from + view.to) / 2;
    const actions = { "+": () => zoom(0.6, middle), "=": () => zoom(0.6, middle), "-": () => zoom(1.7, middle), "0": () => move(0, end),
      ArrowLeft: () => move(view.from - span / 5, span), ArrowRight: () => move(view.from + span / 5, span) };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return { canvas, draw, zoomIn: () => zoom(0.5, (view.from + view.to) / 2), zoomOut: () => zoom(2, (view.from + view.to) / 2), all: () => move(0, end) };
}

function scheduleSection() {
  const timelines = report.timelines;
  if (timelines.length === 0) return section("schedule", "Schedule", h("p", { class: "soft" }, "No times were asked for."));
  const firings = timelines.flatMap((t) => t.streams.flatMap((stream) => stream.firings));
  const end = firings.reduce((most, f) => Math.max(most, f[3]), 0) || 1e-9;
  const holder = h("div");
  let view = null;
  const show = (count) => {
    view = scheduleView(rowsOf(timelines.slice(0, count)), end);
    holder.replaceChildren(view.canvas);
    view.draw();
  };
  const FEW = 2;
  const controls = h("div", { class: "controls" },
    h("button", { onclick: () => view.zoomIn() }, "Zoom in"), h("button", { onclick: () => view.zoomOut() }, "Zoom out"), h("button", { onclick: () => view.all() }, "Whole step"),
    timelines.length > FEW ? h("label", null, h("input", { type: "checkbox", onchange: (event) => show(event.target.checked ? timelines.length : FEW) }),
      " all " + timelines.length + " kinds of ranks") : null,
    h("span", { class: "soft" }, "drag to move, double-click or Ctrl and wheel to zoom"));
  const result = section("schedule", "Schedule",
    h("p", { class: "soft" }, "One step from its beginning, by modelled times. Each bar is one firing of an actor. A communication bar is pale where computation goes on under it, and red where nothing else does: that time is what communication costs."),
    controls,
    legend([["forward", "forward"], ["backward", "backward"], ["optimizer", "optimizer"], ["convert", "communication that nothing hides; local conversion"], ["hidden-comm", "communication under computation"], ["host", "copies from and to the host"]]),
    holder);
  result.draw = () => (view ? view.draw() : show(FEW));
  return result;
}
