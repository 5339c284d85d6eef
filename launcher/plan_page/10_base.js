"use strict";
// The report, elements, and how numbers read. What fails says so on the page, and to a test.

function fail(message) {
  document.documentElement.dataset.failure = message;
  const box = document.createElement("div");
  box.id = "failure";
  box.textContent = "This page could not be drawn: " + message;
  document.getElementById("page").prepend(box);
}
window.addEventListener("error", (event) => fail(event.message));
window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));

const report = JSON.parse(document.getElementById("report").textContent);
const PARTS = ["forward", "backward", "optimizer"];

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") element.style.cssText = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) element.append(child);
  return element;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let value = bytes;
  while (Math.abs(value) >= 1024 && unit + 1 < units.length) { value /= 1024; ++unit; }
  return (unit === 0 ? String(value) : value.toPrecision(3)) + " " + units[unit];
}
function secondsText(seconds) {
  if (seconds === 0) return "0";
  const steps = [[1, "s"], [1e-3, "ms"], [1e-6, "us"], [1e-9, "ns"]];
  const [size, unit] = steps.find(([size]) => Math.abs(seconds) >= size) || steps[3];
  return Number((seconds / size).toPrecision(3)) + " " + unit;
}
const countText = (count) => count.toLocaleString("en-US");
const plural = (count, one) => countText(count) + " " + one + (count === 1 ? "" : "s");

// "0-3, 6" of [0, 1, 2, 3, 6].
function rangesText(numbers) {
  const ranges = [];
  for (const n of numbers) {
    const last = ranges[ranges.length - 1];
    if (last && last[1] === n - 1) last[1] = n;
    else ranges.push([n, n]);
  }
  return ranges.map(([a, b]) => (a === b ? String(a) : a + "-" + b)).join(", ");
}

// The ranks that the report says nothing else of than of this one: "rank 0" or "ranks 0-7, 64-71, ...".
function ranksText(rank, most = 4) {
  const same = report.rank_classes.find((c) => c.ranks.includes(rank)).ranks;
  if (same.length === 1) return "rank " + rank;
  const ranges = rangesText(same).split(", ");
  return "ranks " + (ranges.length <= most ? ranges.join(", ") : ranges.slice(0, most).join(", ") + ", \u2026 (" + same.length + ")");
}
// What is said of `rank`'s stage, where there are several.
const stageText = (stage) => (report.stages.length > 1 ? ", stage " + stage : "");
const stageOf = (rank) => report.stages.findIndex((s) => s.ranks.includes(rank));

// Layouts are texts "[data:S(0), model:B]"; axes of one rank do not matter to anyone.
const axisSizes = new Map(report.meshes.flatMap((m) => m.axes.map((a) => [a.name, a.size])));
function axesOf(layout) {
  return layout.slice(1, -1).split(", ").filter((axis) => axis !== "");
}
function layoutText(layout) {
  return axesOf(layout).join(" ") || "whole";
}
function layoutPills(layout) {
  const axes = axesOf(layout);
  if (axes.length === 0) return [h("span", { class: "pill" }, "whole")];
  return axes.map((axis) => {
    const kind = axis.split(":")[1][0];
    return h("span", { class: "pill" + (kind === "S" ? " split" : kind === "P" ? " partial" : "") }, axis);
  });
}

const tip = document.getElementById("tip");
function showTip(event, ...lines) {
  tip.replaceChildren(...lines.filter((line) => line).map((line) => h("div", null, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, innerWidth - box.width - 6);
  const below = event.clientY + 16;
  const top = below + box.height < innerHeight ? below : event.clientY - box.height - 10;
  tip.style.left = Math.max(4, left) + "px";
  tip.style.top = Math.max(4, top) + "px";
}
const hideTip = () => { tip.hidden = true; };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function section(id, title, ...children) {
  return h("section", { id }, h("h2", null, title), ...children);
}
function legend(items) {
  return h("div", { class: "legend" }, items.map(([name, text]) =>
    h("span", null, h("span", { class: "swatch", style: "background: var(--" + name + ")" }), text)));
}

const conversionOfOp = new Map(report.conversions.map((c) => [c.op, c]));
const stepBytes = (conversion) => conversion.bytes * conversion.firings;
// Names without what is said beside them: the part's and the block's scope, the layout of a conversion.
function shortName(name, block) {
  const plain = name.replace(/^(grad|optimizer|clip)\./, "").replace(/ as \[[^\]]*\](_\d+)?$/, "");
  const scope = report.blocks[block] ? report.blocks[block].name + "." : "";
  return plain.startsWith(scope) ? plain.slice(scope.length) : plain;
}
