"use strict";
// Tables that sort and filter, text that is searched. Without this script the page is whole, only
// still.

/** An element with attributes, properties that are functions as listeners, and children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.classList.contains("number") ? parseFloat(cell.dataset.value) : cell.textContent;
}

/** Sorts a table's rows by a column; what is no number goes last either way. */
function sortRows(table, column, descending) {
  const body = table.tBodies[0];
  const sign = descending ? -1 : 1;
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => {
    if (typeof a === "string" || typeof b === "string") return sign * String(a).localeCompare(b);
    if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
    return sign * (a - b);
  });
  body.append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button", {
      type: "button",
      click: () => {
        const numeric = table.tBodies[0].rows[0]?.cells[column].classList.contains("number");
        const before = head.getAttribute("aria-sort");
        const descending = before ? before === "ascending" : numeric; // the largest first
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sortRows(table, column, descending);
      },
    }, head.textContent);
    head.replaceChildren(button);
  });
}

function makeFilterable(table) {
  const count = element("span", { class: "soft", "aria-live": "polite" });
  const rows = [...table.tBodies[0].rows];
  const field = element("input", {
    type: "search",
    placeholder: "filter",
    "aria-label": `Filter: ${table.caption.textContent}`,
    input: () => {
      const wanted = field.value.trim().toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = wanted ? ` ${shown} of ${rows.length}` : "";
    },
  });
  const scroll = table.parentElement;
  scroll.before(element("p", {}, field, count));
  if (rows.length > 15) scroll.classList.add("tall");
}

/** A field above a folded text: marks what is typed, Enter goes on to the next place. */
function makeSearchable(details) {
  const pre = details.querySelector("pre");
  const content = pre.textContent;
  const count = element("span", { class: "soft", "aria-live": "polite" });
  let current = -1;
  const next = () => {
    const marks = pre.querySelectorAll("mark");
    if (!marks.length) return;
    marks[current]?.classList.remove("here");
    current = (current + 1) % marks.length;
    marks[current].classList.add("here");
    pre.scrollTop = marks[current].offsetTop - pre.offsetTop - pre.clientHeight / 2;
    count.textContent = ` ${current + 1} of ${marks.length}`;
  };
  const search = () => {
    const wanted = field.value.toLowerCase();
    const parts = [];
    let from = 0;
    if (wanted) {
      const lower = content.toLowerCase();
      for (let at; (at = lower.indexOf(wanted, from)) >= 0; from = at + wanted.length) {
        parts.push(content.slice(from, at));
        parts.push(element("mark", {}, content.slice(at, at + wanted.length)));
      }
    }
    pre.replaceChildren(...parts, content.slice(from));
    current = -1;
    count.textContent = wanted ? " not found" : "";
    next();
  };
  const field = element("input", {
    type: "search",
    placeholder: "search",
    "aria-label": "Search in the text",
    input: search,
    keydown: (event) => event.key === "Enter" && next(),
  });
  pre.before(element("p", {}, field, count));
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("table[data-filterable]").forEach(makeFilterable);
document.querySelectorAll("details[data-searchable]").forEach(makeSearchable);
