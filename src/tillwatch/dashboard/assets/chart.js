// Charts by uPlot from JSON beside them. A chart is
//   { kind: "time" | "number", x: [...], unit, from, to, marks: [{ x, name, color }], stacked,
//     series: [{ name, color, look: "line" | "area" | "steps" | "edge" | "bars" | "points", values: [...] }] }
// (steps with an area below them, edges, which are steps without; with `dots`, a line has a dot at each value and goes on over gaps), where a color is the name of a CSS color such as "one", and times are seconds since 1970.
const drawn = new WeakMap();
const probe = document.createElement("span");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const zone = document.body.dataset.zone;
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });

function color(name) {
  probe.className = `probe ${name}`;
  if (!probe.isConnected) document.body.append(probe);
  return getComputedStyle(probe).color;
}

function faint(name, share) {
  return color(name).replace(/^rgba?\(([^,]+),([^,]+),([^,)]+).*$/, `rgba($1,$2,$3,${share})`);
}

// Ticks of a time axis: seconds, minutes, hours, days and weeks.
const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 7776000, 31536000];

function times(ticks, step, timeZone) {
  const day = new Intl.DateTimeFormat("en-GB", { timeZone, day: "numeric", month: "short", ...(step > 604800 ? { year: "numeric" } : {}) });
  const time = new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit", ...(step < 60 ? { second: "2-digit" } : {}) });
  let before = "";
  return ticks.map((tick) => {
    const date = day.format(tick * 1000);
    if (step >= 86400) return date;
    const text = time.format(tick * 1000) + (before && before !== date ? `\n${date}` : "");
    before = date;
    return text;
  });
}

export function drawAll(place, anew = false) {
  for (const figure of place.querySelectorAll("figure.chart")) draw(figure, anew);
}

export function draw(figure, anew = false) {
  const text = figure.querySelector("script[type='application/json']").textContent;
  const before = drawn.get(figure);
  if (before && before.text === text && !anew) return;
  const spec = JSON.parse(text);
  const data = dataOf(spec);
  const shape = JSON.stringify([spec.kind, spec.unit, spec.stacked, spec.series.map((s) => [s.name, s.color, s.look])]);
  if (before && before.shape === shape && !anew) {
    before.text = text;
    before.spec.now = spec;
    before.plot.setData(data);
    return;
  }
  before?.plot.destroy();
  before?.watch.disconnect();
  const at = figure.querySelector(".plot");
  const held = { now: spec };
  const plot = new window.uPlot(options(held, at), data, at);
  const watch = new ResizeObserver(() => plot.setSize({ width: at.clientWidth, height: at.clientHeight }));
  watch.observe(at);
  drawn.set(figure, { plot, text, shape, watch, spec: held });
}

function dataOf(spec) {
  const columns = spec.series.map((each) => each.values);
  if (!spec.stacked) return [spec.x, ...columns];
  const sums = [];
  columns.forEach((column, n) => sums.push(column.map((value, at) => value + (n ? sums[n - 1][at] : 0))));
  return [spec.x, ...sums.reverse()];
}

function range(spec) {
  const [first, last] = [spec.from ?? spec.x[0], spec.to ?? spec.x[spec.x.length - 1]];
  const room = first === last ? Math.abs(first) / 2 || 1 : 0;
  return { min: first - room, max: last + room };
}

function top(data) {
  let most = 0;
  for (const column of data.slice(1)) for (const value of column) if (value > most) most = value;
  return most ? most * 1.08 : 1;
}

