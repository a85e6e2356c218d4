// Requests, what was not answered, and latency: the last 15 minutes, a point a second at the end.

import { at, h, show, text } from "./dom.js";
import { clock, latency, number, rate, share } from "./format.js";
import { axes, marks, plot } from "./charts.js";
import { colour, dash, inOrder, paint, token } from "./colours.js";
import { onEvents, verb } from "./timeline.js";

const SPAN = 900;
const MOST = 1500;
const SMOOTHED = 5;
// Seconds that the picture is wide at least, however new the gateway is.
const LEAST = 180;
const FIGURES = ["requests", "errors", "fallbacks", "p50", "p99"];
const CHARTS = [
  { of: "rate", name: "Requests a second", format: rate, axis: number, least: 1 },
  { of: "lost", name: "No answer, of a branch's requests", format: share, least: 0.02 },
  { of: "p99", name: "Latency, 99 of 100 are faster", format: latency, least: 0.002 },
];

let data = null;
let drawn = [];
let asking = false;
let events = [];
let hovered = null;

onEvents((found) => {
  events = found.filter((one) => ["branch", "configuration", "allocation"].includes(one.kind));
  for (const one of drawn) one.chart.redraw();
});

export function update({ second }) {
  const names = inOrder(Object.keys(second.branches));
  const last = data?.at[data.at.length - 1] ?? 0;
  if (data === null || data.at.length > MOST || names.join() !== data.names.join() || second.at - last > 10) return load();
  if (second.at <= last) return undefined;
  data.at.push(second.at);
  for (const name of names) {
    FIGURES.forEach((figure, place) => data.branches[name][figure].push(second.branches[name][place]));
    derive(data.branches[name], true);
  }
  while (data.at.length && data.at[0] < second.at - SPAN) {
    data.at.shift();
    for (const name of names) for (const row of Object.values(data.branches[name])) row.shift();
  }
  for (const one of drawn) one.chart.setData(rows(one.of));
  readouts();
  return table();
}

/** What is drawn: means over some points before each, which chance alone moves less. */
function derive(branch, onlyLast) {
  const sum = (row, i) => row.slice(Math.max(0, i - SMOOTHED + 1), i + 1).reduce((all, one) => all + one, 0);
  const mean = (i) => sum(branch.requests, i) / Math.min(i + 1, SMOOTHED);
  const ratio = (i) => (sum(branch.requests, i) > 0 ? sum(branch.errors, i) / sum(branch.requests, i) : null);
  const last = branch.requests.length - 1;
  if (onlyLast) {
    branch.rate.push(mean(last));
    branch.lost.push(ratio(last));
  } else {
    branch.rate = branch.requests.map((_, i) => mean(i));
    branch.lost = branch.requests.map((_, i) => ratio(i));
  }
}

