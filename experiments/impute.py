"""Fills what is missing in each row of a file: `python -m experiments.impute --workdir=… --input=FILE --output=FILE`.

The output has the input's columns, or its array x, with the mean of p(x_m|x_o) where an entry x_m was missing, given
the observed ones x_o; of counts the nearest whole number, of classes the most probable one.
"""

from collections.abc import Collection, Mapping

import jax
import numpy as np

from vae_jax import data, evaluation

from .apply import command, values
from .command import entry
from .command.errors import UserError
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_FILES = command.FileFlags(FLAGS)
_NUM_SAMPLES = FLAGS.integer("num_samples", 1000, "Importance samples of each row.", lower_bound=2)
_DRAWS = FLAGS.integer("draws", 0, "Draws from p(x_m|x_o) that are written besides, as x_draw_0, …", lower_bound=0)
_INTERVAL = FLAGS.number(
    "interval",
    None,
    "The share of the draws from p(x_m|x_o), 0.9 say, in intervals that are written besides, as x_low and x_high.",
)
_FOR_INTERVALS = 400


def main() -> None:
    if _INTERVAL.value is not None and not 0 < _INTERVAL.value < 1:
        raise UserError(f"--interval={_INTERVAL.value}: expected a share between 0 and 1, such as 0.9")
    command.apply(_FILES, _impute, layer="imputed", columns=_columns)


def _columns(rows: data.Rows) -> Collection[str]:
    """All columns of the file, where x is some of them."""
    if not rows.contents.masked:
        raise ValueError(
            f"the run in {_FILES.workdir.value} was trained without missing entries, and its encoder knows none; train "
            "on data that have some, or with --config.data.missing=0.2, which hides a fifth"
        )
    return [name for name in rows.names if name != rows.id_name] if rows.contents.is_table else ()


def _impute(model: command.Model, keys: jax.Array, block: data.Block) -> Mapping[str, np.ndarray]:
    contents, num_draws = model.contents, max(_DRAWS.value, 1 if _INTERVAL.value is None else _FOR_INTERVALS)
    found = evaluation.impute(
        model.params, keys, block.examples, vae=model.vae, num_samples=_NUM_SAMPLES.value, num_draws=num_draws
    )
    if isinstance(contents.x, data.Variable):
        fields = {"x": np.asarray(found.mean)}
    else:
        fields = {
            name: values.filled(entries, found.mean[name], contents.x[name]) if name in contents.x else entries.of_rows
            for name, entries in block.columns.items()
        }
    for number in range(_DRAWS.value):
        draw = jax.tree.map(lambda leaf, number=number: leaf[:, number], found.draws)
        fields |= values.named(draw, contents, suffix=f"_draw_{number}")
    return fields if _INTERVAL.value is None else fields | values.intervals(found.draws, contents, _INTERVAL.value)


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
