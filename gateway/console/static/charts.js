// uPlot, as the console draws with it: thin axes, one cursor, colours from the style sheet.

import { token } from "./colours.js";
import { clock } from "./format.js";

const FONT = "11px Inter, system-ui, sans-serif";

export function axes(format, { size = 46, seconds = false } = {}) {
  const common = { stroke: token("--ink-3"), font: FONT, ticks: { show: false } };
  return [
    { ...common, grid: { show: false }, space: 64, size: 24, gap: 6, values: (_, ticks) => ticks.map((at) => clock(at * 1000, seconds || ticks[1] - ticks[0] < 60)) },
    { ...common, grid: { stroke: token("--line"), width: 1 }, size, gap: 6, space: 34, values: (_, ticks) => ticks.map(format) },
  ];
}

/** A plot that fills `element` in width, and goes on doing so. */
export function plot(element, options, data) {
  const made = new uPlot({
    width: Math.max(160, element.clientWidth),
    padding: [8, 26, 0, 0],
    legend: { show: false },
    ...options,
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, width: 2, fill: (chart, i) => chart.series[i].stroke() }, ...options.cursor },
  }, data, element);
  const watcher = new ResizeObserver(() => {
    const width = Math.max(160, element.clientWidth);
    if (width !== made.width) made.setSize({ width, height: made.height });
  });
  watcher.observe(element);
  return { chart: made, end: () => { watcher.disconnect(); made.destroy(); } };
}

/** Draws a line across at each of these moments, which `find` gives as [seconds, colour]. */
export function marks(find) {
  return (chart) => {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const [at, colour] of find()) {
      const x = Math.round(chart.valToPos(at, "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = colour;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };
}
