"""What becomes of a part of a report that cannot be had: a reason, never the end of the command."""

import textwrap

import jax

from vae_jax import parallel

_LONGEST = 300


def reason(error: Exception) -> str:
    """Returns in one line why a part is missing.

    Raises:
      Exception: the error itself where it concerns the whole command: the death of another process.
    """
    if parallel.num_processes() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
        raise error
    text = textwrap.shorten(str(error), _LONGEST, placeholder=" …") or "no reason is given"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
