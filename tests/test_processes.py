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

# Adam would hide gradients that are wrong by a factor. The first checkpoint, at 20, is far from the end.
RUN = (
    "--config.training.optimizer=sgd",
    "--config.training.learning_rate=0.001",
    "--config.training.num_steps=120",
)
# Half a minute, and as much again for a machine that has other work: 32 s were seen on a busy one.
ALL_ENDED_SECONDS = 60


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


class Ended(NamedTuple):
    """How a launch, or the processes of one of its attempts, ended: by itself, or so long after it was hurt."""

    status: int
    seconds: float


class Hurt(NamedTuple):
    """A run that was told to end, then launched again and hurt twice, after which it was left to finish."""

    workdir: Path
    told: Ended
    saved: list[int]
    stopped: Ended
    killed: Ended
    status: int
    said: str
    addresses: set[str]
    of_one: Path
    mistaken: int
    told_of_the_mistake: str


@pytest.fixture(scope="module")
def hurt(tmp_path_factory) -> Hurt:
    """Of two processes of one device each; `of_one` is the folder of the same run by one process of two devices.

    While nobody but a timer works, that one and the mistaken command are run.
    """
    folder = tmp_path_factory.mktemp("hurt")
    workdir, of_one = folder / "run", folder / "of_one"
    arguments = (*RUN, "--max_restarts=2", f"--workdir={workdir}")
    with (folder / "told").open("wb") as output, launched(output, *arguments) as launcher:
        wait_until(lambda: bool(steps(workdir)), launcher)
        addresses, start = listening(launcher.ranks()), time.monotonic()
        launcher.process.terminate()
        told = Ended(launcher.process.wait(60), time.monotonic() - start)
    saved = steps(workdir)

    def send(launcher: Launched, number: int, restart: int, meanwhile: Callable[[], object] = lambda: None) -> Ended:
        """Hurts one process as soon as the run is resumed."""
        wait_until(lambda: launcher.said.read_text().count("resuming") == restart, launcher)
        ranks, start = launcher.ranks(), time.monotonic()
        os.kill(ranks[1], number)
        meanwhile()
        wait_until(lambda: launcher.said_by(f"restart {restart} of 2"), launcher)
        seconds = time.monotonic() - start
        assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
        status = re.search(rf"ended with status (\d+); restart {restart} of 2", launcher.said.read_text())[1]
        return Ended(int(status), seconds)

    mistaken: list[int] = []

    def run_the_others() -> None:
        result = commands.run("train", *commands.SMALL, *RUN, f"--workdir={of_one}", devices=2)
        assert result.returncode == 0, result.stderr
        wrong = ("--config.training.batch_size=63", f"--workdir={folder / 'wrong'}", "--max_restarts=1")
        with (folder / "mistake").open("wb") as output, launched(output, *wrong) as launcher:
            mistaken.append(launcher.process.wait(100))

    with (folder / "said").open("wb") as output, launched(output, *arguments) as launcher:
        stopped = send(launcher, signal.SIGSTOP, 1, run_the_others)
        killed = send(launcher, signal.SIGKILL, 2)
        status = launcher.process.wait(200)
    said, told_of_the_mistake = ((folder / name).read_text() for name in ("said", "mistake"))
    return Hurt(
        workdir, told, saved, stopped, killed, status, said, addresses, of_one, mistaken[0], told_of_the_mistake
    )


def test_told_to_end_they_save_and_end_with_143(hurt):
    assert hurt.told.status == 128 + signal.SIGTERM
    assert hurt.saved


def test_the_same_command_resumes(hurt):
    assert f"resuming {hurt.workdir} from step {hurt.saved[-1]}\n" in hurt.said


def test_a_process_that_stands_still_ends_all(hurt):
    assert hurt.stopped.seconds < ALL_ENDED_SECONDS
    assert hurt.stopped.status in (70, 71, 134, 137)


def test_the_death_of_one_ends_all(hurt):
    assert hurt.killed.seconds < ALL_ENDED_SECONDS
    assert hurt.killed.status in (71, 134, 137)


def test_restarted_they_resume_and_finish(hurt):
    assert hurt.status == 0, hurt.said[-3000:]
    assert hurt.said.count("resuming") == 3
    assert (hurt.workdir / "summary.json").exists()


def test_they_listen_at_no_address_but_the_loopback_interfaces_and_the_hosts(hurt):
    """That of the host's name is Gloo's choice."""
    own = {socket.gethostbyname(socket.gethostname()), "127.0.0.1", "::1"}
    assert hurt.addresses
    assert {address.removeprefix("::ffff:") for address in hurt.addresses} <= own


def test_two_processes_compute_as_one_with_two_devices(hurt):
    assert losses(hurt.workdir) == pytest.approx(losses(hurt.of_one), rel=1e-5)
    ours, theirs = (json.loads((folder / "summary.json").read_text()) for folder in (hurt.workdir, hurt.of_one))
    assert ours["test"] == pytest.approx(theirs["test"], rel=1e-5)


def test_a_users_mistake_is_told_once_and_not_tried_again(hurt):
    assert hurt.mistaken == 1
    said = [line for line in hurt.told_of_the_mistake.splitlines() if not line.startswith("platform")]
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
