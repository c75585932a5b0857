"""Values with missing entries, and independent variables by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vae_jax.checks import check_rows
from vae_jax.distributions import (
    Bernoulli,
    Categorical,
    DiagonalNormal,
    Joint,
    LogNormal,
    Masked,
    Mixture,
    MultivariateNormal,
    masked,
    masked_like,
)


def test_a_log_density_is_that_of_the_observed_entries() -> None:
    x = masked(jnp.array([0.3, jnp.nan, -1.2]))
    exact = scipy.stats.norm(0.5, 2.0).logpdf([0.3, -1.2]).sum()
    found = DiagonalNormal(jnp.full(3, 0.5), jnp.asarray(2.0)).log_prob(x)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


@pytest.mark.parametrize("stored", [jnp.nan, jnp.inf, -5.0])
def test_what_is_stored_under_the_mask_reaches_neither_value_nor_gradient(stored: float) -> None:
    def log_prob(mean: jax.Array, stored: jax.Array) -> jax.Array:
        return LogNormal(mean, jnp.asarray(1.0)).log_prob(Masked(stored, jnp.array([True, False])))

    value, gradient = jax.value_and_grad(log_prob)(jnp.zeros(2), jnp.array([2.0, stored]))
    np.testing.assert_allclose(value, scipy.stats.lognorm(1.0).logpdf(2.0), rtol=1e-6)
    np.testing.assert_allclose(gradient, [np.log(2.0), 0.0], rtol=1e-6)


def test_masked_reads_nan_as_missing_and_refuses_infinity() -> None:
    x = masked(np.array([[1.0, np.nan], [3.0, 4.0]]))
    assert x.observed.tolist() == [[True, False], [True, True]]
    assert x.value.tolist() == [[1.0, 0.0], [3.0, 4.0]]
    with pytest.raises(ValueError, match="NaN for what is missing; the array holds infinite ones"):
        masked(np.array([1.0, np.inf]))


def test_a_mask_of_another_shape_or_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the mask must have the value's shape \(3,\), got \(2,\)"):
        Masked(np.zeros(3), np.ones(2, bool))
    with pytest.raises(ValueError, match=r"of booleans, got float"):
        Masked(np.zeros(3), np.ones(3))


def test_another_value_gets_the_masks_of_each_part() -> None:
    row = {"age": masked(jnp.array([jnp.nan, 2.0])), "kind": jnp.asarray(1)}
    other = masked_like({"age": jnp.array([7.0, 8.0]), "kind": jnp.asarray(0)}, row)
    assert other["age"].observed.tolist() == [False, True]
    assert other["age"].value.tolist() == [7.0, 8.0]
    assert other["kind"] == 0


def test_rows_are_finite_where_they_are_observed() -> None:
    rows = Masked(np.array([[np.nan, 1.0], [2.0, 3.0]]), np.array([[False, True], [True, True]]))
    assert check_rows(rows, "xs") == 2
    with pytest.raises(ValueError, match=r"1 of 2 rows are not: 0\. .*distributions.masked\(xs\)"):
        check_rows(rows.value, "xs")


def test_a_mixture_of_masked_values_weighs_what_was_observed() -> None:
    components = jax.vmap(DiagonalNormal)(jnp.array([[0.0, 5.0], [3.0, -5.0]]), jnp.ones((2, 2)))
    exact = np.logaddexp(scipy.stats.norm(0).logpdf(1.0), scipy.stats.norm(3).logpdf(1.0)) - np.log(2)
    np.testing.assert_allclose(Mixture(components).log_prob(masked(jnp.array([1.0, jnp.nan]))), exact, rtol=1e-6)


def test_dependent_elements_are_not_integrated_out_in_silence() -> None:
    with pytest.raises(ValueError, match=r"MultivariateNormal\.log_prob takes no Masked value"):
        MultivariateNormal(jnp.zeros(2), jnp.eye(2)).log_prob(masked(jnp.array([1.0, jnp.nan])))


def test_a_joint_density_is_the_product_of_its_parts() -> None:
    p = Joint(
        {
            "age": DiagonalNormal(jnp.asarray(40.0), jnp.asarray(10.0)),
            "kind": Categorical(jnp.log(jnp.array([0.2, 0.3, 0.5]))),
            "smokes": Bernoulli(jnp.asarray(0.0)),
        }
    )
    row = {"age": jnp.asarray(52.0), "kind": jnp.asarray(2), "smokes": jnp.asarray(1.0)}
    exact = {"age": scipy.stats.norm(40, 10).logpdf(52), "kind": np.log(0.5), "smokes": np.log(0.5)}
    found = p.log_probs(row)
    for name, value in exact.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    hole = {**row, "kind": Masked(jnp.asarray(7), jnp.asarray(False))}
    np.testing.assert_allclose(p.log_prob(hole), exact["age"] + exact["smokes"], rtol=1e-5)
    sample = p.sample(jax.random.key(0))
    assert {name: value.shape for name, value in sample.items()} == p.event_shape
    with pytest.raises(ValueError, match=r"takes a dict of \['age', 'kind', 'smokes'\], got one of \['age'\]"):
        p.log_prob({"age": row["age"]})
