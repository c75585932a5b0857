"""The straight-line Threefry: every bit that of jax.random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import threefry

KEY = jax.random.key(2026)
KEYS = jax.random.wrap_key_data(jax.random.bits(KEY, (7, 2), jnp.uint32))


def words(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


@pytest.mark.parametrize("num", [1, 2, 5, (3, 2)])
def test_split(num):
    keys = threefry.split(jax.random.clone(KEY), num)
    assert keys.dtype == KEY.dtype
    np.testing.assert_array_equal(words(keys), words(jax.random.split(jax.random.clone(KEY), num)))


@pytest.mark.parametrize("number", [0, 1, 2**31 - 1, 2**32 - 1])
def test_fold_in(number):
    key = threefry.fold_in(jax.random.clone(KEY), number)
    assert key.dtype == KEY.dtype
    np.testing.assert_array_equal(words(key), words(jax.random.fold_in(jax.random.clone(KEY), number)))


def test_fold_in_of_an_array_element_may_be_negative():
    key = threefry.fold_in(jax.random.clone(KEY), jnp.int32(-3))
    np.testing.assert_array_equal(words(key), words(jax.random.fold_in(jax.random.clone(KEY), jnp.int32(-3))))


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 0), (4, 5, 6)])
def test_bits(shape):
    drawn = threefry.bits(jax.random.clone(KEY), shape)
    assert drawn.dtype == jnp.uint32
    np.testing.assert_array_equal(drawn, jax.random.bits(jax.random.clone(KEY), shape, jnp.uint32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_normal(dtype):
    drawn = threefry.normal(jax.random.clone(KEY), (5, 13), dtype)
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn, jax.random.normal(jax.random.clone(KEY), (5, 13), dtype))


def test_normal_in_float64():
    with jax.enable_x64(True):
        drawn = threefry.normal(jax.random.clone(KEY), (9,), jnp.float64)
        np.testing.assert_array_equal(drawn, jax.random.normal(jax.random.clone(KEY), (9,), jnp.float64))
        assert drawn.dtype == jnp.float64


def test_of_many_keys_in_one_compiled_function():
    def chain(module, key):
        first, second = module.split(module.fold_in(key, 4), 2)
        return module.normal(first, (6,), jnp.float32), module.bits(second, (3,))

    ours, theirs = (jax.jit(jax.vmap(functools.partial(chain, module)))(KEYS) for module in (threefry, jax.random))
    for drawn, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(drawn, expected)


def test_keys_of_another_kind_are_left_to_jax():
    key = jax.random.key(3, impl="rbg")
    np.testing.assert_array_equal(threefry.bits(key, (4,)), jax.random.bits(jax.random.clone(key), (4,)))
    assert threefry.split(jax.random.clone(key), 2).dtype == key.dtype


def test_where_threefry_is_not_partitionable_its_older_bits_are_kept():
    with jax.threefry_partitionable(False):
        drawn = threefry.bits(jax.random.clone(KEY), (5,))
        np.testing.assert_array_equal(drawn, jax.random.bits(jax.random.clone(KEY), (5,)))
        keys = threefry.split(jax.random.clone(KEY), 3)
        np.testing.assert_array_equal(words(keys), words(jax.random.split(jax.random.clone(KEY), 3)))


def test_on_a_cpu_no_loop_is_compiled():
    """Those of jax.random are five rounds in a loop, each a pass over memory."""
    function = jax.jit(lambda key: threefry.normal(threefry.fold_in(key, 1), (100,), jnp.float32))
    assert "while" not in function.lower(KEY).as_text()
