"""Signals at random instants: SIGKILL, SIGTERM, SIGINT, and SIGSTOP for a while."""

import random
import signal
import time
from collections.abc import Callable

from tests.faults.trial import Layout, Missed, Outcome, Process, attempt, last_step, moment, saved_steps

_SECONDS_TO_END = 60  # on a busy machine: a chunk takes milliseconds here, a validation that has begun a second or two


def killed(layout: Layout, rng: random.Random) -> Outcome:
    """Nobody is told of a SIGKILL; what is saved goes on from there."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir())
        process.await_moment(moment(rng), layout)
        process.popen.kill()
        process.end()
        if (process.workdir / "summary.json").exists():
            raise Missed
        return Outcome(layout.again(process.workdir), False)

    return attempt(fault)


def ended(layout: Layout, rng: random.Random, number: int) -> Outcome:
    """By SIGTERM or SIGINT: no step of those that were told of is lost, and the status says what happened."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir())
        process.await_moment(moment(rng), layout)
        told, sent = last_step(process.workdir), time.monotonic()
        process.popen.send_signal(number)
        status = process.end()
        if (process.workdir / "summary.json").exists():
            raise Missed
        # Before the command listens, Python's own answer to the signal ends it.
        if status not in (128 + number, -number):
            return Outcome(f"status {status}: {process.stderr}", False)
        if status > 0 and "Traceback" in process.stderr:
            return Outcome(f"a traceback: {process.stderr}", True)
        if time.monotonic() - sent > _SECONDS_TO_END:
            return Outcome(f"it took {time.monotonic() - sent:.0f} s to end", True)
        if told > max(saved_steps(process.workdir), default=0):
            return Outcome(f"step {told} was told of, and {saved_steps(process.workdir)} are saved", True)
        return Outcome(layout.again(process.workdir), True)

    return attempt(fault)


def terminated(layout: Layout, rng: random.Random) -> Outcome:
    return ended(layout, rng, signal.SIGTERM)


def interrupted(layout: Layout, rng: random.Random) -> Outcome:
    return ended(layout, rng, signal.SIGINT)


def stopped(layout: Layout, rng: random.Random) -> Outcome:
    """Stopped for up to three seconds, it goes on as if nothing had been."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir())
        process.await_moment(moment(rng), layout)
        return paused(process, process.popen.send_signal, layout, rng)

    return attempt(fault)


def paused(process: Process, send: Callable[[int], object], layout: Layout, rng: random.Random) -> Outcome:
    """Of a run of which `send` stops a process for up to three seconds."""
    send(signal.SIGSTOP)
    hit = process.running()
    time.sleep(3 * rng.random())
    send(signal.SIGCONT)
    status = process.end()
    if not hit:
        raise Missed
    if status != 0:
        return Outcome(f"status {status}: {process.stderr}", False)
    return Outcome(layout.difference(process.workdir), False)
