// Searching, sorting and pointing at things. Without this script everything on the page can be read as well.
"use strict";

const number = (text) => {
  const found = /^[<+]?(-?[\d.]+)/.exec(text.replace(/\u2212/g, "-").replace(/,/g, ""));
  return found ? Number(found[1]) : null;
};

// The key of a cell: a number where its column has numbers; null, which sorts last, where nothing is known.
const key = (cell, named) => (named ? cell.textContent.toLowerCase() || null : number(cell.textContent));

const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);

function sortBy(table, column, descending) {
  const named = table.tHead.rows[0].cells[column].classList.contains("name");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [key(row.cells[column], named), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return descending ? compare(b, a) : compare(a, b);
  });
  body.append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

function makeSearchable(search, table, points) {
  const input = search.querySelector("input");
  const output = search.querySelector("output");
  const rows = [...table.tBodies[0].rows].map((row) => [row.cells[0].textContent.toLowerCase(), row]);
  search.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const [name, row] of rows) {
      row.hidden = !name.includes(wanted);
      shown += !row.hidden;
    }
    for (const point of points) {
      const found = wanted && point.dataset.name.toLowerCase().includes(wanted);
      point.classList.toggle("found", Boolean(found));
      point.classList.toggle("faint", Boolean(wanted) && !found);
    }
    output.textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
}

// The hint beside a point: of the nearest one to the pointer, or of one after the other with the arrow keys.
function makeHints(plot) {
  const svg = plot.querySelector("svg");
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.setAttribute("role", "status");
  hint.hidden = true;
  plot.append(hint);
  const points = [...svg.querySelectorAll("[data-name]")].map((mark) => {
    const title = mark.querySelector("title");
    const text = title.textContent;
    title.remove();
    return { mark, text };
  });
  let chosen = null;

  const choose = (point) => {
    if (chosen) chosen.mark.classList.remove("chosen");
    chosen = point;
    hint.hidden = !point;
    if (!point) return;
    point.mark.classList.add("chosen");
    hint.textContent = point.text;
    const frame = plot.getBoundingClientRect();
    const box = point.mark.getBoundingClientRect();
    const left = (box.left + box.right) / 2 - frame.left - hint.offsetWidth / 2;
    hint.style.left = `${Math.max(0, Math.min(left, frame.width - hint.offsetWidth))}px`;
    hint.style.top = `${box.bottom - frame.top + 8}px`;
  };

  const nearest = (event) => {
    let best = null;
    let least = 18 ** 2;
    for (const point of points) {
      const box = point.mark.getBoundingClientRect();
      const dx = (box.left + box.right) / 2 - event.clientX;
      const dy = (box.top + box.bottom) / 2 - event.clientY;
      const far = dx * dx + dy * dy;
      if (far <= least && !point.mark.classList.contains("faint")) [best, least] = [point, far];
    }
    return best;
  };

  const inOrder = () => {
    const middle = ({ mark }) => mark.getBoundingClientRect().bottom;
    return points.filter(({ mark }) => !mark.classList.contains("faint")).sort((a, b) => middle(b) - middle(a));
  };

  svg.addEventListener("pointermove", (event) => choose(nearest(event)));
  svg.addEventListener("pointerdown", (event) => choose(nearest(event)));
  svg.addEventListener("pointerleave", () => choose(null));
  plot.tabIndex = 0;
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", "All categories; the arrow keys go from the greatest loss to the greatest gain");
  plot.addEventListener("blur", () => choose(null));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const order = inOrder();
    if (!order.length) return;
    const place = order.indexOf(chosen);
    choose(order[place < 0 ? 0 : (place + step + order.length) % order.length]);
  });
}

document.querySelectorAll(".scatter .plot").forEach(makeHints);
document.querySelectorAll(".arm").forEach((arm) => {
  const search = arm.querySelector(".search");
  if (search) makeSearchable(search, arm.querySelector(".searched table"), arm.querySelectorAll("[data-name]"));
});
document.querySelectorAll(".searched table").forEach(makeSortable);
