"""Writes the report page of a run, or compares runs: `python -m experiments.report --workdir=A --workdir=B`.

Of one run it is report.html in its folder, as `train` and `evaluate` write it, and needs the data. Of several it is
comparison.html in the current folder, and needs nothing but the JSON files of their folders.
"""

from pathlib import Path

from .command import entry
from .command.errors import user_errors
from .command.flags import CommandFlags
from .reporting import comparison_page, contents, document, record
from .run import scores, workdir

FLAGS = CommandFlags()
_WORKDIRS = FLAGS.workdirs(
    ["runs/digits"], "The folder of a run of experiments.train; runs are compared with the first"
)
_OUTPUT = FLAGS.string("output", None, "The page; by default WORKDIR/report.html, or comparison.html of several runs.")
_DATA_DIR = FLAGS.data_dir()
_DATA_PATH = FLAGS.data_path()
_TRUST = FLAGS.trust()

_COMPARISON = "comparison.html"


def main() -> None:
    folders = [Path(folder) for folder in _WORKDIRS.value]
    output = None if _OUTPUT.value is None else Path(_OUTPUT.value).expanduser()
    if len(folders) == 1:
        print(f"the report is {_of_one(folders[0], output)}")
    else:
        print(f"the comparison is {_of_several(folders, output or Path(_COMPARISON))}")


def _of_one(folder: Path, output: Path | None) -> Path:
    places = {"data_dir": _DATA_DIR.value, "data_path": _DATA_PATH.value}
    config, experiment = workdir.load(folder, **places, trusted=_TRUST.value)
    path = output or folder / workdir.REPORT
    with user_errors():
        _, params = scores.load_weights(experiment, folder, checkpoint=None, weights=scores.evaluated_weights(config))
        contents.write(experiment, params, folder, contents.latent_use(experiment, params), path)
    return path


def _of_several(folders: list[Path], path: Path) -> Path:
    with user_errors():
        document.write(path, comparison_page.render([record.read(folder) for folder in folders]))
    return path


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
