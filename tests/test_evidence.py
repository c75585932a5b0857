"""log p(x) by importance sampling, against the exact evidence and against scipy at the samples that the keys give."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from arviz_stats.base import array_stats

from tests.fixed_oracles import ppca
from tests.statistics_checks import FALSE_ALARMS, assert_mean
from vae_jax import VAE, evaluation, networks
from vae_jax.evaluation import LogEvidence

LATENT, EVENT = 2, 3
# The sizes of the groups whose bounds are given, by number of samples.
BOUND_SIZES = {
    1: (1,),
    3: (1, 3),
    20: (1, 5, 20),
    100: (1, 5, 50, 100),
    107: (1, 5, 50, 107),
    980: (1, 5, 50, 500, 980),
    5000: (1, 5, 50, 500, 5000),
}
XS = np.random.default_rng(1).normal(size=(5, EVENT)).astype(np.float32)


def keys(num: int, seed: int = 2) -> jax.Array:
    return jax.random.split(jax.random.key(seed), num)


def estimate(params, xs: np.ndarray, *, num_samples: int, seed: int = 2, **options) -> LogEvidence:
    drawn = evaluation.log_evidence(params, keys(len(xs), seed), xs, vae=ppca().vae, num_samples=num_samples, **options)
    return LogEvidence(*(np.asarray(field, np.float64) for field in drawn))


@functools.cache
def decoder() -> tuple[np.ndarray, np.ndarray, float]:
    """W, μ and σ of p(x|z), in float64."""
    weight, mean, log_scale = (
        np.asarray(ppca().params["decoder"][n], np.float64) for n in ("weight", "mean", "log_scale")
    )
    return weight, mean, float(np.exp(log_scale))


def exact_evidence(xs: np.ndarray) -> np.ndarray:
    """log N(x; μ, WWᵀ + σ²I)."""
    weight, mean, scale = decoder()
    return scipy.stats.multivariate_normal.logpdf(xs, mean, weight @ weight.T + scale**2 * np.eye(EVENT))


@functools.cache
def log_weights(num_samples: int, dtype: type = np.float32) -> np.ndarray:
    """log p(x, z) − log q(z|x) of each example of XS at the z of its key: sample k draws from fold_in(key, k)."""
    noise_of = jax.jit(jax.vmap(lambda key, k: jax.random.normal(jax.random.fold_in(key, k), (LATENT,), dtype)))
    noise = [noise_of(jnp.stack([key] * num_samples), jnp.arange(num_samples)) for key in keys(len(XS))]
    encoder = {name: np.asarray(leaf, np.float64) for name, leaf in ppca().params["encoder"].items()}
    q_mean, q_scale = (XS @ encoder["weight"].T + encoder["mean"])[:, None], np.exp(encoder["log_scale"])
    z = q_mean + q_scale * np.asarray(noise, np.float64)
    weight, mean, scale = decoder()
    log_p = scipy.stats.norm.logpdf(XS[:, None], z @ weight.T + mean, scale).sum(-1) + scipy.stats.norm.logpdf(z).sum(
        -1
    )
    return log_p - scipy.stats.norm.logpdf(z, q_mean, q_scale).sum(-1)


def from_weights(log_w: np.ndarray) -> LogEvidence:
    """The estimates by their definitions, with ArviZ's k̂."""
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    num_examples, num_samples = log_w.shape
    groups = (log_w[:, : num_samples // k * k].reshape(num_examples, -1, k) for k in BOUND_SIZES[num_samples])
    return LogEvidence(
        value=scipy.special.logsumexp(log_w, axis=1) - math.log(num_samples),
        standard_error=w.std(axis=1, ddof=1) / w.mean(axis=1) / math.sqrt(num_samples),
        effective_sample_size=w.sum(axis=1) ** 2 / (w**2).sum(axis=1),
        # It takes log-likelihoods, whose weights are their inverses.
        pareto_k=array_stats.psislw(-log_w)[1] if num_samples >= 25 else np.full(num_examples, np.nan),
        bounds=np.stack(
            [(scipy.special.logsumexp(g, axis=2) - math.log(g.shape[2])).mean(axis=1) for g in groups], axis=1
        ),
    )


@pytest.mark.parametrize(
    ("num_samples", "chunk_size"),
    [(100, 7), (100, 1000), (3, 1000), (107, 5), (980, 60)],
    ids=lambda value: str(value),
)
def test_estimates_are_those_of_exactly_the_samples_of_each_key(num_samples, chunk_size):
    """Whatever the chunks, over samples and over examples; also for as many samples as examples, and fewer."""
    estimates, exact = (
        estimate(ppca().params, XS, num_samples=num_samples, chunk_size=chunk_size),
        from_weights(log_weights(num_samples)),
    )
    for name in LogEvidence._fields:
        np.testing.assert_allclose(getattr(estimates, name), getattr(exact, name), rtol=1e-3, atol=1e-5, err_msg=name)


def test_one_sample_has_no_standard_error():
    estimates, log_w = estimate(ppca().params, XS, num_samples=1), log_weights(1)[:, 0]
    np.testing.assert_allclose(estimates.value, log_w, rtol=1e-4)
    np.testing.assert_allclose(estimates.elbo, log_w, rtol=1e-4)
    np.testing.assert_allclose(estimates.effective_sample_size, np.ones(5), rtol=1e-5)
    assert np.isnan(estimates.standard_error).all()


def test_in_float64_the_estimates_are_exact_to_its_precision():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), ppca().params)
        drawn = evaluation.log_evidence(params, keys(5), XS.astype(np.float64), vae=ppca().vae, num_samples=20)
        exact = from_weights(log_weights(20, np.float64))
    for name in LogEvidence._fields:
        assert getattr(drawn, name).dtype == np.float64
        np.testing.assert_allclose(getattr(drawn, name), getattr(exact, name), rtol=1e-9, err_msg=name)


