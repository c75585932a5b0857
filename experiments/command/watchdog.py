"""Ends a process that has stopped getting on: a stuck one would keep its peers waiting for ever."""

import faulthandler
import os
import sys
import threading
import time

STUCK = 70  # the exit status

_last = [time.monotonic()]


def start(seconds: float) -> None:
    """Makes the process end with status 70, and print where it stands, after `seconds` without `progress`."""
    progress()
    threading.Thread(target=_watch, args=(seconds,), name="watchdog", daemon=True).start()


def progress() -> None:
    """Starts the count of seconds again."""
    _last[0] = time.monotonic()


def _watch(seconds: float) -> None:
    idle, tick = 0.0, min(1.0, seconds / 20)
    while idle < seconds:
        seen, start = _last[0], time.monotonic()
        time.sleep(tick)
        # Of a time in which the whole process was stopped, as by SIGSTOP, nothing counts.
        idle = idle + min(time.monotonic() - start, 2 * tick) if _last[0] == seen else 0.0
    print(f"error: no progress for {seconds:g} seconds (--stuck_after); the process ends. It is at:", file=sys.stderr)
    faulthandler.dump_traceback()
    sys.stderr.flush()
    os._exit(STUCK)
