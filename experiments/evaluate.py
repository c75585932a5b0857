"""Evaluates a run's checkpoint on the test set: `python -m experiments.evaluate --workdir=…`.

Writes evaluation.json and the figures into the workdir.
"""

import json
from pathlib import Path

from absl import flags

from vae_jax import parallel

from . import cli, drawing, scores, setup, workdir
from .metrics import read_metrics

_WORKDIR = flags.DEFINE_string("workdir", "runs/digits", "The folder of a run of experiments.train.")
_DATA_DIR = cli.define_data_dir()
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", None, "Importance samples per test example; the config's by default.", lower_bound=1
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "latest", "latest, best (by the validation ELBO), or a step.")


def main() -> None:
    folder = Path(_WORKDIR.value)
    config = workdir.read_config(folder)
    with cli.user_errors():
        experiment = setup.build(config, data_dir=_DATA_DIR.value)
        step, params = scores.load_evaluated(config, experiment, folder, _CHECKPOINT.value)
    num_samples = _NUM_SAMPLES.value or config.evaluation.num_samples
    test = scores.test_scores(experiment, params, num_samples=num_samples)
    if not parallel.is_first_process():
        return
    drawing.draw(experiment, params, read_metrics(folder / workdir.METRICS), folder / workdir.FIGURES)
    evaluation = {"step": step, "weights": scores.evaluated_weights(config), "test": test._asdict()}
    workdir.write_json(folder / workdir.EVALUATION, evaluation)
    print(json.dumps(evaluation, indent=2))


if __name__ == "__main__":
    cli.run(main, several_processes=True)
