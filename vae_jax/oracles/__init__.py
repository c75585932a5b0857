"""Models whose evidence, posterior, ELBO and gradients are known exactly."""

from .gaussian import linear_gaussian as linear_gaussian
from .gaussian import ppca as ppca
from .oracle import Oracle as Oracle
