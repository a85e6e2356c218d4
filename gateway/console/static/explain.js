// Why a user gets a branch, asked of the gateway and said in its words.

import { at, h, unseen } from "./dom.js";
import { number, share } from "./format.js";
import { paint } from "./colours.js";

export function listen() {
  at("explain-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = at("explain-body");
    const unit = at("unit").value;
    try {
      const answer = await fetch(`console/explain?${new URLSearchParams({ unit })}`, { cache: "no-store" });
      const said = await answer.json();
      body.replaceChildren(...(answer.ok ? told(said) : [h("p", { class: "failed" }, said.error.message)]));
    } catch {
      body.replaceChildren(h("p", { class: "failed" }, "The gateway does not answer; try again when it does."));
    }
  });
}

function told(said) {
  const best = said.arms[0];
  return [
    h("p", { class: "won" }, paint(h("span", { class: "key" }), said.branch), ` ${said.branch}`),
    h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "How the branches score, a table" }, h(
      "table", { class: "plain" },
      h("caption", {}, "The highest score wins"),
      h("thead", {}, h("tr", {}, ["Branch", "Weight", "Users", "Score", "Wins from weight"].map((words) => h("th", { scope: "col" }, words)))),
      h("tbody", {}, said.arms.map((arm) => h("tr", {},
        h("th", { scope: "row" }, arm.branch, arm === best ? unseen(", wins") : null),
        h("td", {}, number(arm.weight)), h("td", {}, share(arm.share)), h("td", {}, arm === best ? h("b", {}, number(arm.score)) : number(arm.score)),
        h("td", {}, arm.wins_from === null || arm.wins_from > 1e6 ? "never" : number(arm.wins_from))))),
    )),
    said.sentences.map((one) => h("p", { class: "said" }, one)),
  ].flat();
}
