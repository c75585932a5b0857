"""Lists all parts that a config or a notebook can name, with signature and source: `python -m experiments.parts`."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from vae_jax import expressions
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.losses import OBJECTIVES, REGULARIZERS
from vae_jax.networks.bodies import BODIES
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS
from vae_jax.training import BETA_SCHEDULES, OPTIMIZERS

from .command import entry
from .command.flags import CommandFlags

FLAGS = CommandFlags()
# By the field of a config that takes them; with the arguments that the code gives them.
ROLES: dict[str, tuple[expressions.Role, tuple[str, ...]]] = {
    "model.network": (BODIES, ()),
    "model.posterior": (POSTERIORS, ()),
    "model.prior": (PRIORS, ()),
    "model.likelihood": (LIKELIHOODS, ()),
    "loss.bound": (OBJECTIVES, ()),
    "loss.beta": (BETA_SCHEDULES, ()),
    "loss.regularizers": (REGULARIZERS, ("beta",)),
    "training.optimizer": (OPTIMIZERS, ("learning_rate",)),
}
_LONGEST_SIGNATURE = 60


def main() -> None:
    for field, (role, later) in ROLES.items():
        for name, function in role.parts.items():
            written = expressions.signature(name, function, later=later)
            shown = textwrap.shorten(written, _LONGEST_SIGNATURE, placeholder=" …)")
            print(f"{field:<18}  {shown:<{_LONGEST_SIGNATURE}}  {source(function)}")
    print("\nOf your own, in any of these fields: module:name(arguments), a function of a module Python can import.")


def source(function: Callable[..., Any]) -> str:
    """Returns the published source that a docstring names; the library of a function of another."""
    library = function.__module__.partition(".")[0]
    if library != "vae_jax":
        return library
    found = re.search(r"^Source[^:]*: (.+?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


if __name__ == "__main__":
    entry.run_command(main, FLAGS)
