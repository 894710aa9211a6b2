// Line charts as SVG: series {name, points: [[x, y]], chosen: [x]}.

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "1 4"];

function ticks(low, high, count) {
  if (low === high) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}

function strokeOf(n) {
  return `stroke:var(--s${n % 6});stroke-dasharray:${DASHES[n % 6] || "none"}`;
}

function chart(title, xName, yName, given) {
  const series = given
    .map((s) => ({ ...s, points: s.points.filter(([x, y]) => typeof x === "number" && typeof y === "number") }))
    .filter((s) => s.points.length);
  if (!series.length) return null;
  const [width, height, left, right, top, bottom] = [560, 260, 62, 12, 12, 44];
  const xs = series.flatMap((s) => s.points.map((p) => p[0]));
  const ys = series.flatMap((s) => s.points.map((p) => p[1]));
  const span = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.05 || 1;
    return [low - room, high + room];
  };
  const [x0, x1] = xs.some((x) => x !== xs[0]) ? [Math.min(...xs), Math.max(...xs)] : [xs[0] - 0.5, xs[0] + 0.5];
  const [y0, y1] = span(ys);
  const x = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const y = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom);
  const whole = xs.every(Number.isInteger);
  const xTicks = ticks(x0, x1, 8).filter((v) => !whole || Number.isInteger(v));
  const parts = [
    ticks(y0, y1, 5).map((v) => [
      make("line", { class: "grid", x1: left, x2: width - right, y1: y(v), y2: y(v) }),
      make("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end" }, String(Number(v.toPrecision(6))))]),
    xTicks.map((v) => [
      make("line", { class: "axis", x1: x(v), x2: x(v), y1: height - bottom, y2: height - bottom + 4 }),
      make("text", { x: x(v), y: height - bottom + 18, "text-anchor": "middle" }, String(v))]),
    make("path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}` }),
    make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, xName),
    make("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yName),
    series.map((s, n) => make("g", { class: "series" },
      make("path", { class: "curve", style: strokeOf(n), d: s.points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("") }),
      s.points.length <= 40 ? s.points.map((p) =>
        make("circle", { cx: x(p[0]).toFixed(1), cy: y(p[1]).toFixed(1), r: 2.6, style: `fill:var(--s${n % 6})` })) : null,
      (s.chosen || []).flatMap((at) => s.points.filter((p) => p[0] === at)).map((p) =>
        make("circle", { class: "chosen", cx: x(p[0]).toFixed(1), cy: y(p[1]).toFixed(1), r: 6 })))),
  ];
  const about = series.map((s) => `${s.name}: ${s.points.map((p) => p[1]).slice(-1)[0]} at the end`).join("; ");
  const key = series.length > 1 || series[0].chosen ? make("ul", { class: "key" },
    series.map((s, n) => make("li", {}, make("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" },
      make("line", { class: "curve", x1: 0, x2: 36, y1: 5, y2: 5, style: strokeOf(n) })), s.name)),
    series.some((s) => s.chosen && s.chosen.length) ? make("li", {}, make("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" },
      make("circle", { class: "chosen chart", cx: 18, cy: 5, r: 4, style: "fill:none;stroke:currentColor" })), "chosen by best_dev") : null) : null;
  return make("div", {}, make("h4", {}, title),
    make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${about}` }, parts), key);
}

function learningCurve(one) {
  const { epochs, record } = one;
  const metric = record.metric || {};
  const at = epochs.epoch || [];
  const curve = (key, factor) => at.map((e, n) => [e, typeof epochs[key][n] === "number" ? epochs[key][n] * factor : null]);
  const scale = metric.scale || 1;
  const best = record.scores && record.scores.best_dev ? [record.scores.best_dev.epoch] : [];
  const names = Object.keys(epochs).filter((k) => k.endsWith(`.${metric.primary}`) && !k.startsWith("method."));
  return make("div", { class: "columns" },
    chart(`${metric.primary}${scale === 1 ? "" : ` × ${scale}`} after each epoch`, "epoch", metric.primary,
      names.map((k) => ({ name: k.split(".")[0], points: curve(k, scale), chosen: k === `dev.${metric.primary}` ? best : [] }))),
    chart("training loss", "epoch", "loss", "train_loss" in epochs ? [{ name: "train", points: curve("train_loss", 1) }] : []));
}

// the curves of several cells in one chart, on the split and metric of a number
function seedCurves(number) {
  const key = `${number.split}.${number.metric}`;
  const series = number.seeds.filter(([, , k]) => k && cell(k).epochs[key]).map(([seed, , k]) => {
    const { epochs } = cell(k);
    return { name: `seed ${seed}`, points: epochs.epoch.map((e, n) => [e, epochs[key][n] === null ? null : epochs[key][n] * number.scale]) };
  });
  const title = `${number.metric} on ${number.split}${number.scale === 1 ? "" : ` × ${number.scale}`} after each epoch`;
  return chart(title, "epoch", number.metric, series);
}
