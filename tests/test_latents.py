"""Statistics of the latents, against closed forms of linear-Gaussian models and against scipy at the same samples."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.fixed_oracles import linear_gaussian, ppca
from tests.gaussian_flows import with_flow
from tests.statistics_checks import FALSE_ALARMS, assert_mean, normal_log_density
from vae_jax import VAE, evaluation
from vae_jax.distributions import DiagonalNormal, MultivariateNormal, register_kl, standard_normal
from vae_jax.evaluation import InformationEstimate, LatentStatistics
from vae_jax.evaluation.information import bracket

LATENT, EVENT, NUM = 3, 5, 300
QUANTITIES = ("mutual_information", "marginal_kl", "total_correlation")
SIZES = {"latent_dim": LATENT, "event_dim": EVENT}
ORACLES = {make.__name__: functools.partial(make, **SIZES) for make in (ppca, linear_gaussian)}


def keys(num: int, seed: int = 1) -> jax.Array:
    return jax.random.split(jax.random.key(seed), num)


@functools.cache
def encoder(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, b and the covariance of q(z|x) = N(Ax + b, ·), in float64."""
    oracle = ORACLES[name]()
    q = oracle.vae.encode(oracle.params, jnp.zeros(EVENT))
    scale = np.asarray(q.scale, np.float64)
    tril = scale if scale.ndim == 2 else np.diag(scale)
    weight, mean = (np.asarray(oracle.params["encoder"][field], np.float64) for field in ("weight", "mean"))
    return weight, mean, tril @ tril.T


def draw(num: int, seed: int) -> np.ndarray:
    """x ~ N(0, 1.5 I)."""
    return math.sqrt(1.5) * np.random.default_rng(seed).normal(size=(num, EVENT)).astype(np.float32)


def exact(name: str) -> dict[str, float]:
    """I(x; z), KL(q(z) ‖ p(z)) and the total correlation, q(z) = N(b, 1.5 AAᵀ + SSᵀ)."""
    weight, mean, covariance = encoder(name)
    total = 1.5 * weight @ weight.T + covariance
    log_det = np.linalg.slogdet(total)[1]
    return {
        "mutual_information": (log_det - np.linalg.slogdet(covariance)[1]) / 2,
        "marginal_kl": (np.trace(total) + mean @ mean - LATENT - log_det) / 2,
        "total_correlation": (np.log(np.diag(total)).sum() - log_det) / 2,
    }


class Replicates(NamedTuple):
    """Of one quantity, each field an array over the replicates."""

    value: np.ndarray
    standard_error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    interval: np.ndarray


@functools.cache
def replicates(name: str, number: int = 150) -> dict[str, Replicates]:
    """The three quantities, for `number` draws of NUM examples and of their keys."""
    oracle = ORACLES[name]()
    drawn = [
        evaluation.latent_statistics(oracle.params, keys(NUM, seed), draw(NUM, seed), vae=oracle.vae)
        for seed in range(number)
    ]
    return {
        quantity: Replicates(
            *(np.asarray(field) for field in zip(*(getattr(s, quantity)[:5] for s in drawn), strict=True))
        )
        for quantity in QUANTITIES
    }


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ORACLES)
def test_the_value_is_unbiased(name, quantity):
    assert_mean(replicates(name)[quantity].value, exact(name)[quantity], resolution=0.1)


@pytest.mark.parametrize("quantity", ["mutual_information", "total_correlation"])
def test_the_truth_is_between_the_expectations_of_the_bounds(quantity):
    """By a wide margin of the errors: these would not pass for unbiased."""
    truth, drawn = exact("linear_gaussian")[quantity], replicates("linear_gaussian")[quantity]
    for bound in (truth - drawn.lower, drawn.upper - truth):
        assert bound.mean() > 3 * scipy.stats.sem(bound)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ORACLES)
def test_the_standard_error_is_the_deviation_of_the_values(name, quantity):
    drawn = replicates(name)[quantity]
    assert drawn.standard_error.mean() / drawn.value.std(ddof=1) == pytest.approx(1, abs=4 / math.sqrt(2 * 150))


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", ORACLES)
def test_the_interval_holds_the_truth_in_95_of_100_replicates(name, quantity):
    truth, (low, high) = exact(name)[quantity], replicates(name)[quantity].interval.T
    held = np.sum((low <= truth) & (truth <= high))
    assert held >= scipy.stats.binom.ppf(FALSE_ALARMS, len(low), 0.95)