function load() {
  if (asking) return;
  asking = true;
  fetch("console/traffic", { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`))))
    .then((found) => {
      data = { at: found.at, branches: found.branches, names: inOrder(Object.keys(found.branches)) };
      for (const name of data.names) derive(data.branches[name], false);
      legend(found.left_out);
      redraw();
    })
    .catch(() => { /* the next snapshot asks again */ })
    .finally(() => { asking = false; });
}

function rows(of) {
  const gaps = of === "p99";
  return [data.at, ...data.names.map((name) => (gaps ? data.branches[name][of].map((one) => one || null) : data.branches[name][of]))];
}

function legend(out) {
  show(at("traffic-legend"), [data.names, out, document.documentElement.dataset.theme], () => [
    ...data.names.map((name) => {
      const line = paint(h("span", { class: "stroke", "aria-hidden": "true" }), name, "border-top-color");
      line.style.borderTopStyle = dash(name).length ? (dash(name)[0] > 3 ? "dashed" : "dotted") : "solid";
      return h("li", {}, line, name);
    }),
    out ? h("li", {}, `${out} quieter ones are left out`) : null,
  ].filter(Boolean));
}

export function redraw() {
  if (data === null || !data.names.length) return;
  for (const one of drawn) one.end();
  const body = at("traffic-body");
  body.replaceChildren(...CHARTS.map(({ of, name }) => h("figure", { class: "chart" }, h("h3", {}, name, h("span", { "data-readout": of })), h("div", { class: "plot", role: "img", "aria-label": `${name}, by branch, over the last 15 minutes; the same stands in the table below` }))));
  drawn = CHARTS.map(({ of, format, axis = format, least }, place) => ({
    of,
    ...plot(body.querySelectorAll(".plot")[place], {
      height: 176,
      scales: { x: { time: true, range: (_, low, high) => [Math.min(low, high - LEAST), high] }, y: { range: (_, low, high) => [0, Math.max(least, (high ?? 0) * 1.12)] } },
      axes: axes(axis, { size: 52 }),
      series: [{}, ...data.names.map((name) => ({ label: name, stroke: colour(name), width: 1.6, dash: dash(name), points: { show: false }, spanGaps: true }))],
      cursor: { sync: { key: "traffic" } },
      hooks: {
        draw: [marks(() => events.map((one) => [Date.parse(one.at) / 1000, verb(one)[0] === "bad" ? token("--bad") : token("--line-strong")]))],
        setCursor: [(chart) => { hovered = chart.cursor.idx ?? null; readouts(); }],
      },
    }, rows(of)),
  }));
  readouts();
  table();
}

/** The figures under the cursor, or the newest, beside each chart's name. */
function readouts() {
  if (data === null || !data.at.length) return;
  const place = hovered ?? data.at.length - 1;
  for (const { of, format } of CHARTS) {
    const element = document.querySelector(`[data-readout="${of}"]`);
    if (element === null) continue;
    const names = data.names.slice(0, 3);
    if (element.children.length !== names.length + 1) {
      element.replaceChildren(h("span"), ...names.map((name) => paint(h("b", { title: name }), name, "color")));
    }
    text(element.children[0], hovered === null ? "" : clock(data.at[place] * 1000));
    names.forEach((name, i) => {
      const value = data.branches[name][of][place];
      text(element.children[i + 1], format(of === "p99" ? value || null : value));
    });
  }
}

function table() {
  const details = at("traffic-figures");
  if (!details.open || data === null || !data.at.length) return;
  const minutes = new Map();
  data.at.forEach((when, i) => {
    const minute = Math.floor(when / 60) * 60;
    if (!minutes.has(minute)) minutes.set(minute, []);
    minutes.get(minute).push(i);
  });
  const mean = (row, picked) => picked.reduce((sum, i) => sum + (row[i] ?? 0), 0) / picked.length;
  const most = (row, picked) => Math.max(...picked.map((i) => row[i] ?? 0)) || null;
  const shown = [...minutes].reverse();
  show(details.querySelector("div"), [data.names, shown.map(([minute, picked]) => [minute, picked.length])], () => h("div", { class: "scroller", tabindex: "0", "data-focus": "table", role: "region", "aria-label": "Traffic, a table" }, h(
    "table", { class: "plain" },
    h("caption", {}, "By minute and branch: requests a second, share without an answer, and the highest p99"),
    h("thead", {}, h("tr", {}, ["Minute", "Branch", "Requests a second", "No answer", "p99"].map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, shown.flatMap(([minute, picked]) => data.names.map((name) => {
      const one = data.branches[name];
      return h("tr", {}, h("th", { scope: "row" }, clock(minute * 1000, false)), h("td", { class: "left" }, name), h("td", {}, rate(mean(one.requests, picked))), h("td", {}, share(mean(one.requests, picked) ? mean(one.errors, picked) / mean(one.requests, picked) : null)), h("td", {}, latency(most(one.p99, picked))));
    }))),
  )));
}

at("traffic-figures").addEventListener("toggle", () => table());
