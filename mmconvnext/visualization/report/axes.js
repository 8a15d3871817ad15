"use strict";
// What every chart is made of: SVG elements, scales, ticks, axes.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "2 3", "9 3 2 3"];
const HEIGHT = 250;
const ROOM = { left: 56, right: 12, top: 10, bottom: 38 };

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const color = (index) => `var(--c${index % 8})`;
const dash = (index) => DASHES[Math.floor(index / 8) % DASHES.length];

function shown(value) {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

/** Round numbers across a range, about as many as asked for. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function logTicks(low, high) {
  const found = [];
  const wide = Math.log10(high / low) > 2.5;
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const factor of wide ? [1] : [1, 2, 5]) {
      const at = factor * 10 ** power;
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  return found.length > 2 ? found : ticks(low, high, 4).filter((at) => at > 0);
}

/** Value to pixels; on a logarithmic scale what is not positive has no place. */
function scale(low, high, from, to, log) {
  if (log) {
    const [a, b] = [Math.log10(low), Math.log10(high)];
    return (value) => from + ((Math.log10(value) - a) / (b - a || 1)) * (to - from);
  }
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

function range(values, log) {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!usable.length) return null;
  let [low, high] = [Infinity, -Infinity];
  for (const value of usable) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (log) return low === high ? [low / 2, high * 2] : [low, high];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 && low < high * 0.6 ? 0 : low - room, high + room];
}

function pathOf(xs, ys, toX, toY, log) {
  let [path, pen] = ["", false];
  xs.forEach((x, i) => {
    const drawable = ys[i] !== null && Number.isFinite(x) && (!log || ys[i] > 0);
    if (drawable) path += `${pen ? "L" : "M"}${toX(x).toFixed(1)} ${toY(ys[i]).toFixed(1)}`;
    pen = drawable;
  });
  return path;
}

function axes(picture, width, toX, toY, xs, ys, xTitle, yTitle) {
  const floor = HEIGHT - ROOM.bottom;
  for (const y of ys) {
    picture.append(svg("line", { class: "grid", x1: ROOM.left, x2: width - ROOM.right, y1: toY(y), y2: toY(y) }));
    picture.append(svg("text", { x: ROOM.left - 6, y: toY(y) + 4, "text-anchor": "end" }, shown(y)));
  }
  for (const [x, label] of xs) {
    picture.append(svg("line", { class: "axis", x1: toX(x), x2: toX(x), y1: floor, y2: floor + 4 }));
    picture.append(svg("text", { x: toX(x), y: floor + 17, "text-anchor": "middle" }, label));
  }
  picture.append(svg("path", { class: "axis", d: `M${ROOM.left} ${ROOM.top}V${floor}H${width - ROOM.right}` }));
  picture.append(svg("text", { x: (ROOM.left + width) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, xTitle));
  const middle = (ROOM.top + floor) / 2;
  picture.append(svg("text", { x: 11, y: middle, transform: `rotate(-90 11 ${middle})`, "text-anchor": "middle" }, yTitle));
}
