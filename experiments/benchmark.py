"""Times training and evaluation beside their limits and their peers: `python -m experiments.benchmark`.

Three training steps over their matrix products alone, and beside the same step in plain JAX and in PyTorch (the extra
`benchmark`: EXTRAS=benchmark ./launch.sh benchmark); the command `train`; steps of other parts over the plain one, and
of each gradient estimator over a pathwise one; log p(x) over the products of its decoder; rows of a large table over
those of a small one; a launch, with nothing compiled before and again; what a checkpoint takes, and what a step takes
over all devices. Each has a process of its own, and they take turns; what counts are ratios within a round. The results
go into a folder as a table, as JSON and as a picture.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax

from .benchmarks import peers, runs, steps, table
from .benchmarks.interleaved import Contender, Make, time_interleaved
from .command import entry
from .command.errors import UserError
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_ROUNDS = FLAGS.integer("rounds", 7, "Timings of each, interleaved.", lower_bound=5)
_STEPS = FLAGS.integer("steps", 60, "Training steps in one timing.", lower_bound=10)
_ONLY = FLAGS.list("only", [], "The parts to be timed, of those that --help names; all by default.")
_BATCHES = FLAGS.list("batches", ["800", "3200"], "Global batch sizes over all devices.")
_WORKDIR = FLAGS.workdir("runs/benchmark", "The folder of the results.")

_PLAIN, _SEVERAL = steps.CASES[1:]
_LARGE = 2048
_PEAK = f"a product of two {_LARGE} × {_LARGE} matrices"
_OURS, _PRODUCTS = "vae_jax", "the products alone"


def _of_case(case: steps.Case, number: int, **others: Contender) -> table.Group:
    number = max(2, number // case.num_samples)
    made = {
        _PRODUCTS: functools.partial(steps.matrix_products, case, number),
        _OURS: functools.partial(steps.training_step, case, number),
        "plain JAX, a call a batch": functools.partial(peers.plain_jax, case, number),
        "PyTorch": functools.partial(peers.pytorch, case, number, compiled=False),
        "PyTorch, compiled": functools.partial(peers.pytorch, case, number, compiled=True),
    }
    contenders = {name: Contender(make, number) for name, make in made.items()}
    contenders |= others | {_PEAK: Contender(functools.partial(steps.square_products, _LARGE), 1)}
    times = time_interleaved(contenders, rounds=_ROUNDS.value)
    return table.Group(f"training step, {case}", times, (_PRODUCTS, _OURS), case.flops, (2 * _LARGE**3, _PEAK))


def _small(number: int) -> table.Group:
    return _of_case(steps.CASES[0], number)


def _plain(number: int) -> table.Group:
    several = 30 * number
    of_command = Contender(functools.partial(runs.train_command, _PLAIN, several), several)
    return _of_case(_PLAIN, number, **{"vae_jax, the command train": of_command})


def _iwae(number: int) -> table.Group:
    return _of_case(_SEVERAL, number)


def _parts(number: int) -> table.Group:
    made = {
        "mlp, diagonal, standard_normal": functools.partial(steps.training_step, _PLAIN, number),
        "posterior iaf": functools.partial(steps.training_step, _PLAIN, number, posterior="iaf"),
        "prior vamp(500)": functools.partial(steps.training_step, _PLAIN, number, prior="vamp(500)"),
        "conv, batch 128": functools.partial(steps.conv_step, 128, number),
    }
    return _of("training step of other parts", made, number)


def _estimators(number: int) -> table.Group:
    number = max(2, number // 20)
    case = _SEVERAL._replace(batch_size=20)
    made = {
        gradient: functools.partial(steps.training_step, case, number, gradient=gradient)
        for gradient in ("pathwise", "sticking_the_landing", "doubly_reparameterized", "score_function", "vimco")
    }
    return _of(f"gradient estimators, {case}", made, number)


def _evidence(number: int) -> table.Group:
    images, samples = 1000, 5000
    made = {
        "the decoder's products alone": functools.partial(steps.decoder_products, _PLAIN, images * samples),
        "log_evidence": functools.partial(steps.evidence, _PLAIN, images, samples),
    }
    return _of(f"log p(x) of {images} images, K = {samples}, a step being an image", made, images)


def _rows(number: int) -> table.Group:
    made = {
        "4,000 rows": functools.partial(steps.row_step, 4000, 50, 1000, number),
        "1,000,000 rows": functools.partial(steps.row_step, 1_000_000, 50, 1000, number),
    }
    return _of("training step, rows of 50 floats in memory, batch 1,000", made, number)


def _launch(number: int) -> table.Group:
    made = {
        "nothing compiled before": functools.partial(runs.launch, _PLAIN, warm=False),
        "compiled before": functools.partial(runs.launch, _PLAIN, warm=True),
    }
    return _of("train, from its launch to the end of its first step", made, 1)


def _of(title: str, made: Mapping[str, Make], number: int) -> table.Group:
    contenders = {name: Contender(make, number) for name, make in made.items()}
    return table.Group(title, time_interleaved(contenders, rounds=_ROUNDS.value), (next(iter(made)),))


_PARTS = {
    "small": _small,
    "plain": _plain,
    "iwae": _iwae,
    "parts": _parts,
    "estimators": _estimators,
    "evidence": _evidence,
    "rows": _rows,
    "launch": _launch,
}
_OF_RUNS = "runs"


def names() -> str:
    """Returns what --help shows after the flags."""
    return f"The parts of --only: {', '.join([*_PARTS, _OF_RUNS])}."


def main() -> None:
    rounds, number = _ROUNDS.value, _STEPS.value
    unknown = sorted(set(_ONLY.value) - {*_PARTS, _OF_RUNS})
    if unknown:
        raise UserError(f"--only={unknown[0]} is unknown; choose of {', '.join([*_PARTS, _OF_RUNS])}")
    asked = _ONLY.value or [*_PARTS, _OF_RUNS]
    groups, remarks = [], []
    for name in [name for name in _PARTS if name in asked]:
        print(f"timing {name}", flush=True)
        groups.append(_PARTS[name](number))
    if _OF_RUNS in asked:
        if jax.device_count() > 1:
            remarks += [runs.devices(int(text), rounds=rounds, steps=number) for text in _BATCHES.value]
        remarks.append(runs.checkpoints(rounds=rounds, steps=number))
    folder = Path(_WORKDIR.value)
    table.write(folder, groups, remarks, rounds=rounds)
    print(table.to_markdown(groups, remarks, rounds=rounds))
    print(f"the same is in {folder}, with every timing and a picture")


if __name__ == "__main__":
    entry.run_command(main, FLAGS, more_help=names)
