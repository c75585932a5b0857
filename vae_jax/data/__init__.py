"""Data sets, binarisation and the order of examples."""

from .binarization import BINARIZATIONS as BINARIZATIONS
from .binarization import binarize as binarize
from .binarization import binarize_once as binarize_once
from .binarization import unit_interval as unit_interval
from .dataset import DataError as DataError
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .dataset import StreamedImages as StreamedImages
from .digits import digits_5k as digits_5k
from .identity import fingerprint as fingerprint
from .identity import fingerprint_differences as fingerprint_differences
from .load import load as load
from .order import batch_indices as batch_indices
from .order import spread_rows as spread_rows
