"""Where a run's numbers go: metrics.jsonl, TensorBoard, Weights & Biases if asked for, and the terminal."""

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import scalar
from tqdm import tqdm

from vae_jax import parallel

from ..command.errors import UserError
from .workdir import METRICS


class MetricsLog:
    """metrics.jsonl and TensorBoard events of a run, from a given step on: later lines of a killed run are dropped.

    With `wandb_project` also a Weights & Biases run, named after the workdir, with `config`.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        step: int,
        wandb_project: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        path = workdir / METRICS
        self.lines = [line for line in read_metrics(path) if line["step"] <= step]
        self._written = {(line["step"], line["split"]) for line in self.lines}
        kept = path.with_suffix(".partial")
        kept.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        kept.replace(path)
        # Seconds of the run so far, over all the processes that worked on it.
        self._start = time.perf_counter() - max((line["seconds"] for line in self.lines), default=0.0)
        self._file = path.open("a")
        self._events = _Events(workdir, first_step=step + 1 if step else None)
        self._wandb = None
        if wandb_project is not None:
            self._wandb = import_wandb().init(
                project=wandb_project, name=workdir.name, dir=str(workdir), config=config, resume="allow"
            )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            self._events.close()
        finally:
            if self._wandb is not None:
                self._wandb.finish()

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        """One line: {"step", "split", "seconds", ...values}; none where there is one of this step and split.

        An evaluation is repeated where its run was interrupted before its score was saved.
        """
        if (step, split) in self._written:
            return
        self._written.add((step, split))
        line = {"step": step, "split": split, "seconds": round(self.seconds(), 3), **values}
        self.lines.append(line)
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from error
        for name, value in values.items():
            self._events.add(f"{split}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def seconds(self) -> float:
        """Wall-clock seconds of the run, those before a kill included."""
        return time.perf_counter() - self._start


class _Events:
    """TensorBoard's scalars, written by this thread: that of tensorboardX's `SummaryWriter` dies with a traceback where
    the disk is full, and what is written after waits for it for ever."""

    def __init__(self, folder: Path, *, first_step: int | None) -> None:
        """From `first_step` on, what earlier files hold is not shown."""
        self._writer = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()
        if first_step is not None:
            log = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=first_step, wall_time=time.time(), session_log=log))

    def add(self, name: str, value: float, step: int) -> None:
        self._writer.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self._writer.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._writer.close()


_SECONDS_BETWEEN_FLUSHES = 30  # each waits for the disk


class NoLog:
    """In the place of a `MetricsLog`, in all processes but the first."""

    lines: tuple[dict[str, Any], ...] = ()

    def write(self, step: int, split: str, values: dict[str, float]) -> None:
        pass


@contextlib.contextmanager
def open_log(workdir: Path, **options: Any) -> Iterator[MetricsLog | NoLog]:
    """The `MetricsLog` of a run, which its first process writes."""
    if not parallel.is_first_process():
        yield NoLog()
        return
    with MetricsLog(workdir, **options) as log:
        yield log


def import_wandb() -> Any:
    """The optional package; raises `UserError` naming the extra where it is not installed."""
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError as error:
        raise UserError("--wandb_project needs the package wandb: pip install 'vae_jax[wandb]'") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that a kill cut short is left out."""
    lines = []
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines


class Progress:
    """A progress bar with loss, ELBO, KL, steps/s and the time left; plain lines where there is no terminal.

    One line before says what they are. Of several processes the first shows them.
    """

    def __init__(self, *, num_steps: int, step: int, seconds_between_lines: float = 5.0) -> None:
        self._writes = parallel.is_first_process()
        if self._writes:
            print(
                "in nats per example: loss, which is minimised, with beta and free bits; elbo and kl, without",
                flush=True,
            )
        silent = not (self._writes and sys.stderr.isatty())
        self._bar = tqdm(total=num_steps, initial=step, unit="step", disable=silent, dynamic_ncols=True)
        self._num_steps, self._first, self._step = num_steps, step, step
        self._start = self._last_line = time.perf_counter()
        self._between = seconds_between_lines

    def update(self, step: int, values: dict[str, float]) -> None:
        text = "  ".join(f"{name} {values[name]:.2f}" for name in ("loss", "elbo", "kl") if name in values)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(step - self._step)
        self._step = step
        now = time.perf_counter()
        if self._writes and self._bar.disable and (now - self._last_line > self._between or step == self._num_steps):
            rate = (step - self._first) / (now - self._start)
            left = tqdm.format_interval((self._num_steps - step) / rate)
            print(f"step {step}/{self._num_steps}  {text}  {rate:.0f} steps/s  {left} left", flush=True)
            self._last_line = now

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
