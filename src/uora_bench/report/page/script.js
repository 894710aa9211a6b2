// Addresses, sorting, filters and the box that follows a number.

const report = document.getElementById("report");
const view = document.getElementById("view");
const tip = document.getElementById("tip");
const TITLE = document.title;
let place_left = 0;  // where the report stood when a view was opened
let opener = null;

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
    if (!back) return;
    const target = location.hash.length > 1 && name !== null && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) {
      if (target.tagName === "DETAILS") target.open = true;
      target.scrollIntoView();
    } else {
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
  const button = [...report.querySelectorAll("[data-number]")].find((b) => b.dataset.number === name);
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

// ---- filters
for (const form of document.querySelectorAll("form.filter")) {
  const section = form.closest("section");
  const bodies = [...section.querySelectorAll("table.sortable tbody")];
  const texts = bodies.map((b) =>
    `${b.rows[0].cells[0].textContent} ${b.dataset.methods} ${b.dataset.words}`.toLowerCase());
  const apply = () => {
    const words = form.querySelector(".words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const methods = [...form.querySelectorAll("input:checked")].map((i) => i.value);
    let shown = 0;
    bodies.forEach((body, n) => {
      const there = words.every((w) => texts[n].includes(w)) &&
        (!methods.length || body.dataset.methods.split(" ").some((m) => methods.includes(m)));
      body.hidden = !there;
      shown += there;
    });
    form.querySelector("output").textContent = shown === bodies.length ? "" : `${shown} of ${bodies.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();  // a browser may keep what was typed before a reload
}

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
    if (element.dataset.number) {
      opener = element;
      location.hash = address("number", element.dataset.number);
    } else showTip(element);  // what a finger can do
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
