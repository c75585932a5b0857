"""Faults of one of several processes: the launcher starts them again, or they end together."""

import contextlib
import functools
import os
import random
import signal
import time

from tests.commands import children
from tests.faults import signals
from tests.faults.trial import Layout, Missed, Moment, Outcome, Process, attempt, moment


def rank_killed(layout: Layout, rng: random.Random) -> Outcome:
    return attempt(lambda: _hurt(layout, rng, moment(rng), signal.SIGKILL))


def rank_stopped(layout: Layout, rng: random.Random) -> Outcome:
    """For good, once the processes know of each other: the others end when it has been silent for long."""
    return attempt(lambda: _hurt(layout, rng, Moment(True, rng.random()), signal.SIGSTOP))


def rank_paused(layout: Layout, rng: random.Random) -> Outcome:
    """For up to three seconds, in which the others wait."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir())
        process.await_moment(moment(rng), layout)
        rank = _rank(process, rng)
        return signals.paused(process, functools.partial(_send, rank), layout, rng)

    return attempt(fault)


def _hurt(layout: Layout, rng: random.Random, when: Moment, number: int) -> Outcome:
    process = Process(layout, layout.new_workdir())
    process.await_moment(when, layout)
    _send(_rank(process, rng), number)
    hit = process.running()
    status = process.end()
    if not hit:
        raise Missed
    if status != 0:
        return Outcome(f"status {status}: {process.stdout}{process.stderr}", False)
    if "; restart 1 of 3" not in process.stdout:
        return Outcome(f"nothing was started again: {process.stdout}", False)
    return Outcome(layout.difference(process.workdir), True)


def _rank(process: Process, rng: random.Random) -> int:
    while process.running() and len(found := children(process.popen.pid)) < 2:
        time.sleep(0.01)
    if not process.running():
        process.end()
        raise Missed
    return rng.choice(found)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended, and the run with it
        os.kill(pid, number)


def all_killed(layout: Layout, rng: random.Random) -> Outcome:
    """The launcher and its processes at once, as where a machine goes; the same command goes on."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir())
        process.await_moment(moment(rng), layout)
        pids = [process.popen.pid, *children(process.popen.pid)]
        for pid in pids:
            _send(pid, signal.SIGKILL)
        process.end()
        if (process.workdir / "summary.json").exists():
            raise Missed
        return Outcome(layout.again(process.workdir), False)

    return attempt(fault)
