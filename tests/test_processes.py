"""Several processes on one machine: they compute as one, and end, resume and restart together."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from tests import commands

# Adam would hide gradients that are wrong by a factor.
SGD = ("--config.training.optimizer=sgd", "--config.training.learning_rate=0.001")
# Of a run that is to be met in the middle: it ends by a signal alone, at a step that was saved just before.
ENDLESS = (
    "--config.training.num_steps=1000000",
    "--config.training.eval_every=1000000",
    "--config.training.checkpoint_every=10",
)
ALL_ENDED_SECONDS = 30


class Launched(NamedTuple):
    """A launcher, and the file of what it and its processes say."""

    process: subprocess.Popen[bytes]
    said: Path

    def ranks(self) -> list[int]:
        """The process ids, in the order of the ranks."""
        return sorted(commands.children(self.process.pid), key=lambda pid: _environment(pid)["JAX_PROCESS_ID"])

    def said_by(self, text: str) -> bool:
        return text in self.said.read_text()


def _environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@contextlib.contextmanager
def launched(output: IO[bytes], *arguments: str) -> Iterator[Launched]:
    with commands.started(
        commands.command("command.processes", "train", *commands.SMALL, *arguments),
        env={**commands.environment(), "PROCESSES": "2"},
        stdout=output,
        stderr=output,
    ) as process:
        yield Launched(process, Path(output.name))


def wait_until(condition: Callable[[], bool], launcher: Launched) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert launcher.process.poll() is None, launcher.said.read_text()[-3000:]
        assert time.monotonic() < deadline, launcher.said.read_text()[-3000:]
        time.sleep(0.05)


def steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())


def losses(workdir: Path) -> list[float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


def listening(pids: list[int]) -> set[str]:
    """The addresses at which the processes listen."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(descriptor.readlink().name)
    found = set()
    for name, family, step in (("tcp", socket.AF_INET, 8), ("tcp6", socket.AF_INET6, 32)):
        for line in Path(f"/proc/{pids[0]}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                words = re.findall("[0-9A-F]{8}", local[:step])  # each with its lowest byte first
                found.add(socket.inet_ntop(family, b"".join(bytes.fromhex(word)[::-1] for word in words)))
    return found


class Run(NamedTuple):
    """A run's folder, the launcher's exit status, what was said, and where its processes listened."""

    workdir: Path
    status: int
    said: str
    addresses: set[str]
    seconds_to_end: float


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Run:
    """Two processes of one device each, of which one is killed, started again and left to finish."""
    folder = tmp_path_factory.mktemp("killed")
    workdir, arguments = folder / "run", (*SGD, "--max_restarts=1")
    with (folder / "said").open("wb") as output, launched(output, *arguments, f"--workdir={workdir}") as launcher:
        wait_until(lambda: bool(steps(workdir)), launcher)
        addresses = listening(launcher.ranks())
        os.kill(launcher.ranks()[1], signal.SIGKILL)
        start = time.monotonic()
        wait_until(lambda: launcher.said_by("restart 1 of 1"), launcher)
        seconds = time.monotonic() - start
        return Run(workdir, launcher.process.wait(200), launcher.said.read_text(), addresses, seconds)


def test_the_death_of_one_ends_all(killed):
    assert killed.seconds_to_end < ALL_ENDED_SECONDS
    assert re.search(r"ended with status (71|134|137); restart 1 of 1", killed.said)


def test_restarted_they_resume_and_finish(killed):
    assert killed.status == 0, killed.said[-3000:]
    assert "resuming" in killed.said
    assert (killed.workdir / "summary.json").exists()


def test_they_listen_at_no_address_but_the_loopback_interfaces_and_the_hosts(killed):
    """That of the host's name is Gloo's choice."""
    own = {socket.gethostbyname(socket.gethostname()), "127.0.0.1", "::1"}
    assert killed.addresses
    assert {address.removeprefix("::ffff:") for address in killed.addresses} <= own


def test_two_processes_compute_as_one_with_two_devices(killed, tmp_path):
    result = commands.run("train", *commands.SMALL, *SGD, f"--workdir={tmp_path}", devices=2)
    assert result.returncode == 0, result.stderr
    assert losses(killed.workdir) == pytest.approx(losses(tmp_path), rel=1e-5)
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (killed.workdir, tmp_path))
    assert ours["test"] == pytest.approx(theirs["test"], rel=1e-5)


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Run:
    """One that was told to end."""
    folder = tmp_path_factory.mktemp("told")
    workdir = folder / "run"
    with (folder / "said").open("wb") as output, launched(output, *ENDLESS, f"--workdir={workdir}") as launcher:
        wait_until(lambda: launcher.said_by("step "), launcher)
        launcher.process.terminate()
        start = time.monotonic()
        status = launcher.process.wait(60)
        return Run(workdir, status, launcher.said.read_text(), set(), time.monotonic() - start)


@pytest.fixture(scope="module")
def stopped(told) -> Run:
    """The same, started again, until one process stands still."""
    with (
        (told.workdir / "said").open("wb") as output,
        launched(output, *ENDLESS, f"--workdir={told.workdir}") as launcher,
    ):
        wait_until(lambda: launcher.said_by("step "), launcher)
        ranks = launcher.ranks()
        os.kill(ranks[1], signal.SIGSTOP)
        start = time.monotonic()
        status = launcher.process.wait(200)
        assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
        return Run(told.workdir, status, launcher.said.read_text(), set(), time.monotonic() - start)


def test_told_to_end_they_save_and_end_with_143(told):
    assert told.status == 128 + signal.SIGTERM, told.said[-3000:]
    assert steps(told.workdir)


def test_the_same_command_resumes(told, stopped):
    assert re.search(rf"resuming {told.workdir} from step [1-9]", stopped.said)


def test_a_process_that_stands_still_ends_all(stopped):
    assert stopped.seconds_to_end < ALL_ENDED_SECONDS
    assert stopped.status in (70, 71, 134, 137)


def test_a_users_mistake_is_told_once_and_not_tried_again(tmp_path):
    arguments = ("--config.training.batch_size=63", f"--workdir={tmp_path / 'run'}", "--max_restarts=1")
    with (tmp_path / "said").open("wb") as output, launched(output, *arguments) as launcher:
        assert launcher.process.wait(100) == 1
    said = [line for line in launcher.said.read_text().splitlines() if not line.startswith("platform")]
    assert len(said) == 1, said
    assert said[0].startswith("error: a batch of 63 cannot be divided evenly")


def test_no_process_outlives_a_launcher_that_is_killed():
    program = """
import os, sys
from experiments.command import processes
processes.start([sys.executable, "-c", "import time; print('started', flush=True); time.sleep(60)"], dict(os.environ))
sys.stdin.read()
"""
    arguments = [sys.executable, "-c", program]
    with commands.started(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout.readline() == b"started\n"
        launcher.kill()
        assert launcher.communicate(timeout=10) == (b"", None)  # at the end of what both print: of the last process
