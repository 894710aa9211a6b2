"use strict";
// Elements, the page's data, and how values are written. Text reaches the page as text only.

const packed = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
const DATA = globalThis.DATA = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
const MISSING = "–";

function make(name, attributes, ...children) {
  const namespace = ["svg", "path", "line", "circle", "text", "g"].includes(name) ? "http://www.w3.org/2000/svg" : null;
  const element = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== ""));
  return element;
}

const cell = (key) => (Object.hasOwn(DATA.cells, key) ? DATA.cells[key] : null);
const numberOf = (name) => (Object.hasOwn(DATA.numbers, name) ? DATA.numbers[name] : null);

const url = (kind, text) => `data:${kind};charset=utf-8,${encodeURIComponent(text)}`;

const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
const isEmpty = (v) =>
  v === null || v === undefined || v === "" || (typeof v === "object" && Object.keys(v).length === 0);

function written(value) {
  if (isEmpty(value)) return MISSING;
  if (Array.isArray(value)) return value.map(written).join(", ");
  return String(value);
}

function count(value) {
  return typeof value === "number" ? value.toLocaleString("en") : null;
}

function fixed(value, decimals) {
  return typeof value === "number" ? value.toFixed(decimals) : MISSING;
}

function size(bytes) {
  if (typeof bytes !== "number") return MISSING;
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]])
    if (bytes >= factor) return `${Number((bytes / factor).toPrecision(3))} ${unit} (${count(bytes)} B)`;
  return `${bytes} B`;
}

function distinct(values) {
  return [...new Set(values.filter((v) => !isEmpty(v)).map(written))];
}

// pairs of a name and a value (text or an element) as a list; those without a value are left out
function facts(pairs) {
  const there = pairs.filter(([, value]) => value instanceof Node || !isEmpty(value));
  if (!there.length) return null;
  return make("dl", { class: "facts" }, there.map(([name, value]) => [
    make("dt", {}, name), make("dd", {}, value instanceof Node ? value : written(value))]));
}

function grid(headings, rows, attributes) {
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": headings.join(", ") },
    make("table", attributes || { class: "plain" },
      make("thead", {}, make("tr", {}, headings.map((h) => make("th", { scope: "col" }, h)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((c, n) =>
        n ? make("td", {}, c) : make("th", { scope: "row", class: "label" }, c)))))));
}

// any value of a record: objects as lists, objects of like objects as tables
function tree(value) {
  if (!isObject(value)) return document.createTextNode(written(value));
  const parts = Object.entries(value);
  const keys = [...new Set(parts.flatMap(([, v]) => (isObject(v) ? Object.keys(v) : [])))];
  const flat = (v) => isObject(v) && Object.values(v).every((x) => !isObject(x));
  if (parts.length > 1 && parts.every(([, v]) => flat(v)) && keys.length <= 12)
    return grid(["", ...keys], parts.map(([k, v]) => [k, ...keys.map((key) => (key in v ? written(v[key]) : ""))]));
  return facts(parts.map(([k, v]) => [k, isObject(v) && !isEmpty(v) ? tree(v) : written(v)])) || document.createTextNode(MISSING);
}

function command(text) {
  const said = make("span", { class: "hidden", role: "status" });
  const button = make("button", { type: "button", onclick: () => copy(text).then((done) => {
    button.textContent = done ? "Copied" : "Not copied: select it";
    said.textContent = button.textContent;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }) }, "Copy");
  return make("div", { class: "command" }, make("code", {}, text), button, said);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {  // no clipboard for a page that was opened from a plain address
    const area = make("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
