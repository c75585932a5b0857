"""Damage to the files of a checkpoint, found without a run: bits, lengths, files that are gone or new."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.run.scores import params_sha256
from tests.faults.trial import Outcome, saved_steps
from vae_jax import runs, training
from vae_jax.training import manifest


class Copies:
    """A copy of a run's checkpoints, of which the newest is damaged, and the bits of the one before."""

    def __init__(self, workdir: Path, folder: Path) -> None:
        shutil.copytree(workdir / "checkpoints", folder)
        self.folder = folder
        self._before, self._newest = saved_steps(workdir)[-2:]
        vae, _, _ = runs.load(workdir)
        self._template = jax.eval_shape(vae.init, jax.random.key(0))
        self._bits = params_sha256(runs.load(workdir, checkpoint=self._before)[1])

    @property
    def newest(self) -> Path:
        return self.folder / str(self._newest)

    def files(self) -> list[Path]:
        return sorted(path for path in self.newest.rglob("*") if path.is_file())

    def outcome(self, hurt: Path) -> Outcome:
        """Whether the damage is found and names the file, and what a restore gives instead."""
        name, told = hurt.relative_to(self.newest).as_posix(), []
        with training.Checkpoints(self.folder) as checkpoints:
            damages = checkpoints.damages(self._newest)
            if not damages:
                return Outcome(f"nothing is found of what was done to {name}", False)
            # A changed line of the list cannot be told from a changed file.
            if hurt.name != manifest.NAME and not any(name in damage for damage in damages):
                return Outcome(f"{damages} do not name {name}", False)
            if checkpoints.newest_good(told.append) != self._before or str(self.newest) not in "".join(told):
                return Outcome(f"the one before is not used, or the reason not told: {told}", True)
            params = checkpoints.restore_params(self._before, self._template)
        return Outcome(None if params_sha256(params) == self._bits else "the one before has other bits", True)


def flips(copies: Copies, rng: random.Random, number: int) -> Iterator[Outcome]:
    """Any bit of any file."""
    files = [path for path in copies.files() if path.stat().st_size]
    for _ in range(number):
        path = rng.choice(files)
        whole = path.read_bytes()
        at, hurt = rng.randrange(8 * len(whole)), bytearray(whole)
        hurt[at // 8] ^= 1 << at % 8
        path.write_bytes(hurt)
        yield copies.outcome(path)
        path.write_bytes(whole)


def truncations(copies: Copies, rng: random.Random) -> Iterator[Outcome]:
    """Each file in turn, to any shorter length."""
    for path in copies.files():
        whole = path.read_bytes()
        if whole:
            path.write_bytes(whole[: rng.randrange(len(whole))])
            yield copies.outcome(path)
            path.write_bytes(whole)


def deletions(copies: Copies) -> Iterator[Outcome]:
    """Each file in turn."""
    for path in copies.files():
        whole = path.read_bytes()
        path.unlink()
        yield copies.outcome(path)
        path.write_bytes(whole)


def additions(copies: Copies) -> Iterator[Outcome]:
    """A file in each folder."""
    for folder in sorted({path.parent for path in copies.files()}):
        path = folder / "added"
        path.write_bytes(b"")
        yield copies.outcome(path)
        path.unlink()
