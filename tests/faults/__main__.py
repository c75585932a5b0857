"""Hurts runs at random moments, a table of what was lost: `python -m tests.faults --faults=200 --seed=0`.

Half of the faults are bit flips in a checkpoint; the rest are shared out among the kinds. The exit status is 1 where
anything is lost.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import files, places, ranks, signals
from tests.faults.trial import Layout, Outcome

# Shares of the faults that need a run, with one device and with two processes of four devices each.
_ONE = {"SIGKILL": 0.25, "SIGTERM": 0.12, "SIGINT": 0.08, "SIGSTOP": 0.06, "full disk": 0.09, "no permission": 0.08}
_SEVERAL = {"rank killed": 0.13, "rank stopped": 0.03, "rank paused": 0.06, "both SIGTERM": 0.04, "both SIGKILL": 0.06}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    parser.add_argument("--processes", type=int, default=2, help="of the runs in several; 1: none of those")
    parser.add_argument("--only", action="append", metavar="KIND", help="this kind alone; may be given several times")
    options = parser.parse_args()
    start, table = time.monotonic(), {}
    print(f"{'fault':<20} {'runs':>5} {'losses':>7} {'detected':>9} {'seconds':>8}", flush=True)
    with tempfile.TemporaryDirectory(prefix="vae_jax_faults_") as folder:
        for kind, outcomes in _kinds(Path(folder), random.Random(options.seed), options.faults, options.processes):
            if options.only is None or kind in options.only:
                table[kind] = _row(kind, outcomes)
    runs, losses, detected = (sum(row[column] for row in table.values()) for column in range(3))
    print(f"{'all':<20} {runs:>5} {losses:>7} {detected:>9} {time.monotonic() - start:>8.0f}")
    return 1 if losses else 0


def _row(kind: str, outcomes: Iterator[Outcome]) -> tuple[int, int, int]:
    start, runs, losses, detected = time.monotonic(), 0, 0, 0
    try:
        for outcome in outcomes:
            runs, detected = runs + 1, detected + outcome.detected
            if outcome.loss is not None:
                losses += 1
                print(f"LOSS by {kind}: {outcome.loss}", file=sys.stderr, flush=True)
    finally:  # interrupted, it tells what it has seen
        print(f"{kind:<20} {runs:>5} {losses:>7} {detected:>9} {time.monotonic() - start:>8.0f}", flush=True)
    return runs, losses, detected


def _kinds(folder: Path, rng: random.Random, faults: int, processes: int) -> Iterator[tuple[str, Iterator[Outcome]]]:
    one = Layout(folder / "one")
    copies = files.Copies(one.reference, folder / "copies")
    yield "truncated file", files.truncations(copies, rng)
    yield "missing file", files.deletions(copies)
    yield "added file", files.additions(copies)
    yield "flipped bit", files.flips(copies, rng, faults // 2)
    number = lambda share: max(1, round(faults / 2 * share))

    def times(share: float, fault: Callable[..., Outcome], *arguments: object) -> Iterator[Outcome]:
        return (fault(*arguments) for _ in range(number(share)))

    for kind, fault in (
        ("SIGKILL", signals.killed),
        ("SIGTERM", signals.terminated),
        ("SIGINT", signals.interrupted),
        ("SIGSTOP", signals.stopped),
    ):
        yield kind, times(_ONE[kind], fault, one, rng)
    with places.small_disk(folder / "disk") as disk:
        if disk is None:
            print("full disk: skipped, since only root may mount a small one")
        else:
            yield "full disk", times(_ONE["full disk"], places.full_disk, one, rng, disk)
    prefix = places.may_be_denied()
    if prefix is None:
        print("no permission: skipped, since root may write everywhere and setpriv is not here")
    else:
        yield "no permission", times(_ONE["no permission"], places.denied, one, rng, prefix)
    if processes == 1:
        return
    several = Layout(folder / "several", processes=processes, devices=4)
    for kind, fault in (
        ("rank killed", ranks.rank_killed),
        ("rank stopped", ranks.rank_stopped),
        ("rank paused", ranks.rank_paused),
        ("both SIGTERM", signals.terminated),
        ("both SIGKILL", ranks.all_killed),
    ):
        yield kind, times(_SEVERAL[kind], fault, several, rng)


if __name__ == "__main__":
    sys.exit(main())
