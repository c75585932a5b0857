"""What commands import and what takes seconds, none of it with a JAX backend: for the server that forks them."""

import flax.linen  # noqa: F401
import grain  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import optax  # noqa: F401
import orbax.checkpoint  # noqa: F401
import pyarrow.parquet  # noqa: F401
import sklearn.linear_model
import sklearn.neighbors  # noqa: F401
import tensorboardX  # noqa: F401
from jax._src import xla_bridge

import experiments.apply.command
import experiments.command.entry
import experiments.run.session  # noqa: F401
import vae_jax

for name in vae_jax._SUBPACKAGES:
    getattr(vae_jax, name)
assert not xla_bridge._backends, "a backend was started, which no fork survives"
