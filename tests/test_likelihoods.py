"""Likelihoods: densities against SciPy and closed forms in float64, sums, samples, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from vae_jax import evaluation, expressions, losses, networks, training
from vae_jax.distributions import (
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Ordinal,
    Poisson,
    StudentT,
    ZeroInflated,
)
from vae_jax.likelihoods import LIKELIHOODS

MEANS = np.logspace(-3, 5, 9)
DISPERSIONS = np.logspace(-2, 4, 7)


def counts_around(mean, variance) -> np.ndarray:
    """Of each mean: 0, 1, what is near the mean, and what is some deviations from it."""
    deviation = np.sqrt(variance)[..., None]
    near = mean[..., None] + deviation * np.asarray([-6.0, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 6.0])
    ends = np.broadcast_to([0.0, 1.0, 2.0, 7.0], (*mean.shape, 4))
    return np.clip(np.round(np.concatenate([ends, near], axis=-1)), 0, 2**24)


def assert_log_probs(found, exact) -> None:
    """Within 1e-5 relative or 1e-5 nats."""
    error = np.abs(np.asarray(found, np.float64) - exact)
    assert np.all(error < np.maximum(1e-5, 1e-5 * np.abs(exact))), error.max()


def with_gradients(distribution, *arguments):
    """log p of each element, and the gradients of their sum with respect to the parameters."""
    arguments = [jnp.asarray(argument, jnp.float32) for argument in arguments]

    def total(parameters, x):
        log_probs = distribution(*parameters).log_prob_per_element(x)
        return jnp.sum(log_probs), log_probs

    *parameters, x = arguments
    gradients, log_probs = jax.jit(jax.grad(total, has_aux=True))(parameters, x)
    return log_probs, gradients


def test_poisson_counts_of_any_mean():
    x = counts_around(MEANS, MEANS)
    means = np.float32(np.broadcast_to(MEANS[:, None], x.shape))
    log_probs, (gradient,) = with_gradients(Poisson, means, x)
    assert_log_probs(log_probs, scipy.stats.poisson.logpmf(x, np.float64(means)))
    np.testing.assert_allclose(gradient, (x - np.float64(means)) / means, rtol=1e-4, atol=1e-5)


def negative_binomial_grid():
    mean, dispersion = (np.float32(grid) for grid in np.meshgrid(MEANS, DISPERSIONS))
    x = counts_around(np.float64(mean), np.float64(mean) + np.float64(mean) ** 2 / dispersion)
    return [np.float64(np.broadcast_to(grid[..., None], x.shape)) for grid in (mean, dispersion)] + [x]


def negative_binomial_gradients(mean, dispersion, x):
    """Of log p, in float64, with respect to the mean and the dispersion."""
    of_mean = dispersion * (x - mean) / (mean * (dispersion + mean))
    of_dispersion = scipy.special.digamma(x + dispersion) - scipy.special.digamma(dispersion)
    return of_mean, of_dispersion - np.log1p(mean / dispersion) + (mean - x) / (dispersion + mean)


def assert_gradients(found, exact, parameter) -> None:
    """With respect to the logarithm of the parameter, which is what a network puts out."""
    np.testing.assert_allclose(parameter * np.float64(found), parameter * exact, rtol=1e-4, atol=1e-4)


def test_negative_binomial_counts_of_any_mean_and_dispersion():
    mean, dispersion, x = negative_binomial_grid()
    log_probs, (of_mean, of_dispersion) = with_gradients(NegativeBinomial, mean, dispersion, x)
    assert_log_probs(log_probs, scipy.stats.nbinom.logpmf(x, dispersion, dispersion / (dispersion + mean)))
    exact_of_mean, exact_of_dispersion = negative_binomial_gradients(mean, dispersion, x)
    assert_gradients(of_mean, exact_of_mean, mean)
    assert_gradients(of_dispersion, exact_of_dispersion, dispersion)


@pytest.mark.parametrize("logit", [-8.0, 0.3, 5.0])
def test_zero_inflated_counts(logit):
    mean, dispersion, x = negative_binomial_grid()
    inflated = lambda mean, dispersion, logits: ZeroInflated(NegativeBinomial(mean, dispersion), logits)
    log_probs, gradients = with_gradients(inflated, mean, dispersion, np.full_like(x, logit), x)
    logit = np.float64(np.float32(logit))
    log_zero, log_counted = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    counted = log_counted + scipy.stats.nbinom.logpmf(x, dispersion, dispersion / (dispersion + mean))
    exact = np.where(x == 0, np.logaddexp(log_zero, counted), counted)
    assert_log_probs(log_probs, exact)
    share = np.exp(counted - exact)  # of the component, in what was seen
    for found, of_component, parameter in zip(
        gradients, negative_binomial_gradients(mean, dispersion, x), (mean, dispersion), strict=False
    ):
        assert_gradients(found, share * of_component, parameter)
    np.testing.assert_allclose(gradients[2], (1 - share) - np.exp(log_zero), rtol=1e-4, atol=1e-6)


LEVELS = 256


@pytest.mark.parametrize("log_scale", [-7.0 - np.log(2), -3.0, 0.0, 7.0])
def test_discretized_logistics_are_differences_of_distribution_functions(log_scale):
    log_scale = np.float64(np.float32(log_scale))
    location, half = np.asarray([-0.2, 0.0, 0.3333, 1.0]), 0.5 / (LEVELS - 1)
    x = np.arange(LEVELS)[:, None] / (LEVELS - 1)
    cdf = lambda value: scipy.stats.logistic.logcdf(value, np.float32(location), np.exp(log_scale))
    sf = lambda value: scipy.stats.logistic.logsf(value, np.float32(location), np.exp(log_scale))
    # Of the tail that is the smaller, as a difference of logarithms.
    upper = x > location
    a, b = np.where(upper, sf(x - half), cdf(x + half)), np.where(upper, sf(x + half), cdf(x - half))
    exact = a + np.log(-np.expm1(b - a))
    exact[0], exact[-1] = cdf(x[0] + half), sf(x[-1] - half)

    def of(location, log_scale):
        shape = (*location.shape, 1)
        return DiscretizedLogistic(location.reshape(shape), jnp.exp(log_scale).reshape(shape), jnp.zeros(shape), LEVELS)

    full = [np.broadcast_to(values, (LEVELS, 4)) for values in (location, log_scale)]
    log_probs, (of_location, of_log_scale) = with_gradients(of, *full, np.broadcast_to(x, (LEVELS, 4)))
    np.testing.assert_allclose(log_probs, exact, rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(np.exp(np.float64(log_probs)).sum(axis=0), 1, atol=1e-5)
    # The slope of F at a is F(a)(1 − F(a)), and an open edge has none.
    upper, lower = np.where(x == 1, np.inf, x + half), np.where(x == 0, -np.inf, x - half)
    both = np.exp(cdf(upper)) - np.exp(sf(lower))
    np.testing.assert_allclose(of_location * np.exp(log_scale), both, rtol=1e-4, atol=2e-4)
    slopes = [
        np.where(np.isinf(edge), 0, (edge - np.float32(location)) / np.exp(log_scale))
        * np.exp(cdf(edge) + sf(edge) - exact)
        for edge in (upper, lower)
    ]
    np.testing.assert_allclose(of_log_scale, slopes[1] - slopes[0], rtol=1e-4, atol=1e-3)


def test_a_mixture_of_discretized_logistics_sums_to_one_and_has_its_mean():
    rng = np.random.default_rng(0)
    mixture = DiscretizedLogistic(*(jnp.asarray(rng.normal(size=(2, 3)), jnp.float32) for _ in "l"), *_scales(rng), 16)
    x = jnp.arange(16)[:, None] / 15 * jnp.ones((1, 2))
    probabilities = np.exp(np.float64(jax.jit(jax.vmap(mixture.log_prob_per_element))(x)))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(mixture.mean, (probabilities * np.asarray(x)).sum(axis=0), rtol=1e-5)


def _scales(rng):
    return jnp.asarray(rng.uniform(0.05, 0.5, size=(2, 3)), jnp.float32), jnp.asarray(
        rng.normal(size=(2, 3)), jnp.float32
    )


def test_continuous_bernoulli_of_any_log_odds():
    logits = np.float32([-100, -20, -2, -1.001, -0.999, -0.1, -1e-4, 0, 1e-6, 1e-2, 0.9999, 1.0001, 3, 30, 100])
    x = np.linspace(0, 1, 5)[:, None] * np.ones_like(logits)
    wide = np.where(logits == 0, 1e-9, np.float64(logits))
    log_c = np.log(wide / np.tanh(wide / 2))
    log_probs, (gradient,) = with_gradients(ContinuousBernoulli, np.broadcast_to(logits, x.shape), x)
    np.testing.assert_allclose(log_probs, x * logits - np.logaddexp(0, logits) + log_c, rtol=2e-6, atol=2e-6)
    safe = np.where(np.abs(wide) < 1e-2, 1, wide)
    mean = np.where(np.abs(wide) < 1e-2, 0.5 + wide / 12, -1 / np.expm1(-safe) - 1 / safe)
    np.testing.assert_allclose(ContinuousBernoulli(jnp.asarray(logits)).mean, mean, rtol=1e-5)
    np.testing.assert_allclose(gradient, x - mean, rtol=1e-5, atol=2e-6)


def test_heavy_tails_and_positive_numbers_have_their_densities():
    location, scale = np.float64(np.float32([0.3, 0.7]))
    x = np.float64(np.float32([-90.0, -2.0, 0.1, 0.31, 5.0, 90.0]))
    positive = np.float64(np.float32([1e-6, 0.1, 1.0, 3.0, 1e6, 2.0]))
    e, e_log = (x - location) / scale, (np.log(positive) - location) / scale
    for distribution, value, exact, of_location, of_scale in (
        (Laplace, x, scipy.stats.laplace(location, scale), np.sign(e), np.abs(e) - 1),
        (LogNormal, positive, scipy.stats.lognorm(scale, scale=np.exp(location)), e_log, e_log**2 - 1),
    ):
        log_probs, gradients = with_gradients(distribution, np.full(6, location), np.full(6, scale), value)
        np.testing.assert_allclose(log_probs, exact.logpdf(value), rtol=2e-6)
        np.testing.assert_allclose(gradients[0], of_location / scale, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradients[1], of_scale / scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("df", [0.5, 3.5, 9.9, 10.1, 1e3, 1e6])
def test_student_t_of_any_degrees_of_freedom(df):
    """The difference of two lnΓ of 1e6 would be off by 0.06 nats."""
    location, scale, df = np.float64(np.float32([0.3, 0.7, df]))
    x = np.float64(np.float32([-90.0, -2.0, 0.1, 0.31, 5.0, 90.0]))
    log_probs, (of_location, of_scale, of_df) = with_gradients(StudentT, np.full(6, location), np.full(6, scale), df, x)
    np.testing.assert_allclose(log_probs, scipy.stats.t(df, location, scale).logpdf(x), rtol=2e-6)
    e = (x - location) / scale
    pull = (df + 1) * e / (df + e**2)
    np.testing.assert_allclose(of_location, pull / scale, rtol=1e-5)
    np.testing.assert_allclose(of_scale, (e * pull - 1) / scale, rtol=1e-5, atol=1e-6)
    peak = 0.5 * (scipy.special.digamma((df + 1) / 2) - scipy.special.digamma(df / 2) - 1 / df)
    exact = peak - 0.5 * np.log1p(e**2 / df) + 0.5 * pull * e / df
    np.testing.assert_allclose(of_df, exact.sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distribution", [Laplace, LogNormal])
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_is_not_positive_is_refused(distribution, scale):
    with pytest.raises(ValueError, match=f"{distribution.__name__}: every scale must be positive, got "):
        distribution(jnp.zeros(2), jnp.asarray(scale))


def test_ordered_classes_are_differences_of_a_cumulative_logit():
    thresholds, location = np.float32([-2.0, -0.5, 0.1, 4.0]), np.float32([-60.0, -1.0, 0.2, 3.0, 60.0])
    edges = np.pad(np.float64(thresholds), 1, constant_values=(-np.inf, np.inf))[:, None] - location
    classes = jnp.arange(5)

    @jax.jit
    @jax.vmap
    def of_class(k):
        log_prob = lambda location: Ordinal(location, jnp.asarray(thresholds)).log_prob_per_element(jnp.full(5, k))
        return log_prob(jnp.asarray(location)), jax.grad(lambda eta: jnp.sum(log_prob(eta)))(jnp.asarray(location))

    log_probs, of_location = of_class(classes)
    cumulative = scipy.special.expit(edges)
    np.testing.assert_allclose(np.exp(np.float64(log_probs)), np.diff(cumulative, axis=0), rtol=1e-5, atol=1e-7)
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(of_location, cumulative[1:] - scipy.special.expit(-edges[:-1]), rtol=1e-5, atol=1e-6)


def test_ordered_classes_pull_at_their_thresholds():
    thresholds = np.float64([-2.0, -0.5, 0.1, 4.0])
    log_prob = lambda thresholds, k: Ordinal(jnp.full(1, 0.3), thresholds).log_prob(jnp.full(1, k))
    found = jax.jit(jax.vmap(jax.grad(log_prob), (None, 0)))(jnp.asarray(thresholds, jnp.float32), jnp.arange(5))
    below = scipy.special.expit(thresholds - 0.3)
    slope, mass = below * (1 - below), np.diff(below, prepend=0, append=1)
    exact = np.zeros((5, 4))
    exact[range(4), range(4)], exact[range(1, 5), range(4)] = slope / mass[:4], -slope / mass[1:]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4, 64])
def test_ordered_classes_begin_equally_probable(num_classes):
    family = expressions.make(f"ordinal(num_classes={num_classes})", LIKELIHOODS)
    p = family.build(family.init(jax.random.key(0), (num_classes,)), jnp.zeros(num_classes), (num_classes,), None)
    np.testing.assert_allclose(np.exp(p.log_prob_per_element(jnp.arange(num_classes))), 1 / num_classes, rtol=1e-4)


@pytest.mark.parametrize("move", [-60.0, -20.0, 20.0])
def test_ordered_classes_stay_in_order_wherever_training_goes(move):
    """A class that no example has drives its two thresholds together."""
    family = expressions.make("ordinal(num_classes=4)", LIKELIHOODS)
    own = jax.tree.map(lambda leaf: leaf + move, family.init(jax.random.key(0), (4,)))
    log_prob = lambda own, eta: family.build(own, eta, (4,), None).log_prob(jnp.arange(4))
    value, gradients = jax.jit(jax.value_and_grad(log_prob, (0, 1)))(own, jnp.zeros(4))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, gradients)))


def test_classes_have_their_probabilities():
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    log_prob = lambda logits: Categorical(logits).log_prob(jnp.asarray([3, 0, 2], jnp.uint8))
    found, gradient = jax.value_and_grad(log_prob)(jnp.asarray(logits))
    exact = scipy.special.log_softmax(np.float64(logits), axis=1)
    np.testing.assert_allclose(found, exact[range(3), [3, 0, 2]].sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.eye(4)[[3, 0, 2]] - np.exp(exact), atol=1e-6)


def test_the_probabilities_of_classes_come_last():
    rng = np.random.default_rng(1)
    logits, location = rng.normal(size=(3, 2, 4)), 5 * rng.normal(size=(3, 2))
    exact = scipy.special.softmax(logits, axis=-1)
    np.testing.assert_allclose(Categorical(jnp.asarray(logits, jnp.float32)).probs, exact, rtol=1e-5)
    below = scipy.special.expit(np.array([-np.inf, -0.5, 1.0, np.inf]) - location[..., None])
    ordered = Ordinal(jnp.asarray(location, jnp.float32), jnp.asarray([-0.5, 1.0]))
    np.testing.assert_allclose(ordered.probs, np.diff(below), rtol=1e-5, atol=1e-7)


def test_classes_are_drawn_as_int32(float64):
    for p in (Categorical(jnp.zeros((2, 3))), Ordinal(jnp.zeros(2), jnp.asarray([0.0, 1.0]))):
        assert jax.eval_shape(p.sample, jax.random.key(0)).dtype == jnp.int32


NUM_DRAWS, SCALE = 20_000, jnp.asarray(0.8)
SAMPLED = {
    "poisson": lambda n: (Poisson(jnp.full(n, 3.2)), scipy.stats.poisson(3.2)),
    "negative binomial": lambda n: (
        NegativeBinomial(jnp.full(n, 3.2), jnp.asarray(0.7)),
        scipy.stats.nbinom(0.7, 0.7 / 3.9),
    ),
    "laplace": lambda n: (Laplace(jnp.full(n, 0.4), SCALE), scipy.stats.laplace(0.4, 0.8)),
    "student t": lambda n: (StudentT(jnp.full(n, 0.4), SCALE, jnp.asarray(3.0)), scipy.stats.t(3.0, 0.4, 0.8)),
    "lognormal": lambda n: (LogNormal(jnp.full(n, 0.4), SCALE), scipy.stats.lognorm(0.8, scale=np.exp(0.4))),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_follow_the_distribution_function(name):
    """Kolmogorov–Smirnov at a level of 1e-4; for counts at every whole number."""
    distribution, exact = SAMPLED[name](NUM_DRAWS)
    draws = np.asarray(distribution.sample(jax.random.key(0)))
    values, number = np.unique(draws, return_counts=True)
    below = np.cumsum(number) / NUM_DRAWS
    assert np.abs(below - exact.cdf(values)).max() < 2.23 / np.sqrt(NUM_DRAWS)
    if np.isfinite(exact.var()) and np.isfinite(scipy.stats.kurtosis(draws)):
        assert abs(draws.mean() - np.mean(distribution.mean)) < 5 * draws.std() / np.sqrt(NUM_DRAWS)


def test_samples_of_the_unit_interval_have_their_moments():
    """E x, and E x² = the derivative of E x plus its square."""
    for logit in (-30.0, -0.5, 0.0, 4.0):
        distribution = ContinuousBernoulli(jnp.full(NUM_DRAWS, logit))
        draws = np.asarray(distribution.sample(jax.random.key(1)), np.float64)
        ends = np.linspace(0, 1, 9)
        exact = ends if logit == 0 else np.expm1(logit * ends) / np.expm1(logit)
        found = np.searchsorted(np.sort(draws), ends, side="right") / NUM_DRAWS
        np.testing.assert_allclose(found[1:], exact[1:], atol=2.23 / np.sqrt(NUM_DRAWS))


@pytest.mark.parametrize("logit", [-9e-4, -2e-6, -1e-7])
def test_samples_of_small_log_odds_are_the_inverse_distribution_function(logit):
    """At log-odds of 0 samples are the uniform noise itself."""
    draw = lambda logit, key: ContinuousBernoulli(jnp.full(1000, logit)).sample(key)
    key = jax.random.key(3)
    uniform, found = np.float64(draw(0.0, key)), draw(logit, jax.random.clone(key))
    np.testing.assert_allclose(found, np.log1p(uniform * np.expm1(logit)) / logit, atol=4e-7)


def test_samples_of_levels_and_classes_have_their_probabilities():
    mixture = DiscretizedLogistic(
        *(jnp.asarray([[0.1, 0.8]]),), jnp.asarray([[0.1, 0.3]]), jnp.asarray([[0.0, 1.0]]), 4
    )
    ordered = Ordinal(jnp.asarray([0.7]), jnp.asarray([-1.0, 0.5, 2.0]))
    classes = Categorical(jnp.asarray([[0.0, 1.0, -1.0, 0.5]]))
    inflated = ZeroInflated(Poisson(jnp.asarray([1.5])), jnp.asarray([-1.0]))
    keys = jax.random.split(jax.random.key(2), NUM_DRAWS)
    for distribution, unit in ((mixture, 3), (ordered, 1), (classes, 1), (inflated, 1)):
        draws = np.round(np.asarray(jax.jit(jax.vmap(distribution.sample))(jax.random.clone(keys)))[:, 0] * unit)
        dtype = np.float32 if unit == 3 else np.int32
        values = jnp.asarray(np.arange(4)[:, None] / unit, dtype)
        exact = np.exp(np.float64(jax.vmap(distribution.log_prob)(values)))
        found = np.asarray([(draws == k).mean() for k in range(4)])
        np.testing.assert_allclose(found, exact, atol=4.5 * 0.5 / np.sqrt(NUM_DRAWS))


EXAMPLES = {
    "continuous_bernoulli": [0.0, 1.0, 0.3, 0.5],
    "laplace(learn=shared)": [-2.0, 0.0, 8.0, 0.5],
    "student_t(df=4, learn=each)": [-2.0, 0.0, 8.0, 0.5],
    "lognormal": [1e-3, 1.0, 8.0, 0.5],
    "discretized_logistic": [0.0, 1.0, 128 / 255, 3 / 255],
    "discretized_logistic(levels=4, num_mixtures=3)": [0.0, 1.0, 2 / 3, 1 / 3],
    "categorical(num_classes=4)": [0, 3, 2, 1],
    "ordinal(num_classes=4)": [0, 3, 2, 1],
    "poisson": [0, 1, 9, 3],
    "negative_binomial": [0, 1, 9, 3],
    "negative_binomial(dispersion=each)": [0, 1, 9, 3],
    "zero_inflated(poisson)": [0, 1, 9, 3],
    "zero_inflated(negative_binomial)": [0, 1, 9, 3],
    "zero_inflated(negative_binomial(dispersion=each))": [0, 1, 9, 3],
}


def model(text: str, **options):
    return networks.mlp(event_shape=4, latent_dim=2, hidden=(3,), likelihood=text, **options)


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_log_likelihood_depends_on_every_number_and_parameter(text):
    family, rng = expressions.make(text, LIKELIHOODS), np.random.default_rng(0)
    own = family.init(jax.random.key(0), (4,))
    numbers = jnp.asarray(0.1 * rng.normal(size=family.outputs((4,))), jnp.float32)
    log_prob = lambda own, numbers: family.build(own, numbers, (4,), None).log_prob(jnp.asarray(EXAMPLES[text]))
    value, gradients = jax.jit(jax.value_and_grad(log_prob, argnums=(0, 1)))(own, numbers)
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
        assert (leaf != 0).all()


STARTS = [text for text in EXAMPLES if "categorical" not in text and "ordinal" not in text]


@pytest.mark.parametrize("text", STARTS)
def test_a_start_at_the_mean_of_the_data_has_that_mean(text):
    """Of numbers that are the bias alone; levels are clipped at both ends, so about that."""
    family, mean = expressions.make(text, LIKELIHOODS), np.asarray([0.2, 0.45, 0.7, 0.5])
    numbers = jnp.asarray(family.bias(mean), jnp.float32)
    assert numbers.shape == family.outputs((4,))
    p = family.build(family.init(jax.random.key(0), (4,)), numbers, (4,), None)
    np.testing.assert_allclose(
        p.mean, mean, rtol=1e-4, atol=0.15 if "levels=4" in text else 0.05 if "logistic" in text else 0
    )


@pytest.mark.parametrize(
    ("text", "xs", "takes"),
    [
        ("continuous_bernoulli", [0.2, 1.5], "numbers from 0 to 1"),
        ("lognormal", [0.0, 1.0], "numbers above 0"),
        ("discretized_logistic(levels=16)", [0.0, 128 / 255], "the 16 levels k/15 from 0 to 1"),
        ("categorical(num_classes=3)", [0, 3], "whole numbers from 0 to 2"),
        ("ordinal(num_classes=3)", [-1, 2], "whole numbers from 0 to 2"),
        ("poisson", [0, -1], "whole numbers from 0 on"),
        ("negative_binomial", [0.5, 1.0], "whole numbers from 0 on"),
        ("zero_inflated(poisson)", [0.5, 1.0], "whole numbers from 0 on"),
    ],
)
def test_data_that_a_likelihood_is_not_of_are_refused_by_name(text, xs, takes):
    vae = networks.mlp(event_shape=2, latent_dim=1, hidden=(2,), likelihood=text)
    params = vae.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 1)
    with pytest.raises(ValueError, match=rf"outside the support of p\(x\|z\): .* takes {takes}$"):
        evaluation.log_evidence(params, keys, jnp.asarray([xs]), vae=vae, num_samples=2)


@pytest.mark.parametrize("text", ["categorical(num_classes=3)", "ordinal(num_classes=3)"])
def test_classes_that_are_no_whole_numbers_are_refused(text):
    import optax

    name = text.partition("(")[0].capitalize()
    vae, xs = networks.mlp(event_shape=2, latent_dim=1, hidden=(2,), likelihood=text), jnp.ones((2, 2))
    loss = lambda params, keys, xs, step: losses.over_batch(losses.negative_elbo)(params, keys, xs, vae=vae)
    with pytest.raises(
        ValueError, match=rf"{name} takes whole numbers \(an integer dtype\), and x is of dtype float32"
    ):
        training.fit(
            loss,
            vae.init(jax.random.key(0)),
            jax.random.key(1),
            xs,
            optimizer=optax.sgd(0.1),
            num_steps=1,
            batch_size=2,
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zero_inflated(normal)", "zero_inflated is made of independent counts"),
        ("zero_inflated(categorical(3))", "zero_inflated is made of independent counts"),
        ("zero_inflated", "component must be given"),
        ("negative_binomial(dispersion=all)", "unknown dispersion 'all'"),
        ("categorical(1)", "num_classes must be at least 2"),
        ("discretized_logistic(levels=1)", "levels must be at least 2"),
        ("student_t(0)", "df must be a finite number above 0"),
        ("laplace(scale=0)", "scale must be a finite number above"),
    ],
)
def test_what_is_no_likelihood_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        model(text)


def test_scales_of_levels_are_held_in_units_of_half_the_range():
    """As in Salimans et al. 2017, whose x lies in [−1, 1]."""
    family = expressions.make("discretized_logistic", LIKELIHOODS)
    scale = lambda number: family.build({}, jnp.asarray([[0.0, number]]), (1,), None).scale
    np.testing.assert_allclose(scale(-100.0), 0.5 * np.exp(-7), rtol=1e-5)
    np.testing.assert_allclose(scale(100.0), 0.5 * np.exp(7), rtol=1e-5)


def test_convolutions_put_out_the_numbers_of_mixtures_as_channels():
    vae = networks.conv(
        event_shape=(8, 7, 2), latent_dim=2, hidden=(3,), likelihood="discretized_logistic(num_mixtures=2)"
    )
    p = jax.eval_shape(lambda key: vae.decode(vae.init(key), jnp.zeros(2)), jax.random.key(0))
    assert p.location.shape == (8, 7, 2, 2)
