"""Families of q(z|x): what an encoder's numbers mean."""

from ..expressions import Role
from ..parts import Family
from .coupling import coupling as coupling
from .diagonal import diagonal as diagonal
from .full import full as full
from .iaf import iaf as iaf

POSTERIORS = Role("posterior", Family, {"diagonal": diagonal, "full": full, "iaf": iaf, "coupling": coupling})
