"""What a distribution states of itself."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro_dist
import pytest

from vae_jax.distributions import DiagonalNormal
from vae_jax.evaluation.expectations import expected, moments, most_probable


class Silent:
    """As NumPyro's flows."""

    @property
    def mean(self):
        raise NotImplementedError


@pytest.mark.parametrize("p", [Silent(), object()])
def test_nothing_is_expected_of_what_states_nothing(p):
    assert expected(p) is None
    assert most_probable(p) is None


def test_a_mean_goes_before_the_probabilities_of_ones():
    np.testing.assert_array_equal(expected(numpyro_dist.Binomial(3, probs=jnp.array([0.25, 0.5]))), [0.75, 1.5])


def test_classes_are_known_by_their_probabilities_also_where_a_mean_of_nan_is_stated():
    p = numpyro_dist.Categorical(probs=jnp.array([[0.25, 0.5, 0.25], [0.0, 0.25, 0.75]]))
    np.testing.assert_allclose(expected(p), p.probs)
    assert most_probable(p).tolist() == [1, 2]
    assert most_probable(p).dtype == jnp.int32


@pytest.mark.parametrize("name", ["mean", "variance"])
def test_moments_are_known_only_where_both_are_stated(name):
    assert moments(SimpleNamespace(**{name: jnp.ones(2)})) is None


def test_moments_are_in_float32_at_least_and_of_one_shape():
    q = DiagonalNormal(jnp.ones(3, jnp.bfloat16), jnp.full((), 0.5, jnp.bfloat16))
    for found, exact in zip(moments(q), (1, 0.5), strict=True):
        np.testing.assert_array_equal(found, np.full(3, exact, np.float32), strict=True)
    assert expected(q).dtype == jnp.float32
