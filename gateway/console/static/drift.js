// How far the rows of a branch have moved, the worst columns first, each with its distribution.

import { at, chip, empty, h, more, show, svg } from "./dom.js";
import { clock, count, number, share } from "./format.js";

const FEWEST = 10;
const RANKS = { critical: 4, alert: 3, warn: 2, ok: 1, insufficient: 0 };
const TONES = { critical: ["bad", "critical"], alert: ["watch", "alert"], warn: ["idle", "slight"], ok: ["good", "as before"], insufficient: ["idle", "too few rows"] };
const REASONS = { missing: "more missing", invalid: "of another type", range: "outside the range", new_category: "new values" };
const DERIVED = { __prediction__: "predictions", __score__: "scores", __latency_ms__: "latency, ms" };

let chosen = null;
let loaded = null;
let asking = false;
let report = null;
let whole = false;

export function update({ branches }) {
  const served = branches.filter((one) => one.serving);
  if (!served.length) return;
  if (!served.some((one) => one.name === chosen)) chosen = [...served].sort((a, b) => (RANKS[b.drift?.severity] ?? -1) - (RANKS[a.drift?.severity] ?? -1))[0].name;
  choice(served);
  const one = served.find((branch) => branch.name === chosen);
  const key = JSON.stringify([chosen, one.drift, one.serving.fingerprint]);
  // Before there is a window its filling is news by itself, though not each second.
  const stale = report?.state !== "measured" && Date.now() - (loaded?.at ?? 0) > 5000;
  if (asking || (loaded?.key === key && !stale)) return;
  asking = true;
  fetch(`branches/${encodeURIComponent(one.folder)}/drift`, { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`))))
    .then((found) => {
      loaded = { key, at: Date.now() };
      report = found;
      draw();
    })
    .catch(() => { /* the next snapshot asks again */ })
    .finally(() => { asking = false; });
}

function choice(served) {
  show(at("drift-branches"), [chosen, served.map((one) => [one.name, one.drift?.severity])], () => served.map((one) => h("button", {
    type: "button", "aria-pressed": String(one.name === chosen), "data-focus": one.name,
    onclick: () => { chosen = one.name; loaded = null; whole = false; choice(served); },
  }, h("span", { class: "dot", "data-tone": TONES[one.drift?.severity]?.[0] ?? "idle", "aria-hidden": "true" }), one.name)));
}

const excess = (one) => (one.psi ?? 0) - (one.psi_null ?? 0);
const badness = (a, b) => (RANKS[b.severity] ?? 0) - (RANKS[a.severity] ?? 0) || excess(b) - excess(a);

function waiting() {
  if (report.trouble) return empty(`There is nothing to compare with: ${report.trouble}`);
  if (report.state === "collecting") return empty(`The first rows of this content become its reference: ${count(report.collected?.rows)} of ${count(report.collected?.of)} are there. A metrics/reference.json in the branch would save the wait; gateway profile makes one.`);
  if (report.open) return empty(`The first window is filling: ${count(report.open.rows)} rows since ${clock(report.open.start)}. It closes at ${clock(report.open.ends)} if at least ${count(report.rules?.least_rows)} rows are in it.`);
  return empty("No rows of this content have been measured yet. Predictions fill a window, and windows are compared with metrics/reference.json or with the training data.");
}

function draw() {
  const body = at("drift-body");
  if (report.state !== "measured") {
    show(body, report, waiting);
    return;
  }
  show(body, [report.branch, report.window, whole], () => {
    const columns = report.columns.filter((one) => one.kind !== "skipped").sort(badness);
    const moved = columns.filter((one) => (RANKS[one.severity] ?? 0) > 1);
    const shown = whole ? columns : columns.slice(0, Math.max(FEWEST, Math.min(moved.length, 12)));
    const { window: seen, reference } = report;
    const [tone, word] = TONES[report.severity] ?? ["idle", "not judged"];
    return [
      h("div", { class: "drift-said" }, chip(tone, word), h("span", {},
        moved.length ? `${count(moved.length)} of ${count(columns.length)} columns moved` : `None of ${count(columns.length)} columns moved`,
        `, ${count(seen.rows)} rows from ${clock(seen.start)} to ${clock(seen.end)}, beside ${count(reference?.n)} of ${reference?.live ? "its first rows" : "training"}.`),
      h("span", { class: "legend" }, h("span", {}, h("span", { class: "swatch" }), "reference"), h("span", {}, h("span", { class: "swatch window" }), "window"))),
      h("ul", { class: "columns" }, shown.map(card)),
      columns.length > shown.length || whole ? more(whole, "Show the worst ones alone", `Show all ${count(columns.length)} columns`, () => { whole = !whole; draw(); }) : null,
    ];
  });
}

function card(one) {
  const [tone, word] = TONES[one.severity] ?? ["idle", one.severity];
  const name = DERIVED[one.column] ?? one.column;
  return h("li", {},
    h("div", { class: "title" }, h("span", {}, name), chip(tone, word)),
    one.labels.length ? [distribution(one, name), ends(one)] : h("p", { class: "small" }, "no values to draw"),
    h("p", { class: "facts" }, facts(one).join(", ")));
}

function facts(one) {
  const found = [];
  if (one.psi !== null) found.push(`PSI ${number(one.psi)} (${number(one.psi_null)} by chance)`);
  if (one.mean !== null && one.mean_ref !== null && one.kind !== "date") found.push(`mean ${number(one.mean_ref)} → ${number(one.mean)}`);
  for (const reason of (one.reason || "").split(";")) if (REASONS[reason]) found.push(REASONS[reason]);
  if (one.missing_rate) found.push(`${share(one.missing_rate)} missing`);
  return found.length ? found : ["nothing to tell"];
}

const TO = /^([-+.\de]+) to ([-+.\de]+)$/;

/** The bounds of bins as numbers, with ends of ordinary width for the two that are open. */
function edges(labels) {
  const inner = labels.map((label) => TO.exec(label)).filter(Boolean).map((found) => [Number(found[1]), Number(found[2])]);
  if (inner.length < labels.length - 2 || inner.length < 2 || inner.flat().some(Number.isNaN)) return null;
  const bounds = [inner[0][0], ...inner.map((pair) => pair[1])];
  const typical = (bounds[bounds.length - 1] - bounds[0]) / inner.length;
  if (!(typical > 0)) return null;
  if (/^up to /.test(labels[0])) bounds.unshift(bounds[0] - typical * 1.5);
  if (/^above /.test(labels[labels.length - 1])) bounds.push(bounds[bounds.length - 1] + typical * 1.5);
  return bounds.length === labels.length + 1 ? bounds : null;
}

function distribution(one, name) {
  const bounds = one.kind === "categorical" ? null : edges(one.labels);
  const top = one.labels.map((label, i) => [label, one.current[i] - one.reference[i]]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))[0];
  const words = `${name}: distribution in the reference and in the window. The largest change is ${top[0]}, ${share(Math.abs(top[1]))} ${top[1] >= 0 ? "more" : "less"} of the rows.`;
  const picture = svg("svg", { viewBox: "0 0 200 64", preserveAspectRatio: "none", role: "img", "aria-label": words });
  if (bounds === null) picture.append(...bars(one));
  else picture.append(...steps(one, bounds));
  return picture;
}

function steps(one, bounds) {
  const density = (row) => row.map((part, i) => part / Math.max(bounds[i + 1] - bounds[i], 1e-12));
  const [before, now] = [density(one.reference), density(one.current)];
  const highest = Math.max(...before, ...now) || 1;
  const x = (value) => (200 * (value - bounds[0])) / (bounds[bounds.length - 1] - bounds[0]);
  const y = (value) => 62 - 58 * (value / highest);
  const line = (row) => row.map((value, i) => `L${x(bounds[i]).toFixed(1)} ${y(value).toFixed(1)}H${x(bounds[i + 1]).toFixed(1)}`).join("");
  return [
    svg("path", { class: "reference-fill", d: `M0 62${line(before)}V62Z` }),
    svg("path", { class: "window-fill", d: `M0 62${line(now)}V62Z` }),
    svg("path", { class: "window-line", d: `M0 62${line(now)}V62` }),
  ];
}

function bars(one) {
  const order = one.labels.map((_, i) => i).filter((i) => one.reference[i] || one.current[i]).sort((a, b) => Math.max(one.reference[b], one.current[b]) - Math.max(one.reference[a], one.current[a])).slice(0, 12);
  const highest = Math.max(...order.map((i) => Math.max(one.reference[i], one.current[i]))) || 1;
  const width = 200 / Math.max(order.length, 4);
  return order.flatMap((i, at) => [[one.reference[i], "reference-fill", 0.12], [one.current[i], "window-bar", 0.5]].map(([part, name, offset]) => {
    const height = 58 * (part / highest);
    return svg("rect", { class: name, x: (width * (at + offset)).toFixed(1), y: (62 - height).toFixed(1), width: (width * 0.36).toFixed(1), height: height.toFixed(1) });
  }));
}

function ends(one) {
  const bounds = one.kind === "categorical" ? null : edges(one.labels);
  const words = bounds === null ? [one.labels.slice(0, 3).join(", "), ""] : [number(bounds[0]), number(bounds[bounds.length - 1])];
  return h("div", { class: "axis", "aria-hidden": "true" }, words.map((word) => h("span", {}, word)));
}
