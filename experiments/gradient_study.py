"""Bias, variance and signal-to-noise ratio of gradient estimators: `python -m experiments.gradient_study`.

On an oracle (--oracle), where the exact gradient is known, or at a run's checkpoint (--workdir) and one test image.
Writes study.csv, a row for each estimator, number of samples and block of parameters, and figures against the number
of samples K, with the slopes of Rainforth et al. 2018 (arXiv:1802.04537) drawn in.
"""

import functools
import itertools
from pathlib import Path

import jax

from vae_jax import evaluation, losses

from .command import entry
from .command.errors import user_errors
from .command.flags import CommandFlags
from .reporting import gradients
from .run import build

FLAGS = CommandFlags()
_ORACLE = FLAGS.choice("oracle", "ppca", list(gradients.ORACLES), "The model, where no --workdir is given.")
_WORKDIR = FLAGS.workdir(None, "The folder of a run: its model at the checkpoint that it reports.")
_DATA_DIR = FLAGS.data_dir()
_DATA_PATH = FLAGS.data_path()
_TRUST = FLAGS.trust()
_EXAMPLE = FLAGS.integer("example", 0, "The test image, with --workdir.", lower_bound=0)
_WIDTH = FLAGS.number("width", 1.2, "Of q over the exact posterior's, with --oracle=ppca; others keep their q.")
_BOUND = FLAGS.choice("bound", "iwae", ["elbo", "iwae"], "The bound.")
_GRADIENTS = FLAGS.list("gradients", None, "The estimators, of losses.GRADIENTS; all that apply by default.")
_NUM_SAMPLES = FLAGS.list("num_samples", ["4", "8", "16", "32", "64"], "The numbers of samples K.")
_NUM_REPLICATES = FLAGS.integer("num_replicates", 20_000, "Replicates of each.", lower_bound=2)
_SEED = FLAGS.integer("seed", 0, "Of the model and the noise.", lower_bound=0, upper_bound=2**32 - 1)
_OUTPUT = FLAGS.string("output", "runs/gradient_study", "Where to write.")


def main() -> None:
    with user_errors():
        subject = _subject()
        estimators = gradients.applicable(subject, _BOUND.value, _GRADIENTS.value)
        counts = [gradients.count(text) for text in _NUM_SAMPLES.value]
    key = build.purpose_key(jax.random.key(_SEED.value), build.STUDY)
    rows = []
    for gradient, count in itertools.product(estimators, counts):
        bound = losses.OBJECTIVES.parts[_BOUND.value]()
        estimator = {"bound": bound, "gradient": gradient, "num_samples": count}
        loss = functools.partial(losses.negative_bound, vae=subject.vae, **estimator)
        with user_errors():
            report = evaluation.gradient_report(
                loss,
                subject.params,
                key,
                subject.x,
                num_replicates=_NUM_REPLICATES.value,
                exact=subject.exact(count),
            )
        print(f"\n{_BOUND.value}, {gradient}, K = {count}\n{report}", flush=True)
        for block, statistics in report.blocks.items():
            rows.append({"gradient": gradient, "num_samples": count, "block": block, **statistics._asdict()})
    folder = Path(_OUTPUT.value)
    gradients.write(rows, folder, bound=_BOUND.value, num_replicates=_NUM_REPLICATES.value)
    print(f"wrote {folder / 'study.csv'} and figures")


def _subject() -> gradients.Subject:
    if _WORKDIR.value is None:
        return gradients.of_oracle(_ORACLE.value, seed=_SEED.value, bound=_BOUND.value, width=_WIDTH.value)
    read = {"data_dir": _DATA_DIR.value, "data_path": _DATA_PATH.value, "trusted": _TRUST.value}
    return gradients.of_run(Path(_WORKDIR.value), example=_EXAMPLE.value, **read)


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
