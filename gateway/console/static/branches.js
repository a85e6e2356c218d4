// Each branch: what it serves, to whom, how it does, and how it stands.

import { at, chip, h, show, text, unseen } from "./dom.js";
import { ago, count, latency, NONE, number, rate, share, short } from "./format.js";
import { paint } from "./colours.js";

const rows = new Map();

export function update(snapshot, now) {
  const { branches, branches_left_out: out } = snapshot;
  const body = at("branches-body");
  let list = body.querySelector("tbody");
  if (list === null) {
    body.replaceChildren(table());
    list = body.querySelector("tbody");
  }
  const names = branches.map((one) => one.name);
  for (const name of rows.keys()) if (!names.includes(name)) rows.delete(name);
  for (const one of branches) {
    if (!rows.has(one.name)) rows.set(one.name, row(one));
    fill(rows.get(one.name), one, now);
  }
  const elements = names.map((name) => rows.get(name).element);
  if (elements.some((one, place) => list.children[place] !== one) || list.children.length !== elements.length) {
    list.replaceChildren(...elements);
  }
  text(at("branches-aside"), `${count(branches.length + out)} configured${out ? `, ${count(out)} not shown` : ""}, epoch ${snapshot.epoch}`);
}

function table() {
  const head = [["c-name", "Branch and commit"], ["c-share", "Users"], ["c-now", "Last minute"], ["c-figures", "Figures"], ["", "State"]];
  return h(
    "table", { class: "branches", role: "table" },
    h("caption", { class: "unseen" }, "Each branch with its commit, share of the users, traffic of the last minute, figures and state"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map(([name, words]) => h("th", { scope: "col", role: "columnheader", class: name }, words)))),
    h("tbody", { role: "rowgroup" }),
  );
}

function row(one) {
  const cells = Object.fromEntries(["share", "now", "figures", "state"].map((name) => [name, h("td", { role: "cell", class: name })]));
  const who = h("th", { scope: "row", role: "rowheader" });
  return { who, cells, element: h("tr", { role: "row", "data-branch": one.name }, who, Object.values(cells)) };
}

function fill({ who, cells }, one, now) {
  const { serving } = one;
  const waits = one.wanted && serving && one.wanted !== serving.commit ? one.wanted : null;
  show(who, [one.name, serving, one.baseline, one.shadow, waits, one.accelerated], () => [
    h("div", { class: "who" }, paint(h("span", { class: "key" }), one.name), one.name,
      one.baseline ? h("span", { class: "tag" }, "baseline") : null,
      one.shadow ? h("span", { class: "tag" }, "shadow") : null),
    h("div", { class: "commit" },
      serving
        ? [h("span", { class: "hash", title: serving.commit }, short(serving.commit)), " ", h("span", { class: "subject" }, serving.subject ?? ""),
          h("div", { class: "by" }, serving.author ? `${serving.author}, ` : "", h("span", { class: "age" }))]
        : h("span", { class: "by" }, "serves nothing yet"),
      waits ? h("div", { class: "by" }, "newest is ", h("span", { class: "hash" }, short(waits))) : null),
  ]);
  if (serving) text(who.querySelector(".age"), serving.committed_at ? `committed ${ago(serving.committed_at, now)}` : `served since ${ago(serving.since, now)}`);

  const traffic = one.now?.traffic ?? null;
  show(cells.share, [one.name, one.share, one.weight, one.shadow, one.allocation?.state], () => {
    if (one.shadow) return [h("span", { class: "strong" }, "none"), h("div", { class: "small" }, `copies of ${share(one.shadow.share)}`)];
    const fillOf = paint(h("i"), one.name);
    fillOf.style.width = `${one.share * 100}%`;
    return [
      unseen("Users: "), h("span", { class: "strong" }, share(one.share)), h("div", { class: "bar", "aria-hidden": "true" }, fillOf),
      h("div", { class: "small" }, one.allocation ? `by the gateway, ${one.allocation.state}` : `weight ${number(one.weight)}`, h("span", { class: "traffic" })),
    ];
  });
  if (!one.shadow) text(cells.share.querySelector(".traffic"), traffic === null ? "" : `, ${share(Number(traffic.toFixed(3)))} of traffic`);

  const seen = one.now ?? {};
  show(cells.now, [one.name, Boolean(seen.fallback_ratio)], () =>
    h("dl", { class: "pairs" }, pair("requests", "rate"), pair("no answer", "errors"), seen.fallback_ratio ? pair("by baseline", "fallbacks") : null, pair("p50 / p99", "latency")));
  const cell = (name) => cells.now.querySelector(`[data-of="${name}"]`);
  text(cell("rate"), seen.requests ? `${rate(seen.per_second)} /s` : NONE);
  text(cell("errors"), seen.requests ? share(seen.error_ratio) : NONE);
  cell("errors").dataset.tone = (seen.error_ratio ?? 0) >= 0.05 ? "bad" : (seen.error_ratio ?? 0) >= 0.01 ? "watch" : "";
  if (seen.fallback_ratio) text(cell("fallbacks"), share(seen.fallback_ratio));
  text(cell("latency"), seen.requests && seen.p50 !== null ? `${latency(seen.p50)} / ${latency(seen.p99)}` : NONE);

  show(cells.figures, [one.figures, one.live], () => figures(one));
  const drift = one.drift?.severity;
  show(cells.state, [one.word, one.tone, one.text, drift, Boolean(serving)], () => [
    h("div", { class: "state" }, unseen("State: "), chip(one.tone, one.word), " ", drifted(drift), h("p", { class: "text" }, one.text), serving ? h("p", { class: "small since" }) : null),
  ]);
  if (serving) text(cells.state.querySelector(".since"), `since ${ago(serving.since, now)}`);
}

const pair = (name, of) => [h("dt", {}, name), h("dd", { "data-of": of })];

function drifted(severity) {
  if (severity === "warn") return chip("idle", "slight drift");
  return severity === "alert" || severity === "critical" ? chip("watch", `drift: ${severity}`) : null;
}

/** What metrics/model.json says beside what outcomes say, by name. */
function figures(one) {
  const live = new Map(Object.entries(one.live));
  const shown = one.figures.filter(([, value]) => typeof value === "number").slice(0, 4).map(([name, value]) => {
    const found = [...live.keys()].find((other) => other.toLowerCase() === name.toLowerCase());
    const beside = found === undefined ? null : live.get(found).value;
    live.delete(found);
    return [name, number(value), beside === null ? NONE : number(beside)];
  });
  for (const [name, { value }] of live) if (shown.length < 5) shown.push([name, NONE, number(value)]);
  if (!shown.length) return h("span", { class: "small" }, "No metrics/model.json, and no outcomes yet");
  return h(
    "dl", { class: "grid3" },
    h("div", { class: "head3", "aria-hidden": "true" }, h("span"), h("span", {}, "trained"), h("span", {}, "live")),
    shown.map(([name, trained, now]) => h("div", {}, h("dt", {}, name), h("dd", {}, unseen("trained "), trained), h("dd", {}, unseen("live "), h("b", {}, now)))),
  );
}