def held(num: int, replicates: int, *, weight: float, scale: float) -> dict[str, int]:
    """In how many replicates of `num` examples x ~ N(0, 1) the intervals hold the truth, with q(z|x) = N(wx, s²).

    q(z) = N(0, w² + s²): for w² + s² = 1 it is the prior, and I(x; z) is the mean of the KL, which bounds it.
    """
    vae = VAE(
        init=lambda key: jnp.ones(()),
        encode=lambda params, x: DiagonalNormal(weight * x, jnp.asarray(scale)),
        decode=lambda params, z: DiagonalNormal(z, jnp.ones(())),
        prior=lambda params: standard_normal(1),
    )
    variance = weight**2 + scale**2
    truth = {
        "mutual_information": math.log(variance / scale**2) / 2,
        "marginal_kl": (variance - 1 - math.log(variance)) / 2,
        "total_correlation": 0.0,
    }
    counts = dict.fromkeys(QUANTITIES, 0)
    for seed in range(replicates):
        xs = np.random.default_rng(seed).normal(size=(num, 1)).astype(np.float32)
        drawn = evaluation.latent_statistics(ONE, keys(num, seed), xs, vae=vae)
        for quantity in QUANTITIES:
            low, high = getattr(drawn, quantity).interval
            counts[quantity] += low - 1e-6 <= truth[quantity] <= high + 1e-6
    return counts


@pytest.mark.parametrize(
    ("num", "replicates"),
    [(10, 200), *(pytest.param(num, 2000, marks=pytest.mark.proof) for num in (2, 3, 5, 10, 30, 100))],
)
def test_the_interval_holds_the_truth_for_few_examples_too(num, replicates):
    least = scipy.stats.binom.ppf(FALSE_ALARMS, replicates, 0.95)
    for model in ({"weight": 0.8, "scale": 0.6}, {"weight": 0.3, "scale": 0.5}):
        for quantity, count in held(num, replicates, **model).items():
            assert count >= least, (quantity, model, count / replicates)


def test_fewer_than_ten_examples_give_no_interval_and_say_so():
    estimate = statistics(np.random.default_rng(0).normal(size=(9, LATENT)).astype(np.float32)).mutual_information
    assert estimate.interval == (0, math.inf)
    assert estimate.warning is not None
    assert "too few: 9 examples give no interval. Use at least 10" in estimate.warning


def by_definition(name: str, xs: np.ndarray) -> dict[str, tuple[float, float]]:
    """(lower, upper) of each quantity, from scipy's densities of all posteriors at the z that the keys give."""
    weight, mean, covariance = encoder(name)
    means, scales = xs @ weight.T + mean, np.sqrt(np.diag(covariance))
    noise = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (LATENT,)))(keys(len(xs))), np.float64)
    z = means + noise @ np.linalg.cholesky(covariance).T
    joint = np.stack([normal_log_density(z, m, covariance) for m in means], axis=1)
    marginals = scipy.stats.norm.logpdf(z[:, None], means[None], scales)
    num, prior = len(xs), scipy.stats.norm.logpdf(z).sum(axis=1)
    own = np.diag(joint)
    others = ~np.eye(num, dtype=bool)
    included, included_d = (scipy.special.logsumexp(leaf, axis=1) - math.log(num) for leaf in (joint, marginals))
    left_out = np.stack([scipy.special.logsumexp(joint[i, others[i]]) for i in range(num)]) - math.log(num - 1)
    left_out_d = np.stack(
        [scipy.special.logsumexp(marginals[i, others[i]], axis=0) for i in range(num)]
    ) - math.log(num - 1)  # fmt: skip
    return {
        "mutual_information": ((own - included).mean(), (own - left_out).mean()),
        "marginal_kl": ((left_out - prior).mean(), (included - prior).mean()),
        "total_correlation": ((left_out - included_d.sum(1)).mean(), (included - left_out_d.sum(1)).mean()),
    }


@pytest.mark.parametrize(("name", "chunk_size"), [("ppca", 10), ("linear_gaussian", 19)])
def test_bounds_are_those_of_their_definitions(name, chunk_size):
    """37 examples fill no number of these chunks."""
    oracle, xs = ORACLES[name](), draw(37, 0)
    drawn = evaluation.latent_statistics(oracle.params, keys(37), xs, vae=oracle.vae, chunk_size=chunk_size)
    for quantity, bounds in by_definition(name, xs).items():
        estimate = getattr(drawn, quantity)
        np.testing.assert_allclose((estimate.lower, estimate.upper), bounds, rtol=1e-4, atol=1e-5, err_msg=quantity)


