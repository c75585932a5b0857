"""The pure training step, `fit` for notebooks, the loop of a run, optimisers by name, checkpoints."""

from .checkpoints import Checkpoints as Checkpoints
from .fit import fit as fit
from .fit import fit_state as fit_state
from .loop import NonFiniteError as NonFiniteError
from .loop import Throughput as Throughput
from .loop import run as run
from .loop import run_keys as run_keys
from .schedules import BETA_SCHEDULES as BETA_SCHEDULES
from .schedules import LEARNING_RATE_SCHEDULES as LEARNING_RATE_SCHEDULES
from .schedules import OPTIMIZERS as OPTIMIZERS
from .schedules import beta_schedule as beta_schedule
from .schedules import learning_rate_schedule as learning_rate_schedule
from .schedules import make_optimizer as make_optimizer
from .step import LossFn as LossFn
from .step import TrainState as TrainState
from .step import check_microbatches as check_microbatches
from .step import init_state as init_state
from .step import train_batches as train_batches
from .step import train_step as train_step
from .step import train_steps as train_steps
