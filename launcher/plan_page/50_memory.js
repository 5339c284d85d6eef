// Memory of a rank over one step: what is live, piled up by what it is for.

const CATEGORY_COLOURS = { variables: "variables", inputs: "inputs", activations: "activations", gradients: "gradients",
  optimizer: "optimizer-memory", workspace: "workspace" };
const CATEGORY_TEXTS = { variables: "variables (parameters, optimizer states)", inputs: "inputs", activations: "activations",
  gradients: "gradients", optimizer: "optimizer's values", workspace: "kernels' workspace" };

// Round steps of an axis: about `count` of them up to `most`.
function ticksOf(most, count, base) {
  const raw = most / count;
  const power = Math.pow(base, Math.floor(Math.log(raw) / Math.log(base)));
  const factors = base === 10 ? [1, 2, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  const step = power * factors.find((f) => f * power >= raw);
  const ticks = [];
  for (let at = 0; at <= most * 1.0001; at += step) ticks.push(at);
  return ticks;
}

function memoryPicture(rank, width) {
  const memory = rank.memory;
  const height = width < 600 ? 220 : 300;
  const box = { left: 66, right: 12, top: 26, bottom: 26 };
  const curve = memory.curve;
  const end = curve[curve.length - 1][0];
  const planned = memory.arena_bytes + memory.variable_bytes;
  const x = (seconds) => box.left + (width - box.left - box.right) * (end > 0 ? seconds / end : 0);
  const y = (bytes) => height - box.bottom - (height - box.top - box.bottom) * bytes / (planned * 1.02);
  const total = (point) => point.slice(1).reduce((sum, bytes) => sum + bytes, 0);
  const svg = s("svg", { width, height, role: "img", "aria-label": "memory over time" });
  for (const bytes of ticksOf(planned, 4, 1024)) {
    svg.append(s("line", { x1: box.left, x2: width - box.right, y1: y(bytes), y2: y(bytes), stroke: "var(--line)" }),
      s("text", { x: box.left - 6, y: y(bytes) + 4, "text-anchor": "end" }, bytesText(bytes)));
  }
  for (const seconds of ticksOf(end, width < 600 ? 3 : 8, 10)) {
    svg.append(s("text", { x: x(seconds), y: height - 8, "text-anchor": "middle" }, secondsText(seconds)));
  }
  const base = curve.map(() => 0);
  report.memory_categories.forEach((category, c) => {
    const upper = curve.map((point, i) => base[i] + point[c + 1]);
    const forward = [];
    const back = [];
    curve.forEach((point, i) => {
      const until = i + 1 < curve.length ? curve[i + 1][0] : end;
      forward.push(x(point[0]).toFixed(1) + " " + y(upper[i]).toFixed(1), x(until).toFixed(1) + " " + y(upper[i]).toFixed(1));
      back.push(x(point[0]).toFixed(1) + " " + y(base[i]).toFixed(1), x(until).toFixed(1) + " " + y(base[i]).toFixed(1));
    });
    const below = [];
    for (let i = back.length - 2; i >= 0; i -= 2) below.push(back[i + 1], back[i]);
    svg.append(s("path", { d: "M" + forward.concat(below).join("L") + "Z", fill: "var(--" + CATEGORY_COLOURS[category] + ")" }));
    upper.forEach((bytes, i) => { base[i] = bytes; });
  });
  svg.append(s("line", { x1: box.left, x2: width - box.right, y1: y(planned), y2: y(planned), stroke: "var(--ink)", "stroke-dasharray": "6 4" }),
    s("text", { x: width - box.right, y: y(planned) - 7, "text-anchor": "end", class: "halo" }, "set aside: " + bytesText(planned)));
  const cursor = s("line", { y1: box.top, y2: height - box.bottom, stroke: "var(--ink)", visibility: "hidden" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const seconds = Math.max(0, Math.min(end, (event.clientX - svg.getBoundingClientRect().left - box.left) / (width - box.left - box.right) * end));
    const point = curve.filter((p) => p[0] <= seconds).pop() || curve[0];
    cursor.setAttribute("x1", x(seconds)); cursor.setAttribute("x2", x(seconds)); cursor.setAttribute("visibility", "visible");
    const live = memory.holders.filter((holder) => holder.category !== "variables" &&
      holder.lifetimes.some(([from, until]) => from <= seconds && seconds < until)).slice(0, 6);
    showTip(event, h("b", null, "at " + secondsText(seconds) + ": " + bytesText(total(point)) + " live"),
      ...report.memory_categories.map((category, c) => (point[c + 1] > 0 ? CATEGORY_TEXTS[category] + ": " + bytesText(point[c + 1]) : null)).reverse(),
      live.length > 0 ? h("b", null, "largest in the arena now") : null, ...live.map((holder) => bytesText(holder.bytes) + " " + holder.name));
  });
  svg.addEventListener("pointerleave", () => { hideTip(); cursor.setAttribute("visibility", "hidden"); });
  return svg;
}

function memorySection() {
  const holder = h("div");
  const picture = h("div");
  let rank = report.ranks[0];
  const draw = () => {
    if (!rank || rank.memory.curve.length === 0) return;
    picture.replaceChildren(memoryPicture(rank, Math.max(300, picture.clientWidth || 1000)));
  };
  const describe = () => {
    const memory = rank.memory;
    const over = memory.lower_bound_bytes > 0 ? 100 * (memory.arena_bytes / memory.lower_bound_bytes - 1) : 0;
    holder.replaceChildren(
      h("p", { class: "soft" }, "Variables take " + bytesText(memory.variable_bytes) + ". All else shares one arena of " + bytesText(memory.arena_bytes) +
        ", " + over.toFixed(1) + " % more than the most that is live at once (" + bytesText(memory.lower_bound_bytes) + "): values whose lives do not overlap share memory. Point at the picture to see what is live."),
      picture,
      legend(report.memory_categories.map((c) => [CATEGORY_COLOURS[c], CATEGORY_TEXTS[c]])),
      tableOf("Holders of memory", "what is kept, from its first write to its last read", () => sortable(
        ["value", ">bytes", ">slots", "part of the tensor", "for", "written by", "last read by", ">lives, total"],
        memory.holders.map((m) => [nameCell(m.name), bytesCell(m.bytes), cell(m.slots), cell(m.part), cell(m.category),
          nameCell(m.from), nameCell(m.until),
          m.lifetimes.length > 0 ? secondsCell(m.lifetimes.reduce((sum, [from, until]) => sum + until - from, 0)) : cell(Infinity, { content: "always" })]), 1, true)));
    draw();
  };
  addEventListener("resize", draw);
  const choose = report.ranks.length > 1 ? h("label", { class: "controls" }, "On ", h("select", { onchange: (event) => { rank = report.ranks[event.target.value]; describe(); } },
    report.ranks.map((r, i) => h("option", { value: i }, ranksText(r.rank) + stageText(r.stage))))) : null;
  const result = section("memory", "Memory over time", choose, holder);
  if (rank) describe();
  result.draw = draw;
  return result;
}
