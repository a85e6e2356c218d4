// What happened, newest first.

import { at, empty, h, show, text } from "./dom.js";
import { clock, day, short } from "./format.js";

const KEPT = 500;
const STEP = 12;
const FILTERS = [["all", "All"], ["changes", "Changes"], ["trouble", "Trouble"], ["pushes", "Pushes"]];
const MEANS = {
  serving: ["good", "serves a new commit"],
  quarantined: ["bad", "refused its newest commit"],
  quarantine_ended: ["good", "has a good commit again"],
  ejection_ended: ["good", "answers again"],
};
const ALLOCATED = {
  ejected: ["bad", "is ejected by a guardrail"],
  held: ["watch", "is held"],
  ramping: ["idle", "goes on its ramp"],
  ready: ["good", "is ready to be merged"],
  adaptive: ["idle", "gets an adaptive share"],
  "as configured": ["idle", "has its configured weight again"],
};

let events = [];
let known = -1;
let asking = false;
let filter = "all";
let most = STEP;
const followers = [];

/** `follow(events)` whenever there are new ones. */
export const onEvents = (follow) => followers.push(follow);

/** Tone and words of an event; its branch stands before them. */
export function verb(event) {
  const { kind, word } = event;
  if (kind === "branch") return word === "ejected" ? ["bad", "is ejected"] : (MEANS[word] ?? ["idle", word.replaceAll("_", " ")]);
  if (kind === "allocation") return ALLOCATED[word] ?? ["idle", word];
  if (kind === "configuration") return word === "applied" ? ["good", "A changed configuration is in force"] : ["bad", "A changed configuration was refused"];
  if (kind === "drift") return word === "ok" ? ["good", "no longer drifts"] : [word === "warn" ? "idle" : "watch", `drifts: ${word}`];
  if (kind === "push") return ["idle", "was pushed to"];
  if (kind === "trouble") return word === "push" ? ["watch", "could not be pushed to"] : ["watch", `has trouble: ${word}`];
  return ["idle", "The gateway started"];
}

const passes = {
  all: (one) => one.kind !== "push",
  changes: (one) => ["branch", "allocation", "configuration"].includes(one.kind),
  trouble: (one) => ["bad", "watch"].includes(verb(one)[0]),
  pushes: (one) => one.kind === "push",
};

export function update({ timeline }) {
  buttons();
  if (timeline.newest === known || asking) return;
  asking = true;
  // Fewer than before: another gateway answers, and tells its own story.
  const after = known < 0 || timeline.newest < known ? 0 : known;
  fetch(`console/timeline?after=${after}`, { cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`${answer.status}`))))
    .then((found) => {
      events = (after ? [...events, ...found.events] : found.events).slice(-KEPT);
      tell(after, found.events);
      known = events.length ? events[events.length - 1].number : timeline.newest;
      draw();
      for (const follow of followers) follow(events);
    })
    .catch(() => { /* the next snapshot asks again */ })
    .finally(() => { asking = false; });
}

function tell(after, found) {
  const news = after ? found.filter((one) => one.kind !== "push") : [];
  if (news.length) {
    const last = news[news.length - 1];
    text(at("announcements"), `${last.branch ?? ""} ${verb(last)[1]}. ${last.text}`);
  }
}

function buttons() {
  show(at("timeline-filter"), filter, () => FILTERS.map(([name, words]) => h("button", {
    type: "button", "aria-pressed": String(name === filter), "data-focus": name,
    onclick: () => { filter = name; most = STEP; buttons(); draw(); },
  }, words)));
}

function draw() {
  const found = events.filter(passes[filter]).reverse();
  const shown = found.slice(0, most);
  const body = at("timeline-body");
  show(body, [filter, most, shown.map((one) => one.number), found.length > most], () => {
    if (!shown.length) return empty(filter === "trouble" ? "No trouble is on record." : "Nothing of this kind has happened yet.");
    let today = null;
    const items = [];
    for (const one of shown) {
      const date = day(one.at);
      if (date !== today) items.push(h("li", { class: "day" }, date));
      today = date;
      items.push(item(one));
    }
    return [
      h("ol", { class: "events" }, items),
      found.length > most ? h("button", { class: "more", type: "button", "data-focus": "more", onclick: () => { most += 30; draw(); } }, "Show older ones") : null,
    ];
  });
}

function item(one) {
  const [tone, words] = verb(one);
  return h("li", {},
    h("time", { datetime: one.at }, clock(one.at)),
    h("span", { class: "mark" }, h("span", { class: "dot", "data-tone": tone, "aria-hidden": "true" })),
    h("div", { class: "what" }, one.branch ? h("b", {}, one.branch, " ") : null, words, one.commit ? [" ", h("span", { class: "hash" }, short(one.commit))] : null, one.text ? h("p", {}, one.text) : null));
}
