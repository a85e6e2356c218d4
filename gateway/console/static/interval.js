// An interval on a track around zero, and the words that stand for it.

import { svg } from "./dom.js";
import { paint } from "./colours.js";
import { signed } from "./format.js";

export const STANDS = {
  better: ["good", "better"],
  worse: ["bad", "worse"],
  equivalent: ["good", "equivalent"],
  running: ["idle", "undecided"],
  insufficient: ["idle", "too early"],
  invalid: ["bad", "invalid"],
  stale: ["idle", "over"],
};
/** What says something stands before what does not yet. */
const NEWS = ["better", "worse", "invalid", "equivalent", "running", "insufficient", "stale"];
export const byNews = (a, b) => NEWS.indexOf(a.status) - NEWS.indexOf(b.status);

export const stands = (word) => STANDS[word] ?? ["idle", word];

export function said(bounds, relative) {
  if (!bounds || bounds.estimate === null) return "nothing to say yet";
  const [low, high] = [bounds.low, bounds.high].map((one) => (one === null ? "open" : signed(one, relative)));
  return `${signed(bounds.estimate, relative)}, interval ${low} to ${high}`;
}

/** It goes as far to either side as the farther bound does, and a little more. */
export function track(bounds, name, relative, label) {
  const reach = Math.max(Math.abs(bounds?.low ?? 0), Math.abs(bounds?.high ?? 0), 1e-9) * 1.1;
  const [width, height, middle] = [200, 26, 13];
  const x = (value) => 100 + 96 * Math.max(-1, Math.min(1, value / reach));
  const line = { stroke: "var(--line-strong)", "stroke-width": 1 };
  const picture = svg(
    "svg",
    { class: "interval", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${said(bounds, relative)}` },
    svg("line", { x1: 2, x2: 198, y1: middle, y2: middle, ...line, "vector-effect": "non-scaling-stroke" }),
    svg("line", { x1: 100, x2: 100, y1: 3, y2: 23, ...line, "vector-effect": "non-scaling-stroke", "stroke-dasharray": "2 2" }),
  );
  if (!bounds || bounds.estimate === null) return picture;
  const [low, high] = [bounds.low ?? -reach, bounds.high ?? reach];
  const bar = paint(svg("rect", { x: x(low), y: middle - 3, width: Math.max(1, x(high) - x(low)), height: 6, rx: 1, opacity: 0.35 }), name, "fill");
  const point = paint(svg("rect", { x: x(bounds.estimate) - 1, y: middle - 7, width: 2, height: 14 }), name, "fill");
  picture.append(bar, point);
  return picture;
}
