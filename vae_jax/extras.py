"""What names the extra of a package that is not installed."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needed_for(what: str, *, extra: str = "experiments") -> Iterator[None]:
    """Turns the error of an import into one that says which extra brings the package.

    Raises:
      ModuleNotFoundError: for a package other than vae_jax that is not installed, naming it and the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "vae_jax":
            raise
        raise ModuleNotFoundError(
            f"{what} needs the package {error.name}, which is not installed: pip install 'vae_jax[{extra}]'",
            name=error.name,
        ) from error
