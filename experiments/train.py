"""Trains a VAE, evaluates it and draws it: `python -m experiments.train --config=… --workdir=…`.

The same command on the same workdir resumes from the newest checkpoint, and so does --workdir alone, with the config
that the folder holds; a finished run prints its summary. SIGTERM, SIGINT and SIGHUP end it within a chunk of steps,
saved, with status 143, 130 or 129.
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax import parallel
from vae_jax.training import json_files

from .command import entry, signals, watchdog
from .command.errors import UserError, user_errors
from .command.flags import CommandFlags, config_file, load_config, override, read_flags
from .run import build, scores, session, trackers, workdir
from .run.config import Config, as_flags, validate
from .run.metrics import NoLog

_DEFAULT = "digits"

FLAGS = CommandFlags()
FLAGS.string(
    "config",
    None,
    "A recipe of experiments/configs by its name, or a file with get_config(); by default the workdir's own config.",
)
_WORKDIR = FLAGS.workdir("runs/digits", "The folder of the run's files.")
_DATA_DIR = FLAGS.data_dir()
_DATA_PATH = FLAGS.data_path()
_PLATFORM = FLAGS.choice("require_platform", None, ["cpu", "gpu", "tpu"], "Fail on any other platform.")
_INIT_FROM = FLAGS.string("init_from", None, "Short for --config.init_from: a run to take parameters from.")
_STUCK_AFTER = FLAGS.number(
    "stuck_after", 900, "Seconds without progress that end the process; 0: never.", lower_bound=0
)
_TRUST = FLAGS.trust()
_TRACK = FLAGS.string(
    "track",
    "tensorboard",
    "Where the run is shown, joined by +: tensorboard, wandb(project=NAME) (the extra `wandb`), module:name(…).",
)
_PROFILE = FLAGS.switch("profile", False, "Write a trace of some steps into the workdir, for TensorBoard or Perfetto.")
_PRINT_CONFIG = FLAGS.switch("print_config", False, "Print every field of the config as a flag, and exit.")


def parse(argv: Sequence[str]) -> Config:
    """Returns the config that a command line asks for, and sets the flags.

    Raises:
      UserError: for an unknown flag or field, or an illegal value.
    """
    arguments = read_flags(FLAGS, argv, config=True)
    config = override(_base(config_file(arguments)), arguments)
    if _INIT_FROM.value is not None:
        config.init_from = _INIT_FROM.value
    with user_errors():
        validate(config)
    return config


def field_help(config: Config) -> str:
    """Returns every field of a config as a flag, for --help."""
    how = "Fields of the config, here with the values of --config. Each is a flag; quote a value with parentheses:"
    return "\n".join([how, "", *as_flags(config)])


def _base(file: str | None) -> Config:
    """Returns the config that a command line overrides: a file's, else the one that the workdir holds."""
    folder = Path(_WORKDIR.value)
    if file is None and (folder / workdir.CONFIG).exists():
        config = workdir.read_config(folder)
        workdir.check_trusted(folder, config, _TRUST.value)
        return config
    return load_config(file or _DEFAULT, Config)


