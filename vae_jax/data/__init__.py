"""Data sets, binarisation and the order of examples."""

from collections.abc import Callable

from ..names import check_name
from .binarization import BINARIZATIONS as BINARIZATIONS
from .binarization import binarize as binarize
from .binarization import binarize_once as binarize_once
from .binarization import unit_interval as unit_interval
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .digits import digits_5k as digits_5k
from .order import batch_indices as batch_indices

SOURCES: dict[str, Callable[[], Dataset]] = {"digits_5k": digits_5k}


def load(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
      ValueError: for an unknown name, with the nearest.
    """
    check_name(name, "data set", SOURCES)
    return SOURCES[name]()
