"""What wrote a checkpoint: versions and, in a checkout, the commit."""

import functools
import importlib.metadata
import subprocess
from pathlib import Path
from typing import Any

from .. import __version__

# The fields of `provenance`, and their types in JSON; old checkpoints lack them.
PROVENANCE = {"versions": dict | None, "commit": str | None}
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint")


@functools.cache
def provenance() -> dict[str, Any]:
    """{"versions": of the packages, "commit": of git, with "+changes" where tracked files differ; None elsewhere}."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"versions": {"vae_jax": __version__, **packages}, "commit": _commit(Path(__file__).parents[2])}


def _commit(folder: Path) -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        # An environment may lie inside another project's checkout.
        git("ls-files", "--error-unmatch", "vae_jax/__init__.py")
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changes else commit
