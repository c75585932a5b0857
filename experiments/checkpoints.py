"""Lists a run's checkpoints and compares every file with its SHA-256: `python -m experiments.checkpoints --workdir=…`.

The exit status is 1 where one is damaged.
"""

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vae_jax import runs

from .command import entry
from .command.errors import UserError, user_errors
from .command.flags import CommandFlags

FLAGS = CommandFlags()
_WORKDIR = FLAGS.workdir("runs/digits", "The folder of a run of experiments.train.")


def main() -> None:
    with user_errors():
        opened = runs.open_checkpoints(_WORKDIR.value)
    folder = opened.directory
    with user_errors(), opened as checkpoints:
        steps, best = checkpoints.steps(), checkpoints.best_step()
        damages = {step: checkpoints.damages(step) for step in steps}
    table = Table(title=str(folder), title_justify="left")
    for column in ("step", "MiB", "written", "files"):
        table.add_column(column, justify="right" if column in ("step", "MiB") else "left")
    for step in steps:
        files = [path.stat() for path in (folder / str(step)).rglob("*") if path.is_file()]
        size = sum(file.st_size for file in files) / 2**20
        last = max((file.st_mtime for file in files), default=None)
        written = "" if last is None else datetime.fromtimestamp(last).isoformat(" ", "seconds")
        names = " (latest)" * (step == steps[-1]) + " (best)" * (step == best)
        table.add_row(str(step), f"{size:.1f}", written, ("good" if not damages[step] else "DAMAGED") + names)
    Console(width=120).print(table)
    others = sorted(path.name for path in Path(folder).iterdir() if path.name not in map(str, steps))
    if others:
        print(f"not whole, or set aside as damaged: {', '.join(others)}")
    if not steps:
        raise UserError(f"{folder} holds no whole checkpoint")
    if found := [f"{step}: {damage}" for step in steps for damage in damages[step]]:
        raise UserError(f"damaged checkpoints in {folder}:\n  " + "\n  ".join(found))


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
