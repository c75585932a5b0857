"""Families of p(x|z): what a decoder's numbers mean."""

from ..expressions import Role
from ..parts import Family
from .bernoulli import bernoulli as bernoulli
from .categorical import categorical as categorical
from .continuous_bernoulli import continuous_bernoulli as continuous_bernoulli
from .discretized_logistic import discretized_logistic as discretized_logistic
from .joint import joint as joint
from .laplace import laplace as laplace
from .lognormal import lognormal as lognormal
from .negative_binomial import negative_binomial as negative_binomial
from .normal import normal as normal
from .ordinal import ordinal as ordinal
from .poisson import poisson as poisson
from .student_t import student_t as student_t
from .zero_inflated import zero_inflated as zero_inflated

_PARTS = (
    bernoulli,
    continuous_bernoulli,
    normal,
    laplace,
    student_t,
    lognormal,
    discretized_logistic,
    categorical,
    ordinal,
    poisson,
    negative_binomial,
    zero_inflated,
    joint,
)
LIKELIHOODS = Role("likelihood", Family, {function.__name__: function for function in _PARTS})
