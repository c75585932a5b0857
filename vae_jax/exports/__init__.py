"""A model in a folder of its own, to be shared: parameters as safetensors, functions as StableHLO."""

from .folder import CARD as CARD
from .folder import DECODE as DECODE
from .folder import ENCODE as ENCODE
from .folder import EXPORT_VERSION as EXPORT_VERSION
from .folder import Exported as Exported
from .folder import check_free as check_free
from .folder import is_export as is_export
from .folder import read as read
from .folder import write as write
