"""A process that is stuck ends; one that was stopped goes on."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from tests import commands

_SECONDS = 2
_PROGRAM = f"""
import sys, time
from experiments.command import watchdog
watchdog.start({_SECONDS})
print("started", flush=True)
for _ in range(int(sys.argv[1])):
    time.sleep(0.05)
    watchdog.progress()
time.sleep(float(sys.argv[2]))
print("went on", flush=True)
"""


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    with commands.started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        yield process


def test_a_process_without_progress_ends_with_status_70_and_says_where_it_is():
    with started("0", "60") as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 70
    assert out == ""
    assert "no progress for 2 seconds" in err
    assert 'File "<string>", line 9 in <module>' in err


def test_a_process_that_was_stopped_for_longer_goes_on():
    with started("20", "0") as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * _SECONDS)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "went on\n", "")
