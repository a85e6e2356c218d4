// The button for light, dark or whatever the system has.

import { at, svg } from "./dom.js";

const WORDS = { auto: "as the system has them", light: "light", dark: "dark" };
const NEXT = { auto: "light", light: "dark", dark: "auto" };

function icon(choice) {
  const stroke = { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linecap": "round" };
  const drawn = {
    light: [svg("circle", { cx: 8, cy: 8, r: 3, ...stroke }), svg("path", { d: "M8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M3.2 12.8l1.1-1.1M11.7 4.3l1.1-1.1", ...stroke })],
    dark: [svg("path", { d: "M13.5 9.6A5.8 5.8 0 1 1 6.4 2.5a4.6 4.6 0 0 0 7.1 7.1Z", ...stroke, "stroke-linejoin": "round" })],
    auto: [svg("circle", { cx: 8, cy: 8, r: 5.8, ...stroke }), svg("path", { d: "M8 2.2a5.8 5.8 0 0 1 0 11.6Z", fill: "currentColor" })],
  };
  return svg("svg", { width: 16, height: 16, viewBox: "0 0 16 16" }, drawn[choice]);
}

export function followTheme(changed) {
  let choice = document.documentElement.dataset.theme ?? "auto";
  const button = at("theme");
  const tell = () => {
    button.setAttribute("aria-label", `Colours: ${WORDS[choice]}. Change`);
    at("theme-icon").replaceChildren(icon(choice));
  };
  button.addEventListener("click", () => {
    choice = NEXT[choice];
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    try {
      localStorage.setItem("gateway-theme", choice);
    } catch { /* storage may be off: then it holds for this page */ }
    tell();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  document.fonts.ready.then(changed);
  tell();
}
