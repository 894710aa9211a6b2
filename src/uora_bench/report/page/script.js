// Addresses, sorting, filters and the box that follows a number.

const report = document.getElementById("report");
const view = document.getElementById("view");
const tip = document.getElementById("tip");
const TITLE = document.title;
let place_left = 0;  // where the report stood when a view was opened
let opener = null;  // the number that was pressed

function show() {
  hideTip();
  const [kind, ...rest] = location.hash.slice(1).split("/");
  let name = null;
  try {
    name = rest.map(decodeURIComponent).join("/");
  } catch {  // a broken address names nothing
  }
  if (kind !== "cell" && kind !== "number") {
    const back = !view.hidden;
    view.hidden = true;
    report.hidden = false;
    document.title = TITLE;
    const target = location.hash.length > 1 && name !== null && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) {
      const fold = target.closest("details");
      if (fold) fold.open = true;
      target.scrollIntoView();
    } else if (back) {
      scrollTo(0, place_left);
      if (opener && opener.isConnected) opener.focus({ preventScroll: true });
      hideTip();
    }
    return;
  }
  if (view.hidden) place_left = scrollY;
  const one = kind === "cell" ? cell(name) : numberOf(name);
  const experiment = one ? one.experiment : null;
  const parts = one ? (kind === "cell" ? cellView(name, one) : numberView(one))
    : [make("h1", { tabindex: -1 }, `This page has no ${kind} called '${name}'`)];
  const paper = kind === "number" ? paperOf(name) : null;
  view.replaceChildren(make("p", {}, make("a", { href: experiment ? `#exp-${encodeURIComponent(DATA.sections[experiment])}` : "#" },
    experiment ? `← ${experiment}` : "← all experiments")), ...parts.flat(9).filter(Boolean), ...(paper ? [paper] : []));
  view.hidden = false;
  report.hidden = true;
  document.title = `${view.querySelector("h1").textContent} · uora_bench`;
  scrollTo(0, 0);
  view.querySelector("h1").focus({ preventScroll: true });
}

// the published number instead of ours, in a box of its own
function paperOf(name) {
  const button = [...report.querySelectorAll("td [data-number]")].find((b) => b.dataset.number === name);
  if (!button) return null;
  const index = [...button.closest("tr").children].indexOf(button.closest("td"));
  const row = button.closest("tbody").querySelector("tr.published");
  const found = row && row.children[index - 1] && row.children[index - 1].querySelector("[data-published]");  // the label spans all lines
  return found ? make("div", { class: "theirs-box" }, tipOfPaper(DATA.published[+found.dataset.published])) : null;
}

// ---- sorting: by our line; the lines of a row are one tbody and move together
function valueIn(body, index) {
  const box = body.rows[0].cells[index];
  if (!box || box.dataset.sort === undefined) return null;
  return box.tagName === "TH" ? box.dataset.sort : Number(box.dataset.sort);
}

function sort(table, heading) {
  const first = heading.dataset.first;
  const other = first === "ascending" ? "descending" : "ascending";
  const now = heading.getAttribute("aria-sort");
  const next = now === null ? first : now === first ? other : null;  // the third time: as it was
  for (const h of table.tHead.rows[0].cells) h.removeAttribute("aria-sort");
  const bodies = [...table.tBodies];
  bodies.forEach((b, n) => { b.dataset.position ??= n; });
  bodies.sort((a, b) => a.dataset.position - b.dataset.position);
  if (next) {
    heading.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const values = new Map(bodies.map((b) => [b, valueIn(b, heading.cellIndex)]));
    bodies.sort((a, b) => {
      const [u, v] = [values.get(a), values.get(b)];
      if (u === null || v === null) return (u === null) - (v === null);  // what is missing is last either way
      return sign * (typeof u === "string" ? u.localeCompare(v, "en", { numeric: true }) : u - v);
    });
  }
  table.append(...bodies);
}

for (const table of document.querySelectorAll("table.sortable"))
  for (const button of table.tHead.querySelectorAll("button"))
    button.addEventListener("click", () => sort(table, button.closest("th")));

// ---- filters: words of the row or conditions on a column, methods, and which columns are there
const plainName = (text) => text.toLowerCase().replace(/[\s↕↑↓]/g, "");
const COMPARE = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b };

// the cell of a line below heading `index`: the label spans the lines of its row
const below = (line, index) => line.cells[line.cells[0].tagName === "TH" ? index : index - 1];

