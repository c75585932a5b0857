"""Draws from a run's model: `python -m experiments.sample --workdir=… --num_images=100`.

Into --output go samples.npy, of pictures float32 [n, height, width, channels] beside grid.png and images/<number>.png;
of a table samples.csv alone. A conditional model is given its classes in turn, the training data's means of numbers,
and their mean total.
"""

import csv
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vae_jax import data, figures, runs
from vae_jax.fitted import Fitted
from vae_jax.parts import Sized

from .command import entry
from .command.errors import UserError, user_errors
from .command.flags import CommandFlags
from .report import means
from .run import build, scores, workdir

FLAGS = CommandFlags()
_WORKDIR = FLAGS.workdir("runs/digits", "The folder of a run of experiments.train.")
_TRUST = FLAGS.trust()
_OUTPUT = FLAGS.string("output", None, "Where to write; the workdir's folder `samples` by default.")
_NUM_IMAGES = FLAGS.integer("num_images", 100, "How many to draw.", lower_bound=1)
_SEED = FLAGS.integer(
    "seed", 0, "Of the draws; image i is the same however many are drawn.", lower_bound=0, upper_bound=2**32 - 1
)
_DRAW = FLAGS.choice(
    "draw",
    None,
    ["mean", "sample"],
    "The mean of p(x|z), the default for pictures, or a sample; z from the prior.",
)

_IN_GRID, _AT_ONCE = 100, 100


def main() -> None:
    folder = Path(_WORKDIR.value)
    config = workdir.read_config(folder)
    output = folder / "samples" if _OUTPUT.value is None else Path(_OUTPUT.value)
    if any((output / "images").glob("*.png")):
        raise UserError(f"{output / 'images'} holds images already; delete that folder, or choose another --output")
    with user_errors():
        average = scores.evaluated_weights(config) == "average"
        vae, params, _ = runs.load(folder, average=average, trusted=_TRUST.value)
        with runs.open_checkpoints(folder) as checkpoints:
            fitted = runs.stored_model(checkpoints, runs.choose(checkpoints, "latest")).fitted
        output.mkdir(parents=True, exist_ok=True)
    contents = fitted.contents
    how = _DRAW.value or ("mean" if contents.is_picture else "sample")
    if how == "mean" and any(of.kind in ("category", "ordinal") for of in contents.variables().values()):
        raise UserError("--draw=mean: classes have no mean; use --draw=sample")
    # In whole blocks: a block of another size would round differently.
    number = -(-_NUM_IMAGES.value // _AT_ONCE) * _AT_ONCE
    key = build.purpose_key(jax.random.key(_SEED.value), build.SAMPLES)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(number))
    prior = vae.prior(params)

    def draw(key_and_c: tuple[jax.Array, Any]) -> Any:
        key, c = key_and_c
        z_key, x_key = jax.random.split(key)
        likelihood = vae.decode(params, prior.sample(z_key), *([] if c is None else [c]))
        return means.mean(likelihood, x_key) if how == "mean" else likelihood.sample(x_key)

    given = _given(fitted, number)
    drawn = jax.jit(lambda *given: jax.lax.map(draw, given, batch_size=_AT_ONCE))(keys, given)
    x = jax.tree.map(lambda leaf: np.asarray(leaf)[: _NUM_IMAGES.value], drawn)
    if isinstance(contents.x, data.Variable):
        np.save(output / "samples.npy", x)
    else:
        _write_table(output / "samples.csv", x, contents)
    if contents.is_picture:
        _draw_pictures(x, contents, output)
    print(json.dumps({"output": str(output), "num_images": _NUM_IMAGES.value, "draw": how, "seed": _SEED.value}))


def _given(fitted: Fitted, number: int) -> Any:
    """Returns c of each draw: classes in turn, and means."""
    contents, given = fitted.contents, {}
    for name, of in contents.condition.items():
        mean = fitted.statistics.condition[name].mean
        classes = max(2, len(of.levels)) if of.kind in ("binary", "category", "ordinal") else None
        each = np.full((number, *of.shape), mean, np.float32) if classes is None else np.arange(number) % classes
        given[name] = jnp.asarray(each)
    if contents.sized:
        total = jnp.full(number, fitted.statistics.x[""].mean.sum(), float)
        return Sized(given or None, total)
    return given or None


def _draw_pictures(x: np.ndarray, contents: data.Contents, output: Path) -> None:
    picture = data.view_of(contents, dtype=x.dtype, binarization="none").picture
    assert picture is not None
    images = np.asarray(jax.vmap(picture)(x))
    rows = math.isqrt(min(len(images), _IN_GRID))
    columns = min(len(images), _IN_GRID) // rows
    grid = images[: rows * columns].reshape(rows, columns, *images.shape[1:])
    figures.image_grid(grid).savefig(output / "grid.png")
    (output / "images").mkdir(exist_ok=True)
    digits = len(str(len(images) - 1))
    for number, image in enumerate(np.rint(255 * images).astype(np.uint8)):
        saved = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        saved.save(output / "images" / f"{number:0{digits}}.png")


def _write_table(path: Path, x: Any, contents: data.Contents) -> None:
    """Writes a column of numbers, or of what its classes are called, for each of x."""
    texts = {
        name: [of.levels[int(code)] for code in x[name]]
        if of.levels
        else [f"{value:.7g}" for value in x[name].tolist()]
        for name, of in contents.variables().items()
    }
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(texts)
        writer.writerows(zip(*texts.values(), strict=True))


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
