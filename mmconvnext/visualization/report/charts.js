"use strict";
// Curves, bars and a matrix as SVG. What is shown can be put into the page's address:
// #x=epoch&smooth=0.9&log=1&hide=loss_cls,lr

const DATA = JSON.parse(document.getElementById("data").textContent);
// The longest run decides between hours and minutes.
const HOUR = DATA.runs.some((run) => (run.elapsed.at(-1)?.[1] ?? 0) > 5400) ? 3600 : 60;
const UNITS = { iteration: "iteration", epoch: "epoch", time: `training time (${HOUR > 60 ? "h" : "min"})` };
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const state = { x: "iteration", smooth: 0, log: false, hide: new Set() };

/** Hours, or minutes, of training until an iteration. */
function trained(elapsed, iteration) {
  let [low, high] = [0, elapsed.length - 1];
  if (high < 1) return NaN;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (elapsed[middle][0] <= iteration) low = middle;
    else high = middle;
  }
  const [[i0, s0], [i1, s1]] = [elapsed[low], elapsed[high]];
  return (s0 + ((iteration - i0) / (i1 - i0 || 1)) * (s1 - s0)) / HOUR;
}

function place(run, iteration) {
  if (state.x === "epoch") return run.per_epoch ? iteration / run.per_epoch : NaN;
  return state.x === "time" ? trained(run.elapsed, iteration) : iteration;
}

/** Exponential moving average, without the first values' pull. */
function smoothed(values, weight) {
  let [sum, mass] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    mass = mass * weight + 1 - weight;
    return sum / mass;
  });
}

/** The curves that are not hidden, placed along the axis and smoothed as asked for. */
function plotted(chart) {
  return chart.series.filter((series) => !state.hide.has(series.label)).map((series) => {
    const raw = series.points.map((point) => point[1]);
    const even = chart.smooth && state.smooth > 0;
    const xs = series.points.map((point) => place(DATA.runs[series.run], point[0]));
    return { ...series, xs, raw, ys: even ? smoothed(raw, state.smooth) : raw, even };
  });
}

function drawCurve(picture, curve, toX, toY) {
  const line = { stroke: color(curve.color), "stroke-dasharray": dash(curve.color) };
  const add = (kind, ys) => picture.append(svg("path", { ...line, class: kind, d: pathOf(curve.xs, ys, toX, toY, state.log) }));
  if (curve.even) add("raw", curve.raw);
  add("curve", curve.ys);
  if (curve.xs.length > 40) return;
  curve.xs.forEach((x, i) => {
    if (curve.ys[i] !== null && Number.isFinite(x) && (!state.log || curve.ys[i] > 0))
      picture.append(svg("circle", { cx: toX(x), cy: toY(curve.ys[i]), r: 2.5, fill: color(curve.color) }));
  });
}

