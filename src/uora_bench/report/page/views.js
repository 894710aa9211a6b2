// What stands behind a number, and a page for every cell.

const RULES = Object.keys(DATA.rules);
const address = (kind, name) => `#${kind}/${encodeURIComponent(name)}`;
const cellLink = (key, text) => make("a", { href: address("cell", key) }, text || key);

function commit(git) {
  if (!git || !git.commit) return "unknown";
  return git.commit.slice(0, 12) + (git.dirty ? " with uncommitted changes" : "");
}

function machine(hardware) {
  if (!hardware) return null;
  const gpus = hardware.gpus || [];
  return gpus.length ? gpus.map(written).join(", ")
    : [hardware.processor, hardware.cores ? `${hardware.cores} cores` : null].filter(Boolean).join(", ");
}

// the settings a number depends on most
function settings(one) {
  const { method, trainer, task } = one.record.cell;
  const chosen = {};
  for (const [k, v] of Object.entries(method.options || {})) if (!isEmpty(v)) chosen[k] = isObject(v) ? JSON.stringify(v) : v;
  for (const k of ["lr_adapter", "lr_head", "epochs", "max_steps", "batch_size", "lr_scheduler", "warmup_ratio", "holdout"])
    if (!isEmpty((trainer || {})[k])) chosen[k] = trainer[k];
  chosen.train = (task.splits || {}).train;
  return chosen;
}

function common(cells) {
  const keys = [...new Set(cells.flatMap((c) => Object.keys(settings(c))))];
  const told = keys.map((k) => `${k} ${distinct(cells.map((c) => settings(c)[k])).join(" / ")}`);
  return [
    ["settings", told.join(" · ")],
    ["recipe", distinct(cells.map((c) => (c.record.recipe || {}).name)).join(" / ")],
    ["git commit", distinct(cells.map((c) => commit(c.record.provenance.git))).join(" / ")],
    ["hardware", distinct(cells.map((c) => machine(c.record.provenance.hardware))).join(" / ")],
    ["precision", distinct(cells.map((c) => c.record.precision)).join(" / ")],
  ];
}

const cellsOf = (number) => [...new Set(number.seeds.map((s) => s[2]).filter(Boolean))].map(cell);

function nameOf(number) {
  return [number.row, number.block, number.column].filter(Boolean).join(" · ");
}

function summary(number) {
  const value = number.value === null ? "no number" : fixed(number.value, number.decimals);
  if (number.of) return `${value}: the mean over ${number.of.join(", ")}`;
  const n = number.seeds.filter((s) => s[1] !== null).length;
  return `${value}: ${number.aggregate} of ${n} of ${number.planned} seeds`;
}

function spread(number) {
  if (number.of || number.value === null) return null;
  const d = number.decimals + 2;
  return `mean ${fixed(number.mean, d)}, median ${fixed(number.median, d)}` +
    (number.std === null ? "" : `, standard deviation ${fixed(number.std, d)}`);
}

function tipOf(number) {
  const cells = cellsOf(number);
  const scores = number.of ? null : number.seeds
    .map(([seed, score, , why]) => `seed ${seed}: ${score === null ? why : fixed(score, number.decimals + 2)}`).join(", ");
  return [
    make("p", {}, make("strong", {}, nameOf(number))),
    make("p", {}, summary(number)),
    facts([
      ["scores", scores], ["", spread(number)],
      ["metric", number.of ? null : `${number.metric} on ${number.split} × ${number.scale}`],
      ["rule", `${number.rule}: ${DATA.rules[number.rule]}`], ...common(cells),
      ["cells", cells.map((c) => c.id).slice(0, 12).join(", ") + (cells.length > 12 ? " …" : "")],
      ["notes", (number.notes || []).join("; ")]]),
  ];
}

// a text in which the papers it names are links
function linked(text) {
  const parts = text.split(/(arXiv[: ]\d{4}\.\d{4,5}(?:v\d+)?)/);
  return make("span", {}, parts.map((part, n) => (n % 2 ? make("a", { href: `https://arxiv.org/abs/${part.slice(6)}` }, part) : part)));
}

function tipOfPaper(paper) {
  return [
    make("p", {}, make("strong", {}, `Published: ${paper.text}`)),
    make("p", {}, `${paper.where}: ${paper.what}`),
    facts([["how", paper.how], ["source", linked(paper.source)], ["confidence", `${paper.confidence} (of the reading)`],
      ["notes", paper.notes.join("; ")]]),
  ];
}

const openBelow = (experiment) => make("a", { href: `#missing-${encodeURIComponent(DATA.sections[experiment])}` }, "the command");

function numberView(number) {
  const head = ["seed", ...(number.of ? ["task"] : RULES), "epochs", "finished", "cell"];
  const rows = number.seeds.map(([seed, , key, why, task]) => {
    const one = key && cell(key);
    const scored = RULES.map((rule) => {
      const found = one && one.record.scores && one.record.scores[rule];
      const value = found && (found.scores[number.split] || {})[number.metric];
      const text = typeof value === "number" ? fixed(value * number.scale, number.decimals + 2) : MISSING;
      return rule === number.rule ? make("strong", {}, text) : text;
    });
    return [String(seed), ...(number.of ? [task] : scored), one ? written((one.epochs.epoch || []).slice(-1)[0]) : MISSING,
      one ? written(one.record.provenance.finished) : MISSING,
      make("span", {}, key ? cellLink(key, one.id) : `${why}: `, key ? "" : openBelow(number.experiment),
        key && why !== "done" ? ` ${why}` : "")];
  });
  return [
    make("h1", { tabindex: -1 }, nameOf(number)),
    make("p", {}, summary(number), spread(number) ? make("span", { class: "faint" }, ` (${spread(number)})`) : ""),
    make("p", { class: "faint" }, `Rule ${number.rule}: ${DATA.rules[number.rule]}.`,
      number.of ? "" : ` ${number.metric} on ${number.split}, × ${number.scale}.`),
    (number.notes || []).map((text) => make("p", {}, text)),
    make("h2", {}, "Cells"), grid(head, rows),
    number.of ? null : seedCurves(number),
    make("h2", {}, "What they have in common"), facts(common(cellsOf(number))),
  ];
}

