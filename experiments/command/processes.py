"""Starts a command in several processes of this machine: `python -m experiments.command.processes train --workdir=…`.

PROCESSES says how many; they meet on the loopback interface alone. Where one dies or is stuck, all are ended, and
started again at most --max_restarts times, each from the newest checkpoint. SIGTERM, SIGINT and SIGHUP are passed on;
where this process is killed, the others get SIGTERM.
"""

import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from . import streams
from .errors import PEER_DIED, USER_MISTAKE
from .watchdog import STUCK

# For the others to report what they saw, once one has died.
_GRACE_SECONDS = 5
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ENDED_IN_ORDER = [128 + number for number in _ENDING_SIGNALS]
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Returns the exit status of the processes, as a shell gives it."""
    streams.secure()
    command, options = _split(sys.argv[1:])
    try:
        number, restarts = (int(text) for text in (os.environ.get("PROCESSES", "1"), options.get("max_restarts", "0")))
        if number < 1 or restarts < 0 or not command:
            raise ValueError
    except ValueError:
        print("error: PROCESSES and --max_restarts are whole numbers; PROCESSES of at least 1", file=sys.stderr)
        return 1
    children: list[subprocess.Popen[bytes]] = []
    received: list[int] = []  # signals to end

    def pass_on(signum: int, frame: object) -> None:
        received.append(signum)
        for child in children:
            child.send_signal(signum)

    for signum in _ENDING_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup has it ignored
            signal.signal(signum, pass_on)
    attempt = 0
    while True:
        attempt += 1
        status = _run(command, number, children, received)
        crashed = status in (STUCK, PEER_DIED) or status > 128
        if received or status in _ENDED_IN_ORDER or not crashed or attempt > restarts:
            return status
        print(f"the processes ended with status {status}; restart {attempt} of {restarts}", flush=True)


def _split(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    own, rest = {}, []
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "max_restarts":
            own[name] = value
        else:
            rest.append(argument)
    return rest, own


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Returns a new process, which on Linux gets SIGTERM when this one dies."""
    # In a session of its own: Ctrl-C in the terminal reaches this process alone, which passes it on.
    end_with_this = functools.partial(_end_with, os.getpid())
    return subprocess.Popen(arguments, env=environment, start_new_session=True, preexec_fn=end_with_this)


def _end_with(parent: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before
            os._exit(128 + signal.SIGTERM)


def _run(command: list[str], number: int, children: list[subprocess.Popen[bytes]], received: list[int]) -> int:
    """Runs the processes, which `children` then holds, to their end; returns the status of the first that failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    gpus = _gpus()
    children.clear()
    for rank in range(number):
        environment = dict(os.environ)
        if number > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": coordinator}
            environment |= {"JAX_NUM_PROCESSES": str(number), "JAX_PROCESS_ID": str(rank)}
            if share := len(gpus) // number:
                environment["JAX_LOCAL_DEVICE_IDS"] = ",".join(gpus[rank * share : (rank + 1) * share])
        arguments = [sys.executable, "-m", f"experiments.{command[0]}", *command[1:]]
        before = len(received)
        child = start(arguments, environment)
        children.append(child)
        for signum in received[before:]:
            child.send_signal(signum)  # it came before this child was known
        if received:
            break
    status, deadline = 0, None
    while True:
        found = [child.poll() for child in children]
        status = status or next((code for code in found if code), 0)
        if None not in found:
            return 128 - status if status < 0 else status
        if status and deadline is None and status not in _ENDED_IN_ORDER:
            deadline = time.monotonic() + (0 if status == USER_MISTAKE else _GRACE_SECONDS)
        if deadline is not None and time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.05)


def _gpus() -> list[str]:
    """Returns the numbers of this machine's GPUs among those visible."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [str(number) for number in range(len(visible.split(",") if visible else []))]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number in range(listed.count("GPU "))]


if __name__ == "__main__":
    sys.exit(main())
