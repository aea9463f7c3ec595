"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A click on a heading sorts its table, another one the other way round.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    const value = cell.dataset.value ?? cell.textContent;
    return value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  };
  const compare = (a, b) =>
    a === b ? 0 : a === "" ? 1 : b === "" ? -1
      : typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  all("th button").forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th[aria-sort]", head.parentElement).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, head.cellIndex), row]);
    // What has no value stays at the end.
    rows.sort(([a], [b]) => (down && a !== "" && b !== "" ? compare(b, a) : compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  }));

  // Rows tell what groups are; everything else of a group follows.
  const form = document.getElementById("filters");
  const rows = all("tr[data-method]");
  const parts = all("[data-group]:not(tr[data-method])");
  const filter = () => {
    const wanted = new FormData(form);
    const fits = ({ dataset }) =>
      ["method", "sparsity"].every((name) => !wanted.get(name) || wanted.get(name) === dataset[name]) &&
      (!wanted.get("seed") || dataset.seeds.split(" ").includes(wanted.get("seed")));
    const groups = new Set();
    rows.forEach((row) => {
      const shown = fits(row);
      row.classList.toggle("off", !shown);
      if (shown) groups.add(row.dataset.group);
    });
    parts.forEach((part) => part.classList.toggle("off", !groups.has(part.dataset.group)));
    document.getElementById("shown").textContent = `${groups.size} of ${new Set(rows.map((row) => row.dataset.group)).size} settings shown`;
  };
  form.hidden = false;
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
})();
