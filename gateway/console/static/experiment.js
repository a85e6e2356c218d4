// Each comparison: its word, why, and how its interval came to be what it is.

import { at, chip, empty, h, more, refill, text } from "./dom.js";
import { count, number, share, signed } from "./format.js";
import { axes, plot } from "./charts.js";
import { colour, token } from "./colours.js";
import { byNews, said, stands, track } from "./interval.js";

/** So many are drawn; of more, the others stand in a table. */
const MOST = 4;
const DIFFERENCE = ["Difference", "track"];

let whole = false;
let written = null;
let asking = false;
let readout = null;
let courses = {};
let drawn = [];

export function update({ experiment }) {
  if (asking || (readout !== null && experiment.written === written)) return;
  asking = true;
  Promise.all(["experiment", "console/intervals"].map((url) => fetch(url, { cache: "no-store" }).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`))))))
    .then(([found, intervals]) => {
      written = experiment.written;
      [readout, courses] = [found, intervals.contrasts];
      redraw();
    })
    .catch(() => { /* the next snapshot asks again */ })
    .finally(() => { asking = false; });
}

export function redraw() {
  if (readout === null) return;
  const body = at("experiment-body");
  const opened = new Set([...body.querySelectorAll("details[open]")].map((one) => one.dataset.of));
  for (const one of drawn) one.end();
  drawn = [];
  const current = readout.contrasts.filter((one) => one.current).sort(byNews);
  const told = whole ? current : current.slice(0, MOST);
  text(at("experiment-aside"), `salt ${readout.salt}${readout.epoch ? `, epoch ${readout.epoch}` : ""}`);
  if (!current.length) {
    refill(body, readout.trouble ? h("p", { class: "failed" }, `Nothing is counted: ${readout.trouble}`) : empty("Nothing is compared yet. It begins once a second branch with a weight answers users; name a metric under `metrics:` in gateway.yaml, and send what became of predictions to POST /feedback."));
    return;
  }
  refill(body, [readout.trouble ? h("p", { class: "failed" }, `Nothing is counted just now: ${readout.trouble}`) : null, told.map((one) => contrast(one, opened)), others(current.slice(told.length)), current.length > MOST ? more(whole, "Show the foremost alone", `Show all ${count(current.length)} comparisons in full`, () => { whole = !whole; redraw(); }) : null]);
  for (const one of told) course(one, body);
}

function others(rest) {
  if (!rest.length) return null;
  return table("others", `The other ${count(rest.length)}`, ["Branch", "Metric", DIFFERENCE, "Word"], rest.map((one) => {
    const primary = primaryOf(one);
    return h("tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader" }, one.candidate, h("small", {}, `beside ${one.baseline}${one.shadow ? ", as its shadow" : ""}`)),
      h("td", { role: "cell", "data-label": "Metric" }, primary?.name ?? "none"),
      difference(primary, one.candidate),
      h("td", { role: "cell", title: one.reason }, chip(...stands(one.status))));
  }));
}

function table(name, caption, columns, rows) {
  return h("table", { class: `plain metrics ${name}`, role: "table" },
    h("caption", { class: name ? "" : "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) => [column].flat()).map(([words, name]) => h("th", { scope: "col", role: "columnheader", class: name }, words)))),
    h("tbody", { role: "rowgroup" }, rows));
}

function difference(metric, candidate) {
  const bounds = metric && (metric.relative ?? metric.difference);
  const relative = bounds === metric?.relative;
  return h("td", { role: "cell", class: "track" }, track(bounds, candidate, relative, metric?.name ?? "No metric"), bounds ? h("span", { class: "small" }, signed(bounds.estimate, relative)) : null);
}

const primaryOf = (one) => one.metrics.find((metric) => metric.role === "primary");

function contrast(one, opened) {
  const [tone, word] = stands(one.status);
  const primary = primaryOf(one);
  const notes = [...new Set([...one.warnings, ...one.metrics.flatMap((metric) => metric.warnings)])];
  const ratio = one.sample_ratio;
  if (ratio) notes.unshift(ratio.mismatch ? `The split does not hold: ${count(ratio.baseline)} users beside ${count(ratio.candidate)}, where the weights say ${share(ratio.expected)} for ${one.candidate}.` : `The split holds: ${count(ratio.baseline)} users beside ${count(ratio.candidate)}.`);
  return h("article", { class: "contrast", "aria-label": `${one.candidate} beside ${one.baseline}` },
    h("div", { class: "verdict" }, h("h3", {}, one.candidate, " ", h("span", { class: "versus" }, `beside ${one.baseline}${one.shadow ? ", as its shadow" : ""}`)), chip(tone, word)),
    h("p", { class: "reason" }, one.reason, " ", primary?.expected ?? ""),
    h("div", { class: "results" },
      h("figure", { class: "chart" }, h("h3", {}, primary ? `${primary.name}: the interval, look by look` : "No primary metric", h("span", {}, primary ? said(primary.relative ?? primary.difference, primary.relative !== null) : "")), h("div", { class: "plot", "data-contrast": one.contrast })),
      one.metrics.length ? metrics(one) : paired(one)),
    notes.length ? h("details", { class: "figures", "data-of": one.contrast, open: opened.has(one.contrast) }, h("summary", { "data-focus": one.contrast }, `What else is to be known (${notes.length})`), h("ul", { class: "notes" }, notes.map((note) => h("li", {}, note)))) : null);
}

function metrics(one) {
  const breached = new Map(one.guardrails.map((rail) => [rail.name, rail]));
  return table("", `Metrics of ${one.candidate} beside ${one.baseline}`, ["Metric", one.baseline, one.candidate, DIFFERENCE, "Word"], one.metrics.map((metric) => {
    const rail = breached.get(metric.name);
    const [tone, words] = rail ? (rail.breached ? ["bad", "breached"] : ["good", "holds"]) : stands(metric.status);
    return h("tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader" }, metric.name, h("small", {}, metric.role, metric.direction === "down" ? ", less is better" : "")),
      h("td", { role: "cell", "data-label": one.baseline }, number(metric.baseline.value)),
      h("td", { role: "cell", "data-label": one.candidate }, number(metric.candidate.value)),
      difference(metric, one.candidate),
      h("td", { role: "cell", title: metric.reason }, chip(tone, words)));
  }));
}

function paired(one) {
  if (!one.paired.length) return empty("Nothing is counted of it yet.");
  return h("ul", { class: "notes" }, one.paired.map((pair) => h("li", {}, chip(...stands(pair.status)), ` ${pair.metric}: ${pair.reason}`)));
}

function course(one, body) {
  const element = body.querySelector(`[data-contrast="${CSS.escape(one.contrast)}"]`);
  const primary = primaryOf(one);
  const all = (primary && courses[one.contrast]?.[primary.name]) ?? [];
  const unit = all.length ? all[all.length - 1][6] : "relative";
  const points = all.filter((point) => point[6] === unit);
  if (points.length < 2) {
    element.replaceChildren(empty(primary ? `The interval is drawn from its second look on; a look is when outcomes of ${primary.name} are all in.` : "Give a metric the role primary in gateway.yaml, and its interval is drawn here."));
    return;
  }
  const relative = unit === "relative";
  // The first looks know next to nothing: they may run out of the picture.
  const settled = points.slice(Math.floor(points.length / 5));
  const reach = Math.max(...settled.flatMap((point) => [point[2], point[3]].map((value) => Math.abs(value ?? 0)))) * 1.15 || 1;
  const ink = colour(one.candidate);
  const data = [points.map((point) => point[0]), points.map((point) => point[3] ?? reach * 2), points.map((point) => point[2] ?? -reach * 2), points.map((point) => point[1])];
  const words = stands(points[points.length - 1][4])[1];
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `${primary.name} of ${one.candidate} beside ${one.baseline}, ${points.length} looks: first ${signed(points[0][1], relative)}, now ${said({ estimate: points[points.length - 1][1], low: points[points.length - 1][2], high: points[points.length - 1][3] }, relative)}; ${words}`);
  const edge = { stroke: ink, width: 1, alpha: 0.45, points: { show: false } };
  drawn.push(plot(element, {
    height: 210,
    scales: { x: { time: true }, y: { range: () => [-reach, reach] } },
    axes: axes((value) => signed(value, relative), { size: 62 }),
    series: [{}, { ...edge, label: "high" }, { ...edge, label: "low" }, { label: "estimate", stroke: ink, width: 2, points: { show: false } }],
    bands: [{ series: [1, 2], fill: faint(ink) }],
    hooks: { drawAxes: [(chart) => zero(chart)] },
  }, data));
}

function zero(chart) {
  const { ctx, bbox } = chart;
  const y = Math.round(chart.valToPos(0, "y", true));
  ctx.save();
  ctx.strokeStyle = token("--line-strong");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

function faint(ink) {
  return `color-mix(in srgb, ${ink} 14%, transparent)`;
}
