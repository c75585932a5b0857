"""What XLA compiles, kept from one command to the next."""

import os
import warnings
from pathlib import Path

import jax

_MOST_BYTES = 2**30


def keep() -> None:
    """Has JAX keep what it compiles in vae_jax/compiled of the user's cache directory, at most a gigabyte.

    The user's own JAX_COMPILATION_CACHE_DIR goes before it, and JAX_ENABLE_COMPILATION_CACHE=false turns it off. Where
    the folder cannot be written, nothing is kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vae_jax" / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    # A command compiles a hundred programs, most in less than JAX's limit of a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk, or an entry that is no whole one, costs the time of compiling, and that alone.
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")
