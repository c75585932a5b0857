"""Priors p(z)."""

from ..expressions import Role
from ..parts import Prior
from .coupling import coupling as coupling
from .mixture import mixture as mixture
from .normal import normal as normal
from .standard_normal import standard_normal as standard_normal
from .vamp import vamp as vamp

PRIORS = Role(
    "prior",
    Prior,
    {"standard_normal": standard_normal, "normal": normal, "mixture": mixture, "vamp": vamp, "coupling": coupling},
)
