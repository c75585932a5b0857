"""Evaluates a run's checkpoint, every figure with its error: `python -m experiments.evaluate --workdir=…`.

Into the workdir go evaluation.json, written after each part; evaluation/*.csv, with one row for each figure, example,
number of samples and latent dimension; figures/*.png; and report.html, which has all of it.
"""

import tempfile
from pathlib import Path

from vae_jax import parallel

from .command import entry
from .command.errors import user_errors
from .command.flags import CommandFlags
from .reporting import assessment, contents, figures, latents, table
from .reporting.rows import rows
from .run import scores, workdir
from .run.metrics import read_metrics

FLAGS = CommandFlags()
_WORKDIR = FLAGS.workdir("runs/digits", "The folder of a run of experiments.train.")
_DATA_DIR = FLAGS.data_dir()
_DATA_PATH = FLAGS.data_path()
_TRUST = FLAGS.trust()
_CHECKPOINT = FLAGS.string(
    "checkpoint",
    None,
    "latest, best (by the validation ELBO), or a step; by default that of the summary: best with training.patience, "
    "else latest.",
)
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
    workdir.read_config(folder)  # where there is no run, that explains any other error
    first = parallel.is_first_process()
    if first:
        with user_errors():
            _check_writable(folder)
    places = {"data_dir": _DATA_DIR.value, "data_path": _DATA_PATH.value}
    config, experiment = workdir.load(folder, **places, trusted=_TRUST.value)
    weights = _WEIGHTS.value or scores.evaluated_weights(config)
    with user_errors():
        step, params = scores.load_weights(experiment, folder, checkpoint=_CHECKPOINT.value, weights=weights)
    options = assessment.Options(
        num_samples=_NUM_SAMPLES.value or config.evaluation.num_samples,
        annealed_examples=_ANNEALED.value,
        num_temperatures=_TEMPERATURES.value,
        gap_examples=_GAPS.value,
    )

    def keep(found: assessment.Assessment) -> None:
        if first:
            measured = {"step": step, "weights": weights, **table.as_json(rows(found, options))}
            workdir.write_json(folder / workdir.EVALUATION, measured)

    tell = lambda what: print(what, flush=True) if first else None
    with user_errors():
        found = assessment.assess(assessment.Subject(config, experiment, params, options, tell), keep)
    if not first:
        return
    table.print_table(rows(found, options), f"{folder}, step {step}, {weights}")
    table.write_tables(rows(found, options), found, experiment.dataset.test.labels, folder / workdir.TABLES)
    figures.draw(experiment, params, read_metrics(folder / workdir.METRICS), folder / workdir.FIGURES)
    figures.draw_assessment(found, options.num_samples, folder / workdir.FIGURES)
    use = latents.LatentUse(found.latents, found.collapse, found.reasons.get("collapse", ""))
    if contents.write_or_warn(experiment, params, folder, use):
        print(f"the report is {folder / workdir.REPORT}")


def _check_writable(folder: Path) -> None:
    """Raises `OSError` unless everything that the command will write has a place; makes the folders for it."""
    for place in (folder, folder / workdir.TABLES, folder / workdir.FIGURES):
        try:
            place.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise OSError(
                f"{place} cannot be written ({error.strerror}), and nothing was computed; evaluate keeps its results "
                "in the run's folder: copy the run to a folder that can be written, and name that as --workdir"
            ) from error


if __name__ == "__main__":
    entry.run_command(main, FLAGS, several_processes=True)
