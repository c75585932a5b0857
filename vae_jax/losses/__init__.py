"""Bounds on the evidence as pure losses of ONE example, and what makes a batch's loss of them."""

from .batch import over_batch as over_batch
from .elbo import negative_elbo as negative_elbo
from .regularisers import free_bits as free_bits
from .terms import Terms as Terms
