"use strict";

function make(tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function draw(parent, tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

// A number as text, with a real minus; large ones with two decimals, small ones with four digits.
function shown(value) {
  const size = Math.abs(value);
  const text = size >= 100 || value === 0 ? value.toFixed(2) : size >= 1e-3 ? value.toPrecision(4) : value.toExponential(2);
  return text.replace("-", "−");
}

const steps = (value) => value.toLocaleString("en-US");

const colour = (number, count) => (count <= 10 ? `var(--c${number % 10})` : `hsl(${(360 * number) / count} 65% 50%)`);

// About so many round numbers between two.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= 0.7 * rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found.map((at) => ({ at, text: (+at.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 }).replace("-", "−") }));
}

// Buttons that hide and show what has their names; `changed` is called after each.
function legend(names, hidden, changed) {
  const box = make("div", { class: "legend" });
  names.forEach(([name, own]) => {
    const button = make("button", { type: "button", "aria-pressed": "true", style: `--own: ${own}` }, name);
    button.onclick = () => {
      if (!hidden.delete(name)) hidden.add(name);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      changed();
    };
    box.append(button);
  });
  return box;
}

// An SVG as wide as its box, with axes; `scale` maps values to pixels.
function axes(plot, { x, y, xlabel, height, left = 56 }) {
  const width = Math.max(plot.clientWidth, 200), top = 8, bottom = 40, right = 20;
  const scale = {
    x: (value) => left + ((value - x[0]) / (x[1] - x[0])) * (width - left - right),
    y: (value) => top + ((y[1] - value) / (y[1] - y[0])) * (height - top - bottom),
    step: (pixel) => x[0] + ((pixel - left) / (width - left - right)) * (x[1] - x[0]),
  };
  const svg = draw(plot, "svg", { viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "img" });
  const inner = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  for (const { at, text } of ticks(...y, 5)) {
    draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: scale.y(at), y2: scale.y(at) });
    draw(svg, "text", { x: left - 8, y: scale.y(at) + 4, "text-anchor": "end" }, text);
  }
  for (const { at, text } of ticks(...x, Math.max(2, Math.floor(width / 110)))) {
    draw(svg, "line", { class: "grid", x1: scale.x(at), x2: scale.x(at), y1: top, y2: height - bottom });
    draw(svg, "text", { x: scale.x(at), y: height - bottom + 18, "text-anchor": "middle" }, text);
  }
  draw(svg, "text", { x: left + inner.width / 2, y: height - 4, "text-anchor": "middle" }, xlabel);
  const clip = draw(svg, "clipPath", { id: `${plot.id}-clip` });
  draw(clip, "rect", { ...inner, x: left - 6, width: inner.width + 12 }); // marks at the ends are whole
  return { svg, scale, inside: draw(svg, "g", { "clip-path": `url(#${plot.id}-clip)` }), inner };
}

// Puts the tip beside a point, where it has room.
function place(tip, plot, x, y) {
  tip.hidden = false;
  const beside = x + 14 + tip.offsetWidth > plot.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
  tip.style.left = `${Math.max(0, beside)}px`;
  tip.style.top = `${Math.max(0, y - tip.offsetHeight / 2)}px`;
}