def test_at_the_exact_posterior_every_sample_gives_the_evidence():
    """No error, and an effective sample size of exactly K, which is no multiple of the chunk."""
    estimates = estimate(ppca().with_exact_posterior(ppca().params), XS, num_samples=13, chunk_size=5)
    exact = exact_evidence(XS)
    np.testing.assert_allclose(estimates.value, exact, rtol=1e-5)
    np.testing.assert_allclose(estimates.elbo, exact, rtol=1e-5)
    np.testing.assert_allclose(estimates.effective_sample_size, np.full(5, 13.0), rtol=1e-5)
    np.testing.assert_allclose(estimates.standard_error, np.zeros(5), atol=1e-3)


class Replicates(NamedTuple):
    """Estimates with a q whose scale is 1.2 times that of the posterior, of the evidence of as many examples."""

    estimates: LogEvidence
    exact: np.ndarray
    num_samples: int
    relative_variance: float


@pytest.fixture(scope="module")
def replicates() -> Replicates:
    """A weight's relative variance is ∫p²/q − 1 = (s²/√(2s² − 1))^d − 1 for p = N(0, I), q = N(0, s²I)."""
    width, num_samples = 1.2, 300
    params = ppca().with_exact_posterior(ppca().params)
    encoder = params["encoder"]
    wide = params | {"encoder": encoder | {"log_scale": encoder["log_scale"] + math.log(width)}}
    weight, mean, scale = decoder()
    rng = np.random.default_rng(3)
    xs = rng.normal(size=(2000, LATENT)) @ weight.T + mean + scale * rng.normal(size=(2000, EVENT))
    xs = xs.astype(np.float32)
    relative_variance = (width**2 / math.sqrt(2 * width**2 - 1)) ** LATENT - 1
    return Replicates(estimate(wide, xs, num_samples=num_samples), exact_evidence(xs), num_samples, relative_variance)


def test_the_standard_error_is_the_spread_of_the_estimates(replicates):
    """(value − exact)/standard error is N(0, 1) over the examples: its square sums to a χ²; none lies far out."""
    z = (replicates.estimates.value - replicates.exact) / replicates.estimates.standard_error
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARMS, len(z))
    assert low < np.sum(z**2) < high
    assert np.abs(z).max() < scipy.stats.norm.isf(FALSE_ALARMS / (2 * len(z)))