@pytest.mark.parametrize("name", ORACLES)
def test_activity_and_kl_are_those_of_the_marginals(name):
    """By integrals over a grid of z_d; the whole KL by its trace and determinant."""
    oracle, xs = ORACLES[name](), draw(NUM, 0)
    drawn = evaluation.latent_statistics(oracle.params, keys(NUM), xs, vae=oracle.vae)
    weight, mean, covariance = encoder(name)
    means, scales = xs @ weight.T + mean, np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(drawn.activity, np.diag(np.cov(means.T)), rtol=1e-4)

    nodes, masses = scipy.special.roots_hermitenorm(20)
    z = means[..., None] + scales[:, None] * nodes
    log_ratio = scipy.stats.norm.logpdf(z, means[..., None], scales[:, None]) - scipy.stats.norm.logpdf(z)
    kls = log_ratio @ masses / masses.sum()
    np.testing.assert_allclose(drawn.kl_per_dimension, kls.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(drawn.kl_per_dimension_standard_error, scipy.stats.sem(kls), rtol=1e-4)

    kl = ((means**2).sum(axis=1) + np.trace(covariance) - LATENT - np.linalg.slogdet(covariance)[1]) / 2
    assert (drawn.kl, drawn.kl_standard_error) == pytest.approx((kl.mean(), scipy.stats.sem(kl)), rel=1e-4)


def of_means(prior: Any = None, encode: Any = None) -> VAE:
    """q(z|x) = N(x, σ²I), σ the only parameter, of shape [1, d] as a convolution's may be: for σ = 1, KL_d = x_d²/2."""
    return VAE(
        init=lambda key: jnp.ones(()),
        encode=encode or (lambda scale, x: DiagonalNormal(x[None], scale)),
        decode=lambda scale, z: DiagonalNormal(z, scale),
        prior=lambda scale: prior or standard_normal((1, LATENT)),
    )


MEANS = of_means()
ONE = jnp.ones(())


def statistics(xs: Any, *, vae: VAE = MEANS, scale: float = 1.0, **options: Any) -> LatentStatistics:
    return evaluation.latent_statistics(jnp.asarray(scale), keys(len(xs)), xs, vae=vae, **options)


def test_a_dimension_is_collapsed_where_few_examples_have_a_kl_of_epsilon():
    """0, 2, 4 of 100 examples have a KL of 0.5 nats, the others none."""
    xs = np.zeros((100, LATENT), np.float32)
    xs[:2, 1], xs[:4, 2] = 1, 1
    collapsed = lambda **options: statistics(xs, **options).collapsed.tolist()
    assert collapsed() == [True, False, False]
    assert collapsed(delta=0.02) == [True, True, False]
    assert collapsed(delta=0.0, epsilon=0.49) == [True, False, False]
    assert collapsed(delta=0.0, epsilon=0.51) == [True, True, True]


def test_a_unit_is_active_above_the_threshold():
    xs = np.random.default_rng(0).normal(size=(100, LATENT)).astype(np.float32) * np.asarray([1, 0.2, 0.01], np.float32)
    drawn = statistics(xs)
    assert (drawn.active_units, drawn.active.tolist()) == (2, [True, True, False])
    assert statistics(xs, threshold=0.2).active_units == 1
    assert statistics(xs, threshold=0.0).active_units == 3


def test_a_posterior_that_ignores_x_has_no_information_and_no_warning():
    drawn = statistics(np.full((100, LATENT), 0.5, np.float32))
    assert drawn.mutual_information.value == pytest.approx(0, abs=1e-5)
    assert drawn.mutual_information.interval == pytest.approx((0, 0), abs=1e-5)
    assert drawn.total_correlation.value == pytest.approx(0, abs=1e-5)
    assert drawn.mutual_information.warning is None
    assert drawn.total_correlation.warning is None
    assert drawn.marginal_kl.interval[0] <= LATENT * 0.5**2 / 2 <= drawn.marginal_kl.interval[1]


def test_a_saturated_estimate_is_no_number_and_says_why():
    """Posteriors that do not overlap: I(x; z) = −d log s + …, far above log 100, still within the interval."""
    scale = 0.01
    xs = np.random.default_rng(0).normal(size=(100, LATENT)).astype(np.float32)
    drawn = statistics(xs, scale=scale)
    information, total = drawn.mutual_information, drawn.total_correlation
    assert information.lower == pytest.approx(math.log(100), abs=1e-3)
    assert math.isnan(information.value)
    assert math.isnan(information.standard_error)
    assert math.isnan(total.value)
    low, high = information.interval
    truth = LATENT * math.log(1 + scale**-2) / 2
    assert low <= truth <= high
    assert high <= drawn.kl + 3 * drawn.kl_standard_error
    assert total.interval[0] == 0
    assert "saturated: 100 examples show at most log 100 = 4.61 nats" in information.warning
    assert f"{low:.2f} to {high:.2f} nats. Use more examples" in information.warning


def of_terms(mean: float, deviation: float, **options: Any) -> InformationEstimate:
    terms = mean + deviation * np.resize([-1.0, 1.0], 100)
    return bracket(terms - 0.001, terms + 0.001, saturated=False, **options)


def test_a_negative_estimate_is_zero_and_says_so():
    estimate = of_terms(-0.02, 0.1)
    assert (estimate.value, estimate.interval[0]) == (0, 0)
    assert estimate.warning == "negative: -0.02 nats, set to 0; 100 examples do not tell it from 0"
    assert of_terms(0.02, 0.1).warning is None


def test_a_wide_interval_says_so():
    estimate = of_terms(0.6, 1.0)
    assert estimate.warning is not None
    assert estimate.warning.startswith("uncertain: 0.36 to 0.84 nats")
    assert of_terms(6.0, 1.0).warning is None


def test_the_prior_need_not_be_gaussian():
    """A Laplace prior has no closed-form KL: `kl` is the mean of log q(z|x) − log p(z) at the samples."""

    class Laplace:
        def sample(self, key):
            return jax.random.laplace(key, (1, LATENT))

        def log_prob(self, value):
            return jnp.sum(jax.scipy.stats.laplace.logpdf(value))

    xs = np.random.default_rng(0).normal(size=(100, LATENT)).astype(np.float32)
    drawn = statistics(xs, vae=of_means(prior=Laplace()))
    noise = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (LATENT,)))(keys(100)))
    log_ratio = scipy.stats.norm.logpdf(noise) - scipy.stats.laplace.logpdf(xs + noise)
    assert drawn.kl == pytest.approx(log_ratio.sum(axis=1).mean(), rel=1e-4)
    assert drawn.kl_per_dimension is None
    assert drawn.collapsed is None
    assert drawn.reason == "it needs a Gaussian prior"
    assert drawn.mutual_information.interval[0] <= LATENT * math.log(2) / 2 <= drawn.mutual_information.interval[1]


