"""Terms of a whole batch, against closed forms where the aggregate posterior is Gaussian by construction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import VAE, expressions
from vae_jax.distributions import DiagonalNormal, Mixture, MultivariateNormal, standard_normal
from vae_jax.losses import REGULARIZERS, capacity, dip, mmd, negative_elbo, over_batch, total_correlation

NUM, LATENT = 1500, 2
WEIGHT = np.asarray([[1.0, 0.6], [0.3, 0.9]])
SCALE = np.asarray([0.5, 0.7])
SHIFT = np.asarray([0.4, -0.2])


@functools.cache
def model(posterior=DiagonalNormal) -> VAE:
    """q(z|x) = N(Wx + b, diag(s²)): with x ~ N(0, I) the aggregate posterior is N(b, WWᵀ + diag(s²))."""
    return VAE(
        init=lambda key: {"weight": jnp.asarray(WEIGHT, jnp.float32)},
        encode=lambda params, x: posterior(params["weight"] @ x + SHIFT, jnp.asarray(SCALE, jnp.float32)),
        decode=lambda params, z: DiagonalNormal(z, jnp.asarray(1.0)),
        prior=lambda params: standard_normal(LATENT),
    )


def full(mean, scale):
    return MultivariateNormal(mean, jnp.diag(scale))


COVARIANCE = WEIGHT @ WEIGHT.T + np.diag(SCALE**2)


def batch(seed: int, size: int = NUM):
    """Examples x ~ N(0, I), and the terms of their losses."""
    xs = jax.random.normal(jax.random.key(seed), (size, LATENT))
    keys = jax.random.split(jax.random.key(seed + 100), size)
    return xs, keys


@functools.partial(jax.jit, static_argnames=("vae", "num_samples"))
def _terms(xs, keys, vae, num_samples=1):
    return over_batch(negative_elbo)(vae.init(None), keys, xs, vae=vae, num_samples=num_samples)[1]


def terms_of(xs, keys, vae=None, **options):
    vae = vae or model()
    return _terms(xs, keys, vae, **options)


def estimates(term, number: int = 12) -> np.ndarray:
    """Of independent batches."""
    run = jax.jit(lambda xs, keys: term(terms_of(xs, keys)))
    return np.asarray([run(*batch(seed)) for seed in range(number)])


def assert_mean(values: np.ndarray, exact: float) -> None:
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - exact) < 4 * error, (values.mean(), error, exact)
    assert error < 0.05 * abs(exact)


def test_total_correlation_of_a_gaussian_aggregate():
    exact = 0.5 * (np.log(np.diag(COVARIANCE)).sum() - np.linalg.slogdet(COVARIANCE)[1])
    assert_mean(estimates(total_correlation(1.0, NUM)), exact)


def test_total_correlation_of_one_posterior_for_all_is_zero():
    """Where x says nothing, q(z) = q(z|x) factorises: minibatch-weighted sampling would give (d − 1) log N."""
    vae = VAE(model().init, lambda params, x: standard_normal(LATENT), model().decode, model().prior)
    value = total_correlation(3.0, 10_000)(terms_of(*batch(0, 20), vae=vae, num_samples=3))
    np.testing.assert_allclose(value, 0, atol=1e-4)


def test_total_correlation_knows_its_share_of_the_data():
    """Of M = 2 of N examples far apart, q(z) is q(z|x_i)/N + (N − 1)/N q(z|x_j), and q(z|x_j) = 0 there."""
    xs = jnp.asarray([[0.0, 0.0], [100.0, 100.0]])
    value = total_correlation(1.0, 50)(terms_of(xs, batch(0, 2)[1]))
    np.testing.assert_allclose(value, (LATENT - 1) * np.log(50), rtol=1e-5)


@pytest.mark.parametrize("posterior", [DiagonalNormal, full], ids=["diagonal", "full"])
def test_dip_is_of_the_exact_covariance(posterior):
    xs, keys = batch(0, 30)
    covariance = np.diag(SCALE**2) + np.cov(np.asarray(xs, np.float64) @ WEIGHT.T, rowvar=False, bias=True)
    exact = 2.0 * 2 * covariance[0, 1] ** 2 + 5.0 * ((np.diag(covariance) - 1) ** 2).sum()
    np.testing.assert_allclose(dip(2.0, 5.0)(terms_of(xs, keys, vae=model(posterior))), exact, rtol=1e-4)


def test_dip_tends_to_that_of_a_gaussian_aggregate():
    exact = 2 * COVARIANCE[0, 1] ** 2 + ((np.diag(COVARIANCE) - 1) ** 2).sum()
    assert_mean(estimates(dip(1.0, 1.0)), exact)


def test_mmd_of_two_gaussians():
    """With k = exp(−‖z − y‖²/(2l²)), E k = √(l²ᵈ/|l²I + A + B|) exp(−½ mᵀ(l²I + A + B)⁻¹m) of N(m, A) and N(0, B)."""

    def mean_kernel(shift, covariance):
        matrix = LATENT * np.eye(LATENT) + covariance
        return np.sqrt(LATENT**LATENT / np.linalg.det(matrix)) * np.exp(-0.5 * shift @ np.linalg.solve(matrix, shift))

    zero = np.zeros(LATENT)
    exact = mean_kernel(zero, 2 * COVARIANCE) + mean_kernel(zero, 2 * np.eye(LATENT))
    exact -= 2 * mean_kernel(SHIFT, COVARIANCE + np.eye(LATENT))
    assert_mean(estimates(mmd(2.0, "rbf")), 2.0 * exact)


def test_mmd_by_inverse_quadratics_is_that_of_the_pairs():
    terms = terms_of(*batch(0, 3))
    z, y = np.asarray(terms.z[:, 0], np.float64), np.asarray(terms.z_prior, np.float64)
    kernel = lambda a, b: 1 / (1 + ((a - b) ** 2).sum() / (2 * LATENT))
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    exact = np.mean([kernel(z[i], z[j]) + kernel(y[i], y[j]) - 2 * kernel(z[i], y[j]) for i, j in pairs])
    np.testing.assert_allclose(mmd(1.0)(terms), exact, rtol=1e-4, atol=1e-6)


def test_samples_of_the_prior_are_those_of_no_posterior():
    terms = terms_of(*batch(0))
    for first in range(LATENT):
        for second in range(LATENT):
            correlation = np.corrcoef(terms.z_prior[:, first], terms.z[:, 0, second])[0, 1]
            assert abs(correlation) < 4 / np.sqrt(NUM)
    assert abs(np.var(terms.z_prior) - 1) < 4 * np.sqrt(2 / terms.z_prior.size)


@pytest.mark.parametrize(("reparameterized", "moves"), [(True, True), (False, False)])
def test_a_prior_learns_from_mmd_where_its_samples_have_a_whole_gradient(reparameterized, moves):
    """A sample of a mixture has none with respect to the weights, and half a gradient would be a wrong one."""
    components = jax.vmap(DiagonalNormal)(jnp.zeros((2, LATENT)), jnp.ones((2, LATENT)))

    def prior(params):
        return DiagonalNormal(params["mean"], jnp.ones(LATENT)) if reparameterized else shifted(params["mean"])

    def shifted(mean):
        return Mixture(DiagonalNormal(components.mean + mean[None], components.scale))

    of = model()
    vae = VAE(of.init, of.encode, of.decode, prior)
    xs, keys = batch(0, 5)

    def value(mean):
        params = {"weight": jnp.asarray(WEIGHT, jnp.float32), "mean": mean}
        return mmd(1.0)(over_batch(negative_elbo)(params, keys, xs, vae=vae, kl="monte_carlo")[1])

    gradient = jax.jit(jax.grad(value))(jnp.zeros(LATENT))
    assert (np.abs(gradient).max() > 1e-3) == moves


@pytest.mark.parametrize("beta", [0.25, 1.0])
def test_capacity_draws_the_mean_kl_to_its_share(beta):
    terms = terms_of(*batch(0, 10))
    expected = -np.mean(terms.reconstruction) + 30.0 * abs(np.mean(terms.kl) - beta * 4.0)
    np.testing.assert_allclose(capacity(30.0, 4.0, beta=beta)(terms), expected, rtol=1e-5)
    assert capacity(30.0, 4.0).replaces


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("total_correlation(inf, 5)", "weight must be finite"),
        ("dip(-1, 2)", "weights must be at least 0"),
        ("mmd(1, kernel=linear)", "unknown kernel 'linear'"),
        ("capacity(1, -2)", "gamma and target must be at least 0"),
    ],
)
def test_weights_without_meaning_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        expressions.make(text, REGULARIZERS, beta=1.0)


def test_what_a_posterior_has_not_is_refused_by_name():
    xs, keys = batch(0, 4)
    terms = terms_of(xs, keys)
    with pytest.raises(ValueError, match=r"posterior that factorises, as diagonal does; q\(z\|x\) is a Multivariate"):
        total_correlation(1.0, 4)(terms_of(xs, batch(1, 4)[1], vae=model(full)))
    foreign = terms._replace(posterior=None)
    with pytest.raises(ValueError, match=r"dip needs the mean and the covariance of .* it is no pytree"):
        dip(1.0, 1.0)(foreign)
    with pytest.raises(ValueError, match="a batch has from 2 to num_examples=3 examples, and this one 4"):
        total_correlation(1.0, 3)(terms)
    with pytest.raises(ValueError, match="mmd needs a batch of at least two"):
        mmd(1.0)(terms._replace(z=terms.z[:1]))
    with pytest.raises(ValueError, match="mmd needs a z that is one array of real numbers"):
        mmd(1.0)(foreign._replace(z=jnp.zeros((4, 1, 2), jnp.int32)))