def test_the_value_is_low_by_half_its_variance(replicates):
    """log of an unbiased estimate: E[value] = log p(x) − ½ var, to first order (Jensen)."""
    bias = -0.5 * replicates.relative_variance / replicates.num_samples
    assert_mean(1 + replicates.estimates.value - replicates.exact, 1 + bias, resolution=0.01)


def test_the_standard_error_has_its_exact_value(replicates):
    exact = math.sqrt(replicates.relative_variance / replicates.num_samples)
    np.testing.assert_allclose(replicates.estimates.standard_error.mean(), exact, rtol=0.01)


def test_the_effective_sample_size_has_its_exact_value(replicates):
    """K / (1 + relative variance of a weight)."""
    exact = replicates.num_samples / (1 + replicates.relative_variance)
    np.testing.assert_allclose(replicates.estimates.effective_sample_size.mean(), exact, rtol=0.01)


class TrueTail(NamedTuple):
    """Estimates from 5,000 samples each of a q whose scale is `width` times that of the posterior.

    For p = N(0, I) and q = N(0, s²I) a weight is e^{(1−s²)χ²/2} times a constant, so that P(w > t) falls as
    t^{−1/(1−s²)}: the tail index is k = 1 − s².
    """

    estimates: LogEvidence
    exact: np.ndarray

    def coverage(self) -> float:
        """How often the 95% interval holds the truth."""
        error = np.abs(self.estimates.value - self.exact)
        return float(np.mean(error < scipy.stats.norm.isf(0.025) * self.estimates.standard_error))


REPETITIONS, MANY_SAMPLES = 2000, 5000


@functools.cache
def with_tail_index(k: float, repetitions: int = REPETITIONS, num_bootstrap: int | None = None) -> TrueTail:
    params = ppca().with_exact_posterior(ppca().params)
    encoder = params["encoder"]
    scaled = params | {"encoder": encoder | {"log_scale": encoder["log_scale"] + 0.5 * math.log(1 - k)}}
    weight, mean, scale = decoder()
    rng = np.random.default_rng(6)
    xs = rng.normal(size=(REPETITIONS, LATENT)) @ weight.T + mean + scale * rng.normal(size=(REPETITIONS, EVENT))
    xs = xs.astype(np.float32)[:repetitions]
    drawn = estimate(scaled, xs, num_samples=MANY_SAMPLES, chunk_size=5000, seed=7, num_bootstrap=num_bootstrap)
    return TrueTail(drawn, exact_evidence(xs))


