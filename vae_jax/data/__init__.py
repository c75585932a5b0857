"""Data sets, what they mean, and the order of examples."""

from .binarization import BINARIZATIONS as BINARIZATIONS
from .binarization import binarize as binarize
from .binarization import binarize_once as binarize_once
from .binarization import binarize_split as binarize_split
from .binarization import numbers as numbers
from .binarization import unit_interval as unit_interval
from .contents import Contents as Contents
from .contents import Variable as Variable
from .contents import pictures as pictures
from .dataset import DataError as DataError
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .dataset import Streamed as Streamed
from .digits import digits_5k as digits_5k
from .identity import fingerprint as fingerprint
from .identity import fingerprint_differences as fingerprint_differences
from .load import load as load
from .order import batch_indices as batch_indices
from .order import spread_rows as spread_rows
from .statistics import TRANSFORMS as TRANSFORMS
from .statistics import Moments as Moments
from .statistics import Statistics as Statistics
from .statistics import statistics as statistics
from .views import View as View
from .views import view as view
from .views import view_of as view_of
