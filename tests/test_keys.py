"""The randomness contract: noise is a function of (seed, step, row) alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.keys import check_key, example_keys

ROWS = np.array([5, 0, 3, 4095, 17, 2, 8, 1], np.int32)
STEP = 7


def bits(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def keys(rows: np.ndarray, *, step: int = STEP, seed: int = 0) -> np.ndarray:
    return bits(example_keys(jax.random.key(seed), step, jnp.asarray(rows)))


def test_example_keys_fold_in_the_step_and_then_the_row():
    """fold_in(fold_in(key, step), index), one example at a time."""
    contract = [jax.random.fold_in(jax.random.fold_in(jax.random.key(0), STEP), int(row)) for row in ROWS]
    np.testing.assert_array_equal(keys(ROWS), [bits(key) for key in contract])


def test_an_example_has_the_same_key_wherever_it_stands_in_the_batch():
    order = np.random.default_rng(0).permutation(len(ROWS))
    np.testing.assert_array_equal(keys(ROWS[order]), keys(ROWS)[order])


def test_an_example_has_the_same_key_however_the_batch_is_spread():
    """Over an axis of two devices, for which a vmap stands, each with half of the rows."""
    spread = jax.vmap(lambda rows: example_keys(jax.random.key(0), STEP, rows))(jnp.asarray(ROWS.reshape(2, -1)))
    np.testing.assert_array_equal(bits(spread).reshape(len(ROWS), -1), keys(ROWS))


def test_the_step_may_be_traced():
    compiled = jax.jit(lambda step: jax.random.key_data(example_keys(jax.random.key(0), step, jnp.asarray(ROWS))))
    np.testing.assert_array_equal(compiled(jnp.int32(STEP)), keys(ROWS))


def test_no_two_examples_steps_or_seeds_share_a_key():
    """Step and row do not commute, as they would in a sum of the two."""
    rows = np.arange(20, dtype=np.int32)
    drawn = np.concatenate([keys(rows, step=step, seed=seed) for step in range(20) for seed in range(2)])
    assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_one_typed_key_passes_also_under_a_transformation():
    check_key(jax.random.key(0))
    jax.eval_shape(jax.vmap(lambda key: check_key(key)), jax.random.split(jax.random.key(0), 3))


def test_a_raw_key_is_refused_naming_its_type_and_the_remedy():
    with pytest.raises(TypeError, match=r"got uint32.*wrap_key_data"):
        check_key(jax.random.PRNGKey(0))


def test_an_array_of_keys_is_refused_naming_its_shape():
    with pytest.raises(TypeError, match=r"one key, not an array of keys of shape \(3,\)"):
        check_key(jax.random.split(jax.random.key(0), 3))
