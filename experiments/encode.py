"""Writes q(z|x) of each row of a file: `python -m experiments.encode --workdir=… --input=FILE --output=FILE`.

The output has mean and scale of q(z|x), `mean_0`, `scale_0`, … in a table. Where q(z|x) states neither they are those
of draws, and are called `mean_of_draws_0`, `scale_of_draws_0`, …
"""

from collections.abc import Mapping

import jax
import numpy as np

from vae_jax import data, evaluation

from .apply import command
from .command import entry
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_FILES = command.FileFlags(FLAGS)
_NUM_DRAWS = FLAGS.integer("num_draws", 1000, "Of each q(z|x) that states no mean and scale.", lower_bound=2)


def main() -> None:
    command.apply(_FILES, _encode, layer="z")


def _encode(model: command.Model, keys: jax.Array, block: data.Block) -> Mapping[str, np.ndarray]:
    found = evaluation.encode(model.params, keys, block.examples, vae=model.vae, num_draws=_NUM_DRAWS.value)
    of = "" if found.num_draws is None else "_of_draws"
    return {f"mean{of}": np.asarray(found.mean), f"scale{of}": np.asarray(found.scale)}


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