function matches(body, word) {
  const [, column, sign, limit] = word.match(/^(.+?)(<=|>=|<|>)(-?[\d.]+)$/) || [];
  if (!column) return `${body.rows[0].cells[0].textContent} ${body.dataset.methods} ${body.dataset.words}`.toLowerCase().includes(word);
  const headings = [...body.parentElement.tHead.rows[0].cells].map((h) => plainName(h.textContent));
  const index = headings.findIndex((h) => h === column) + 1 || headings.findIndex((h) => h.startsWith(column)) + 1;
  const value = index ? valueIn(body, index - 1) : null;
  return typeof value === "number" && COMPARE[sign](value, Number(limit));
}

for (const form of document.querySelectorAll("form.filter")) {
  const tables = [...form.closest("section").querySelectorAll("table.sortable")];
  const bodies = tables.flatMap((t) => [...t.tBodies]);
  const apply = () => {
    const words = form.querySelector(".words").value.toLowerCase().replace(/\s*([<>]=?)\s*(?=-?[\d.])/g, "$1").split(/\s+/).filter(Boolean);
    const methods = [...form.querySelectorAll(".methods :checked")].map((i) => i.value);
    const left_out = [...form.querySelectorAll(".columns-shown input:not(:checked)")].map((i) => plainName(i.value));
    for (const body of bodies)
      body.hidden = !(words.every((w) => matches(body, w)) &&
        (!methods.length || body.dataset.methods.split(" ").some((m) => methods.includes(m))));
    for (const table of tables)
      [...table.tHead.rows[0].cells].forEach((heading, n) => {
        if (n) for (const line of table.rows) below(line, n).hidden = left_out.includes(plainName(heading.textContent));
      });
    const shown = bodies.filter((b) => !b.hidden).length;
    form.querySelector("output").textContent = shown === bodies.length ? "" : `${shown} of ${bodies.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();  // a browser may keep what was typed before a reload
}

// ---- figures are in the data of the page, where they take a fifth of the room
for (const fold of document.querySelectorAll("details.figures"))
  fold.addEventListener("toggle", () => {
    for (const one of fold.querySelectorAll("[data-figure]:not([src])")) one.src = url("image/svg+xml", DATA.figures[one.dataset.figure].svg);
    for (const one of fold.querySelectorAll("[data-csv]:not([href])")) one.href = url("text/csv", DATA.figures[one.dataset.csv].csv);
  });

// ---- where a number comes from
let described = null;
let leaving = 0;

function showTip(element) {
  clearTimeout(leaving);
  if (described === element) return;
  hideTip();
  const { number, published } = element.dataset;
  tip.replaceChildren(...(number ? tipOf(numberOf(number)) : tipOfPaper(DATA.published[+published])).flat(9).filter(Boolean));
  tip.hidden = false;
  described = element;
  element.setAttribute("aria-describedby", "tip");
  putTip();
}

// below or above, wherever there is more room, and never on the number itself
function putTip() {
  const box = described.getBoundingClientRect();
  const [above, below] = [box.top - 10, innerHeight - box.bottom - 10];
  tip.style.maxHeight = "none";
  const under = tip.offsetHeight <= below || below >= above;
  tip.style.maxHeight = `${Math.max(60, under ? below : above)}px`;
  tip.style.left = `${Math.max(8, Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${under ? box.bottom + 6 : box.top - 6 - tip.offsetHeight}px`;
}

function hideTip() {
  clearTimeout(leaving);
  if (described) described.removeAttribute("aria-describedby");
  described = null;
  tip.hidden = true;
}

const later = () => { clearTimeout(leaving); leaving = setTimeout(hideTip, 150); };
for (const element of document.querySelectorAll("[data-number], [data-published]")) {
  element.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") showTip(element); });
  element.addEventListener("pointerleave", later);
  element.addEventListener("focus", () => { if (element.matches(":focus-visible")) showTip(element); });
  element.addEventListener("blur", hideTip);
  element.addEventListener("click", () => {
    if (element.dataset.number) opener = element;
    else showTip(element);  // what a finger can do
  });
}
tip.addEventListener("pointerenter", () => clearTimeout(leaving));
tip.addEventListener("pointerleave", later);
addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
addEventListener("scroll", (event) => {
  if (!described || event.target === tip) return;
  const box = described.getBoundingClientRect();
  const seen = box.bottom > 0 && box.top < innerHeight;
  if (seen && (described === document.activeElement || described.matches(":hover"))) putTip();
  else hideTip();
}, true);

// ---- on paper all of a cell is open; lists of cells are as they are on the screen
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...view.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

addEventListener("hashchange", show);
show();
document.documentElement.dataset.ready = "yes";
