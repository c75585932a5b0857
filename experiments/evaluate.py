"""Evaluates a run's checkpoint, every figure with its error: `python -m experiments.evaluate --workdir=…`.

Into the workdir go evaluation.json; evaluation/*.csv, a row for each example, number of samples and latent dimension;
and figures/*.png.
"""

from pathlib import Path

from vae_jax import parallel

from .command import entry
from .command.errors import user_errors
from .command.flags import CommandFlags
from .report import assessment, figures, table
from .run import build, scores, workdir
from .run.metrics import read_metrics

FLAGS = CommandFlags()
_WORKDIR = FLAGS.string("workdir", "runs/digits", "The folder of a run of experiments.train.")
_DATA_DIR = FLAGS.data_dir()
_CHECKPOINT = FLAGS.string("checkpoint", "latest", "latest, best (by the validation ELBO), or a step.")
_WEIGHTS = FLAGS.choice(
    "weights", None, ["params", "average"], "The weight average or the raw parameters; the average where there is one."
)
_NUM_SAMPLES = FLAGS.integer(
    "num_samples", None, "Importance samples per test example; the config's by default.", lower_bound=1
)
_ANNEALED = FLAGS.integer(
    "annealed_examples", 10, "Test examples for annealing, and simulated ones; 0: none.", lower_bound=0
)
_TEMPERATURES = FLAGS.integer("num_temperatures", 500, "Temperatures of annealing.", lower_bound=1)
_GAPS = FLAGS.integer(
    "gap_examples", 50, "Examples of train and of test whose inference gaps are divided; 0: none.", lower_bound=0
)


def main() -> None:
    folder = Path(_WORKDIR.value)
    config = workdir.read_config(folder)
    weights = _WEIGHTS.value or scores.evaluated_weights(config)
    with user_errors():
        experiment = build.build(config, data_dir=_DATA_DIR.value)
        step, params = scores.load_weights(experiment, folder, checkpoint=_CHECKPOINT.value, weights=weights)
    first = parallel.is_first_process()
    options = assessment.Options(
        num_samples=_NUM_SAMPLES.value or config.evaluation.num_samples,
        annealed_examples=_ANNEALED.value,
        num_temperatures=_TEMPERATURES.value,
        gap_examples=_GAPS.value,
    )
    with user_errors():
        found = assessment.assess(
            config, experiment, params, options, lambda what: print(what, flush=True) if first else None
        )
    if not first:
        return
    measured = table.as_json(found, options)
    described = {"step": step, "weights": weights, **measured}
    figures.draw(experiment, params, read_metrics(folder / workdir.METRICS), folder / workdir.FIGURES)
    figures.draw_assessment(found, options.num_samples, folder / workdir.FIGURES)
    bounds = [bound.values() for bound in measured["bounds"]]
    table.write_tables(found, bounds, experiment.dataset.test.labels, folder / workdir.TABLES)
    workdir.write_json(folder / workdir.EVALUATION, described)
    table.print_table(measured, f"{folder}, step {step}, {weights}")


if __name__ == "__main__":
    entry.run_command(main, FLAGS, several_processes=True)
