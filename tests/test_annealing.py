"""Annealed importance sampling, forwards and backwards, against exact evidences."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.fixed_oracles import linear_gaussian
from tests.statistics_checks import FALSE_ALARMS, assert_mean, normal_log_density
from vae_jax import VAE, evaluation, oracles
from vae_jax.evaluation import AnnealedEvidence, BidirectionalEvidence

XS = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
FEW, MANY = 4, 100


def keys(num: int, seed: int = 2) -> jax.Array:
    return jax.random.split(jax.random.key(seed), num)


def exact_evidence(oracle: oracles.Oracle, xs: np.ndarray) -> np.ndarray:
    """log N(x; μ, WWᵀ + Ψ) by scipy, in float64."""
    weight, mean = (np.asarray(oracle.params["decoder"][name], np.float64) for name in ("weight", "mean"))
    noise = np.asarray(oracle.vae.decode(oracle.params, jnp.zeros(weight.shape[1])).scale_tril, np.float64)
    return normal_log_density(np.asarray(xs), mean, weight @ weight.T + noise @ noise.T)


def from_posterior(params) -> AnnealedEvidence:
    """Few temperatures, so that every part of a weight counts; many chains, so that its mean is known."""
    options = {"num_temperatures": FEW, "num_chains": 5000, "num_leapfrog": 3, "start": "posterior"}
    return evaluation.annealed_log_evidence(params, keys(3), XS, vae=linear_gaussian().vae, **options)


@functools.cache
def both_ways(num_temperatures: int) -> tuple[BidirectionalEvidence, np.ndarray]:
    """Of 500 simulated examples with two chains each, and their exact evidences."""
    drawn = evaluation.bidirectional_log_evidence(
        linear_gaussian().params,
        keys(500, 3),
        vae=linear_gaussian().vae,
        num_temperatures=num_temperatures,
        num_chains=2,
        num_leapfrog=3,
        chunk_size=4000,
    )
    return drawn, exact_evidence(linear_gaussian(), drawn.xs)


@pytest.mark.proof
def test_with_twenty_latents_the_evidence_is_met_within_a_twentieth_of_a_nat():
    oracle = oracles.linear_gaussian(jax.random.key(2), latent_dim=20, event_dim=5)
    z_key, x_key = jax.random.split(jax.random.key(4))
    z = oracle.vae.prior(oracle.params).sample(z_key)
    x = oracle.vae.decode(oracle.params, z).sample(x_key)[None]
    drawn = evaluation.annealed_log_evidence(
        oracle.params, keys(1), x, vae=oracle.vae, num_temperatures=1000, num_chains=500, num_leapfrog=5
    )
    assert drawn.standard_error[0] < 0.022
    assert abs(float(drawn.value[0]) - exact_evidence(oracle, x)) < 0.05
    assert 0.55 < drawn.acceptance[0] < 0.75


def test_the_mean_weight_from_q_is_the_evidence():
    """E[w] = p(x) with four temperatures, where q is so far away that importance sampling alone would not see it."""
    drawn = from_posterior(linear_gaussian().params)
    z = np.expm1(np.asarray(drawn.value, np.float64) - exact_evidence(linear_gaussian(), XS)) / drawn.standard_error
    assert np.abs(z).max() < scipy.stats.norm.isf(FALSE_ALARMS / (2 * len(z)))
    assert np.all(drawn.standard_error < 0.1)
    assert np.all((drawn.acceptance > 0.5) & (drawn.acceptance < 0.8))


def test_from_the_exact_posterior_every_chain_gives_the_evidence():
    """The path does not move, so no weight varies: no error, and an effective sample size of K."""
    oracle = linear_gaussian()
    drawn = from_posterior(oracle.with_exact_posterior(oracle.params))
    np.testing.assert_allclose(drawn.value, exact_evidence(oracle, XS), rtol=1e-4)
    np.testing.assert_allclose(drawn.standard_error, 0, atol=1e-4)
    np.testing.assert_allclose(drawn.effective_sample_size, 5000, rtol=1e-3)


def test_the_mean_weight_from_the_prior_is_the_evidence():
    drawn, exact = both_ways(MANY)
    assert_mean(np.exp(np.asarray(drawn.lower, np.float64) - exact), 1.0, resolution=0.1)


def test_the_mean_inverse_weight_on_the_way_back_is_the_inverse_evidence():
    """E[1/w] = 1/p(x) from the exact draw of p(z|x), through the same transitions in reverse."""
    drawn, exact = both_ways(MANY)
    assert_mean(np.exp(exact - np.asarray(drawn.upper, np.float64)), 1.0, resolution=0.1)


def test_the_bounds_close_on_the_evidence_as_temperatures_grow():
    """With few both means are seen to lie on their own side of the exact one; with many neither on the wrong one."""
    (few, few_exact), (many, many_exact) = both_ways(FEW), both_ways(MANY)
    for error in (few_exact - few.lower, few.upper - few_exact):
        assert scipy.stats.ttest_1samp(error, 0, alternative="greater").pvalue < FALSE_ALARMS
    for error in (many_exact - many.lower, many.upper - many_exact):
        assert scipy.stats.ttest_1samp(error, 0, alternative="less").pvalue > FALSE_ALARMS
    few_gap, many_gap = (float(np.mean(drawn.upper - drawn.lower)) for drawn in (few, many))
    assert many_gap < 0.2 < 1 < few_gap


@pytest.mark.parametrize("num_temperatures", [FEW, MANY])
def test_the_pilot_finds_step_sizes_of_the_target_acceptance(num_temperatures):
    drawn, _ = both_ways(num_temperatures)
    for acceptance in (drawn.lower_acceptance, drawn.upper_acceptance):
        assert 0.55 < acceptance.mean() < 0.75


def test_the_examples_are_draws_from_the_model():
    """Mean and covariance of x are those of N(μ, WWᵀ + Ψ): the square of the whitened x sums to a χ²."""
    drawn, exact = both_ways(MANY)
    peak = exact_evidence(linear_gaussian(), np.asarray(linear_gaussian().params["decoder"]["mean"])[None])
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARMS, np.size(drawn.xs))
    assert low < np.sum(2 * (peak - exact)) < high


KEYS = keys(3)


def forwards(keys=KEYS, xs=XS, vae: VAE | None = None, **options):
    oracle = linear_gaussian()
    return evaluation.annealed_log_evidence(oracle.params, keys, xs, vae=vae or oracle.vae, **options)


def both(keys, **options):
    oracle = linear_gaussian()
    return evaluation.bidirectional_log_evidence(oracle.params, keys, vae=oracle.vae, **options)


@pytest.mark.parametrize("count", ["num_temperatures", "num_chains", "num_leapfrog", "chunk_size"])
def test_counts_below_one_are_refused(count):
    message = f"{count} must be a whole number of at least 1, got 0"
    with pytest.raises(ValueError, match=message):
        forwards(**{count: 0})
    with pytest.raises(ValueError, match=message):
        both(keys(3), **{count: 0})


def with_nan(*rows: int) -> np.ndarray:
    return np.where(np.isin(np.arange(len(XS)), rows)[:, None], np.nan, XS).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "posteriors"}, "unknown start 'posteriors'. Did you mean 'posterior'.* Known: prior, posterior"),
        ({"keys": keys(2)}, r"one key for each example: got keys of shape \(2,\) for 3 examples"),
        ({"keys": keys(3)[:0], "xs": XS[:0]}, "xs must have at least 1 rows, got 0"),
        ({"xs": with_nan(0, 2)}, "xs must be finite; 2 of 3 rows are not: 0, 2"),
    ],
    ids=["start", "fewer-keys", "no-example", "nan"],
)
def test_what_cannot_be_annealed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        forwards(**options)


@pytest.mark.usefixtures("no_annotations")
def test_one_key_is_no_axis_of_keys():
    one = jax.random.key(0)
    with pytest.raises(ValueError, match="one key for each example"):
        forwards(keys=one)
    with pytest.raises(ValueError, match="an axis of keys"):
        both(one)


@pytest.mark.usefixtures("no_annotations")
def test_raw_keys_are_refused():
    raw = jax.random.key_data(keys(3))
    for call in (forwards, both):
        with pytest.raises(TypeError, match="key must be a typed PRNG key"):
            call(keys=raw)


def test_a_discrete_latent_is_refused():
    """Its samples are floats here, so that Hamiltonian Monte Carlo would run, and be wrong."""
    oracle = oracles.discrete(jax.random.key(0), latent_dim=2, event_dim=3)
    with pytest.raises(ValueError, match="needs a continuous latent"):
        evaluation.annealed_log_evidence(oracle.params, keys(3), XS, vae=oracle.vae)


def test_a_log_density_that_is_no_scalar_is_refused():
    """A sum that was forgotten would be taken for more chains."""

    class Pixels:
        def log_prob(self, value):
            return jnp.zeros(value.shape)

    vae = linear_gaussian().vae
    pixels = VAE(vae.init, vae.encode, lambda params, z: Pixels(), vae.prior)
    with pytest.raises(ValueError, match="must be a scalar"):
        forwards(vae=pixels)


def test_importing_evaluation_does_not_load_the_sampler():
    code = "import sys, vae_jax.evaluation\nassert 'blackjax' not in sys.modules\nassert 'optax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
