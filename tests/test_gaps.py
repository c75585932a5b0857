"""The gaps of inference against linear-Gaussian models, in which the best q of either family has a closed form."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tests.fixed_oracles import linear_gaussian, ppca
from tests.gaussian_flows import with_flow
from tests.statistics_checks import FALSE_ALARMS
from vae_jax import VAE, evaluation
from vae_jax.distributions import Bernoulli, DiagonalNormal, standard_normal
from vae_jax.evaluation import InferenceGaps

ORACLES = {
    "linear": functools.partial(linear_gaussian, 6, latent_dim=3),
    "linear_10": functools.partial(linear_gaussian, 1, latent_dim=10),
    "ppca": ppca,
}
XS = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)
GIVEN_ERROR = 0.5


def keys(num: int, seed: int = 2) -> jax.Array:
    return jax.random.split(jax.random.key(seed), num)


class Exact(NamedTuple):
    """In float64, of each example; the mean and the precision matrix of p(z|x), which is one for all x."""

    log_evidence: np.ndarray
    elbo: np.ndarray
    mean: np.ndarray
    precision: np.ndarray

    @property
    def mean_field_gap(self) -> float:
        """KL of the best diagonal q, which has the precisions' diagonal, to p(z|x): ½ (Σ log Λ_dd − log|Λ|)."""
        return 0.5 * float(np.sum(np.log(np.diag(self.precision))) - np.linalg.slogdet(self.precision)[1])


@functools.cache
def exact(name: str) -> Exact:
    oracle = ORACLES[name]()
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), oracle.params)
        xs = jnp.asarray(XS, jnp.float64)
        of = lambda function: np.asarray([function(params, x) for x in xs])
        posteriors = [oracle.posterior(params, x) for x in xs]
        tril = np.asarray(posteriors[0].scale_tril)
        mean = np.asarray([posterior.mean for posterior in posteriors])
        return Exact(of(oracle.log_evidence), of(oracle.elbo), mean, np.linalg.inv(tril @ tril.T))


QS = ("gaussian", "flow")


@functools.cache
def linear(q: str) -> VAE:
    """With q(z|x) of the full family, as a `MultivariateNormal` or as a flow over z of shape [3, 1]."""
    vae = ORACLES["linear"]().vae
    return vae if q == "gaussian" else with_flow(vae, (3, 1))


def refined(params, q: str, replicates: int = 10, **options) -> InferenceGaps:
    """Of some replicates of every example, from q(z|x) to the best diagonal one."""
    xs = jnp.tile(XS, (replicates, 1))
    options = {"num_steps": 500, "num_samples": 2000} | options
    return evaluation.inference_gaps(params, keys(len(xs)), xs, vae=linear(q), **options)


@functools.cache
def mean_field(q: str) -> InferenceGaps:
    return refined(ORACLES["linear"]().params, q)


def in_a_column(vae: VAE) -> VAE:
    """The VAE of a diagonal q(z|x) of two latents, with z of shape [2, 1]."""

    def encode(params, x):
        q = vae.encode(params, x)
        return DiagonalNormal(q.mean[:, None], q.scale[:, None])

    return VAE(vae.init, encode, lambda params, z: vae.decode(params, z[:, 0]), lambda params: standard_normal((2, 1)))


@functools.cache
def in_the_family(name: str, change=lambda vae: vae) -> tuple[InferenceGaps, Exact]:
    """From q(z|x) to the exact posterior, which is of its family; log p(x) is given, with an error."""
    oracle, family = ORACLES[name](), {"ppca": "diagonal", "linear": "full"}[name]
    value, one = jnp.asarray(exact(name).log_evidence, jnp.float32), jnp.ones(len(XS))
    gaps = evaluation.inference_gaps(
        oracle.params,
        keys(len(XS)),
        XS,
        vae=change(oracle.vae),
        family=family,
        num_samples=2000,
        log_evidence=(value, GIVEN_ERROR * one),
    )
    return gaps, exact(name)


@pytest.mark.parametrize("q", QS)
def test_the_best_diagonal_posterior_is_the_mean_field_optimum(q):
    """The posterior's mean, and the variances 1 / Λ_dd: narrower than its marginals (Bishop 2006, section 10.1.2)."""
    best, answer = mean_field(q).posterior, exact("linear")
    scale = np.diag(answer.precision) ** -0.5
    np.testing.assert_allclose((best.mean - np.tile(answer.mean, (10, 1))) / scale[None], 0, atol=0.05)
    np.testing.assert_allclose(best.scale / scale[None], 1, atol=0.05)


