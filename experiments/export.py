"""Writes a run's model into a folder to be shared: `python -m experiments.export --workdir=… --output=FOLDER`.

The folder holds the config, the parameters and their average as safetensors, the encoder and the decoder as StableHLO
for CPU, CUDA and TPU, and a model card, README.md. `vae_jax.runs.load(FOLDER)` loads the model to the bit, and
`--workdir=FOLDER` takes it to encode, reconstruct, score, impute, sample and evaluate.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from vae_jax import exports, expressions, runs
from vae_jax.exports import functions
from vae_jax.priors import PRIORS
from vae_jax.training import json_files

from .command import entry
from .command.errors import UserError, user_errors
from .command.flags import CommandFlags
from .run import scores, workdir
from .sharing import card

FLAGS = CommandFlags()
_WORKDIR = FLAGS.workdir("runs/digits", "The folder of a run of experiments.train.")
_OUTPUT = FLAGS.string("output", None, "The folder of the export, which must not exist, or be empty.")
_CHECKPOINT = FLAGS.string(
    "checkpoint", None, "latest, best (by the validation ELBO), or a step; by default that of the run's summary."
)
_TRUST = FLAGS.trust()
_LICENSE = FLAGS.string(
    "license", None, "The licence of the weights, for the card: apache-2.0, say. By default none is stated."
)


def main() -> None:
    folder, output = Path(_WORKDIR.value), _output()
    stored = workdir.read_stored(folder)
    if exports.is_export(folder):
        raise UserError(f"--workdir={folder} is an export already: copy the folder")
    weights = scores.evaluated_weights(stored.config)
    with user_errors(), runs.open_model(folder, checkpoint=_CHECKPOINT.value) as opened:
        exports.check_free(output, run_id=stored.run_id, step=opened.step)
        vae, contents = opened.build(_TRUST.value), opened.stored.fitted.contents
        template = jax.eval_shape(vae.init, jax.random.key(0))
        params = opened.read_params(template)
        average = opened.read_params(template, average=True) if weights == "average" else None
        evaluated = params if average is None else average
        made = {
            exports.ENCODE: _made(functions.encoder, vae, evaluated, contents),
            exports.DECODE: _made(functions.decoder, vae, evaluated, contents),
        }
        told = card.Told(
            config=stored.config,
            run_id=stored.run_id,
            fingerprint=stored.fingerprint,
            contents=contents,
            sizes={name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(of)) for name, of in template.items()},
            step=opened.step,
            weights=weights,
            provenance=opened.provenance,
            functions=made,
            summary=_measured(folder / workdir.SUMMARY),
            evaluation=_measured(folder / workdir.EVALUATION),
            num_drawn_from=expressions.make(stored.config.model.prior, PRIORS).num_examples,
            licence=_LICENSE.value,
        )
        exports.write(
            output,
            opened.stored,
            params,
            average=average,
            step=opened.step,
            of_run={"run_id": stored.run_id, "data_fingerprint": stored.fingerprint},
            about=opened.provenance,
            files={name: made.stored for name, made in made.items() if isinstance(made, functions.Function)}
            | {exports.CARD: card.text(told).encode()},
        )
    for name, function in made.items():
        if isinstance(function, str):
            print(f"{name} could not be made: {function}")
    print(f"{output} holds the model of step {opened.step}; {output / exports.CARD} says what it is")


def _output() -> Path:
    if not _OUTPUT.value:
        raise UserError("--output is absent: name the folder of the export")
    return Path(_OUTPUT.value).expanduser()


def _made(function: Callable[..., functions.Function], *model: Any) -> functions.Function | str:
    """Returns a function of the model, or the reason why it is none."""
    try:
        return function(*model)
    except ValueError as error:
        return str(error)


def _measured(path: Path) -> dict[str, Any] | None:
    return json_files.read_object(path) if path.exists() else None


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
