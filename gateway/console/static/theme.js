// Before anything is drawn: the colours that were chosen here, else those of the system.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("gateway-theme"); } catch { /* storage may be off */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
