"""Writes a reconstruction of each row of a file: `python -m experiments.reconstruct --workdir=… --input=FILE
--output=FILE`.

It is the mean of p(x|z) at the mean of q(z|x), in the units of x; of a class the most probable one.
"""

from collections.abc import Mapping

import jax
import numpy as np

from vae_jax import data, evaluation

from .apply import command, values
from .command import entry
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_FILES = command.FileFlags(FLAGS)


def main() -> None:
    command.apply(_FILES, _reconstruct, layer="reconstruction")


def _reconstruct(model: command.Model, keys: jax.Array, block: data.Block) -> Mapping[str, np.ndarray]:
    x = evaluation.reconstruct(model.params, keys, block.examples, vae=model.vae)
    return values.named(x, model.contents)


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
