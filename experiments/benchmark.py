"""Times the parts of a run beside their limits: `python -m experiments.benchmark`.

The training step over its matrix products alone; steps of the IWAE bound with each gradient estimator, over a pathwise
one; log p(x) by importance sampling, over the matrix products of its decoder; a data-parallel step over all devices,
over that of one device, in processor time (on a CPU with XLA_FLAGS=--xla_force_host_platform_device_count=8); and the
time that a checkpoint takes from training. All are medians of interleaved rounds.
"""

import jax

from .benchmarks import runs, steps
from .benchmarks.steps import Case
from .command import entry
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_ROUNDS = FLAGS.integer("rounds", 9, "Timings of each, interleaved; the median counts.", lower_bound=5)
_STEPS = FLAGS.integer("steps", 60, "Training steps in one timing.", lower_bound=1)
_BATCHES = FLAGS.list("batches", ["800", "3200"], "Global batch sizes over all devices.")


def main() -> None:
    rounds, number = _ROUNDS.value, _STEPS.value
    print(f"{jax.devices()[0].platform}, {jax.device_count()} device(s); milliseconds, medians of {rounds}")
    for case in steps.CASES:
        print(steps.step(case, rounds=rounds, steps=number), flush=True)
    several = Case((200, 200), 50, "tanh", 20, dynamic=True)
    print(steps.estimators(several, num_samples=50, rounds=rounds, steps=number // 3 + 1), flush=True)
    evaluated = Case((200, 200), 50, "tanh", 20, dynamic=False)
    print(steps.evidence(evaluated, num_samples=5000, rounds=rounds), flush=True)
    if jax.device_count() > 1:
        for text in _BATCHES.value:
            print(runs.devices(int(text), rounds=rounds, steps=number), flush=True)
    print(runs.checkpoints(rounds=rounds, steps=number))


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
