"use strict";
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// One column of the differences at a time.
for (const select of all(".choice select")) {
  const parts = all(".chosen", select.closest("section"));
  const choose = () => parts.forEach((part, n) => { part.hidden = n !== Number(select.value); });
  select.addEventListener("change", choose);
  choose();
}

// A method is shown where its family and its name are asked for, and no legend hides it.
const families = JSON.parse(document.getElementById("families").textContent);
const families_off = new Set();
const search = document.querySelector(".filter input");
const rows = all("tbody tr:not(.group)").map((row) => [row, row.cells[0].textContent.trim()]);
const asked = (name) =>
  !families_off.has(families[name]) && name.toLowerCase().includes(search.value.trim().toLowerCase());
const filter = () => {
  const known = new Set(all(".forest tbody tr").map((row) => row.cells[0].textContent.trim()));
  for (const [row, name] of rows) if (known.has(name)) row.hidden = !asked(name);
  for (const button of all(".legend button")) {
    const { name } = button.dataset;
    button.hidden = known.has(name) && !asked(name);
    const shown = button.getAttribute("aria-pressed") === "true" && !button.hidden;
    for (const line of all(".chart g", button.closest("section"))) {
      if (line.dataset.name === name) line.classList.toggle("off", !shown);
    }
  }
};
search.addEventListener("input", filter);
for (const button of all(".legend button")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    filter();
  });
}
const kinds = [...new Set(Object.values(families))];
for (const family of kinds.length > 1 ? kinds : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = family;
  button.setAttribute("aria-pressed", true);
  button.addEventListener("click", () => {
    const off = !families_off.delete(family);
    if (off) families_off.add(family);
    button.setAttribute("aria-pressed", !off);
    filter();
  });
  document.querySelector(".families").append(button);
}

// A click on a column's title sorts by the number that its cells begin with.
const number = (text) => parseFloat(text.replace(/^[^\d.+-]+/, ""));
for (const head of all("th:not(.strip)")) {
  head.addEventListener("click", () => {
    const bodies = head.closest("table").tBodies;
    const column = head.cellIndex;
    const falling = head.getAttribute("aria-sort") !== "descending";
    const sign = falling ? -1 : 1;
    const key = (row) => row.cells[column].textContent.trim();
    const order = (a, b) => {
      const [x, y] = [number(key(a)), number(key(b))];
      if (Number.isNaN(x) && Number.isNaN(y)) return sign * key(a).localeCompare(key(b));
      return Number.isNaN(x) ? 1 : Number.isNaN(y) ? -1 : sign * (x - y);
    };
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    for (const body of bodies) {  // of each group, whose name stays on top
      body.append(...[...body.rows].filter((row) => row.className !== "group").sort(order));
    }
  });
}

addEventListener("beforeprint", () => {
  for (const folded of all("details")) folded.open = true;
});
