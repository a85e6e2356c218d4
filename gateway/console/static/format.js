// Figures and times as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const NONE = "–";
const missing = (value) => value === null || value === undefined || Number.isNaN(value);

export function count(value) {
  return missing(value) ? NONE : whole.format(value);
}

/** Three significant digits, without an exponent where it can be. */
export function number(value) {
  if (missing(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  if (size >= 1000) return whole.format(value);
  return String(Number(value.toPrecision(size >= 1 ? 4 : 3)));
}

export function rate(value) {
  if (missing(value)) return NONE;
  if (value >= 100) return whole.format(value);
  return value === 0 ? "0" : value.toFixed(value >= 10 ? 1 : 2);
}

export function share(value) {
  if (missing(value)) return NONE;
  const percent = value * 100;
  if (percent === 0) return "0\u00a0%";
  if (percent < 0.01) return "<\u00a00.01\u00a0%";
  return `${Number(percent.toPrecision(percent >= 10 ? 3 : 2))}\u00a0%`;
}

export function signed(value, relative) {
  if (missing(value)) return NONE;
  if (value === 0) return relative ? "0\u00a0%" : "0";
  const shown = relative ? value * 100 : value;
  const digits = Number(Math.abs(shown).toPrecision(3));
  const sign = shown > 0 ? "+" : "−";
  return `${sign}${number(digits)}${relative ? "\u00a0%" : ""}`;
}

/** Seconds as the unit that suits them: [figure, unit]. */
export function duration(seconds) {
  if (missing(seconds)) return [NONE, ""];
  if (seconds >= 1) return [seconds.toFixed(seconds >= 10 ? 0 : 1), "s"];
  const ms = seconds * 1000;
  return [ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2), "ms"];
}

export const latency = (seconds) => duration(seconds).join(" ").trim();

export function ago(stamp, now) {
  const seconds = Math.max(0, (now - Date.parse(stamp)) / 1000);
  if (Number.isNaN(seconds)) return NONE;
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  const days = Math.round(seconds / 86400);
  if (days < 60) return `${days} days ago`;
  if (days < 700) return `${Math.round(days / 30.4)} months ago`;
  return `${Math.round(days / 365.25)} years ago`;
}

const two = (value) => String(value).padStart(2, "0");
export function clock(when, seconds = true) {
  const at = new Date(when);
  return `${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ""}`;
}
export function day(when) {
  return new Date(when).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
}
export const short = (commit) => (commit ?? "").slice(0, 7);
