"""Imputed entries of a table whose rows are of one of three states, against enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.statistics_checks import FALSE_ALARMS, assert_standard
from vae_jax import VAE, evaluation
from vae_jax.distributions import Bernoulli, Categorical, DiagonalNormal, Elementwise, Joint, LogNormal, Masked, Ordinal


def keys(num: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), num)


class Coin(Elementwise):
    """A number, or one more, that states neither its mean nor its probabilities."""

    def __init__(self, lower):
        self.lower = lower

    @property
    def event_shape(self):
        return self.lower.shape

    def sample(self, key):
        return self.lower + jax.random.bernoulli(key, 0.5, self.lower.shape).astype(self.lower.dtype)

    def log_prob_per_element(self, value):
        return jnp.where((value == self.lower) | (value == self.lower + 1), jnp.log(0.5), -jnp.inf)


# A table: z is one of three, q(z|x) is not the posterior, and every column depends on z.
ROWS, STATES, SAMPLES = 600, 3, 150
PRIOR, PROPOSAL = np.array([0.5, 0.3, 0.2]), np.array([0.35, 0.35, 0.3])
AGE, AGE_SCALE = np.array([[30.0, 2.0], [35.0, -1.0], [42.0, 0.5]]), np.array([6.0, 2.0])
SMOKES = np.array([-1.0, 0.2, 1.0])
KIND = np.log([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.3, 0.5]])
GRADE, THRESHOLDS = np.array([-1.0, 0.5, 1.5]), np.array([-0.5, 1.0])
COIN = np.array([1.0, 2.0, 2.0])
WEALTH = np.array([200.0, 1.0, 2.0])  # whose exponential is beyond float32 in the first state


def joint(params, z):
    at = lambda table: jnp.asarray(table, jnp.float32)[z]
    return Joint(
        {
            "age": DiagonalNormal(at(AGE), jnp.asarray(AGE_SCALE, jnp.float32)),
            "smokes": Bernoulli(at(SMOKES)),
            "kind": Categorical(at(KIND)),
            "grade": Ordinal(at(GRADE), jnp.asarray(THRESHOLDS, jnp.float32)),
            "coin": Coin(at(COIN)),
            "seen": Bernoulli(at(SMOKES)),
            "wealth": LogNormal(at(WEALTH), jnp.asarray(0.5)),
        }
    )


TABLE = VAE(
    init=lambda key: {},
    encode=lambda params, x: Categorical(jnp.log(jnp.asarray(PROPOSAL, jnp.float32))),
    decode=joint,
    prior=lambda params: Categorical(jnp.log(jnp.asarray(PRIOR, jnp.float32))),
)
COLUMNS = ("age", "smokes", "kind", "grade", "coin")


@functools.cache
def table():
    """Rows of the model, as `Masked` columns but for one; in the rows, one entry in three is missing."""
    rng = np.random.default_rng(3)
    z = rng.choice(STATES, ROWS, p=PRIOR)
    grade = scipy.special.expit(THRESHOLDS - GRADE[z][:, None])
    columns = {
        "age": (AGE[z] + AGE_SCALE * rng.normal(size=(ROWS, 2))).astype(np.float32),
        "smokes": (rng.random(ROWS) < scipy.special.expit(SMOKES[z])).astype(np.float32),
        "kind": np.array([rng.choice(3, p=np.exp(KIND[state])) for state in z]),
        "grade": (rng.random(ROWS)[:, None] > grade).sum(axis=1).astype(np.uint8),
        "coin": (COIN[z] + rng.integers(0, 2, ROWS)).astype(np.float32),
        "seen": (rng.random(ROWS) < scipy.special.expit(SMOKES[z])).astype(np.float32),
    }
    xs = {name: Masked(columns[name], rng.random(columns[name].shape) > 1 / 3) for name in COLUMNS}
    return xs | {"seen": columns["seen"], "wealth": Masked(np.zeros(ROWS, np.float32), np.zeros(ROWS, bool))}


@functools.cache
def imputed_table() -> evaluation.Imputation:
    options = {"num_samples": SAMPLES, "num_draws": 20, "chunk_size": 8}
    return jax.tree.map(np.asarray, evaluation.impute({}, keys(ROWS), table(), vae=TABLE, **options))


@functools.cache
def by_state() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """log p(x_o|z) [rows, states], in float64; and of each column E[x|z] or P(x = k|z) [states, …]."""
    at = lambda name: (np.asarray(table()[name].value, np.float64)[..., None], table()[name].observed[..., None])
    age, seen = at("age")
    log_p = np.where(seen, scipy.stats.norm.logpdf(age, AGE.T, AGE_SCALE[:, None]), 0).sum(axis=1)
    below = scipy.special.expit(np.array([-np.inf, *THRESHOLDS, np.inf]) - GRADE[:, None])
    grades = np.diff(below)
    smokes = scipy.special.expit(SMOKES)
    log_p += np.where(at("smokes")[1], scipy.stats.bernoulli.logpmf(at("smokes")[0], smokes), 0)
    log_p += scipy.stats.bernoulli.logpmf(table()["seen"][:, None], smokes)
    log_p += np.where(at("kind")[1], KIND[:, table()["kind"].value].T, 0)
    log_p += np.where(at("grade")[1], np.log(grades)[:, table()["grade"].value].T, 0)
    coin, seen = at("coin")
    possible = (coin == COIN) | (coin == COIN + 1)
    log_p = np.where(seen & ~possible, -np.inf, log_p)
    return log_p, {"age": AGE, "smokes": smokes, "kind": np.exp(KIND), "grade": grades, "coin": COIN + 0.5}


@functools.cache
def states() -> np.ndarray:
    """The z that the keys give: sample k of a row draws from fold_in(its key, k)."""
    draw = lambda key, k: jax.random.categorical(jax.random.fold_in(key, k), jnp.log(jnp.float32(PROPOSAL)))
    return np.asarray(jax.jit(jax.vmap(jax.vmap(draw, (None, 0)), (0, None)))(keys(ROWS), jnp.arange(SAMPLES)))


@functools.cache
def log_weights() -> np.ndarray:
    """Of the samples of each row."""
    return np.take_along_axis(by_state()[0] + np.log(PRIOR / PROPOSAL), states(), axis=1)


def by_definition(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Σ w̃ f(z), and √Σ w̃² (f(z) − that)²."""
    weights = scipy.special.softmax(log_weights(), axis=1)
    values = by_state()[1][name][states()]
    weights = weights.reshape(*weights.shape, *(1,) * (values.ndim - 2))
    mean = (weights * values).sum(axis=1)
    return mean, np.sqrt((weights**2 * (values - mean[:, None]) ** 2).sum(axis=1))


