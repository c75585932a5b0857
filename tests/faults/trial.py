"""A run that is hurt at a random moment, and compared with one that was not."""

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests import commands

_STARTED, _SUMMARY, _LIMIT = "metrics.jsonl", "summary.json", 600.0
_RUN = (
    "--config=experiments/configs/digits.py",
    "--config.model.network=mlp(hidden=(16,))",
    "--config.model.latent_dim=2",
    "--config.training.average_decay=0.9",
    "--config.evaluation.num_samples=20",
    "--config.evaluation.num_examples=50",
)
# Evaluations and checkpoints at steps that meet only now and then, so that all orders of the two occur.
_ONE = (
    *_RUN,
    "--config.training.num_steps=120",
    "--config.training.log_every=10",
    "--config.training.eval_every=30",
    "--config.training.checkpoint_every=20",
)
_SEVERAL = (
    *_RUN,
    "--config.training.batch_size=96",
    "--config.training.num_steps=40",
    "--config.training.log_every=5",
    "--config.training.eval_every=15",
    "--config.training.checkpoint_every=10",
    "--max_restarts=3",
)


class Outcome(NamedTuple):
    """What a fault did: `loss` says what was lost, `detected` whether the run or a command told of the fault."""

    loss: str | None
    detected: bool


class Missed(Exception):
    """The run had ended before the fault, which is therefore none."""


class Process:
    """A started run; what it prints goes to files, which no reader can hold up."""

    def __init__(self, layout: "Layout", workdir: Path, prefix: Sequence[str] = ()) -> None:
        self.workdir = workdir
        self._output = tuple(layout.folder / f"{workdir.name}.{name}" for name in ("stdout", "stderr"))
        out, err = (path.open("w") for path in self._output)
        with out, err:
            self.popen = subprocess.Popen(
                [*prefix, *layout.command(workdir)], cwd=commands.ROOT, env=layout.environment(), stdout=out, stderr=err
            )

    @property
    def stdout(self) -> str:
        return self._output[0].read_text()

    @property
    def stderr(self) -> str:
        return self._output[1].read_text()

    def running(self) -> bool:
        return self.popen.poll() is None and not (self.workdir / _SUMMARY).exists()

    def end(self) -> int:
        """Its status, when it has ended."""
        try:
            return self.popen.wait(_LIMIT)
        except subprocess.TimeoutExpired:
            commands.end(self.popen)
            raise

    def await_moment(self, moment: "Moment", layout: "Layout") -> None:
        """Raises `Missed` where the run ends before."""
        while moment.after_start and self.running() and not (self.workdir / _STARTED).exists():
            time.sleep(0.01)
        deadline = time.monotonic() + moment.fraction * layout.seconds[moment.after_start]
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.002)
        if not self.running():
            self.end()
            raise Missed


class Moment(NamedTuple):
    """A fraction of the time of start-up, or of what comes after."""

    after_start: bool
    fraction: float


def moment(rng: random.Random) -> Moment:
    """One of four in start-up, where little can be lost."""
    return Moment(rng.random() > 0.25, rng.random())


class Layout:
    """A run on so many processes and devices, and its uninterrupted reference."""

    def __init__(self, folder: Path, *, processes: int = 1, devices: int = 1) -> None:
        self._processes, self._devices = processes, devices
        self.folder = folder
        folder.mkdir(parents=True)
        self._number = 0
        self.seconds = [0.0, 0.0]  # of start-up, and of what comes after
        for name in ("compiled", "reference"):
            self.reference = folder / name
            self._measure(Process(self, self.reference))
        if difference := self.difference(folder / "compiled"):
            raise RuntimeError(f"two runs differ without a fault: {difference}")

    def _measure(self, process: Process) -> None:
        marks = [time.monotonic()]
        while process.running() and not (process.workdir / _STARTED).exists():
            time.sleep(0.01)
        marks.append(time.monotonic())
        if process.end() != 0:
            raise RuntimeError(f"the run fails without a fault: {process.stderr}")
        self.seconds = [marks[1] - marks[0], time.monotonic() - marks[1]]

    def command(self, workdir: Path) -> list[str]:
        if self._processes == 1:
            return commands.command("train", *_ONE, f"--workdir={workdir}")
        return commands.command("command.processes", "train", *_SEVERAL, f"--workdir={workdir}")

    def environment(self) -> dict[str, str]:
        return {**commands.environment(devices=self._devices), "PROCESSES": str(self._processes)}

    def new_workdir(self, below: Path | None = None) -> Path:
        self._number += 1
        return (below or self.folder) / f"run{self._number}"

    def again(self, workdir: Path) -> str | None:
        """Starts the run again, to its end; what is wrong with it then, or None."""
        whole = saved_steps(workdir)
        process = Process(self, workdir)
        status = process.end()
        if status != 0:
            return f"started again, it ended with status {status}: {process.stderr}"
        if whole and f"from step {whole[-1]}\n" not in process.stdout:
            return f"started again, it did not go on from step {whole[-1]}: {process.stdout}{process.stderr}"
        return self.difference(workdir)

    def difference(self, workdir: Path) -> str | None:
        """What differs between a finished run and the reference, or None."""
        for read in (_figures, _metrics, _checkpoints):
            found, expected = read(workdir), read(self.reference)
            if found != expected:
                return f"{read.__name__}: {found} and not {expected}"
        if best_score(workdir) < best_score(self.reference):
            return f"the best score kept is {best_score(workdir)}, below {best_score(self.reference)}"
        return None


def attempt(fault: Callable[[], Outcome], *, most: int = 30) -> Outcome:
    """The first outcome of a fault that hits; `fault` draws its moment anew each time."""
    for _ in range(most):
        try:
            return fault()
        except Missed:
            continue
    raise RuntimeError(f"{most} times the run had ended before the fault")


def saved_steps(workdir: Path) -> list[int]:
    """The steps of the whole checkpoints."""
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def best_score(workdir: Path) -> float:
    """The highest of the whole checkpoints."""
    places = (workdir / "checkpoints" / str(step) / "metadata.json" for step in saved_steps(workdir))
    scores = (json.loads(place.read_text())["score"] for place in places)
    return max(score for score in scores if score is not None)


def last_step(workdir: Path) -> int:
    """The last step whose metrics are written."""
    lines = (workdir / _STARTED).read_text().splitlines() if (workdir / _STARTED).exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def told_in_one_message(process: Process, status: int) -> str | None:
    """None where the command ended with status 1 and one message; else what it did."""
    told = process.stderr.strip()
    if status == 1 and told.startswith("error: ") and "\n" not in told:
        return None
    return f"status {status}, not 1 and one message: {told}"


def is_root() -> bool:
    return os.geteuid() == 0


def _figures(workdir: Path) -> Any:
    summary = json.loads((workdir / _SUMMARY).read_text())
    return {name: summary[name] for name in ("step", "params_sha256", "test")}


def _metrics(workdir: Path) -> Any:
    lines = [json.loads(line) for line in (workdir / _STARTED).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def _checkpoints(workdir: Path) -> Any:
    """The newest, and what is not whole, but for what was set aside as damaged."""
    folder = workdir / "checkpoints"
    others = [path.name for path in folder.iterdir() if not path.name.isdigit() and path.suffix != ".damaged"]
    return {"newest": saved_steps(workdir)[-1], "not whole": others}
