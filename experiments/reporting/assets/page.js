const data = JSON.parse(document.getElementById("data").textContent);
const drawn = { curves: drawCurves, scatter: drawScatter, explorer: drawExplorer };
for (const [name, drawInto] of Object.entries(drawn)) {
  if (data[name]) drawInto(document.getElementById(name), data[name]);
}

document.querySelectorAll("button[data-copies]").forEach((button) => {
  button.onclick = async () => {
    const text = document.getElementById(button.dataset.copies);
    getSelection().selectAllChildren(text);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
    }
  };
});
