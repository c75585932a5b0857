"""The command `sample`: image i is a function of (model, seed, i), written as an array, as PNG files and as a grid."""

import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from experiments.command.errors import UserError
from experiments.run import build
from experiments.run.config import Config, Data, Model, Training, to_dict
from experiments.run.workdir import claimed, read_stored
from tests import commands
from tests.fitted import of_pictures
from tests.test_runs import drawn_params
from vae_jax import figures, runs, training
from vae_jax.fitted import build_vae


class Case(NamedTuple):
    """A run, what `sample` is asked for, and where it should write, below the folder of all."""

    run: str
    num_images: int
    seed: int
    draw: str
    output: str
    arguments: tuple[str, ...]


CASES = {
    "twelve": Case("grey", 12, 0, "mean", "grey/samples", ("--num_images=12",)),
    "five": Case("grey", 5, 0, "mean", "new/five", ("--num_images=5", "--draw=mean", "--output={o}")),
    "many": Case("grey", 501, 0, "mean", "many", ("--num_images=501", "--output={o}")),
    "binary": Case("grey", 12, 1, "sample", "binary", ("--num_images=12", "--seed=1", "--draw=sample", "--output={o}")),
    "colour": Case("colour", 3, 7, "sample", "colour/samples", ("--num_images=3", "--seed=7", "--draw=sample")),
}
NO_MODEL = {"no_folder": "config.json", "no_checkpoint": "holds no whole checkpoint"}
SEED_TOO_LARGE = Case("grey", 1, 2**32, "mean", "too_large", ("--num_images=1", f"--seed={2**32}", "--output={o}"))


def write_run(workdir: Path, event_shape: tuple[int, ...], **model: Any) -> None:
    """A run as `train` leaves it, but for its training: raw parameters and an average, which are not alike."""
    keeps_average = model["likelihood"] == "bernoulli"
    config = Config(
        data=Data(binarization="none"),
        model=Model(latent_dim=(3,), network="mlp(hidden=(8,))", data_bias=True, **model),
        training=Training(average_decay=0.9 if keeps_average else None),
    )
    with claimed(workdir, config, {}):
        pass
    mean = np.random.default_rng(0).uniform(0.05, 0.95, event_shape)
    vae = build_vae(to_dict(config)["model"], of_pictures(event_shape, mean))
    larger = lambda seed: jax.tree.map(lambda leaf: 4 * leaf, drawn_params(vae, seed))
    state = training.init_state(larger(1), optax.adam(0.1), average=keeps_average)._replace(step=jnp.int32(10))
    state = state._replace(average=larger(2) if keeps_average else None)
    run_id = read_stored(workdir).run_id
    with training.Checkpoints(workdir / "checkpoints", run_id=run_id) as checkpoints:
        metadata = {"config": to_dict(config), "event_shape": event_shape}
        checkpoints.save(state, metadata, constants={"data_mean": mean})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two runs, and one that was stopped before its first checkpoint."""
    folder = tmp_path_factory.mktemp("sample")
    write_run(folder / "grey", (6, 5, 1), likelihood="bernoulli")
    write_run(folder / "colour", (4, 5, 3), likelihood="normal(scale=0.3)")
    with claimed(folder / "no_checkpoint", Config(), {}):
        pass
    (folder / "no_checkpoint" / "checkpoints").mkdir()
    return folder


@pytest.fixture(scope="module")
def finished(folder):
    """What is printed for every case."""
    return {name: sample(folder, case) for name, case in CASES.items()}


def sample(folder: Path, case: Case) -> str:
    arguments = [text.format(o=folder / case.output) for text in case.arguments]
    return commands.call("sample", f"--workdir={folder / case.run}", *arguments)


@pytest.fixture(scope="module")
def written(folder, finished) -> dict[str, Path]:
    """Where each case's files are."""
    return {name: folder / case.output for name, case in CASES.items()}


def samples(path: Path) -> np.ndarray:
    return np.load(path / "samples.npy")


def by_definition(folder: Path, case: Case) -> np.ndarray:
    """One image at a time: z from the prior and x given z, by the halves of fold_in(fold_in(key(seed), SAMPLES), i)."""
    vae, params, _ = runs.load(folder / case.run, average=case.run == "grey")

    @jax.jit
    def image(key):
        z_key, x_key = jax.random.split(key)
        likelihood = vae.decode(params, vae.prior(params).sample(z_key))
        return likelihood.mean if case.draw == "mean" else likelihood.sample(x_key)

    key = jax.random.fold_in(jax.random.key(case.seed), build.SAMPLES)
    return np.stack([image(jax.random.fold_in(key, i)) for i in range(case.num_images)])


