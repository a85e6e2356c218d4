// Copying, finding, and this gateway's own address in the commands. Without it the page only reads.

const origin = location.origin;
const written = "http://127.0.0.1:8080";

for (const code of document.querySelectorAll("pre code")) {
  if (code.textContent.startsWith("curl ")) {
    // With the path in front of this page, where the gateway is not at the top of its host.
    const base = origin + location.pathname.replace(/\/docs\/?$/, "");
    code.textContent = code.textContent.replace(written, base);
  }
}

const spoken = document.getElementById("spoken");

async function copy(button) {
  const code = button.closest("figure").querySelector("code");
  let word = "Copied";
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Only pages of a secure origin may: then it is selected, for the reader's own keys.
    getSelection().selectAllChildren(code);
    word = "Selected";
  }
  const label = button.firstChild;
  label.textContent = word;
  spoken.textContent = word;
  setTimeout(() => { label.textContent = "Copy"; spoken.textContent = ""; }, 2000);
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}

const filter = document.getElementById("filter");
const cards = [...document.querySelectorAll("article[data-words]")];
const nothing = document.getElementById("nothing");

function find() {
  const wanted = filter.value.trim().toLowerCase();
  for (const card of cards) {
    const hit = card.dataset.words.includes(wanted);
    card.hidden = !hit;
    document.querySelector(`nav a[href="#${card.id}"]`).parentElement.hidden = !hit;
  }
  for (const section of document.querySelectorAll("nav section:has(ul), .group:has([data-words])")) {
    section.hidden = ![...section.querySelectorAll("li:has(> a), [data-words]")].some((one) => !one.hidden);
  }
  nothing.hidden = cards.some((card) => !card.hidden);
}

filter.parentElement.hidden = false;
filter.addEventListener("input", find);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input")) {
    event.preventDefault();
    filter.focus();
  }
});
// A link to a route that is filtered away leads to it all the same.
addEventListener("hashchange", () => {
  if (document.getElementById(location.hash.slice(1))?.closest("[hidden]")) {
    filter.value = "";
    find();
    document.getElementById(location.hash.slice(1)).scrollIntoView();
  }
});
