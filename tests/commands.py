"""Runs a command of experiments/ as a user does, in a process of its own."""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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

# A model and a run small enough that start-up is most of the time.
SMALL = (
    "--config=experiments/configs/digits.py",
    "--config.model.hidden=(16,)",
    "--config.model.latent_dim=2",
    "--config.training.num_steps=60",
    "--config.training.log_every=10",
    "--config.training.eval_every=30",
    "--config.training.checkpoint_every=20",
    "--config.evaluation.num_samples=20",
)

# What makes an evaluation quick: neither annealing nor inference gaps.
NO_CHAINS = ("--annealed_examples=0", "--gap_examples=0")


@atexit.register
def forget_what_was_compiled() -> None:
    """By the process that all workers are children of."""
    if not _WORKER:
        shutil.rmtree(_COMPILED, ignore_errors=True)


def environment(*, devices: int = 1) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, **_CACHE, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *arguments]


def run(name: str, *arguments: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *arguments),
        cwd=ROOT,
        env=environment(devices=devices),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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
