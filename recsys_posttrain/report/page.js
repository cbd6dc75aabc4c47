"use strict";
for (const plot of document.querySelectorAll(".plot")) {
  const { data, layout } = JSON.parse(plot.querySelector("script").textContent);
  layout.font.family = getComputedStyle(document.body).fontFamily;
  Plotly.newPlot(plot, data, layout, { responsive: true, displayModeBar: false });
}

// A name in the legend hides its line in every panel of the section.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const plot of button.closest("section").querySelectorAll(".plot")) {
      const lines = plot.data.flatMap((line, n) => (line.name === button.dataset.name ? [n] : []));
      if (lines.length) Plotly.restyle(plot, { visible: shown }, lines);
    }
  });
}

for (const select of document.querySelectorAll(".choice select")) {
  const plots = [...select.closest("section").querySelectorAll(".plot")];
  const choose = () => {
    plots.forEach((plot, n) => { plot.hidden = n !== Number(select.value); });
    Plotly.Plots.resize(plots[select.value]);
  };
  select.addEventListener("change", choose);
  choose();
}

// A click on a column's title sorts by the number that its cells begin with.
const number = (text) => parseFloat(text.replace(/^[^\d.+-]+/, ""));
for (const head of document.querySelectorAll("th")) {
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
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
