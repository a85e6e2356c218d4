// What the gateway last wrote into each branch.

import { at, empty, h, show, text } from "./dom.js";
import { ago, count, short } from "./format.js";

export function update({ branches, waiting }, now) {
  const told = branches.filter((one) => one.push && (one.push.last || one.push.failure || one.push.diverted));
  show(at("pushes-body"), told.map((one) => [one.name, one.push, one.recorded_rows]), () => {
    if (!told.length) return empty("Rows, drift and results are pushed as commits; the last of each branch stands here.");
    return h("div", { class: "scroller", tabindex: "0", "data-focus": "table", role: "region", "aria-label": "Last pushes, a table" }, h(
      "table", { class: "plain" },
      h("caption", { class: "unseen" }, "The last monitoring commit of each branch"),
      h("thead", {}, h("tr", {}, ["Branch", "Rows", "Commit", "When"].map((words) => h("th", { scope: "col" }, words)))),
      h("tbody", {}, told.map(line)),
    ));
  });
  for (const element of at("pushes-body").querySelectorAll("[data-at]")) text(element, ago(element.dataset.at, now));
  text(at("pushes-aside"), waiting?.chunks ? `${count(waiting.chunks)} ${waiting.chunks === 1 ? "chunk waits" : "chunks wait"}` : "nothing waits");
}

function line({ name, push }) {
  const failed = push.failure && (!push.last || push.failure.ts > push.last.ts) ? push.failure : null;
  const ref = (push.ref ?? "").replace("refs/heads/", "");
  return [
    h("tr", {},
      h("th", { scope: "row" }, name, ref && ref !== name ? h("div", { class: "small" }, `to ${ref}`) : null),
      h("td", {}, count(push.last?.rows)),
      h("td", {}, push.last?.commit ? h("span", { class: "hash" }, short(push.last.commit)) : "–"),
      h("td", { "data-at": push.last?.ts ?? false }, "–")),
    failed ? h("tr", {}, h("td", { class: "left failed", colspan: 4 }, `${name}: not pushed. ${failed.reason}`)) : null,
    push.diverted ? h("tr", {}, h("td", { class: "left", colspan: 4 }, `${name}: to its side branch, as ${push.diverted}`)) : null,
  ];
}