@pytest.mark.parametrize("name", CASES)
def test_images_are_those_of_the_seed_and_their_number(folder, written, name):
    """Of the weight average, where the run keeps one; they are not clipped."""
    drawn, expected = samples(written[name]), by_definition(folder, CASES[name])
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.5  # the control: images differ from one another


@pytest.mark.parametrize("name", ["five", "twelve"])
def test_image_i_is_the_same_however_many_are_drawn(written, name):
    """To the last bit, which a product of fewer rows need not have."""
    drawn = samples(written[name])
    np.testing.assert_array_equal(drawn, samples(written["many"])[: len(drawn)])


def test_another_seed_draws_other_images(folder):
    """With the test above, which shows that both are drawn as they should."""
    first, other = (by_definition(folder, CASES["twelve"]._replace(seed=seed)) for seed in (0, 1))
    assert np.abs(first - other).max(axis=(1, 2, 3)).min() > 0.1


def test_means_of_a_bernoulli_model_lie_in_the_unit_interval_and_its_samples_are_zeros_and_ones(written):
    means, binary = samples(written["twelve"]), samples(written["binary"])
    assert means.shape == binary.shape == (12, 6, 5, 1)
    assert 0 <= means.min() < means.max() <= 1
    assert len(np.unique(means)) > 100
    assert set(np.unique(binary)) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("five", list("01234")), ("twelve", [f"{i:02}" for i in range(12)]), ("colour", list("012"))],
)
def test_pictures_are_numbered_with_one_width(written, name, numbers):
    """So that they sort by their numbers."""
    assert sorted(path.name for path in (written[name] / "images").iterdir()) == [f"{n}.png" for n in numbers]


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_the_array_rounded_to_bytes(written, name):
    """Values outside [0, 1], which a Gaussian's samples have, are clipped."""
    images = samples(written[name])
    for path, image in zip(sorted((written[name] / "images").iterdir()), images, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == ("RGB" if image.shape[-1] == 3 else "L")
            pixels = np.asarray(picture).reshape(image.shape)
        exact = np.minimum(np.maximum(image.astype(np.float64), 0), 1) * 255
        assert np.abs(pixels - exact).max() <= 0.5 + 1e-4
    if name == "colour":
        assert images.min() < -0.1
        assert images.max() > 1.1


@pytest.mark.parametrize(("name", "rows", "columns"), [("twelve", 3, 4), ("five", 2, 2), ("colour", 1, 3)])
def test_the_grid_shows_the_first_images_in_rows(written, name, rows, columns):
    """Pixel by pixel the figure of `figures.image_grid`."""
    images = samples(written[name])[: rows * columns]
    expected = io.BytesIO()
    figures.image_grid(images.reshape(rows, columns, *images.shape[1:])).savefig(expected)
    with Image.open(written[name] / "grid.png") as grid, Image.open(expected) as picture:
        np.testing.assert_array_equal(np.asarray(grid), np.asarray(picture))


def test_the_command_writes_where_it_was_told_to_and_says_so(folder, finished, written):
    for name, case in CASES.items():
        assert sorted(path.name for path in written[name].iterdir()) == ["grid.png", "images", "samples.npy"]
        said = {"output": str(written[name]), "num_images": case.num_images, "draw": case.draw, "seed": case.seed}
        assert json.loads(finished[name]) == said
    assert sorted(path.name for path in (folder / "grey").glob("[!.]*")) == ["checkpoints", "config.json", "samples"]


def test_images_of_another_call_are_not_mixed_with_new_ones(folder, written):
    with pytest.raises(UserError, match=f"{re.escape(str(written['twelve'] / 'images'))} holds images already"):
        sample(folder, CASES["twelve"])


@pytest.mark.parametrize("name", NO_MODEL)
def test_a_folder_without_a_model_is_told_in_one_message_and_left_as_it_is(folder, name):
    with pytest.raises(UserError, match=f"{re.escape(str(folder / name))}.*{NO_MODEL[name]}") as caught:
        sample(folder, Case(name, 1, 0, "", "", ()))
    assert "\n" not in str(caught.value)
    assert not (folder / name / "samples").exists()


def test_a_seed_that_would_draw_the_images_of_another_is_refused(folder):
    """Keys are made of 32 bits: 2³² would be taken for 0."""
    with pytest.raises(UserError, match=f"seed.*{2**32}"):
        sample(folder, SEED_TOO_LARGE)
    assert not (folder / SEED_TOO_LARGE.output).exists()
