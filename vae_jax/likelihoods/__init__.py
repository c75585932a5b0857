"""Families of p(x|z): what a decoder's numbers mean."""

from ..expressions import Role
from ..parts import Family
from .bernoulli import bernoulli as bernoulli
from .normal import normal as normal

LIKELIHOODS = Role("likelihood", Family, {"bernoulli": bernoulli, "normal": normal})
