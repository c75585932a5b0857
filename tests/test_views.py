"""What stored values mean."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax import data
from vae_jax.distributions import Masked

SHAPE = (4, 5, 1)
BYTES = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


def view(dtype=np.uint8, binarization="none", **more) -> data.View:
    return data.view_of(data.pictures(SHAPE)._replace(**more), dtype=dtype, binarization=binarization)


def test_bytes_are_seen_as_before_views():
    key = jax.random.key(0)
    np.testing.assert_array_equal(view().observe(jax.random.clone(key), BYTES), data.unit_interval(BYTES))
    drawn = view(binarization="dynamic")
    assert (drawn.is_random, view().is_random) == (True, False)
    np.testing.assert_array_equal(drawn.observe(key, BYTES), data.binarize(jax.random.clone(key), BYTES))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_pictures_are_drawn_with_their_numbers_as_probabilities(dtype):
    numbers = np.linspace(0, 1, 20).reshape(SHAPE)
    stored = np.rint(numbers * 65535).astype(dtype) if dtype == np.uint16 else numbers.astype(dtype)
    observe = view(dtype, "dynamic").observe
    draws = jax.vmap(lambda key: observe(key, jnp.asarray(stored)))(jax.random.split(jax.random.key(0), 4000))
    assert set(np.unique(draws)) == {0.0, 1.0}
    ones = np.asarray(draws).sum(0).ravel()[1:-1]
    p_values = [scipy.stats.binomtest(int(k), 4000, p).pvalue for k, p in zip(ones, numbers.ravel()[1:-1], strict=True)]
    assert min(p_values) > 1e-4
    assert (np.asarray(draws)[:, 0, 0, 0] == 0).all()
    assert (np.asarray(draws)[:, -1, -1, 0] == 1).all()


def test_deeper_pictures_keep_their_depth():
    """16-bit numbers to a unit in the last place of float32, floats to the bit."""
    deep = np.arange(0, 65536, 3277, dtype=np.uint16).reshape(SHAPE)
    seen = view(np.uint16).observe(jax.random.key(0), jnp.asarray(deep))
    np.testing.assert_allclose(seen, deep / 65535, rtol=1.2e-7)
    floats = np.linspace(0, 1, 20, dtype=np.float32).reshape(SHAPE)
    np.testing.assert_array_equal(view(np.float32).observe(jax.random.key(0), jnp.asarray(floats)), floats)


def test_what_is_drawn_of_masked_pictures_and_pairs_is_what_is_drawn_of_the_picture():
    """Where it was observed, and whatever is stored elsewhere."""
    observed, key = BYTES > 100, jax.random.key(0)
    exact = np.where(observed, data.binarize(jax.random.clone(key), BYTES), 0)
    given = view(binarization="dynamic", masked=True, condition={"dose": data.Variable("real")})
    x, c = given.observe(key, (Masked(jnp.asarray(BYTES), observed), {"dose": jnp.asarray(2.0)}))
    np.testing.assert_array_equal(x.observed, observed)
    np.testing.assert_array_equal(x.filled(0), exact)
    assert c == {"dose": 2.0}


def test_a_mask_and_what_is_given_are_left_as_they_are():
    contents = {"masked": True, "condition": {"label": data.Variable("category", (), ("a", "b"))}}
    observed = BYTES > 100
    x, c = view(**contents).observe(jax.random.key(0), (Masked(BYTES, observed), {"label": jnp.asarray(1)}))
    np.testing.assert_array_equal(x.observed, observed)
    np.testing.assert_array_equal(x.value, np.where(observed, data.unit_interval(BYTES), 0))
    assert c == {"label": 1}


def test_the_volume_of_a_unit_is_that_of_its_steps():
    assert view().log_volume == pytest.approx(-20 * math.log(255))
    assert view(np.uint16).log_volume == pytest.approx(-20 * math.log(65535))
    assert view(np.float32).log_volume == view(binarization="dynamic").log_volume == 0


def test_pictures_are_drawn_inside_the_unit_interval_and_grey_where_they_are_missing():
    drawn = view(np.float32).picture(Masked(jnp.array([[-1.0, 2.0]]), np.array([[True, False]])))
    np.testing.assert_array_equal(drawn, [[[0.0], [0.5]]])


def test_other_numbers_are_what_they_are_and_are_never_drawn():
    contents = data.Contents(data.Variable("real", (3,)))
    seen = data.view_of(contents, dtype=np.float32, binarization="none")
    assert (seen.picture, seen.log_volume, seen.is_random) == (None, 0.0, False)
    np.testing.assert_array_equal(seen.observe(jax.random.key(0), np.arange(3.0)), np.arange(3.0))
    with pytest.raises(ValueError, match=r"data.binarization='dynamic' is for pictures; these data are no pictures"):
        data.view_of(contents, dtype=np.float32, binarization="dynamic")