@pytest.mark.parametrize("name", ["age", "smokes"])
def test_a_column_is_the_weighted_mean_of_its_expectations(name):
    missing = ~table()[name].observed
    for found, defined in zip((imputed_table().mean, imputed_table().standard_error), by_definition(name), strict=True):
        np.testing.assert_allclose(found[name][missing], defined[missing], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["kind", "grade"])
def test_a_class_is_the_one_of_the_largest_weighted_probability(name):
    missing, (probabilities, errors) = ~table()[name].observed, by_definition(name)
    best = probabilities.argmax(axis=1)
    np.testing.assert_array_equal(imputed_table().mean[name][missing], best[missing])
    of_best = np.take_along_axis(errors, best[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(imputed_table().standard_error[name][missing], of_best[missing], rtol=1e-4, atol=1e-6)


def test_weights_have_their_effective_sample_size_and_tail():
    weights = scipy.special.softmax(log_weights(), axis=1)
    np.testing.assert_allclose(imputed_table().effective_sample_size, 1 / (weights**2).sum(axis=1), rtol=1e-4)


def posterior() -> np.ndarray:
    """p(z|x_o)."""
    return scipy.special.softmax(by_state()[0] + np.log(PRIOR), axis=1)


def test_a_column_without_mean_and_probabilities_is_the_weighted_mean_of_draws():
    missing = ~table()["coin"].observed
    error = imputed_table().mean["coin"] - posterior() @ by_state()[1]["coin"]
    assert_standard((error / np.where(missing, imputed_table().standard_error["coin"], 1))[missing])


@pytest.mark.parametrize("name", ["smokes", "kind", "grade"])
def test_draws_of_a_column_follow_its_conditional_distribution(name):
    missing, values = ~table()[name].observed, by_state()[1][name]
    values = values if values.ndim > 1 else np.stack([1 - values, values], axis=1)
    probabilities = (posterior() @ values)[missing]
    counts = imputed_table().draws[name][missing, 0, None] == np.arange(values.shape[1])
    z_scores = (counts - probabilities).sum(axis=0) / np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    assert np.abs(z_scores).max() < scipy.stats.norm.isf(FALSE_ALARMS / 6), z_scores


def test_a_state_that_is_impossible_counts_for_nothing():
    coin = table()["coin"]
    rows = coin.observed & (coin.value == 3)  # not the first
    second = posterior()[rows, 1]
    means = np.exp(WEALTH[1:] + 0.125)
    error = imputed_table().mean["wealth"][rows] - (second * means[0] + (1 - second) * means[1])
    assert_standard(error / imputed_table().standard_error["wealth"][rows])


def test_an_array_without_a_mask_is_returned_as_it_is():
    np.testing.assert_array_equal(imputed_table().mean["seen"], table()["seen"])
    assert not imputed_table().standard_error["seen"].any()
    np.testing.assert_array_equal(imputed_table().draws["seen"], np.repeat(table()["seen"][:, None], 20, axis=1))
