"""Runs a command of experiments/ as a user does: in a process of its own, or in this one."""

import atexit
import contextlib
import importlib
import io
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jaxlib

ROOT = Path(__file__).parent.parent

# What one command compiles the next need not, in any worker; and what is compiled is run for a second or two: without
# both, most of a small run's time is compilation.
_WORKER = "PYTEST_XDIST_WORKER" in os.environ
_COMPILED = Path(tempfile.gettempdir()) / f"vae_jax_tests_{os.getppid() if _WORKER else os.getpid()}"
_CACHE = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(_COMPILED),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

# Fusions as before MLIR, and no threads for the parts of a program.
_QUICK = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")

# A model and a run small enough that start-up is most of the time.
SMALL = (
    "--config=experiments/configs/digits.py",
    "--config.model.network=mlp(hidden=(16,))",
    "--config.model.latent_dim=2",
    "--config.training.num_steps=60",
    "--config.training.log_every=10",
    "--config.training.eval_every=30",
    "--config.training.checkpoint_every=20",
    "--config.evaluation.num_samples=20",
)

# What makes an evaluation quick: neither annealing nor inference gaps.
NO_CHAINS = ("--annealed_examples=0", "--gap_examples=0")
_PATIENCE_SECONDS = 300


@atexit.register
def forget_what_was_compiled() -> None:
    """By the process that all workers are children of."""
    if not _WORKER:
        shutil.rmtree(_COMPILED, ignore_errors=True)


def own_compiled() -> Path:
    """Returns where this process keeps what it compiles: an entry that another one is writing would be read half."""
    return _COMPILED / os.environ.get("PYTEST_XDIST_WORKER", "alone")


def environment(*, devices: int = 1) -> dict[str, str]:
    return {**os.environ, **_CACHE, "XLA_FLAGS": xla_flags(devices), "JAX_PLATFORMS": "cpu"}


def xla_flags(devices: int) -> str:
    """Returns those of the suite with so many devices."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}".strip()


def quickly_compiling(flags: str) -> str:
    """Returns XLA's flags with those that save a third of its compilation on a CPU, in the version they are of."""
    # XLA ends a process that gives it a flag of another version, and has no list of its own.
    known = _QUICK if jaxlib.__version__.startswith("0.10.") else ()
    return " ".join([flags, *(flag for flag in known if flag not in flags)]).strip()


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *arguments]


class Started:
    """A command in a process of its own, forked from a server that has imported what commands import.

    The imports are a third of a small run's time. Signals, exit statuses and files are those of any process.
    """

    def __init__(self, name: str, *arguments: str, devices: int = 1, cwd: Path = ROOT) -> None:
        self.args = command(name, *arguments)
        # To files: a process whose pipe is full would wait for a reader.
        self._said = Path(tempfile.mkdtemp(prefix="vae_jax_said_"))
        weakref.finalize(self, shutil.rmtree, self._said, ignore_errors=True)
        own = {"XLA_FLAGS": xla_flags(devices)}
        self._process = _server().Process(target=_become, args=(name, arguments, own, str(self._said), cwd))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        return self._read("stderr")

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends the process, which is none when this returns."""
        self._process.kill()
        self._process.join()

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> int:
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, seconds, self.stdout, self.stderr)
        return self._process.exitcode

    def _read(self, name: str) -> str:
        file = self._said / name
        return file.read_text() if file.exists() else ""

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves no process behind, whatever happened."""
        self.kill()


def run(name: str, *arguments: str, devices: int = 1, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Returns what a command came to, in a process of its own."""
    with Started(name, *arguments, devices=devices, cwd=cwd) as process:
        status = process.wait()
        return subprocess.CompletedProcess(process.args, status, process.stdout, process.stderr)


def train(workdir: Path, *arguments: str, devices: int = 1) -> str:
    """Returns what the command prints until its numbers are written; the pictures, half of a small run, are not drawn.

    They come last: what a run leaves in its folder is whole but for them.
    """
    with Started("train", *arguments, f"--workdir={workdir}", devices=devices) as process:
        wait_until((workdir / "summary.json").exists, process)
        return process.stdout


def call(name: str, *arguments: str) -> str:
    """Returns what a command prints, in this process; raises what it ends with, a `UserError` for a user's mistake."""
    from experiments.command.flags import read_flags

    module = importlib.import_module(f"experiments.{name}")
    argv = [name, *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if hasattr(module, "parse"):
            module.main(module.parse(argv))
        else:
            read_flags(module.FLAGS, argv)
            module.main()
    return out.getvalue()


def wait_until(condition: Any, process: Started, seconds: float = _PATIENCE_SECONDS) -> None:
    """Returns once a condition holds; fails where the process ends, or the time is up, before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout + process.stderr
        assert time.monotonic() < deadline, process.stdout + process.stderr
        time.sleep(0.02)


def _server() -> Any:
    """Returns the context of the server, which reads JAX's variables as it imports JAX."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    before = dict(os.environ)
    os.environ.update(environment(), PYTHONPATH=str(ROOT))
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _become(name: str, arguments: Sequence[str], variables: dict[str, str], said: str, cwd: Path) -> None:
    """Turns a process just forked into that of a command."""
    assert "experiments.run.session" in sys.modules, "the server has not imported what commands import"
    os.setsid()
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(said) / stream, os.O_WRONLY | os.O_CREAT), number)
    # Open for as long as the process lives.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # until the process ends
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115  # likewise
    os.chdir(cwd)
    os.environ.update(variables)
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # the server's processes leave without
        sys.stdout.flush()


@contextlib.contextmanager
def started(arguments: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Yields the process of these arguments; afterwards neither it nor what it started is left, whatever happened."""
    with subprocess.Popen(arguments, cwd=ROOT, **options) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Kills a process with those that it started, and waits for it."""
    # A launcher's have sessions of their own: no signal to a group would reach them.
    begun = children(process.pid) if process.poll() is None else []
    process.kill()  # before them, since it would start others in their place
    for pid in begun:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def children(pid: int) -> list[int]:
    """The processes that a process started, in order; none known where the system does not tell."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text().split()] if file.exists() else []
