"""Variational autoencoders as pure functions in JAX.

The sub-packages load on first use, so that importing the pure losses loads neither flax nor what data sets, checkpoints
and figures need.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .extras import needed_for
from .model import VAE as VAE
from .model import condition as condition
from .model import reparameterize as reparameterize

if TYPE_CHECKING:
    from . import data as data
    from . import distributions as distributions
    from . import evaluation as evaluation
    from . import exports as exports
    from . import figures as figures
    from . import fitted as fitted
    from . import likelihoods as likelihoods
    from . import losses as losses
    from . import networks as networks
    from . import oracles as oracles
    from . import parallel as parallel
    from . import parts as parts
    from . import posteriors as posteriors
    from . import priors as priors
    from . import runs as runs
    from . import testing as testing
    from . import training as training

__version__ = "0.1.0"

_SUBPACKAGES = (
    "data",
    "distributions",
    "evaluation",
    "exports",
    "figures",
    "fitted",
    "likelihoods",
    "losses",
    "networks",
    "oracles",
    "parallel",
    "parts",
    "posteriors",
    "priors",
    "runs",
    "testing",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        with needed_for(f"{__name__}.{name}"):
            return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBPACKAGES])
