"""Functions of a whole batch's terms, for `over_batch(add=…, replace=…)`."""

from ...expressions import Role
from .capacity import capacity as capacity
from .dip import dip as dip
from .free_bits import free_bits as free_bits
from .mmd import mmd as mmd
from .regularizer import Regularizer as Regularizer
from .total_correlation import total_correlation as total_correlation

_PARTS = (free_bits, total_correlation, dip, mmd, capacity)
REGULARIZERS = Role("regularizer", Regularizer, {function.__name__: function for function in _PARTS})