@pytest.mark.parametrize("field", ["approximation_gap", "amortization_gap", "log_evidence", "elbo", "refined_elbo"])
@pytest.mark.parametrize("q", QS)
def test_every_figure_is_exact_within_its_standard_error(field, q):
    """(value − exact) / standard error is N(0, 1) over 30 replicates: in the mean, in the square, and at its worst."""
    gaps, answer = mean_field(q), exact("linear")
    gap = answer.mean_field_gap
    assert gap > 0.05
    value = {
        "approximation_gap": np.full(3, gap),
        "amortization_gap": answer.log_evidence - gap - answer.elbo,
        "log_evidence": answer.log_evidence,
        "elbo": answer.elbo,
        "refined_elbo": answer.log_evidence - gap,
    }[field]
    error = np.asarray(getattr(gaps, f"{field}_standard_error"), np.float64)
    z = (np.asarray(getattr(gaps, field), np.float64) - np.tile(value, 10)) / error
    least = scipy.stats.norm.isf(FALSE_ALARMS / 2)
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARMS, len(z))
    assert abs(z.sum()) < least * np.sqrt(len(z))
    assert low < np.sum(z**2) < high
    assert np.abs(z).max() < scipy.stats.norm.isf(FALSE_ALARMS / (2 * len(z)))


@pytest.mark.parametrize("case", [("ppca",), ("ppca", in_a_column), ("linear",)], ids=["ppca", "column", "linear"])
def test_where_the_posterior_is_in_the_family_the_encoder_alone_has_a_gap(case):
    gaps, answer = in_the_family(*case)
    np.testing.assert_allclose(gaps.approximation_gap, 0, atol=1e-3)
    z = (gaps.amortization_gap - (answer.log_evidence - answer.elbo)) / gaps.amortization_gap_standard_error
    assert np.abs(z).max() < scipy.stats.norm.isf(FALSE_ALARMS / (2 * len(z)))
    np.testing.assert_allclose(gaps.posterior.mean, answer.mean, atol=5e-3)
    np.testing.assert_allclose(gaps.late_improvement, 0, atol=5e-3)


@pytest.mark.parametrize("q", QS)
def test_an_encoder_that_gives_the_best_posterior_has_no_gap(q):
    """Its error is that of a difference of the same samples, far below that of either ELBO."""
    oracle = ORACLES["linear"]()
    params = oracle.with_exact_posterior(oracle.params)
    log_scale = jnp.asarray(-0.5 * np.log(np.diag(exact("linear").precision)), jnp.float32)
    gaps = refined(params | {"encoder": params["encoder"] | {"scale": jnp.diag(log_scale)}}, q, replicates=1)
    np.testing.assert_allclose(gaps.amortization_gap, 0, atol=5e-3)
    assert np.all(gaps.amortization_gap_standard_error < 0.3 * gaps.elbo_standard_error)


def test_an_exact_posterior_of_a_richer_family_has_an_amortisation_gap_below_zero():
    """What the diagonal family costs, with the other sign: log p(x) = L(q) = L(q*) + the mean-field gap."""
    oracle, answer = ORACLES["linear"](), exact("linear")
    gaps = refined(oracle.with_exact_posterior(oracle.params), "flow", replicates=1)
    np.testing.assert_allclose(gaps.elbo, answer.log_evidence, rtol=1e-5)
    z = (gaps.amortization_gap + answer.mean_field_gap) / gaps.amortization_gap_standard_error
    assert np.abs(z).max() < scipy.stats.norm.isf(FALSE_ALARMS / (2 * len(z)))


def test_the_search_from_a_flow_begins_at_the_moments_of_64_draws():
    """Its mean and standard deviations within their errors: σ/√64 and, to first order, σ/√128."""
    oracle = ORACLES["linear"]()
    start = refined(oracle.params, "flow", num_steps=1, learning_rate=1e-9, num_samples=2).posterior
    qs = [oracle.vae.encode(oracle.params, jnp.asarray(x)) for x in XS]
    mean, scale = np.asarray([q.mean for q in qs]), np.linalg.norm(qs[0].scale_tril, axis=1)[None]
    z = 8 * (np.asarray(start.mean) - np.tile(mean, (10, 1))) / scale
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARMS, 30)
    assert np.all((low < np.sum(z**2, axis=0)) & (np.sum(z**2, axis=0) < high))
    squares = 64 * (np.asarray(start.scale) / scale) ** 2
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARMS, 30 * 63)
    assert np.all((low < np.sum(squares, axis=0)) & (np.sum(squares, axis=0) < high))