function scoreTable(record) {
  const scores = record.scores || {};
  const { primary, scale } = record.metric || {};
  const lines = [...new Set(RULES.flatMap((r) => Object.entries((scores[r] || {}).scores || {})
    .flatMap(([split, found]) => Object.keys(found).map((metric) => `${split} ${metric}`))))];
  const rows = lines.map((line) => {
    const [split, ...rest] = line.split(" ");
    const metric = rest.join(" ");
    return [line, ...RULES.map((rule) => {
      const value = (((scores[rule] || {}).scores || {})[split] || {})[metric];
      if (typeof value !== "number") return MISSING;
      const scaled = metric === primary && scale !== 1 ? ` (× ${scale}: ${fixed(value * scale, 2)})` : "";
      return make("span", {}, written(value), make("span", { class: "faint" }, scaled));
    })];
  });
  rows.push(["epoch", ...RULES.map((r) => (scores[r] ? written(scores[r].epoch) : MISSING))]);
  rows.push(["what the rule does", ...RULES.map((r) => make("span", { class: "reason faint", style: "display:block" }, DATA.rules[r]))]);
  return grid(["split and metric", ...RULES], rows);
}

// the value that a key of `sources` has in the cell
function valueOf(record, key) {
  const [group, ...rest] = key.split(".");
  const { cell: own, provenance } = record;
  const starts = { method: [(own.method || {}).options, (own.method || {}).options && own.method.options.fields, own.trainer],
    task: [own.task, (own.task || {}).options], trainer: [own.trainer, provenance.trainer], backbone: [own.backbone] }[group];
  for (const start of starts || []) {
    const found = rest.reduce((v, k) => (isObject(v) ? v[k] : undefined), start);
    if (found !== undefined && found !== null) return found;
  }
  return starts ? null : own[key];
}

function recipeTable(record) {
  const rows = Object.entries(record.sources || {})
    .filter(([key]) => !["experiment_name", "data.root", "results.dir", "runs.dir"].includes(key))
    .map(([key, source]) => [key, written(valueOf(record, key)), linked(source)]);
  return rows.length ? grid(["setting", "value", "source"], rows) : make("p", {}, "No setting has a source of its own.");
}

function epochTable(epochs) {
  const keys = Object.keys(epochs);
  const rows = (epochs.epoch || []).map((_, n) => keys.map((k) => written(epochs[k][n])));
  return make("details", {}, make("summary", {}, `All ${rows.length} evaluations`), grid(keys, rows));
}

function costs(record) {
  const { counts, bytes, seconds, work, energy, retention } = record;
  const of = (group, kind, write) => Object.entries(group || {}).map(([k, v]) => [`${kind}: ${k.replace(/_/g, " ")}`, write(v)]);
  return facts([...of(counts, "parameters", count), ...of(bytes, "bytes", size), ...of(seconds, "seconds", written),
    ...of(work, "work", written), ...of(energy, "energy", written), ...of(retention, "retention", written),
    ["examples per second", record.examples_per_second], ["tokens per second", record.tokens_per_second],
    ["peak memory", record.peak_memory_bytes === null ? null : size(record.peak_memory_bytes)], ["peak memory is", record.peak_memory_kind],
    ["restarts", record.restarts], ["merge error", record.merge_error]]);
}

function cellView(key, one) {
  const { record } = one;
  const { git } = record.provenance;
  const own = record.cell;
  const section = (title, ...children) => make("section", {}, make("h2", {}, title), children);
  const shown = ["scores", "sources", "counts", "bytes", "seconds", "reason", "label"];
  return [
    make("h1", { tabindex: -1 }, record.label || key),
    make("p", {}, "Cell ", make("code", {}, one.id), ` of ${one.experiment}`, one.row ? ` · row ${one.row}` : "",
      ` · ${own.task.name} · seed ${own.seed} · `, make("strong", { class: `status-${one.status}` }, one.status),
      one.orphan ? " · made with other settings than the table's: in no row" : ""),
    record.reason ? make("p", { class: "remark" }, `Reason: ${record.reason}`) : null,
    section("Reproduce", command(one.command),
      one.made ? [make("p", {}, "The words it was made with:"), command(one.made)] : null,
      make("p", { class: "faint" }, `Made at commit ${git && git.commit ? git.commit : "unknown"}`,
        git && git.dirty ? " with uncommitted changes" : "", `; record results/records/${one.experiment}/${one.id}.json`,
        record.provenance.init_from ? ["; started from ", originLink(record.provenance.init_from)] : null)),
    isEmpty(record.scores) ? null : section("Scores under every rule", scoreTable(record)),
    (one.epochs.epoch || []).length ? section("Learning curve", learningCurve(one), epochTable(one.epochs)) : null,
    section("Costs", costs(record)),
    section("Recipe", recipeTable(record)),
    section("The whole record", Object.entries(record).filter(([k, v]) => !shown.includes(k) && isObject(v) && !isEmpty(v))
      .map(([k, v]) => make("details", {}, make("summary", {}, k), tree(v))),
      facts(Object.entries(record).filter(([k, v]) => !shown.includes(k) && !isObject(v)))),
  ];
}

function originLink(id) {
  return Object.hasOwn(DATA.cells, id) ? cellLink(id) : document.createTextNode(written(id));
}
