// Four answers: is it healthy, who gets what, what changed last, which is better.

import { at, chip, h, show, text } from "./dom.js";
import { ago, count, duration, rate, share, short } from "./format.js";
import { paint } from "./colours.js";
import { byNews, stands, track } from "./interval.js";
import { verb } from "./timeline.js";

const answer = (id) => at(`glance-${id}`).querySelector(".answer");
const MOST = 5;

export function update(snapshot, now) {
  health(snapshot);
  split(snapshot);
  change(snapshot, now);
  better(snapshot);
}

function trio(name, id, unit) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { id }), h("span", { class: "unit", id: `${id}-unit` }, unit)));
}

function health({ health: said, now }) {
  const wrongs = said.sentences.slice(0, 3);
  show(answer("health"), [said.tone, said.headline, wrongs], () => [
    h("p", { class: "big", "data-tone": said.tone }, said.headline),
    wrongs.length
      ? h("ul", { class: "wrongs" }, wrongs.map((one) => h("li", {}, one)))
      : h("p", { class: "said" }, "Every branch answers, rows are recorded, the repository is followed."),
    h("dl", { class: "trio" }, trio("Requests", "now-rate", "/s"), trio("No answer", "now-errors", ""), trio("p99", "now-p99", "")),
  ]);
  text(at("now-rate"), rate(now.per_second));
  text(at("now-errors"), share(now.error_ratio));
  const [figure, unit] = duration(now.p99);
  text(at("now-p99"), figure);
  text(at("now-p99-unit"), unit);
}

function split({ branches, branches_left_out: out }) {
  const dealt = branches.filter((one) => one.share > 0);
  const idle = branches.length + out - dealt.length;
  const key = [dealt.map((one) => [one.name, one.share, one.now && Math.round((one.now.traffic ?? -1) * 200)]), idle];
  show(answer("split"), key, () => {
    const shown = dealt.slice(0, MOST);
    const rest = dealt.slice(MOST);
    const bar = h("div", { class: "splitbar", "aria-hidden": "true" }, dealt.map((one) => {
      const part = paint(h("span"), one.name);
      part.style.flexGrow = String(one.share);
      return part;
    }));
    const lines = shown.map((one) => h("li", {}, paint(h("span", { class: "key" }), one.name), h("span", { class: "name", title: one.name }, one.name), h("b", {}, share(one.share))));
    if (rest.length) lines.push(h("li", {}, h("span"), h("span", { class: "name" }, `${rest.length} more`), h("b", {}, share(rest.reduce((sum, one) => sum + one.share, 0)))));
    const traffic = dealt.every((one) => one.now?.traffic !== null && one.now?.traffic !== undefined);
    return [
      bar,
      h("ul", { class: "shares" }, lines),
      h("p", { class: "foot" }, traffic ? `Of the last minute's requests: ${shown.slice(0, 3).map((one) => share(Number(one.now.traffic.toFixed(3)))).join(" / ")}` : "No request in the last minute", idle ? `. ${idle} more without users` : ""),
    ];
  });
}

function change({ timeline, branches }, now) {
  const last = timeline.last_change;
  const serving = last && branches.find((one) => one.name === last.branch)?.serving;
  const told = serving && serving.commit === last.commit ? serving : null;
  show(answer("change"), [last?.number, told], () => {
    if (!last) return h("p", { class: "said" }, "Nothing yet. Swaps, ejections, changed weights and drift are told here.");
    const [, words] = verb(last);
    return [
      h("p", { class: "big name" }, last.branch ? `${last.branch} ` : "", words),
      h("p", { class: "said clamp" }, told ? [h("span", { class: "hash" }, short(told.commit)), " ", told.subject ?? ""] : last.text),
      h("p", { class: "foot" }, told?.author ? `by ${told.author}, ` : "", h("span", { id: "change-ago" })),
    ];
  });
  if (last) text(at("change-ago"), ago(last.at, now));
}

function better({ experiment, branches }) {
  const contrasts = experiment.contrasts;
  const first = [...contrasts].sort(byNews)[0];
  show(answer("better"), [first, contrasts.length, branches.length], () => {
    if (!first) {
      const alone = branches.filter((one) => !one.shadow).length < 2;
      return h("p", { class: "said" }, alone ? "One branch alone: give a second one a weight, and it is compared with the baseline." : "Nothing is compared yet: users of two branches and a metric in gateway.yaml make a comparison.");
    }
    const [tone, word] = stands(first.status);
    return [
      h("p", { class: "big name" }, first.candidate, " ", chip(tone, word)),
      first.interval ? track(first.interval, first.candidate, first.relative, `${first.metric} of ${first.candidate} beside ${first.baseline}`) : null,
      h("p", { class: "said clamp" }, first.reason),
      h("p", { class: "foot clamp" }, contrasts.length > 1 ? `${count(contrasts.length - 1)} more below. ` : "", first.metric ? `By ${first.metric}, beside ${first.baseline}` : `Beside ${first.baseline}`),
    ];
  });
}