def test_the_gaps_add_up():
    for gaps in (mean_field("gaussian"), mean_field("flow"), in_the_family("linear")[0]):
        total = gaps.log_evidence - gaps.elbo
        np.testing.assert_allclose(gaps.approximation_gap + gaps.amortization_gap, total, rtol=1e-5, atol=1e-5)


def test_an_evidence_that_is_given_is_used_with_its_error():
    """L(q*) has next to none here, so that of the approximation gap is what was given."""
    gaps, answer = in_the_family("linear")
    np.testing.assert_allclose(gaps.log_evidence, answer.log_evidence, rtol=1e-6)
    np.testing.assert_allclose(gaps.log_evidence_standard_error, GIVEN_ERROR)
    np.testing.assert_allclose(gaps.approximation_gap_standard_error, GIVEN_ERROR, rtol=1e-3)
    assert np.all(gaps.amortization_gap_standard_error < 0.5 * GIVEN_ERROR)


def test_too_few_steps_show():
    """L is still on its way up, and the approximation gap, which is 0, too large."""
    few = evaluation.inference_gaps(
        ppca().params, keys(len(XS)), XS, vae=ppca().vae, family="full", num_steps=10, num_samples=500
    )
    assert np.all(few.late_improvement > 0.05)
    assert np.all(few.approximation_gap > 0.05)


@pytest.mark.proof
@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_with_ten_latents_the_gaps_are_those_of_the_closed_forms(family):
    """log p(x) is given: the weights of the diagonal q* have tails too heavy to estimate it from."""
    oracle = ORACLES["linear_10"]()
    evidence = jax.vmap(functools.partial(oracle.log_evidence, oracle.params))(XS)
    gaps = evaluation.inference_gaps(
        oracle.params,
        keys(len(XS)),
        XS,
        vae=oracle.vae,
        family=family,
        num_steps=5000,
        samples_per_step=64,
        num_samples=100_000,
        log_evidence=(evidence, jnp.zeros(len(XS))),
    )
    gap = exact("linear_10").mean_field_gap if family == "diagonal" else 0.0
    error = np.asarray(gaps.approximation_gap) - gap
    assert np.all(np.abs(error) < 0.01 + 4 * gaps.approximation_gap_standard_error)


KEYS = keys(3)


def bad(keys=KEYS, xs=XS, q=None, **options) -> InferenceGaps:
    vae = ppca().vae
    if q is not None:
        vae = VAE(vae.init, lambda params, x: q, vae.decode, lambda params: q)
    return evaluation.inference_gaps(ppca().params, keys, xs, vae=vae, **options)


class Pair:
    """Over two arrays."""

    def sample(self, key):
        return jax.random.normal(key, (2,)), jnp.zeros(2)

    def log_prob(self, value):
        return -jnp.sum(value[0] ** 2)


class Count:
    """Over whole numbers."""

    def sample(self, key):
        return jax.random.poisson(key, 3.0, (2,))

    def log_prob(self, value):
        return jnp.sum(jax.scipy.stats.poisson.logpmf(value, 3.0))


EVIDENCE = (jnp.zeros(2), jnp.zeros(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "ful"}, "unknown family 'ful'. Did you mean 'full'.* Known: diagonal, full"),
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1, got 0"),
        ({"samples_per_step": 0}, "samples_per_step must be a whole number of at least 1, got 0"),
        ({"num_samples": 1}, "num_samples must be a whole number of at least 2, got 1"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"keys": keys(2)}, r"one key for each example: got keys of shape \(2,\) for 3 examples"),
        ({"xs": np.where([[0], [1], [0]], np.float32(np.inf), XS)}, "xs must be finite; 1 of 3 rows are not: 1"),
        ({"log_evidence": EVIDENCE}, "log_evidence is of 2 examples, but there are 3"),
        ({"q": Pair()}, r"needs a z that is one array of real numbers; a sample of Pair is \(Shape"),
        ({"q": Count()}, "needs a z that is one array of real numbers; a sample of Count is .*int32"),
        ({"q": Bernoulli(jnp.zeros(2))}, "needs a z over all real numbers, .*; Bernoulli is over numbers from 0 to 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_has_no_gaps_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bad(**options)


@pytest.mark.usefixtures("no_annotations")
def test_raw_keys_are_refused():
    raw = jax.random.key_data(keys(3))
    with pytest.raises(TypeError, match="key must be a typed PRNG key"):
        bad(keys=raw)
