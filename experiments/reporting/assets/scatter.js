// The latents of test examples in a plane; the example nearest to the pointer is named.
function drawScatter(box, { points, labels, classes, xlabel, ylabel }) {
  const plot = make("div", { class: "plot", id: "scatter-plot" }), tip = make("div", { class: "tip", role: "status" });
  const hidden = new Set(), own = classes.map((name, number) => [name, colour(number, classes.length)]);
  box.append(plot);
  if (classes.length > 1) box.append(legend(own, hidden, redraw));
  const seen = (i) => !labels.length || !hidden.has(classes[labels[i]]);

  function redraw() {
    plot.replaceChildren();
    const height = Math.min(520, Math.max(260, 0.75 * plot.clientWidth)), width = Math.max(plot.clientWidth, 200);
    const ends = [0, 1].map((k) => [Math.min(...points.map((p) => p[k])), Math.max(...points.map((p) => p[k]))]);
    // One unit is as long on both axes.
    const unit = 1.08 * Math.max((ends[0][1] - ends[0][0]) / (width - 76), (ends[1][1] - ends[1][0]) / (height - 48), 1e-9);
    const around = ([low, high], pixels) => [(low + high - unit * pixels) / 2, (low + high + unit * pixels) / 2];
    const [x, y] = [around(ends[0], width - 76), around(ends[1], height - 48)];
    const { svg, scale, inside } = axes(plot, { x, y, xlabel: ylabel ? `${xlabel} across, ${ylabel} up` : xlabel, height });
    svg.setAttribute("aria-label", `${points.length} test examples by ${xlabel} and ${ylabel || "nothing else"}`);
    const at = points.map((p) => [scale.x(p[0]), scale.y(p[1])]);
    at.forEach(([cx, cy], i) => {
      if (seen(i)) draw(inside, "circle", { cx, cy, r: 3, style: `fill: ${labels.length ? own[labels[i]][1] : "var(--c0)"}`, "fill-opacity": 0.75 });
    });
    const look = draw(inside, "circle", { class: "mark", r: 6, visibility: "hidden" });
    svg.onpointermove = svg.onpointerdown = (event) => {
      const corner = plot.getBoundingClientRect();
      const [px, py] = [event.clientX - corner.left, event.clientY - corner.top];
      const distance = (i) => (seen(i) ? Math.hypot(at[i][0] - px, at[i][1] - py) : Infinity);
      const best = at.reduce((found, _, i) => (distance(i) < distance(found) ? i : found), 0);
      if (distance(best) > 30) return svg.onpointerleave();
      for (const [name, value] of [["cx", at[best][0]], ["cy", at[best][1]], ["visibility", "visible"]]) look.setAttribute(name, value);
      look.style.fill = labels.length ? own[labels[best]][1] : "var(--c0)";
      const label = labels.length ? `label ${classes[labels[best]]}, ` : "";
      tip.replaceChildren(make("div", {}, `${label}row ${best} of the test examples`), make("div", {}, points[best].map(shown).join(", ")));
      plot.append(tip);
      place(tip, plot, ...at[best]);
    };
    svg.onpointerleave = () => {
      tip.hidden = true;
      look.setAttribute("visibility", "hidden");
    };
  }
  redraw();
  new ResizeObserver(redraw).observe(box);
}
