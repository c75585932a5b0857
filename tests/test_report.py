"""The report page of a run: what is on it, that it is whole and harmless HTML, and the explorer of the latents."""

import base64
import dataclasses
import io
import json
import re
import shlex
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import train
from experiments.configs import digits, mnist_conditional, wine
from experiments.reporting import contents, encoded, explorer, latents, page, provenance
from experiments.reporting.document import Picture
from experiments.reporting.rows import Row
from experiments.run import build, workdir
from experiments.run.config import Config, changed
from tests import commands
from vae_jax import data

NASTY = "</script><img src=x onerror=alert(1)>&\"'"


def data_of(html: str) -> dict:
    """What the scripts of a page are given."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(text)


def png(size: int, seed: int = 0) -> bytes:
    """A picture that does not compress."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def made_page(**parts) -> page.Page:
    scatter = page.Scatter([[0.0, 1.0], [2.0, -1.0]], [0, 1], [NASTY, "b"], "z0", "z1", NASTY)
    curves = [{"label": NASTY, "series": [{"name": NASTY, "colour": 0, "dashed": False, "steps": [1], "values": [0]}]}]
    made = {"title": NASTY, "about": NASTY, "headlines": [page.Headline(NASTY, NASTY, NASTY, NASTY)]}
    made |= {"sentences": [NASTY, "Use --config.loss.beta='linear(3)'."], "curves": curves, "scatter": scatter}
    made |= {"pictures": [Picture("samples", png(20), NASTY, NASTY)], "explorer": NASTY, "evaluated": NASTY}
    made |= {"rows": [Row(NASTY, NASTY, NASTY, unit=NASTY, remark=NASTY)], "command": NASTY, "facts": [(NASTY, NASTY)]}
    made |= {"fields": [provenance.Field(NASTY, NASTY, NASTY, True, NASTY)]}
    return page.Page(**made | parts)


def test_no_text_of_a_run_is_taken_for_html():
    html = page.render(made_page())
    assert "<img src=x" not in html
    assert html.count("</script>") == 2
    assert data_of(html)["scatter"]["classes"] == [NASTY, "b"]
    assert "Use <code>--config.loss.beta='linear(3)'</code>." in html


def test_a_page_refers_to_nothing_outside_itself():
    html = page.render(made_page())
    assert "default-src 'none'" in html
    assert {re.sub("(data:|#).*", r"\1", link) for link in re.findall(r'(?:src|href)="(.*?)"', html)} == {"data:", "#"}
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_the_largest_pictures_are_left_out_of_a_page_that_they_would_make_too_large():
    pictures = [Picture(name, png(size), "", "") for name, size in (("samples", 200), ("huge", 900), ("large", 700))]
    html = page.render(made_page(pictures=pictures), most_bytes=2_300_000)
    assert len(html) < 2_300_000
    assert base64.b64encode(png(700)).decode() in html
    assert "Left out, to keep this page small: huge (figures/)." in html
    assert len(page.render(made_page(pictures=[*pictures, *([pictures[1]] * 5)]))) < 5_000_000


@pytest.mark.parametrize("recipe", [digits, wine, mnist_conditional], ids=lambda module: module.__name__)
def test_the_command_of_a_page_makes_the_config(recipe, monkeypatch):
    config = recipe.get_config()
    config.training.num_steps, config.training.patience, config.model.latent_dim = 77, 4, (3, 2)
    config.model.prior = "vamp(30)"
    x = data.pictures((28, 28, 1)) if recipe is not wine else data.Contents({"ash": data.Variable("real")})
    command = provenance.command(build.resolved(config, x), Path("runs/a b"), x)
    words = shlex.split(command.replace("\\\n", " "))
    monkeypatch.chdir(commands.ROOT)
    assert not changed(build.resolved(train.parse(words[1:]), x), build.resolved(config, x))
    given = ["--config.model.latent_dim=(3, 2)", "--config.model.prior=vamp(30)"]
    given += ["--config.training.num_steps=77", "--config.training.patience=4"]
    file = [] if recipe is digits else [f"--config={recipe.__name__.rpartition('.')[2]}"]
    assert words == ["./launch.sh", "train", *file, "--workdir=runs/a b", *given]


@pytest.fixture(scope="module")
def html(trained) -> str:
    return (trained / "report.html").read_text()


def test_train_ends_in_words_that_the_page_has_too(trained, html):
    printed = (trained.parent / "printed").read_text()
    test = json.loads((trained / "summary.json").read_text())["test"]
    elbo = f"The test ELBO is −{-test['elbo']:.2f} ± {test['elbo_standard_error']:.2f} nats per example"
    for text in (elbo, "latent dimensions are active", "there are 2 evaluations of it, and four are needed"):
        assert text in printed
        assert text in html
    last = [line.split("  #")[0].strip() for line in printed.splitlines()[-4:]]
    assert last[0] == f"finished; the report is {trained / 'report.html'}, for a browser. Next:"
    assert last[1:3] == [f"./launch.sh {name} --workdir={trained}" for name in ("evaluate", "sample")]