def main(config: Config) -> None:
    if _PRINT_CONFIG.value:
        print(*as_flags(config), sep="\n")
        return
    with user_errors():
        devices = jax.devices()
    first = parallel.is_first_process()
    if first:
        several = f" of {parallel.num_processes()} processes" if parallel.num_processes() > 1 else ""
        named = ", ".join(map(str, devices))
        print(f"platform {devices[0].platform}, {len(devices)} device(s){several}: {named}", flush=True)
    if _PLATFORM.value not in (None, devices[0].platform):
        raise UserError(f"--require_platform={_PLATFORM.value}, but JAX found {devices[0].platform}")
    with user_errors():
        trackers.check(_TRACK.value)
    folder = Path(_WORKDIR.value)
    stored = workdir.as_stored(folder)
    with user_errors():
        experiment = build.build(config, data_dir=_DATA_DIR.value, data_path=_DATA_PATH.value, **stored)
        config = experiment.config
        about = build.check(config, experiment, num_devices=len(devices))
        if config.init_from is not None and not (folder / workdir.CONFIG).exists():
            scores.load_params(Path(config.init_from), experiment.vae)  # before anything is written
    if _STUCK_AFTER.value > 0:
        watchdog.start(_STUCK_AFTER.value)
    summary = workdir.finished(folder, config, experiment.fingerprint) if first else None
    if parallel.from_first(np.asarray(summary is not None)):
        if summary is not None:
            print(json_files.to_text(summary, indent=2))
            early = summary.get("stopped_early")
            how = f", which training.patience stopped at step {summary['stopped_at']}" if early else ""
            print(f"{folder} holds a finished run of this config{how}; nothing to do")
            if (folder / workdir.REPORT).exists():
                print(f"its report is {folder / workdir.REPORT}")
        return
    if first:
        print(*experiment.dataset.notes, *about, sep="\n", flush=True)
    claim = workdir.claimed(folder, config, experiment.fingerprint) if first else contextlib.nullcontext()
    with claim as claimed:
        parallel.wait_for_all("claimed")
        workdir.check(folder, config, experiment.fingerprint)  # of each process, whose disk may hold other data
        place = claimed or workdir.Place(folder)
        with signals.deferred(), contextlib.ExitStack() as closing:
            also = {"closing": closing, "track": _TRACK.value, "profile": _PROFILE.value}
            trained = session.train(config, experiment, folder, place, **also)
            place.check()
            places = {"data_dir": _DATA_DIR.value, "data_path": _DATA_PATH.value}
            finish(config, experiment, trained, folder, [f"--{name}={at}" for name, at in places.items() if at])


def finish(
    config: Config,
    experiment: build.Experiment,
    trained: session.Trained,
    folder: Path,
    places: Sequence[str] = (),
) -> None:
    """Evaluates on the test set, writes summary.json, says what came of it, draws the figures and the report page.

    `places` are the flags that say where the data are, which the next commands need too.
    """
    if parallel.is_first_process():
        of_step = "" if config.training.patience is None else f" with the parameters of step {int(trained.state.step)}"
        print(f"evaluating {experiment.dataset.test.number} test examples{of_step}", flush=True)
    params = parallel.whole(scores.evaluated_params(trained.state))
    meaning = scores.meaning(experiment, params)
    test = scores.test_scores(experiment, params, num_samples=config.evaluation.num_samples)
    signals.check()
    raw = parallel.whole(trained.state.params)
    if isinstance(trained.log, NoLog):
        return
    summary: dict[str, Any] = {"step": int(trained.state.step)}
    if config.training.patience is not None:
        summary |= {"stopped_at": trained.stopped_at, "stopped_early": trained.stopped_early}
    summary |= {
        "params_sha256": scores.params_sha256(raw),
        "wall_seconds": trained.log.seconds(),
        "examples_per_second": trained.examples_per_second,
        "test": {**test._asdict(), "bits_per_dimension": math.nan if test.nll is None else meaning.in_bits(test.nll)},
    }
    if meaning.remark:
        summary["remarks"] = {f"test.{name}": meaning.remark for name in ("elbo", "nll")}
    if meaning.reason and meaning.num_elements is None:
        summary["reasons"] = {"test.bits_per_dimension": meaning.reason}
    elif meaning.reason:
        summary["remarks"] = {**summary.get("remarks", {}), "test.bits_per_dimension": meaning.reason}
    workdir.write_json(folder / workdir.SUMMARY, summary)
    # Here, since matplotlib takes a second that the first step would wait for.
    from .reporting import contents, figures, words

    use = contents.latent_use(experiment, params)
    print(*contents.sentences(summary, trained.log.lines, config, use), sep="\n", flush=True)
    figures.draw(experiment, params, trained.log.lines, folder / workdir.FIGURES)
    trained.log.show_results(trained.stopped_at, summary["test"], folder / workdir.FIGURES)
    if contents.write_or_warn(experiment, params, folder, use):
        print(f"finished; the report is {folder / workdir.REPORT}, for a browser. Next:")
    else:
        print(f"finished; pictures are in {folder / workdir.FIGURES}. Next:")
    for command, gives in words.next_commands(folder, config, places):
        print(f"  {command}  # {gives}")


if __name__ == "__main__":
    entry.run_command(main, FLAGS, parse=parse, more_help=field_help, several_processes=True)
