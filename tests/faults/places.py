"""A run's folder that can no longer be written: the disk is full, or the permission is gone."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.trial import Layout, Missed, Outcome, Process, attempt, is_root, moment, told_in_one_message

_MEGABYTES = 16
# Root may write everywhere, unless it gives up this capability.
_MAY_NOT = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of few megabytes, or None where one cannot be had."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "tmpfs", str(folder)]
    if not is_root() or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_be_denied() -> tuple[str, ...] | None:
    """What a command begins with so that permissions hold for it; None where nothing would make them hold."""
    if not is_root():
        return ()
    if shutil.which("setpriv") is None or subprocess.run([*_MAY_NOT, "true"], check=False).returncode != 0:
        return None
    return _MAY_NOT


def full_disk(layout: Layout, rng: random.Random, disk: Path) -> Outcome:
    """One message, status 1; when there is room again, the run goes on."""

    def fault() -> Outcome:
        workdir, filler = layout.new_workdir(disk), disk / "filler"
        try:
            process = Process(layout, workdir)
            process.await_moment(moment(rng), layout)
            _fill(filler)
            status = process.end()
            if (workdir / "summary.json").exists():
                raise Missed
            filler.unlink()
            return Outcome(told_in_one_message(process, status) or layout.again(workdir), status == 1)
        finally:
            filler.unlink(missing_ok=True)
            shutil.rmtree(workdir, ignore_errors=True)

    return attempt(fault)


def denied(layout: Layout, rng: random.Random, prefix: tuple[str, ...]) -> Outcome:
    """Of the workdir or of its checkpoints: one message, status 1; with the permission back, the run goes on."""

    def fault() -> Outcome:
        process = Process(layout, layout.new_workdir(), prefix)
        process.await_moment(moment(rng), layout)
        places = [place for place in (process.workdir / "checkpoints", process.workdir) if place.is_dir()]
        if not places:
            process.popen.kill()
            process.end()
            raise Missed
        place = rng.choice(places)
        place.chmod(0o555)
        status = process.end()
        place.chmod(0o755)
        if (process.workdir / "summary.json").exists():
            raise Missed
        return Outcome(told_in_one_message(process, status) or layout.again(process.workdir), status == 1)

    return attempt(fault)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