def test_marginals_of_a_full_covariance_prior_are_its_own():
    """q = p for every x: no KL in any dimension, nor in all."""
    tril = jnp.asarray([[2.0, 0, 0], [1, 1, 0], [0.5, -1, 0.5]])
    prior = MultivariateNormal(jnp.asarray([1.0, 0, -1]), tril)
    drawn = statistics(np.ones((100, LATENT), np.float32), vae=of_means(prior=prior, encode=lambda scale, x: prior))
    np.testing.assert_allclose([drawn.kl, *drawn.kl_per_dimension], 0, atol=1e-5)
    assert drawn.active_units == 0


WEIGHTS = np.asarray([0.1, 0.05, 0.0], np.float32)
TRIL = np.asarray([[1.0, 0, 0], [0.7, 0.6, 0], [-0.5, 0.3, 0.8]], np.float32)


@functools.cache
def of_flows() -> list[LatentStatistics]:
    """Of 100 draws of NUM examples x ~ N(0, I) and their keys: q(z|x) = N(diag(w) x, SSᵀ), a flow over [3, 1]."""
    encode = lambda params, x: MultivariateNormal(WEIGHTS * x, jnp.asarray(TRIL))
    gaussian = VAE(lambda key: ONE, encode, lambda params, z: DiagonalNormal(z, ONE), lambda params: standard_normal(3))
    vae = with_flow(gaussian, (3, 1))
    xs = [np.random.default_rng(seed).normal(size=(NUM, LATENT)).astype(np.float32) for seed in range(100)]
    return [evaluation.latent_statistics(ONE, keys(NUM, seed), xs[seed], vae=vae) for seed in range(100)]


def test_the_activity_of_a_flow_is_unbiased():
    """And below the variance of the mean of 64 draws or 32, 1/64 and more: the noise of the draws does not count."""
    activity = np.array([drawn.activity for drawn in of_flows()])
    assert_mean(activity, WEIGHTS.astype(np.float64) ** 2, resolution=0.1)
    assert np.any(activity < 0)


def test_the_kl_of_a_flow_is_unbiased_and_its_error_the_deviation():
    covariance = TRIL.astype(np.float64) @ TRIL.T
    exact = (np.sum(WEIGHTS**2) + np.trace(covariance) - LATENT - np.linalg.slogdet(covariance)[1]) / 2
    kl, error = np.array([(drawn.kl, drawn.kl_standard_error) for drawn in of_flows()]).T
    assert_mean(kl, exact, resolution=0.05)
    assert error.mean() / kl.std(ddof=1) == pytest.approx(1, abs=4 / math.sqrt(2 * 100))