/** Axes and curves, or a word on why there are none; returns the scale along, null without one. */
function drawCurves(picture, chart, width) {
  const across = chart.plotted.flatMap((curve) => curve.xs.filter(Number.isFinite));
  const up = range(chart.plotted.flatMap((curve) => curve.raw.filter((value) => value !== null)), state.log);
  if (!across.length || !up) {
    const words = chart.plotted.length ? `nothing to show by ${state.x}${state.log ? " on a log scale" : ""}` : "all hidden";
    picture.append(svg("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, words));
    return null;
  }
  const right = across.reduce((most, x) => Math.max(most, x), 0) || 1;
  const toX = scale(0, right, ROOM.left, width - ROOM.right, false);
  const toY = scale(up[0], up[1], HEIGHT - ROOM.bottom, ROOM.top, state.log);
  const xs = ticks(0, right, width / 95).map((x) => [x, shown(x)]);
  axes(picture, width, toX, toY, xs, state.log ? logTicks(...up) : ticks(...up, 5), UNITS[state.x], chart.unit);
  for (const curve of chart.plotted) drawCurve(picture, curve, toX, toY);
  return toX;
}

function draw(chart) {
  const width = Math.max(chart.box.clientWidth, 240);
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": chart.title });
  chart.plotted = plotted(chart);
  chart.toX = drawCurves(picture, chart, width);
  chart.cursor = svg("line", { class: "cursor", y1: ROOM.top, y2: HEIGHT - ROOM.bottom, visibility: "hidden" });
  picture.append(chart.cursor);
  chart.box.querySelector("svg.plot")?.remove();
  chart.box.prepend(picture);
  for (const button of chart.legend.children)
    button.setAttribute("aria-pressed", String(!state.hide.has(button.dataset.label)));
}

/** Moves the cursor to the points nearest to a place and says their values. */
function point(chart, event) {
  const box = chart.box.getBoundingClientRect();
  const at = event.clientX - box.left;
  const rows = [];
  let near = null;
  if (chart.toX)
    for (const s of chart.plotted) {
      let best = -1;
      s.xs.forEach((x, i) => {
        if (s.ys[i] !== null && Number.isFinite(x) && (best < 0 || Math.abs(chart.toX(x) - at) < Math.abs(chart.toX(s.xs[best]) - at))) best = i;
      });
      if (best < 0) continue;
      if (near === null || Math.abs(chart.toX(s.xs[best]) - at) < Math.abs(chart.toX(near) - at)) near = s.xs[best];
      rows.push(element("div", {}, element("span", {}, s.label), element("b", {}, shown(s.ys[best]))));
    }
  chart.tooltip.hidden = near === null;
  if (near === null) return;
  const x = chart.toX(near);
  for (const name of ["x1", "x2"]) chart.cursor.setAttribute(name, x);
  chart.cursor.setAttribute("visibility", "visible");
  chart.tooltip.replaceChildren(element("div", {}, UNITS[state.x], element("b", {}, shown(near))), ...rows);
  chart.tooltip.style.top = "8px";
  chart.tooltip.style.left = `${x > box.width / 2 ? Math.max(0, x - chart.tooltip.offsetWidth - 12) : x + 12}px`;
}

function leave(chart) {
  chart.tooltip.hidden = true;
  chart.cursor.setAttribute("visibility", "hidden");
}

/** The chart's numbers as a table, made when it is opened. */
function figures(chart) {
  const details = element("details", {
    toggle: () => {
      if (!details.open || details.querySelector("table")) return;
      const steps = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
      const columns = chart.series.map((s) => new Map(s.points));
      const head = ["iteration", ...chart.series.map((s) => s.label)];
      details.append(element("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": chart.title },
        element("table", {}, element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
          element("tbody", {}, ...steps.map((step) => element("tr", {}, element("th", { scope: "row", class: "number" }, String(step)),
            ...columns.map((column) => element("td", { class: "number" }, column.has(step) ? shown(column.get(step) ?? NaN) : ""))))))));
    },
  }, element("summary", { class: "soft" }, "Figures"));
  return details;
}

function makeLines(box, chart) {
  chart.box = box;
  chart.legend = element("div", { class: "legend", role: "group", "aria-label": `Show in ${chart.title}` });
  for (const s of chart.series) {
    const sample = svg("svg", { "aria-hidden": "true" }, svg("path", { d: "M0 5H22", stroke: color(s.color), "stroke-width": 3, "stroke-dasharray": dash(s.color) }));
    chart.legend.append(element("button", {
      type: "button", "data-label": s.label,
      click: () => {
        if (!state.hide.delete(s.label)) state.hide.add(s.label);
        change();
      },
    }, sample, s.label));
  }
  chart.tooltip = element("div", { class: "tooltip", hidden: true });
  box.append(chart.legend, chart.tooltip);
  box.after(figures(chart));
  box.addEventListener("pointermove", (event) => point(chart, event));
  box.addEventListener("pointerleave", () => leave(chart));
  chart.draw = () => draw(chart);
}

/** Bars over the network's depth, on a logarithmic scale where the config's rates ask for one. */
function makeBars(box, chart) {
  chart.draw = () => {
    const width = Math.max(box.clientWidth, 240);
    const picture = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": chart.title });
    const floor = Math.min(...chart.values) / 1.5;
    const toY = scale(floor, Math.max(...chart.values), HEIGHT - ROOM.bottom, ROOM.top, true);
    const step = (width - ROOM.left - ROOM.right) / chart.values.length;
    const toX = (index) => ROOM.left + (index + 0.5) * step;
    const every = Math.ceil(26 / step);
    const labels = chart.values.map((_, i) => [i, chart.labels[i]]).filter(([i]) => i % every === 0);
    axes(picture, width, toX, toY, labels, logTicks(floor, Math.max(...chart.values)), chart.x, chart.unit);
    chart.values.forEach((value, i) => {
      const bar = { x: toX(i) - step * 0.4, width: step * 0.8, y: toY(value), height: HEIGHT - ROOM.bottom - toY(value), fill: color(0), class: "bar" };
      picture.append(svg("rect", bar, svg("title", {}, chart.notes[i])));
    });
    box.replaceChildren(picture);
  };
}

/** A confusion matrix: the darker, the larger the share of the true class. */
function makeMatrix(box, chart) {
  const count = chart.labels.length;
  const side = Math.max(count * (count > 40 ? 8 : 22), 200);
  const room = count > 40 ? 24 : 110;
  const cell = side / count;
  const total = side + room + (count > 40 ? 8 : 60); // slanted names reach beyond the last column
  const picture = svg("svg", { class: "plot", viewBox: `0 0 ${total} ${total}`, role: "img", "aria-label": chart.title });
  picture.style.maxWidth = `${Math.max(total, 340)}px`;
  const short = (name) => (name.length > 14 ? `${name.slice(0, 13)}…` : name);
  if (count <= 40)
    chart.labels.forEach((name, i) => {
      const at = room + (i + 0.5) * cell;
      picture.append(svg("text", { x: room - 6, y: at + 4, "text-anchor": "end" }, short(name)));
      picture.append(svg("text", { x: at, y: room - 6, transform: `rotate(-50 ${at} ${room - 6})` }, short(name)));
    });
  picture.append(svg("text", { x: 2, y: 12 }, count > 40 ? "rows: truth" : "truth ↓ predicted →"));
  picture.append(svg("rect", { class: "axis", x: room, y: room, width: side, height: side }));
  for (const [truth, predicted, amount, share] of chart.cells) {
    const title = `${chart.labels[truth]} predicted as ${chart.labels[predicted]}: ${shown(amount)} ${chart.unit}, ${shown(100 * share)} %`;
    const square = svg("rect", { class: "cell", x: room + predicted * cell, y: room + truth * cell, width: cell, height: cell }, svg("title", {}, title));
    square.style.fill = `rgba(var(--heat), ${Math.max(share, 0.03).toFixed(3)})`;
    picture.append(square);
    if (count <= 12) {
      const at = { x: room + (predicted + 0.5) * cell, y: room + (truth + 0.5) * cell + 4, "text-anchor": "middle" };
      const words = svg("text", { ...at, "pointer-events": "none" }, COMPACT.format(amount));
      words.style.fill = share > 0.5 ? "var(--back)" : "var(--ink)";
      picture.append(words);
    }
  }
  chart.draw = () => {};
  box.append(picture);
}

const MAKERS = { lines: makeLines, bars: makeBars, matrix: makeMatrix };
const charts = [...document.querySelectorAll("[data-chart]")].map((box) => {
  const chart = DATA.charts[Number(box.dataset.chart)];
  MAKERS[chart.kind](box, chart);
  return chart;
});

function redraw() {
  for (const chart of charts) chart.draw();
}

/** Takes what the page's address asks for. */
function readAddress() {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return;
  const asked = new URLSearchParams(hash);
  if (Object.hasOwn(UNITS, asked.get("x") ?? "")) state.x = asked.get("x");
  state.smooth = Math.min(Math.max(parseFloat(asked.get("smooth")) || 0, 0), 0.99);
  state.log = asked.get("log") === "1";
  state.hide = new Set((asked.get("hide") ?? "").split(",").filter(Boolean).map(decodeURIComponent));
}

function change() {
  const asked = new URLSearchParams({ x: state.x, smooth: state.smooth, log: Number(state.log) });
  if (state.hide.size) asked.set("hide", [...state.hide].map(encodeURIComponent).join(","));
  history.replaceState(null, "", `#${asked}`);
  redraw();
}

function fillControls() {
  const controls = document.getElementById("controls");
  if (!controls) return;
  const [axis, smooth, log] = ["x", "smooth", "log"].map((name) => controls.querySelector(`[name=${name}]`));
  const value = controls.querySelector("output");
  const show = () => {
    axis.value = state.x;
    smooth.value = state.smooth;
    log.checked = state.log;
    value.textContent = state.smooth.toFixed(2);
  };
  axis.addEventListener("change", () => { state.x = axis.value; change(); });
  smooth.addEventListener("input", () => { state.smooth = Number(smooth.value); show(); change(); });
  log.addEventListener("change", () => { state.log = log.checked; change(); });
  window.addEventListener("hashchange", () => { readAddress(); show(); redraw(); });
  show();
}

readAddress();
fillControls();
redraw();
let drawnAt = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth !== drawnAt) redraw();
  drawnAt = document.documentElement.clientWidth;
});
