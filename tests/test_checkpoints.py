"""Checkpoints: what is restored is what was saved, bit for bit, and another model's is refused."""

import importlib.metadata
import re
from functools import partial
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import training
from vae_jax.training import Checkpoints, TrainState

METADATA = {
    "config": {"training": {"learning_rate": 0.1 + 0.2, "clip_norm": None}, "model": {"hidden": [200, 200]}},
    "data_mean": [1 / 3, 5e-324, 1.7976931348623157e308, -0.0],
    "name": "ε-VAE",
}
ADAM = training.make_optimizer("adam", optax.linear_schedule(0.1, 0.0, 10), clip_norm=1.0)
STEP = 3


def random_params(seed: int, *, latent_dim: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"encoder": {"kernel": (4, latent_dim), "bias": (latent_dim,)}, "log_scale": ()}
    draw = lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return jax.tree.map(draw, shapes, is_leaf=lambda node: isinstance(node, tuple))


def trained(optimizer: optax.GradientTransformation = ADAM, *, average: bool = True) -> TrainState:
    """A state whose every array has moved."""
    loss = lambda params, keys, batch: (sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), None)
    run = jax.jit(
        partial(training.train_steps, loss_fn=loss, optimizer=optimizer, average_decay=0.9 if average else None)
    )
    state = training.init_state(random_params(0), optimizer, average=average)
    return run(state, jax.random.key(0), np.zeros((1, 1)), np.zeros((STEP, 1), np.int32))[0]


def other(seed: int = 1, optimizer=ADAM, *, average: bool = True, **options) -> TrainState:
    """The state of a run that has not begun."""
    return training.init_state(random_params(seed, **options), optimizer, average=average)


def assert_same(restored: Any, saved: Any) -> None:
    """The same containers, NamedTuples included, the same types and the same bits."""
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    chex.assert_trees_all_equal_dtypes(restored, saved)
    chex.assert_trees_all_equal(restored, saved)


@pytest.fixture(scope="module")
def state() -> TrainState:
    return trained()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, state) -> Path:
    """One checkpoint."""
    path = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(path) as checkpoints:
        checkpoints.save(state, METADATA)
    return path


@pytest.fixture
def checkpoints(folder):
    """The checkpoint seen by a process that comes later."""
    with Checkpoints(folder) as opened:
        yield opened


def test_a_restored_state_is_the_saved_one(checkpoints, state):
    restored = checkpoints.restore(STEP, other())
    assert type(restored) is TrainState
    assert_same(restored, state)


def test_a_state_without_average_is_restored_without(tmp_path):
    saved = trained(average=False)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(saved, {})
        checkpoints.wait()
        assert_same(checkpoints.restore(STEP, other(average=False)), saved)


def test_a_state_of_plain_sgd_is_restored(tmp_path):
    """Its optimiser's state holds no arrays."""
    saved = trained(optax.sgd(0.1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(saved, {})
        checkpoints.wait()
        assert_same(checkpoints.restore(STEP, other(optimizer=optax.sgd(0.1))), saved)


@pytest.mark.parametrize("average", [False, True])
def test_parameters_are_restored_alone_from_their_shapes(checkpoints, state, average):
    """Without the optimiser that made them."""
    shapes = jax.eval_shape(lambda: random_params(2))
    params = checkpoints.restore_params(STEP, shapes, average=average)
    assert_same(params, state.average if average else state.params)


def test_metadata_is_what_was_given_with_the_versions_that_wrote_it(checkpoints):
    """Floats to the last bit."""
    packages = ("vae_jax", "jax", "flax", "optax", "orbax-checkpoint")
    versions = {name: importlib.metadata.version(name) for name in packages}
    metadata = checkpoints.metadata(STEP)
    commit = metadata.pop("commit")
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", commit)
    assert metadata == {**METADATA, "versions": versions, "score": None}


def test_the_latest_step_is_that_of_the_newest_checkpoint(tmp_path, state):
    """Of those kept: the last two, unless told otherwise."""
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (3, 10, 20, 100):
            checkpoints.save(state._replace(step=jnp.int32(step)), {})
            checkpoints.wait()
            assert checkpoints.latest_step() == step
        assert checkpoints.restore(20, other()).step == 20
    assert {path.name for path in tmp_path.iterdir()} == {"20", "100"}


def test_as_many_checkpoints_are_kept_as_asked_for(tmp_path, state):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (3, 4):
            checkpoints.save(state._replace(step=jnp.int32(step)), {})
    assert {path.name for path in tmp_path.iterdir()} == {"4"}


OTHER_MODELS = {
    "shape": (lambda: other(latent_dim=3), r"params\.encoder\.bias is .*2.* there and .*3.* here"),
    "more": (
        lambda: other()._replace(params={**random_params(1), "prior": jnp.zeros(2)}),
        r"params\.prior is absent there and .*2.* here",
    ),
    "fewer": (
        lambda: other()._replace(params={"log_scale": jnp.zeros(())}),
        r"params\.encoder\.bias is .*2.* there and absent here",
    ),
    "optimizer": (lambda: other(optimizer=optax.sgd(0.1)), r"opt_state\.\S+ is .* there and absent here"),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_a_checkpoint_of_another_model_is_refused_naming_it_and_the_difference(folder, checkpoints, case):
    template, difference = OTHER_MODELS[case]
    checkpoint = re.escape(str(folder / str(STEP)))
    with pytest.raises(ValueError, match=f"the checkpoint {checkpoint} does not fit this model: {difference}"):
        checkpoints.restore(STEP, template())


def test_an_average_that_was_not_kept_is_refused(tmp_path):
    """By the process that saved, and by one that comes later."""
    saver = Checkpoints(tmp_path)
    saver.save(trained(average=False), {})
    saver.wait()
    for checkpoints in (saver, Checkpoints(tmp_path)):
        with checkpoints, pytest.raises(ValueError, match=r"average\.\S+ is absent there"):
            checkpoints.restore_params(STEP, random_params(1), average=True)


def test_parameters_of_another_precision_are_refused(checkpoints):
    """They would be rounded without a word."""
    template = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_params(1))
    with pytest.raises(ValueError, match="does not fit this model: params"):
        checkpoints.restore_params(STEP, template)
