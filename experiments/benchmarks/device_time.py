"""How long an accelerator is at work in a call, by its own events."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax

# Of a GPU's plane the streams, of a TPU's the operations; the other lines say the same in other words.
_LINES = ("Stream", "XLA Ops")


def device_seconds(call: Callable[[], Any]) -> float | None:
    """Returns the seconds in which any accelerator of this process is at work during a call; None where there is none.

    It is what a trace of `jax.profiler` says, so that what waits for the host counts as no work.
    """
    if jax.default_backend() == "cpu":
        return None
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        (path,) = Path(folder).rglob("*.xplane.pb")
        return busy_seconds(jax.profiler.ProfileData.from_file(str(path)).planes)


def busy_seconds(planes: Iterable[Any]) -> float | None:
    """Returns the length of the union of the events on the devices' planes of a trace; None without such a plane."""
    on_devices = [plane for plane in planes if plane.name.startswith("/device:")]
    if not on_devices:
        return None
    lines = [line for plane in on_devices for line in plane.lines if line.name.startswith(_LINES)]
    spans = sorted((event.start_ns, event.start_ns + event.duration_ns) for line in lines for event in line.events)
    total, reached = 0.0, -float("inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1e-9 * total
