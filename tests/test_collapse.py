"""The dimensions that pPCA uses, against scikit-learn and numerical optima; the causes of constructed collapses."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn.decomposition import PCA

from tests.fixed_oracles import ppca
from vae_jax import evaluation
from vae_jax.evaluation import CollapseDiagnosis, LatentStatistics, diagnose_collapse, ppca_active_dimensions

LATENT, EVENT, NUM = 3, 5, 400
SPECTRUM = np.asarray([4.0, 2.0, 1.0, 0.3, 0.05])


@functools.cache
def directions() -> np.ndarray:
    """The columns are the eigenvectors of the data's covariance."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(EVENT, EVENT)))[0]


def data(spectrum: np.ndarray = SPECTRUM) -> np.ndarray:
    """NUM examples whose covariance has exactly these eigenvalues, to rounding, and a mean of 3."""
    noise = np.linalg.qr(np.random.default_rng(1).normal(size=(NUM, EVENT + 1)) + np.eye(NUM, EVENT + 1))[0]
    noise = noise - noise.mean(axis=0)
    noise = np.linalg.qr(noise)[0][:, :EVENT] * math.sqrt(NUM)
    return (3 + noise * np.sqrt(spectrum) @ directions().T).astype(np.float32)


@pytest.mark.parametrize(("num", "event"), [(200, (3, 4, 2)), (10, (30,))], ids=["tall", "wide"])
def test_ppca_counts_the_eigenvalues_of_scikit_learn(num, event):
    xs = np.random.default_rng(0).normal(size=(num, *event)).astype(np.float32) + 3
    # Its variances are of the sample, with n − 1.
    eigenvalues = PCA().fit(xs.reshape(num, -1)).explained_variance_ * (num - 1) / num
    distinct = eigenvalues[eigenvalues > 1e-6]
    for count, (above, below) in enumerate(itertools.pairwise(distinct), start=1):
        middle = (above + below) / 2
        assert ppca_active_dimensions(xs, math.sqrt(middle)) == count
        assert ppca_active_dimensions(xs, math.sqrt(middle / 3), beta=3.0) == count


@pytest.mark.parametrize("scale", [0.4, 0.9, 1.2, 1.8, 2.1])
def test_ppca_counts_the_directions_of_the_maximum_likelihood(scale):
    """The rank of the W that maximises Σ log N(x; x̄, WWᵀ + σ²I), found by quasi-Newton steps."""
    covariance = np.cov(data().T, ddof=0)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(EVENT, EVENT)
        model = weight @ weight.T + scale**2 * np.eye(EVENT)
        inverse = np.linalg.inv(model)
        value = (np.linalg.slogdet(model)[1] + np.trace(inverse @ covariance)) / 2
        return value, ((inverse - inverse @ covariance @ inverse) @ weight).ravel()

    start = np.random.default_rng(2).normal(size=EVENT**2)
    optimum = scipy.optimize.minimize(objective, start, jac=True, options={"gtol": 1e-8}).x.reshape(EVENT, EVENT)
    lengths = np.linalg.svd(optimum, compute_uv=False) ** 2
    assert ppca_active_dimensions(data(), scale) == np.sum(lengths > 0.01)


@pytest.mark.parametrize(("scale", "beta"), [(1.0, 0.2), (0.7, 1.0), (0.7, 3.0), (1.0, 3.0), (0.7, 9.0)])
def test_ppca_counts_the_columns_of_the_optimal_linear_beta_vae(scale, beta):
    """(1/2σ²) E‖x − W z‖² + β KL(N(Vx, diag s²) ‖ N(0, I)), over W, V and s, found by quasi-Newton steps."""
    covariance = np.cov(data().T, ddof=0)

    def objective(flat: np.ndarray) -> float:
        weight, encoder = flat[: EVENT * LATENT].reshape(EVENT, LATENT), flat[EVENT * LATENT : -LATENT]
        encoder, log_variance = encoder.reshape(LATENT, EVENT), flat[-LATENT:]
        rest = np.eye(EVENT) - weight @ encoder
        error = np.trace(rest @ covariance @ rest.T) + (weight**2 @ np.exp(log_variance)).sum()
        kl = (np.trace(encoder @ covariance @ encoder.T) + np.sum(np.exp(log_variance) - log_variance - 1)) / 2
        return error / (2 * scale**2) + beta * kl

    start = 0.3 * np.random.default_rng(3).normal(size=2 * EVENT * LATENT + LATENT)
    optimum = scipy.optimize.minimize(objective, start, options={"gtol": 1e-4}).x
    lengths = np.sum(optimum[: EVENT * LATENT].reshape(EVENT, LATENT) ** 2, axis=0)
    assert min(LATENT, ppca_active_dimensions(data(), scale, beta=beta)) == np.sum(lengths > 0.02)


