// Elements made of texts. Nothing here, or anywhere in the console, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

export const at = (id) => document.getElementById(id);

/** Replace what is in an element, but only if what it is made of has changed. */
export function show(element, key, make) {
  const text = JSON.stringify(key);
  if (element.dataset.shown === text) return false;
  element.dataset.shown = text;
  refill(element, make());
  return true;
}

/** Other children, of which the one that had the focus has it again: nobody is thrown back. */
export function refill(element, children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  element.replaceChildren(...[children].flat(Infinity).filter(Boolean));
  if (focused) element.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export const chip = (tone, word) => h("span", { class: "chip", "data-tone": tone }, word);
export const unseen = (words) => h("span", { class: "unseen" }, words);
export const empty = (words) => h("p", { class: "empty" }, words);

/** A button that shows all of a list, or the first of it again. */
export const more = (whole, fewer, all, toggle) => h("button", { class: "more", type: "button", "data-focus": "more", "aria-expanded": String(whole), onclick: toggle }, whole ? fewer : all);
