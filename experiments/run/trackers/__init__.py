"""Where a run is shown besides its own files: TensorBoard, Weights & Biases, or a tracker of one's own."""

from .several import TRACKERS as TRACKERS
from .several import Trackers as Trackers
from .several import check as check
from .tracker import Tracked as Tracked
from .tracker import Tracker as Tracker