@functools.cache
def trained(scale: float, beta: float = 1.0, spectrum: tuple[float, ...] = tuple(SPECTRUM)) -> LatentStatistics:
    """Of the linear VAE that is optimal at σ and β: columns √(λ − βσ²) U, posterior variances βσ²/λ."""
    eigenvalues, noise = np.asarray(spectrum)[:LATENT], beta * scale**2
    lengths = np.sqrt(np.maximum(eigenvalues - noise, 0))
    columns = directions()[:, :LATENT] * lengths
    variances = noise / (lengths**2 + noise)
    return latents(columns.T * (variances / noise)[:, None], np.sqrt(variances), np.asarray(spectrum))


def latents(encoder: np.ndarray, scales: np.ndarray, spectrum: np.ndarray = SPECTRUM) -> LatentStatistics:
    """Of q(z|x) = N(A(x − 3), diag s²)."""
    q = {"weight": encoder, "mean": -encoder.sum(axis=1) * 3, "log_scale": np.log(scales)}
    oracle = ppca(latent_dim=LATENT, event_dim=EVENT)
    params = {**oracle.params, "encoder": {name: jnp.asarray(leaf, jnp.float32) for name, leaf in q.items()}}
    keys = jax.random.split(jax.random.key(1), NUM)
    return evaluation.latent_statistics(params, keys, data(spectrum), vae=oracle.vae)


def ignoring() -> LatentStatistics:
    """Of the posterior of a decoder that ignores z: the prior."""
    return latents(np.zeros((LATENT, EVENT)), np.ones(LATENT))


def informed(statistics: LatentStatistics, scale: float, **options) -> CollapseDiagnosis:
    return diagnose_collapse(statistics, xs=data(), scale=scale, **options)


def test_nothing_is_diagnosed_where_all_dimensions_are_active():
    diagnosis = informed(trained(0.3), 0.3, annealed=False)
    assert diagnosis == ((), 3, 3, 4, 4, "3 of 3 latent dimensions are active: no collapse.")
    assert str(diagnosis) == diagnosis.explanation


def test_a_large_scale_is_the_cause_where_ppca_uses_as_few():
    diagnosis = informed(trained(1.2), 1.2, annealed=False)
    assert diagnosis[:5] == (("scale",), 3, 2, 2, 2)
    assert str(diagnosis) == (
        "2 of 3 latent dimensions are active: σ too large: at σ = 1.2 and β = 1 pPCA uses 2, and 3 below σ = 1."
    )


def test_a_large_beta_is_the_cause_where_ppca_uses_more_at_beta_1():
    diagnosis = informed(trained(0.6, 9.0), 0.6, beta=9.0, annealed=True)
    assert diagnosis[:5] == (("beta",), 3, 1, 3, 1)
    assert str(diagnosis).endswith(": β too large: at β = 9 pPCA uses 1, at β = 1 3.")


def test_scale_and_beta_are_both_causes_where_each_costs_a_dimension():
    diagnosis = informed(trained(1.2, 2.0), 1.2, beta=2.0, annealed=True)
    assert diagnosis[:5] == (("scale", "beta"), 3, 1, 2, 1)
    assert "at σ = 1.2 and β = 1 pPCA uses 2, and 3 below σ = 1; β too large: at β = 2 pPCA uses 1" in str(diagnosis)


def test_a_small_beta_leaves_the_scale_to_blame():
    diagnosis = informed(trained(2.5, 0.5), 2.5, beta=0.5, annealed=True)
    assert diagnosis[:5] == (("scale",), 3, 1, 0, 1)
    assert "at σ = 2.5 and β = 0.5 pPCA uses 1, and 3 below σ = 1.41." in str(diagnosis)


def test_a_scale_is_judged_at_a_small_beta_of_training():
    """At σ = 1.2 pPCA uses 2 dimensions for β = 1, all 3 for β = 0.5."""
    assert informed(ignoring(), 1.2, beta=0.5, annealed=False).causes == ("optimisation",)


def test_a_limit_that_the_active_units_exceed_is_no_cause():
    assert informed(trained(0.3), 1.2, beta=9.0, annealed=False).causes == ()
    assert informed(trained(1.2), 1.2, beta=9.0, annealed=False).causes == ("scale",)


def test_data_of_few_directions_are_the_cause_whatever_the_scale():
    spectrum = (4.0, 2.0, 0.0, 0.0, 0.0)
    xs = data(np.asarray(spectrum))
    diagnosis = diagnose_collapse(trained(0.1, 1.0, spectrum), xs=xs, scale=0.1, annealed=True)
    assert diagnosis.causes == ("data",)
    assert "the data vary in 2 directions" in str(diagnosis)