def test_the_page_of_a_run_has_its_curves_pictures_and_provenance(trained, html):
    found = data_of(html)
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    training, validation = found["curves"][0]["series"]
    elbos = [(line["step"], line["elbo"]) for line in lines if line["split"] == "validation"]
    np.testing.assert_allclose(np.transpose([validation["steps"], validation["values"]]), elbos, rtol=1e-7)
    assert training["steps"] == [10, 20, 30, 40, 50, 60]
    assert len(found["scatter"]["points"]) == 500
    assert found["scatter"]["classes"] == [str(digit) for digit in range(10)]
    for name in ("reconstructions", "samples", "neighbours", "traversal", "manifold"):
        assert base64.b64encode((trained / "figures" / f"{name}.png").read_bytes()).decode() in html
    assert base64.b64encode((trained / "figures" / "learning_curves.png").read_bytes()).decode() not in html
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["params_sha256"] in html
    assert f"jax {jax.__version__}" in html
    assert len(html) < 5_000_000


def test_a_page_that_fails_is_a_warning(trained, tmp_path, capsys):
    assert not contents.write_or_warn(None, None, tmp_path, latents.LatentUse(None, None, ""))
    assert re.search(r"warning: .*/report.html was not written: UserError: .* holds no run", capsys.readouterr().err)


def test_a_run_that_has_not_ended_says_so():
    said = contents.sentences(None, [{"step": 20}], Config(), latents.LatentUse(None, None, "no"))
    assert "it is at step 20 of 10,000" in said[0]


def test_the_oldest_runs_have_a_page_and_are_compared(tmp_path):
    with tarfile.open(commands.ROOT / "tests" / "old_runs" / "version_0.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    commands.call("report", f"--workdir={tmp_path / 'finished'}")
    found = data_of((tmp_path / "finished" / "report.html").read_text())
    assert len(found["explorer"]["axes"]) == 2
    output = tmp_path / "both.html"
    runs = [f"--workdir={tmp_path / name}" for name in ("finished", "interrupted")]
    commands.call("report", *runs, f"--output={output}")
    assert "<h1>finished · interrupted</h1>" in output.read_text()


def explored(config: Config, most: int = 60):
    """The experiment of a config, parameters that were not trained, test examples and the explorer."""
    experiment = build.build(config, data_dir=None)
    params = jax.tree.map(lambda leaf: 3 * leaf, experiment.vae.init(jax.random.key(1)))
    found = encoded.encode(experiment, params, jax.random.key(2), most=most)
    return experiment, params, found, explorer.explore(experiment, params, found, jax.random.key(3))


def latent_at(found: encoded.Encoded, made: explorer.Explorer, places: tuple[int, ...]) -> jax.Array:
    z = found.means.reshape(len(found.means), -1).mean(axis=0)
    for axis, place in zip(made.axes, places, strict=True):
        spread = found.means.reshape(len(found.means), -1)[:, axis.dimension].std()
        z[axis.dimension] += made.offsets[place] * spread
    return jnp.asarray(z)


def test_tiles_of_the_sprite_are_the_decoded_pictures_of_their_classes_and_places():
    config = digits.get_config()
    config.model.network, config.model.latent_dim, config.data.condition = "mlp(hidden=(8,))", (3,), "label"
    experiment, params, found, made = explored(config)
    sprite = np.asarray(Image.open(io.BytesIO(made.sprite.png)))
    assert made.classes == tuple("0123456789")
    positions = len(made.offsets)
    assert len(made.axes) == 3
    assert 10 * positions**3 * 28 * 28 <= 2_000_000
    for given, places in ((0, (0, 0, 0)), (7, (positions - 1, 1, 0)), (9, (2, 0, positions - 1))):
        index = int(np.ravel_multi_index((given, *places), (10, *[positions] * 3)))
        row, column = divmod(index, made.sprite.across)
        tile = sprite[28 * row : 28 * (row + 1), 28 * column : 28 * (column + 1)]
        z, c = latent_at(found, made, places), {"label": jnp.asarray(given)}
        mean = experiment.vae.decode(params, z, c).mean[..., 0]
        np.testing.assert_allclose(tile, 255 * np.asarray(mean), atol=0.51)


def test_numbers_of_a_table_are_the_means_of_its_columns_in_their_units():
    config = wine.get_config()
    config.model.network, config.model.latent_dim = "mlp(hidden=(8,))", (2,)
    experiment, params, found, made = explored(config)
    assert [bar.column for bar in made.bars] == list(experiment.dataset.contents.x)
    places = (len(made.offsets) - 1, 1)
    parts = experiment.vae.decode(params, latent_at(found, made, places)).parts
    row = made.values[int(np.ravel_multi_index(places, [len(made.offsets)] * 2))]
    np.testing.assert_allclose(row, [parts[bar.column].mean for bar in made.bars], rtol=1e-4)
    assert all(bar.low <= value <= bar.high for bar, value in zip(made.bars, row, strict=True))


class Discrete:
    """A q(z|x) of classes."""

    def sample(self, key):
        return jax.random.randint(key, (2,), 0, 3)


def test_latents_that_are_no_real_numbers_have_a_reason_in_the_place_of_an_explorer(trained):
    _, experiment = workdir.load(trained, data_dir=None, data_path=None)
    vae = dataclasses.replace(experiment.vae, encode=lambda params, x: Discrete())
    found = encoded.Encoded(experiment.observed("test", np.arange(3)), np.zeros((3, 2)), "")
    with pytest.raises(ValueError, match="the explorer needs a z that is one array of real numbers"):
        explorer.explore(experiment._replace(vae=vae), {}, found, jax.random.key(0))
