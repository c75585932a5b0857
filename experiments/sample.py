"""Draws from a run's model: `python -m experiments.sample --workdir=… --num_images=100`.

Into the folder --output go samples.npy, of pictures float32 [n, height, width, channels] beside grid.png and
images/<number>.png; of a table samples.csv alone. Where --output is a .npz, .csv, .parquet or .h5ad file, the draws go
into it. A conditional model is given its classes in turn, the training data's means of numbers, and their mean total.

With --input=FILE the output file has for each of its rows x a draw from the posterior predictive, z ~ q(z|x) and
x' ~ p(x'|z), given what the row gives.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vae_jax import data, evaluation, figures, runs
from vae_jax.fitted import Fitted
from vae_jax.parts import Sized

from .apply import command, outputs, values
from .command import entry
from .command.errors import UserError, user_errors
from .command.flags import CommandFlags
from .reporting import means
from .run import build, workdir

FLAGS = CommandFlags()
_FILES = command.FileFlags(FLAGS)
_NUM_IMAGES = FLAGS.integer("num_images", 100, "How many to draw, where there is no --input.", lower_bound=1)
_DRAW = FLAGS.choice(
    "draw",
    None,
    ["mean", "sample"],
    "The mean of p(x|z), the default for pictures, or a sample; z from the prior.",
)

_IN_GRID, _AT_ONCE = 100, 100


def main() -> None:
    if _FILES.input.value is None:
        _of_prior()
    elif _DRAW.value == "mean":
        raise UserError("--draw=mean has no effect with --input, where x' is a draw; reconstruct gives means")
    else:
        command.apply(_FILES, _predict, layer="sample")


def _predict(model: command.Model, keys: jax.Array, block: data.Block) -> Mapping[str, np.ndarray]:
    drawn = evaluation.predict(model.params, keys, block.examples, vae=model.vae)
    return values.named(drawn, model.contents)


def _of_prior() -> None:
    folder = Path(_FILES.workdir.value)
    config = workdir.read_config(folder)
    output = folder / "samples" if _FILES.output.value is None else Path(_FILES.output.value).expanduser()
    is_file = output.suffix in outputs.FORMATS
    if not is_file and any((output / "images").glob("*.png")):
        raise UserError(f"{output / 'images'} holds images already; delete that folder, or choose another --output")
    with user_errors():
        fitted = runs.read_fitted(folder)
        model = command.load(_FILES, folder, config, fitted.contents)
        if not is_file:
            output.mkdir(parents=True, exist_ok=True)
    contents = fitted.contents
    how = _DRAW.value or ("mean" if contents.is_picture else "sample")
    if how == "mean" and any(of.kind in ("category", "ordinal") for of in contents.variables().values()):
        raise UserError("--draw=mean: classes have no mean; use --draw=sample")
    x = _drawn(model, fitted, how)
    if not isinstance(contents.x, data.Variable) or is_file:
        file = output if is_file else output / "samples.csv"
        options = {"overwrite": _FILES.overwrite.value, "id_name": None, "layer": "sample"}
        with user_errors(), outputs.open_output(file, **options) as written:
            written.write(None, values.named(x, contents))
    else:
        np.save(output / "samples.npy", x)
    if contents.is_picture and not is_file:
        _draw_pictures(x, contents, output)
    print(json.dumps({"output": str(output), "num_images": _NUM_IMAGES.value, "draw": how, "seed": _FILES.seed.value}))


def _drawn(model: command.Model, fitted: Fitted, how: str) -> Any:
    """Returns draws of x, or means of p(x|z), with z from the prior."""
    # In whole blocks: a block of another size would round differently.
    number = -(-_NUM_IMAGES.value // _AT_ONCE) * _AT_ONCE
    key = build.purpose_key(jax.random.key(_FILES.seed.value), build.SAMPLES)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(number))
    vae, params = model.vae, model.params
    prior = vae.prior(params)

    def draw(key_and_c: tuple[jax.Array, Any]) -> Any:
        key, c = key_and_c
        z_key, x_key = jax.random.split(key)
        likelihood = vae.decode(params, prior.sample(z_key), *([] if c is None else [c]))
        return means.mean(likelihood, x_key) if how == "mean" else likelihood.sample(x_key)

    given = _given(fitted, number)
    drawn = jax.jit(lambda *given: jax.lax.map(draw, given, batch_size=_AT_ONCE))(keys, given)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: _NUM_IMAGES.value], drawn)


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


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