def test_optimisation_is_the_cause_where_ppca_uses_more_and_the_kl_was_not_annealed():
    diagnosis = informed(ignoring(), 0.3, annealed=False)
    assert diagnosis[:5] == (("optimisation",), 3, 0, 4, 4)
    assert "3 could be active by pPCA, and the KL was not annealed; try a warm-up" in str(diagnosis)


def test_the_decoder_is_the_cause_where_the_kl_was_annealed_and_z_says_nothing():
    diagnosis = informed(ignoring(), 0.3, annealed=True)
    assert diagnosis.causes == ("decoder",)
    assert "decoder too strong: 3 could be active by pPCA" in str(diagnosis)


def test_a_partial_collapse_that_nothing_explains_is_called_so():
    diagnosis = informed(trained(1.2), 0.3, annealed=True)
    assert diagnosis.causes == ("unexplained",)


def unknown(statistics: LatentStatistics) -> LatentStatistics:
    return statistics._replace(mutual_information=None, reason="it needs a Gaussian q(z|x)")


def test_a_partial_collapse_without_the_information_says_what_is_not_known():
    diagnosis = informed(unknown(trained(1.2)), 0.3, annealed=True)
    assert diagnosis.causes == ("unexplained",)
    assert "or the decoder models x without z: I(x; z) is not known, as it needs a Gaussian q(z|x)." in str(diagnosis)


@pytest.mark.parametrize(("kl", "causes"), [(0.05, ("decoder",)), (0.09, ("unexplained",))])
def test_a_kl_that_leaves_no_information_makes_the_decoder_the_cause(kl, causes):
    """I(x; z) ≤ KL, which is 0.05 or 0.09 nats ± 0.01 here."""
    statistics = unknown(ignoring())._replace(kl=kl, kl_standard_error=0.01)
    diagnosis = informed(statistics, 0.3, annealed=True)
    assert diagnosis.causes == causes
    assert ("I(x; z) is below 0.07 nats" in str(diagnosis)) == (kl == 0.05)


def test_a_large_scale_does_not_hide_a_dimension_that_ppca_uses():
    diagnosis = informed(ignoring(), 1.2, annealed=False)
    assert diagnosis.causes == ("scale", "optimisation")
    assert "2 could be active by pPCA" in str(diagnosis)


@pytest.mark.parametrize(
    ("statistics", "options", "causes"),
    [
        (functools.partial(trained, 0.3), {"beta": 4.0, "annealed": False}, ()),
        (functools.partial(trained, 1.2), {"beta": 4.0, "annealed": True}, ("beta", "unexplained")),
        (ignoring, {"annealed": False}, ("optimisation",)),
        (ignoring, {"annealed": True}, ("decoder",)),
    ],
    ids=["none", "beta", "optimisation", "decoder"],
)
def test_without_a_gaussian_likelihood_ppca_says_nothing(statistics, options, causes):
    diagnosis = diagnose_collapse(statistics(), **options)
    assert diagnosis.causes == causes
    assert diagnosis.ppca_dimensions is diagnosis.ppca_dimensions_at_beta is None
    assert "pPCA" not in str(diagnosis)


NAN = np.where(np.arange(4) == 2, np.nan, 1.0)[:, None]


@pytest.mark.parametrize(
    ("xs", "scale", "beta", "message"),
    [
        (np.ones((0, 2)), 1.0, 1.0, "xs must have at least 2 rows, got 0"),
        (np.ones((1, 2)), 1.0, 1.0, "xs must have at least 2 rows, got 1"),
        (np.ones(()), 1.0, 1.0, "xs must have one leading axis"),
        (NAN, 1.0, 1.0, "xs must be finite; 1 of 4 rows are not: 2"),
        (np.ones((4, 2)), 0.0, 1.0, "scale must be positive and finite, got 0.0"),
        (np.ones((4, 2)), math.inf, 1.0, "scale must be positive and finite, got inf"),
        (np.ones((4, 2)), 1.0, -1.0, "beta must be positive and finite, got -1.0"),
    ],
    ids=["none", "one", "scalar", "nan", "scale", "infinite", "beta"],
)
def test_bad_input_is_refused(xs, scale, beta, message):
    with pytest.raises(ValueError, match=message):
        ppca_active_dimensions(xs, scale, beta=beta)
    with pytest.raises(ValueError, match=message):
        diagnose_collapse(ignoring(), xs=xs, scale=scale, beta=beta, annealed=True)


@pytest.mark.parametrize("given", [{"xs": np.ones((4, 2))}, {"scale": 1.0}], ids=["xs", "scale"])
def test_data_and_scale_go_together(given):
    with pytest.raises(ValueError, match="xs and scale go together"):
        diagnose_collapse(ignoring(), annealed=True, **given)