function options(held, at) {
  const spec = held.now;
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${0.75 * rem}px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: color("soft"), font, grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
  const lines = spec.stacked ? [...spec.series].reverse() : spec.series;
  return {
    width: at.clientWidth,
    height: at.clientHeight,
    padding: [rem * (0.75 + 1.15 * (spec.marks ?? []).length), rem * (spec.kind === "time" ? 2 : 1), 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: spec.kind === "time", range: () => Object.values(range(held.now)) }, y: { range: (plot) => [0, top(plot.data)] } },
    tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), spec.zone ?? zone),
    axes: [
      { ...axis, grid: { show: false }, size: rem * (spec.kind === "time" ? 2.6 : 2), space: rem * 5, ...(spec.kind === "time" ? { incrs: steps, values: (_, ticks, __, ___, step) => times(ticks, step, spec.zone ?? zone) } : { values: (_, ticks) => ticks.map((t) => exact.format(t)) }) },
      { ...axis, size: rem * 3.4, space: rem * 2.2, values: (_, ticks) => ticks.map((t) => short.format(t)) },
    ],
    series: [{}, ...lines.map((line) => series(line, rem))],
    hooks: { draw: [(plot) => marks(plot, held.now, rem, font)], setCursor: [(plot) => tip(plot, at, held.now)] },
  };
}

function series(line, rem) {
  const paths = window.uPlot.paths;
  const bars = line.look === "bars";
  const points = line.look === "points";
  const many = points && line.values.filter((value) => value != null).length > 300;
  return {
    label: line.name,
    stroke: color(line.color),
    width: bars ? 0 : Math.max(1.5, rem / 10),
    fill: bars ? color(line.color) : line.look === "area" || line.look === "steps" ? faint(line.color, 0.14) : undefined,
    paths: bars ? paths.bars({ size: [0.86, rem * 4], align: 1 }) : line.look === "steps" || line.look === "edge" ? paths.stepped({ align: 1 }) : points ? () => null : paths.linear(),
    spanGaps: Boolean(line.dots),
    points: { show: points || Boolean(line.dots), size: rem / (many ? 3.2 : 2), fill: many ? faint(line.color, 0.6) : color(line.color), ...(many ? { width: 0 } : {}) },
  };
}

function marks(plot, spec, rem, font) {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio || 1;
  const top = bbox.top - 1.15 * rem * ratio * (spec.marks ?? []).length - 0.2 * rem * ratio; // names are above the plot
  (spec.marks ?? []).forEach((mark, n) => {
    const x = plot.valToPos(mark.x, "x", true);
    if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) return;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color(mark.color ?? "ink");
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash(mark.dashed ? [5 * ratio, 4 * ratio] : []);
    ctx.beginPath();
    ctx.moveTo(x, top + n * 1.15 * rem * ratio);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.font = font.replace(/^[\d.]+/, (size) => size * ratio);
    const right = x + ctx.measureText(mark.name).width + rem * ratio > bbox.left + bbox.width;
    ctx.textAlign = right ? "right" : "left";
    ctx.textBaseline = "top";
    ctx.fillText(mark.name, x + (right ? -1 : 1) * 0.35 * rem * ratio, top + n * 1.15 * rem * ratio);
    ctx.restore();
  });
}

function tip(plot, at, spec) {
  let box = at.querySelector(".tip");
  if (!box) {
    box = document.createElement("div");
    box.className = "tip";
    box.setAttribute("aria-hidden", "true");
    at.append(box);
  }
  const { idx, left } = plot.cursor;
  box.hidden = idx == null || left < 0;
  if (box.hidden) return;
  const x = spec.x[idx];
  const head = spec.labels?.[idx] ?? (spec.kind === "time" ? new Date(x * 1000).toLocaleString("en-GB", { timeZone: spec.zone ?? zone }) : exact.format(x));
  const lines = spec.series.map((line) => {
    const row = document.createElement("div");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${line.color}`;
    const value = line.values[idx];
    row.append(swatch, `${line.name}: ${value == null ? "–" : exact.format(value)}${spec.unit ? ` ${spec.unit}` : ""}`);
    return row;
  });
  const title = document.createElement("strong");
  title.textContent = head;
  box.replaceChildren(title, ...lines);
  const wide = box.offsetWidth;
  const over = plot.over.offsetLeft + left;
  box.style.left = `${over + wide + 24 > at.clientWidth ? over - wide - 12 : over + 12}px`;
}
