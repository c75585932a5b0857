"""Models whose evidence, posterior, ELBO and gradients are known exactly."""

from .enumerated import discrete as discrete
from .enumerated import one_dimensional as one_dimensional
from .gaussian import linear_gaussian as linear_gaussian
from .gaussian import ppca as ppca
from .oracle import Oracle as Oracle
from .quadrature import exact_iwae as exact_iwae