@pytest.mark.parametrize(
    "k", [0.1, pytest.param(-0.44, marks=pytest.mark.proof), pytest.param(0.2, marks=pytest.mark.proof)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(k):
    """Unconditionally, whatever k̂ says."""
    tail = with_tail_index(k)
    assert 0.93 < tail.coverage() < 0.97
    assert np.mean(tail.estimates.pareto_k < evaluation.pareto_k_threshold(MANY_SAMPLES)) > 0.99


@pytest.mark.parametrize("k", [0.7, 0.85])
def test_a_bad_q_says_so(k):
    """Its interval holds the truth less often than it says, and k̂ tells."""
    tail = with_tail_index(k, repetitions=500)
    assert tail.coverage() < 0.9
    assert np.mean(tail.estimates.pareto_k > 0.5) > 0.8


def test_the_bootstrap_agrees_with_the_delta_method():
    """To first order they are one; 400 replicates know a standard deviation to 3.5% each."""
    number = 20
    bootstrap = with_tail_index(0.1, repetitions=number, num_bootstrap=400).estimates
    delta = with_tail_index(0.1).estimates
    ratio = bootstrap.standard_error / delta.standard_error[:number]
    assert np.abs(ratio - 1).max() < 4.5 * 0.035
    assert abs(ratio.mean() - 1) < 4.5 * 0.035 / math.sqrt(number)
    np.testing.assert_allclose(bootstrap.value, delta.value[:number], rtol=1e-5)


def test_the_bootstrap_does_not_depend_on_the_chunks():
    errors = [
        estimate(ppca().params, XS, num_samples=100, chunk_size=size, num_bootstrap=20).standard_error
        for size in (5, 1000)
    ]
    np.testing.assert_allclose(*errors, rtol=1e-3)


def test_each_bound_has_its_exact_mean():
    """L_k of one latent by quadrature, for every k of the curve; they rise towards the evidence."""
    oracle = ppca(latent_dim=1)
    x, number, num_samples = jnp.asarray(XS[0]), 2000, 107
    drawn = evaluation.log_evidence(
        oracle.params, keys(number, 8), jnp.tile(x, (number, 1)), vae=oracle.vae, num_samples=num_samples
    )
    exact = [float(oracle.iwae(oracle.params, x, k)) for k in evaluation.bound_sizes(num_samples)]
    assert np.all(np.diff([*exact, float(oracle.log_evidence(oracle.params, x))]) > 0)
    assert_mean(drawn.bounds, exact, resolution=0.02)


@pytest.mark.parametrize("num_samples", [40, 5000])
def test_pareto_k_is_that_of_arviz(num_samples):
    rng = np.random.default_rng(9)
    shapes = np.repeat([-0.3, 0.0, 0.3, 0.7, 1.2], 4)[:, None]
    log_weights = scipy.stats.genpareto.rvs(shapes, size=(20, num_samples), random_state=rng)
    log_weights = np.log(log_weights + 0.1).astype(np.float32)
    exact = array_stats.psislw(-log_weights.astype(np.float64))[1]
    np.testing.assert_allclose(jax.vmap(evaluation.pareto_k)(log_weights), exact, atol=1e-4)


def pareto_k_of(log_weights: np.ndarray) -> float:
    """Zhang and Stephens' fit to the M largest weights, in float64; 1/σ at b = 0 is that of the limit."""
    size = evaluation.pareto.tail_size(len(log_weights))
    weights = np.exp(np.sort(log_weights.astype(np.float64))[-size - 1 :] - log_weights.max())
    x = weights[1:] - weights[0]
    num_grid = 30 + math.isqrt(size)
    b = 1 / x[-1] + (1 - np.sqrt(num_grid / (np.arange(num_grid) + 0.5))) / (3 * x[int(size / 4 + 0.5) - 1])
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    inverse_scale = np.array([-b_i / k_i if b_i else 1 / x.mean() for b_i, k_i in zip(b, k, strict=True)])
    share = scipy.special.softmax(size * (np.log(inverse_scale) - k - 1))
    return (size * np.log1p(-(share @ b) * x).mean() + 10 * 0.5) / (size + 10)


@pytest.mark.parametrize("num_samples", [1000, 1200, 1500])
def test_pareto_k_is_known_where_the_largest_weights_tie(num_samples):
    """One of the points of the grid is then b = 0, for tails of 100 to 120 weights."""
    size = evaluation.pareto.tail_size(num_samples)
    log_weights = np.full(num_samples, -3, np.float32)
    log_weights[:size] = -1.5
    log_weights[: size - 21] = -1
    exact = pareto_k_of(log_weights)
    assert evaluation.pareto_k(jnp.asarray(log_weights)) == pytest.approx(exact, abs=2e-3)
    by_arviz = float(array_stats.psislw(-log_weights.astype(np.float64))[1])
    assert math.isnan(by_arviz) or exact == pytest.approx(by_arviz, abs=1e-6)


def test_memory_does_not_grow_with_the_number_of_samples():
    """What XLA sets aside for itself, but for the 3√K weights of the tail, here of 600 numbers more."""
    vae = networks.mlp(event_shape=(28, 28, 1), latent_dim=10, hidden=(20,))
    params = vae.init(jax.random.key(0))

    def temporary(num_samples: int, **options: int) -> int:
        estimate = functools.partial(evaluation.log_evidence, vae=vae, num_samples=num_samples, **options)
        arguments = (params, keys(4), jnp.zeros((4, 28, 28, 1)))
        return jax.jit(estimate).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    few = temporary(500)
    assert temporary(50_000) < few + 4 * 4 * 600
    assert temporary(50_000, chunk_size=50_000) > 20 * few  # the control: all samples at once


def test_pareto_k_of_equal_weights_is_zero_and_of_few_is_not_known():
    assert evaluation.pareto_k(jnp.full(100, -3.0)) == 0
    assert np.isnan(evaluation.pareto_k(jnp.arange(24.0)))


@pytest.mark.parametrize(("num_samples", "threshold"), [(100, 0.5), (1000, 2 / 3), (5000, 0.7), (10, 0.0)])
def test_the_threshold_of_pareto_k(num_samples, threshold):
    """min(1 − 1/log₁₀ K, 0.7)."""
    assert evaluation.pareto_k_threshold(num_samples) == pytest.approx(threshold)


def test_the_elbo_is_unbiased():
    """E3: with a q away from the posterior, the mean over 4,000 keys is the exact L(x)."""
    x = XS[0]
    elbo = estimate(ppca().params, np.tile(x, (4000, 1)), num_samples=8, seed=4).elbo
    exact = ppca().elbo(ppca().params, jnp.asarray(x))
    assert exact_evidence(x) - exact > 0.5
    assert_mean(elbo, exact, resolution=0.02)


def test_dataset_evidence_is_the_means_with_the_standard_errors_of_means():
    rng = np.random.default_rng(5)
    values, elbos = (rng.normal(-90, 20, size=7).astype(np.float32) for _ in range(2))
    fields = evaluation.dataset_evidence(
        LogEvidence(*map(jnp.asarray, (values, values, values, values, np.stack([elbos, values], 1)))), num_samples=50
    )
    exact = {
        "elbo": elbos.mean(dtype=np.float64),
        "elbo_standard_error": scipy.stats.sem(elbos.astype(np.float64)),
        "nll": -values.mean(dtype=np.float64),
        "nll_standard_error": scipy.stats.sem(values.astype(np.float64)),
        "nll_num_samples": 50,
        "num_examples": 7,
    }
    assert fields._asdict() == pytest.approx(exact, rel=1e-12)


def test_one_example_has_no_standard_error():
    one = jnp.asarray([-80.0])
    fields = evaluation.dataset_evidence(LogEvidence(one, one, one, one, one[:, None]), num_samples=50)
    assert fields.nll == 80.0
    assert math.isnan(fields.nll_standard_error)


def bad(xs=XS, num_keys: int = 5, **options):
    return evaluation.log_evidence(
        ppca().params, keys(num_keys), xs, vae=ppca().vae, **{"num_samples": 2, "chunk_size": 2} | options
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1, got 0"),
        ({"num_bootstrap": 1}, "num_bootstrap must be a whole number of at least 2, got 1"),
        ({"xs": XS[:0], "num_keys": 0}, "xs must have at least 1 rows, got 0"),
        ({"xs": np.where(np.eye(5, 3) * [0, 1, 1], np.nan, XS)}, "xs must be finite; 2 of 5 rows are not: 1, 2"),
        ({"num_keys": 4}, r"one key for each example: got keys of shape \(4,\) for 5 examples"),
        ({"xs": (XS, XS[:3])}, r"xs must have one leading axis, the examples; got lengths \[\(3,\), \(5,\)\]"),
    ],
    ids=["no-samples", "no-chunk", "one-replicate", "no-examples", "nan", "fewer-keys", "torn-examples"],
)
def test_what_cannot_be_estimated_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bad(**options)


@pytest.mark.usefixtures("no_annotations")
def test_raw_keys_are_refused():
    raw = jax.random.key_data(keys(5))
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        evaluation.log_evidence(ppca().params, raw, XS, vae=ppca().vae, num_samples=2)


def test_a_log_density_that_is_no_scalar_is_refused():
    """A sum that was forgotten would be taken for more samples."""

    class Pixels:
        def log_prob(self, value):
            return jnp.zeros(value.shape)

    vae = ppca().vae
    pixels = VAE(vae.init, vae.encode, lambda params, z: Pixels(), vae.prior)
    with pytest.raises(ValueError, match="must be a scalar"):
        evaluation.log_evidence(ppca().params, keys(5), XS, vae=pixels, num_samples=2)
