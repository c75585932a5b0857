"""Strict set-up of every test; it runs before anything imports vae_jax."""

import jax
import pytest
from jaxtyping import install_import_hook

from tests import commands

# Shapes and types of every annotation are checked at every call.
install_import_hook("vae_jax", "beartype.beartype")

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    # Most of the suite's time is XLA's compilation, but that of the proofs is computation.
    jax.config.update("jax_disable_most_optimizations", config.option.markexpr.startswith("not proof"))


def pytest_sessionfinish():
    commands.forget_what_was_compiled()


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
