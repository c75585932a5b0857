"""Imports what commands import and takes seconds, none of it with a JAX backend: for the server that forks them."""

import importlib

from jax._src import xla_bridge

import vae_jax

# By their names, which no formatter takes for imports that nobody uses.
NAMES = (
    "flax.linen",
    "grain",
    "matplotlib.backends.backend_agg",
    "optax",
    "orbax.checkpoint",
    "pyarrow.parquet",
    "sklearn.linear_model",
    "sklearn.neighbors",
    "tensorboardX",
    "experiments.apply.command",
    "experiments.command.entry",
    "experiments.run.session",
    *(f"vae_jax.{name}" for name in vae_jax._SUBPACKAGES),
)
for name in NAMES:
    importlib.import_module(name)
assert not xla_bridge._backends, "a backend was started, which no fork survives"
