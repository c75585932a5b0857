"""Bounds on the evidence as pure losses of ONE example, and what makes a batch's loss of them."""

from ..expressions import Role
from .batch import BatchLoss as BatchLoss
from .batch import mean_over_examples as mean_over_examples
from .batch import over_batch as over_batch
from .bounds import GRADIENTS as GRADIENTS
from .bounds import Bound as Bound
from .bounds import ciwae as ciwae
from .bounds import elbo as elbo
from .bounds import iwae as iwae
from .bounds import legal_combinations as legal_combinations
from .bounds import miwae as miwae
from .bounds import piwae as piwae
from .bounds import renyi as renyi
from .estimators import negative_bound as negative_bound
from .evidence_lower_bound import negative_elbo as negative_elbo
from .importance import negative_ciwae as negative_ciwae
from .importance import negative_iwae as negative_iwae
from .importance import negative_miwae as negative_miwae
from .importance import negative_piwae as negative_piwae
from .importance import negative_renyi as negative_renyi
from .regularisers import REGULARIZERS as REGULARIZERS
from .regularisers import Regularizer as Regularizer
from .regularisers import capacity as capacity
from .regularisers import dip as dip
from .regularisers import free_bits as free_bits
from .regularisers import mmd as mmd
from .regularisers import total_correlation as total_correlation
from .terms import Terms as Terms
from .wake_sleep import Objective as Objective
from .wake_sleep import negative_thermodynamic as negative_thermodynamic
from .wake_sleep import negative_wake_sleep as negative_wake_sleep
from .wake_sleep import thermodynamic as thermodynamic
from .wake_sleep import wake_sleep as wake_sleep

_BOUNDS = (elbo, iwae, renyi, miwae, piwae, ciwae, wake_sleep, thermodynamic)
OBJECTIVES = Role("bound", (Bound, Objective), {function.__name__: function for function in _BOUNDS})
