"""Bounds on the evidence as pure losses of ONE example, and what makes a batch's loss of them."""

from .batch import over_batch as over_batch
from .combinations import legal_combinations as legal_combinations
from .elbo import negative_elbo as negative_elbo
from .estimators import GRADIENTS as GRADIENTS
from .importance import negative_ciwae as negative_ciwae
from .importance import negative_iwae as negative_iwae
from .importance import negative_miwae as negative_miwae
from .importance import negative_piwae as negative_piwae
from .importance import negative_renyi as negative_renyi
from .regularisers import free_bits as free_bits
from .terms import Terms as Terms
from .wake_sleep import negative_thermodynamic as negative_thermodynamic
from .wake_sleep import negative_wake_sleep as negative_wake_sleep