def test_what_needs_the_density_of_a_flow_at_all_examples_is_none_with_the_reason():
    drawn = of_flows()[0]
    assert (drawn.num_draws, drawn.reason) == (64, "it needs a Gaussian q(z|x)")
    missing = {name for name, value in drawn._asdict().items() if value is None}
    assert missing == {"kl_per_dimension", "kl_per_dimension_standard_error", "collapsed", *QUANTITIES}
    assert drawn.active.tolist() == (drawn.activity > 0.01).tolist()


def test_a_gaussian_leaves_nothing_out_and_needs_no_draws():
    drawn = statistics(np.ones((4, LATENT), np.float32))
    assert [name for name, value in drawn._asdict().items() if value is None] == ["num_draws", "reason"]


class Logistic(NamedTuple):
    """Over real numbers; what it knows of itself is a KL."""

    location: jax.Array

    def sample(self, key):
        return self.location + jax.random.logistic(key, self.location.shape)

    def log_prob(self, value):
        return jnp.sum(jax.scipy.stats.logistic.logpdf(value - self.location))


def test_a_closed_form_that_is_registered_takes_the_place_of_draws():
    class Own(Logistic):
        event_shape = (1, LATENT)

    @register_kl(Own, DiagonalNormal)
    def _(q, p):
        return jnp.sum(q.location) + 7

    drawn = statistics(np.ones((4, LATENT), np.float32), vae=of_means(encode=lambda scale, x: Own(x[None])))
    assert (drawn.kl, drawn.kl_standard_error) == (10, 0)


class Count(NamedTuple):
    """Over whole numbers."""

    rate: jax.Array

    def sample(self, key):
        return jax.random.poisson(key, self.rate)

    def log_prob(self, value):
        return jnp.sum(jax.scipy.stats.poisson.logpmf(value, self.rate))


GOOD = np.ones((4, LATENT), np.float32)
TORN = GOOD.copy()
TORN[[1, 3], 0] = math.nan, math.inf


@pytest.mark.parametrize(
    ("xs", "options", "message"),
    [
        (GOOD[:0], {}, "xs must have at least 2 rows, got 0"),
        (GOOD[:1], {}, "xs must have at least 2 rows, got 1"),
        (TORN, {}, r"xs must be finite; 2 of 4 rows are not: 1, 3"),
        ((GOOD, GOOD[:3]), {}, r"xs must have one leading axis, the examples; got lengths \[\(3,\), \(4,\)\]"),
        (GOOD, {"keys": 3}, r"one key for each example: got keys of shape \(3,\) for 4"),
        (GOOD, {"chunk_size": 0}, "chunk_size must be a whole number of at least 1, got 0"),
        (GOOD, {"threshold": -0.1}, "threshold must be at least 0 and finite, got -0.1"),
        (GOOD, {"epsilon": math.nan}, "epsilon must be at least 0 and finite, got nan"),
        (GOOD, {"delta": 1.0}, r"delta must be in \[0, 1\), got 1.0"),
    ],
    ids=["none", "one", "nan", "torn", "keys", "chunk", "threshold", "epsilon", "delta"],
)
def test_bad_examples_and_options_are_refused(xs, options, message):
    drawn = keys(options.pop("keys", 4))
    with pytest.raises(ValueError, match=message):
        evaluation.latent_statistics(ONE, drawn, xs, vae=MEANS, **options)


@pytest.mark.parametrize(
    ("vae", "message"),
    [
        (of_means(encode=lambda scale, x: Count(x[None])), "needs a z that is one array of real.* of Count is .*int32"),
        (of_means(prior=standard_normal(LATENT)), "takes ONE example"),
        (of_means(encode=lambda scale, x: DiagonalNormal(jnp.log(x[None] - 0.5), scale)), "rows are not: 2$"),
    ],
    ids=["count", "batch", "nan"],
)
def test_posteriors_over_whole_numbers_or_not_finite_are_refused(vae, message):
    xs = GOOD.copy()
    xs[2] = 0
    with pytest.raises(ValueError, match=message):
        statistics(xs, vae=vae)


@pytest.mark.usefixtures("no_annotations")
def test_raw_keys_are_refused():
    raw = jax.random.key_data(keys(4))
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        evaluation.latent_statistics(ONE, raw, GOOD, vae=MEANS)
