// Sliders over latent dimensions; each position is a picture of the sprite, or a row of numbers.
function drawExplorer(box, { axes: dimensions, offsets, classes, given: called, tile, bars, values }) {
  const middle = (offsets.length - 1) / 2, places = dimensions.map(() => middle);
  const shownBox = make("div"), controls = make("div"), sliders = [];
  let given = 0;
  box.classList.add("explorer");
  box.append(shownBox, controls);
  const index = () => places.reduce((point, place) => point * offsets.length + place, given);
  const update = tile ? pictures() : numbers();

  function pictures() {
    const sprite = document.getElementById("sprite");
    const canvas = make("canvas", { width: tile.width, height: tile.height, role: "img", id: "decoded" });
    shownBox.append(canvas);
    return (words) => {
      canvas.setAttribute("aria-label", `The decoded picture at ${words}`);
      const [row, column] = [Math.floor(index() / tile.across), index() % tile.across];
      const from = [column * tile.width, row * tile.height, tile.width, tile.height];
      canvas.getContext("2d").drawImage(sprite, ...from, 0, 0, tile.width, tile.height);
    };
  }

  function numbers() {
    box.classList.add("numbers");
    const list = make("div", { class: "bars", id: "decoded", tabindex: 0, role: "group", "aria-label": "The decoded numbers" });
    const cells = bars.map(({ column, level }) => {
      const fill = make("div", { class: "fill" }), track = make("div", { class: "track" }), text = make("div", { class: "number" });
      track.append(fill);
      list.append(make("div", { class: "name" }, level === "" ? column : `${column}: ${level}`), track, text);
      return { fill, text };
    });
    shownBox.append(list);
    return () =>
      cells.forEach(({ fill, text }, i) => {
        const value = values[index()][i], { low, high } = bars[i];
        text.textContent = value === null ? "not finite" : shown(value);
        fill.style.width = `${value === null || high === low ? 0 : (100 * (value - low)) / (high - low)}%`;
      });
  }

  function changed() {
    sliders.forEach(({ input, output, mean, deviation }, i) => {
      input.value = places[i];
      const offset = offsets[places[i]], sign = offset > 0 ? "+" : offset < 0 ? "−" : "";
      output.textContent = (mean + offset * deviation).toFixed(2).replace("-", "−");
      input.setAttribute("aria-valuetext", `${output.textContent}, ${sign}${Math.abs(offset).toFixed(2)} standard deviations`);
    });
    update(sliders.map(({ name, output }) => `${name} = ${output.textContent}`).join(", "));
  }

  dimensions.forEach(({ dimension, mean, deviation }, i) => {
    const name = `z${dimension}`, row = make("label", { class: "slider" }), title = make("span", {}, `${name} `);
    const input = make("input", { type: "range", min: 0, max: offsets.length - 1, step: 1 }), output = make("output");
    title.append(make("small", {}, `standard deviation ${deviation.toFixed(2)}`));
    input.oninput = () => {
      places[i] = Number(input.value);
      changed();
    };
    row.append(title, output, input);
    controls.append(row);
    sliders.push({ name, input, output, mean, deviation });
  });
  if (classes.length) {
    const label = make("label", { class: "choice" }, `given ${called} `), choice = make("select", { id: "given" });
    classes.forEach((name, number) => choice.append(make("option", { value: number }, name)));
    choice.onchange = () => {
      given = Number(choice.value);
      changed();
    };
    label.append(choice);
    controls.append(label, make("br"));
  }
  const back = make("button", { type: "button" }, "Back to the mean");
  back.onclick = () => {
    places.fill(middle);
    changed();
  };
  controls.append(back);
  const sprite = document.getElementById("sprite");
  if (tile && !sprite.complete) sprite.onload = changed;
  else changed();
}
