"""Report pages in Chromium: what hovering and sliders show, and that nothing fails or leaves the page.

It needs `pip install playwright` and Debian's package `chromium`, and is run with -m browser.
"""

import base64
import io
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.configs import digits, wine
from experiments.reporting import contents, encoded, explorer
from experiments.run import build, scores, workdir
from tests import commands, made_runs
from tests.test_report import data_of

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOWN = {"light": 1280, "dark": 400}  # the widths that each scheme is seen in
MOST_MILLISECONDS = 2000


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a page of a width and a colour scheme; at the end nothing may have failed or been asked."""
    wrong, contexts = [], []

    def opened(path: Path, width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """The folder of a run on a table."""
    config = wine.get_config()
    config.model.network, config.model.latent_dim = "mlp(hidden=(8,))", (2,)
    folder = tmp_path_factory.mktemp("table") / "run"
    made_runs.make(folder, config)
    commands.call("report", f"--workdir={folder}")
    return folder


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(trained, folder / "other", ignore=shutil.ignore_patterns("checkpoints"))
    output = folder / "comparison.html"
    commands.call("report", f"--workdir={trained}", f"--workdir={folder / 'other'}", f"--output={output}")
    return output


@pytest.mark.parametrize("scheme", SHOWN)
@pytest.mark.parametrize("which", ["digits", "table", "compared"])
def test_a_page_is_as_wide_as_the_window_and_is_there_at_once(open_page, trained, table, compared, which, scheme):
    path = {"digits": trained / "report.html", "table": table / "report.html", "compared": compared}[which]
    page = open_page(path, SHOWN[scheme], scheme)
    took = page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
    assert 0 < took < MOST_MILLISECONDS
    assert page.evaluate("document.documentElement.scrollWidth") <= SHOWN[scheme]
    red, *_ = map(int, page.evaluate("getComputedStyle(document.body).backgroundColor")[4:-1].split(","))
    assert (red > 128) == (scheme == "light")
    levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.eval_on_selector_all("img:not(#sprite)", "all => all.every(e => e.alt)")


def test_pointing_at_a_curve_shows_the_values_of_the_nearest_step(open_page, trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    elbos = {(line["split"], line["step"]): line["elbo"] for line in lines}
    page = open_page(trained / "report.html")
    inner = page.eval_on_selector("#curves clipPath rect", "r => [r.x, r.width].map(v => v.baseVal.value)")
    box = page.locator("#curves svg")
    at = lambda step: inner[0] + (step - 10) / 50 * inner[1]  # the axis ends at steps 10 and 60
    for pointed, step, validated in ((29, 30, 30), (57, 60, 60), (13, 10, 30)):
        box.hover(position={"x": at(pointed), "y": 100})
        shown = page.locator("#curves .tip").inner_text().split("\n")
        other = "" if validated == step else f" (step {validated})"
        assert shown == [
            f"step {step}",
            f"training −{-elbos['train', step]:.2f}",
            f"validation −{-elbos['validation', validated]:.2f}{other}",
        ]
    page.locator("#curves svg").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#curves .tip b").inner_text() == "step 20"
    page.get_by_role("button", name="validation").click()
    assert page.locator("#curves path.curve").count() == 1


def test_pointing_at_a_latent_names_its_label_and_row(open_page, trained):
    page = open_page(trained / "report.html")
    labels = data_of((trained / "report.html").read_text())["scatter"]["labels"]
    page.locator("#scatter circle[r='3']").nth(7).hover(force=True)
    label, row = page.locator("#scatter .tip div").first.inner_text().split(", ")
    number = int(row.split()[1])
    assert label == f"label {labels[number]}"  # of examples in one place the first is named


def pixels(page) -> np.ndarray:
    url = page.eval_on_selector("canvas", "c => c.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L"))


def decoded(folder: Path) -> tuple[build.Experiment, explorer.Explorer, list[Any]]:
    """The experiment of a run, its explorer, and p(x|z) where one slider is at its end and the others in the middle."""
    config, experiment = workdir.load(folder, data_dir=None, data_path=None)
    _, params = scores.load_weights(experiment, folder, checkpoint=None, weights=scores.evaluated_weights(config))
    mean_key, _, decode_key = jax.random.split(build.purpose_key(experiment.key, build.FIGURES), 3)
    found = encoded.encode(experiment, params, mean_key, most=contents.MOST_EXAMPLES)
    made = explorer.explore(experiment, params, found, decode_key)
    ends = []
    for axis in made.axes:
        z = found.means.mean(axis=0)
        z[axis.dimension] += 2 * found.means[:, axis.dimension].std()
        ends.append(experiment.vae.decode(params, z))
    return experiment, made, ends


def test_a_moved_slider_shows_the_picture_that_is_decoded_there(open_page, trained):
    _, made, ends = decoded(trained)
    page = open_page(trained / "report.html")
    before = pixels(page)
    for number, mean in enumerate(p.mean for p in ends):
        slider = page.locator("#explorer input").nth(number)
        slider.focus()
        page.keyboard.press("End")
        moved = pixels(page)
        np.testing.assert_allclose(moved, 255 * np.asarray(mean[..., 0]), atol=0.6)
        assert np.abs(moved.astype(int) - before).max() > 5
        value = made.axes[number].mean + 2 * made.axes[number].deviation
        assert page.locator("#explorer output").nth(number).inner_text() == f"{value:.2f}".replace("-", "−")
        page.get_by_role("button", name="Back to the mean").click()
        np.testing.assert_array_equal(pixels(page), before)


def test_the_picture_is_that_of_the_class_that_is_chosen(open_page, tmp_path):
    config = digits.get_config()
    config.model.network, config.model.latent_dim, config.data.condition = "mlp(hidden=(8,))", (2,), "label"
    made_runs.make(tmp_path, config)
    commands.call("report", f"--workdir={tmp_path}")
    page = open_page(tmp_path / "report.html")
    page.select_option("#given", "7")
    config, experiment = workdir.load(tmp_path, data_dir=None, data_path=None)
    _, params = scores.load_weights(experiment, tmp_path, checkpoint=None, weights=scores.evaluated_weights(config))
    mean_key, *_ = jax.random.split(build.purpose_key(experiment.key, build.FIGURES), 3)
    z = encoded.encode(experiment, params, mean_key, most=contents.MOST_EXAMPLES).means.mean(axis=0)
    mean = experiment.vae.decode(params, z, {"label": np.asarray(7)}).mean
    np.testing.assert_allclose(pixels(page), 255 * np.asarray(mean[..., 0]), atol=0.6)


def test_a_moved_slider_moves_the_bars_of_a_table(open_page, table):
    _, made, ends = decoded(table)
    page = open_page(table / "report.html")
    before = page.locator("#decoded .number").all_inner_texts()
    page.locator("#explorer input").nth(0).focus()
    page.keyboard.press("End")
    texts = page.locator("#decoded .number").all_inner_texts()
    assert texts != before
    shown = [float(text.replace("−", "-")) for text in texts]
    expected = [float(ends[0].parts[bar.column].mean) for bar in made.bars]
    np.testing.assert_allclose(shown, expected, rtol=2e-3)
    widths = page.eval_on_selector_all("#decoded .fill", "all => all.map(e => parseFloat(e.style.width))")
    shares = [100 * (value - bar.low) / (bar.high - bar.low) for value, bar in zip(expected, made.bars, strict=True)]
    np.testing.assert_allclose(widths, shares, atol=0.5)


def test_the_command_is_copied(open_page, trained):
    page = open_page(trained / "report.html")
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("document.querySelector('[data-copies]').textContent !== 'Copy'")
    assert page.evaluate("getSelection().toString()").startswith("./launch.sh train")
