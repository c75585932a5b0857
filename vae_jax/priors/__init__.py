"""Priors p(z)."""

from ..expressions import Role
from ..parts import Prior
from .standard_normal import standard_normal as standard_normal
from .vamp import vamp as vamp

PRIORS = Role("prior", Prior, {"standard_normal": standard_normal, "vamp": vamp})
