// One colour and one dash a branch, the same everywhere on the page. The baseline is the grey one.

const DASHES = [[], [], [6, 3], [2, 3], [10, 3, 2, 3], [], [6, 3], [2, 3]];
const SERIES = 8;
const places = new Map();

export function place(names, baseline) {
  for (const name of [baseline, ...names]) {
    if (!places.has(name)) places.set(name, name === baseline ? 0 : 1 + ((places.size + SERIES - 2) % (SERIES - 1)));
  }
}

/** The baseline first, then as they came. */
export const inOrder = (names) => [...names].sort((a, b) => (places.get(a) ?? 99) - (places.get(b) ?? 99));

const index = (name) => places.get(name) ?? 0;
export const variable = (name) => `var(--series-${index(name)})`;
export const dash = (name) => DASHES[index(name)];
export const colour = (name) => token(`--series-${index(name)}`);
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A property that is set through the object model, as the page's policy allows. */
export function paint(element, name, property = "background") {
  element.style.setProperty(property, variable(name));
  return element;
}
