"""Strict set-up of every test; it runs before anything imports vae_jax."""

import fcntl
import gc
import os
import resource
from pathlib import Path

import jax
import pytest
from jaxtyping import config as annotations
from jaxtyping import install_import_hook

from tests import commands

# Shapes and types of every annotation are checked at every call.
install_import_hook("vae_jax", "beartype.beartype")

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Networks are compared with float64, and accelerators' default product of float32 has ten bits.
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_configure(config):
    # Most of the suite's time is XLA's compilation, but that of the proofs is computation.
    quick = config.option.markexpr.startswith("not proof")
    jax.config.update("jax_disable_most_optimizations", quick)
    if quick:
        os.environ["XLA_FLAGS"] = commands.quickly_compiling(os.environ.get("XLA_FLAGS", ""))
    # A sixth of it is for programs that another test of this worker has had compiled.
    jax.config.update("jax_compilation_cache_dir", str(commands.own_compiled()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# What takes longest begins first, so that no worker is left alone with it at the end.
_SLOWEST = [
    *("processes", "faults", "parallel", "evaluate", "resume", "notebook", "evidence", "estimators", "bounds"),
    *("flow_losses", "contributing"),
]


def pytest_collection_modifyitems(items):
    names = [f"test_{name}" for name in _SLOWEST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


def pytest_sessionfinish():
    commands.forget_what_was_compiled()


@pytest.fixture(autouse=True, scope="module")
def what_was_compiled_is_no_garbage():
    """The collector looks through all that JAX keeps of earlier files again and again: 6% of seven files' time."""
    yield
    gc.freeze()


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def largest_file():
    """A function that lets no file grow beyond so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def no_annotations():
    """For tests of the code's own checks, which wrong types do not reach where annotations are checked."""
    annotations.update("jaxtyping_disable", True)
    yield
    annotations.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a finished run of `commands.SMALL`, one for all workers: who wants to hurt it copies it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    workdir = shared / "trained" / "run"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (workdir / "summary.json").exists():
            result = commands.run("train", *commands.SMALL, f"--workdir={workdir}")
            assert result.returncode == 0, result.stderr
            (workdir.parent / "printed").write_text(result.stdout + result.stderr)
    return workdir
