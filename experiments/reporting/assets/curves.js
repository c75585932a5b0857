// Curves against steps, one quantity at a time; the values at the step nearest to the pointer, or to the arrow keys.
function drawCurves(box, quantities) {
  const choice = make("select", { "aria-label": "What the curves show" });
  quantities.forEach((quantity, number) => choice.append(make("option", { value: number }, quantity.label)));
  const plot = make("div", { class: "plot", id: "curves-plot" }), tip = make("div", { class: "tip", role: "status" });
  const hidden = new Set(), keys = make("div");
  box.append(choice, plot, keys);
  let at = null; // the step that is looked at

  const nearest = (series, step) =>
    series.steps.reduce((best, s, i) => (Math.abs(s - step) < Math.abs(series.steps[best] - step) ? i : best), 0);

  // What the curves do after their first tenth, which is steep.
  function range(all) {
    const settled = all.flatMap((s) => s.values.slice(Math.floor(s.values.length / 10))).filter((v) => v !== null);
    if (!settled.length) return [0, 1];
    const low = Math.min(...settled), high = Math.max(...settled), margin = 0.05 * (high - low) || 1;
    return [low - margin, high + margin];
  }

  function redraw() {
    plot.replaceChildren();
    const quantity = quantities[choice.value], all = quantity.series.filter((s) => !hidden.has(s.name));
    const ends = quantity.series.flatMap((s) => [s.steps[0], s.steps.at(-1)]);
    const x = [Math.min(...ends), Math.max(...ends)];
    if (x[0] === x[1]) x[1] += 1;
    const height = Math.min(380, Math.max(230, 0.5 * plot.clientWidth));
    const { svg, scale, inside, inner } = axes(plot, { x, y: range(all), xlabel: "step", height });
    svg.setAttribute("aria-label", `${quantity.label} against steps; arrow keys move through the steps`);
    for (const series of all) {
      const own = colour(series.colour, 10);
      const points = series.steps.map((s, i) => [s, series.values[i]]);
      const path = points.map(([s, v], i) =>
        v === null ? "" : `${i && points[i - 1][1] !== null ? "L" : "M"}${scale.x(s).toFixed(1)} ${scale.y(v).toFixed(1)}`);
      draw(inside, "path", { class: series.dashed ? "curve dashed" : "curve", d: path.join(""), style: `stroke: ${own}` });
      if (points.length <= 30)
        for (const [s, v] of points)
          if (v !== null) draw(inside, "circle", { cx: scale.x(s), cy: scale.y(v), r: 3, style: `fill: ${own}` });
    }
    const look = draw(inside, "g", {});
    const every = [...new Set(all.flatMap((s) => s.steps))].sort((a, b) => a - b);

    function show(step) {
      look.replaceChildren();
      tip.hidden = true;
      at = step;
      if (step === null || !every.length) return;
      at = every.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best), every[0]);
      const lines = [make("b", {}, `step ${steps(at)}`)];
      draw(look, "line", { class: "rule", x1: scale.x(at), x2: scale.x(at), y1: inner.y, y2: inner.y + inner.height });
      for (const series of all) {
        const i = nearest(series, at), value = series.values[i];
        const other = series.steps[i] === at ? "" : ` (step ${steps(series.steps[i])})`;
        lines.push(make("div", {}, `${series.name} ${value === null ? "not finite" : shown(value)}${other}`));
        if (value === null) continue;
        const [cx, cy] = [scale.x(series.steps[i]), scale.y(value)];
        draw(look, "circle", { class: "mark", cx, cy, r: 5, style: `fill: ${colour(series.colour, 10)}` });
      }
      tip.replaceChildren(...lines);
      plot.append(tip);
      place(tip, plot, scale.x(at), inner.y + inner.height / 3);
    }

    svg.onpointermove = svg.onpointerdown = (event) => show(scale.step(event.clientX - plot.getBoundingClientRect().left));
    svg.onpointerleave = svg.onblur = () => show(null);
    svg.onkeydown = (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      const now = at === null ? (move > 0 ? -1 : every.length) : every.indexOf(at);
      show(every[Math.min(every.length - 1, Math.max(0, now + move))] ?? null);
    };
  }

  function choose() {
    const series = quantities[choice.value].series;
    keys.replaceChildren(legend(series.map((s) => [s.name, colour(s.colour, 10)]), hidden, redraw));
    hidden.clear();
    redraw();
  }
  choice.onchange = choose;
  choose();
  new ResizeObserver(redraw).observe(box);
}
