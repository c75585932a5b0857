"""What importing loads, each time in a process of its own."""

import subprocess
import sys

import pytest

import vae_jax

HEAVY = {"flax", "optax", "tensorflow_datasets", "orbax", "absl", "matplotlib", "tensorflow", "beartype"}


def loaded_by(statement: str) -> set[str]:
    """The top-level packages in memory after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_pure_losses_load_nothing_heavy():
    """Networks, optimisers, data sets, checkpoints, flags and figures load where they are used."""
    packages = loaded_by("import vae_jax\nfrom vae_jax import losses, distributions, oracles, testing")
    assert {"jax", "vae_jax"} <= packages
    assert not packages & HEAVY


def test_networks_load_flax():
    """The control of the test above."""
    assert "flax" in loaded_by("from vae_jax import networks")


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        _ = vae_jax.loses


def test_subpackages_are_listed_before_they_are_loaded():
    assert {"VAE", "condition", "reparameterize", "losses", "networks", "training"} <= set(dir(vae_jax))
