"""Draws images from a run's model: `python -m experiments.sample --workdir=… --num_images=100`.

Into --output go grid.png, samples.npy (float32 [n, height, width, channels]) and images/<number>.png.
"""

import json
import math
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from vae_jax import figures, runs

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
_DRAW = FLAGS.choice("draw", "mean", ["mean", "sample"], "The mean of p(x|z), or a sample; z from the prior.")

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
        (output / "images").mkdir(parents=True, exist_ok=True)
    prior = vae.prior(params)

    def draw(key: jax.Array) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        likelihood = vae.decode(params, prior.sample(z_key))
        return means.mean(likelihood, x_key) if _DRAW.value == "mean" else likelihood.sample(x_key)

    # In whole blocks: a block of another size would round differently.
    number = -(-_NUM_IMAGES.value // _AT_ONCE) * _AT_ONCE
    key = build.purpose_key(jax.random.key(_SEED.value), build.SAMPLES)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(number))
    images = np.asarray(jax.jit(lambda keys: jax.lax.map(draw, keys, batch_size=_AT_ONCE))(keys))[: _NUM_IMAGES.value]
    np.save(output / "samples.npy", images)
    rows = math.isqrt(min(len(images), _IN_GRID))
    columns = min(len(images), _IN_GRID) // rows
    grid = images[: rows * columns].reshape(rows, columns, *images.shape[1:])
    figures.image_grid(grid).savefig(output / "grid.png")
    digits = len(str(len(images) - 1))
    for number, image in enumerate(np.rint(255 * np.clip(images, 0, 1)).astype(np.uint8)):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        picture.save(output / "images" / f"{number:0{digits}}.png")
    print(json.dumps({"output": str(output), "num_images": len(images), "draw": _DRAW.value, "seed": _SEED.value}))


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
