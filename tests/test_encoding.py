"""What a trained model makes of examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import LowRankMultivariateNormal

from tests.jaxpr_equations import products
from vae_jax import VAE, distributions, evaluation, networks, oracles
from vae_jax.distributions import DiagonalNormal, Joint, Masked, MultivariateNormal


def keys(number: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), number)


@pytest.fixture(scope="module")
def oracle():
    return oracles.linear_gaussian(jax.random.key(0), latent_dim=3, event_dim=5)


@pytest.fixture(scope="module")
def xs():
    return jax.random.normal(jax.random.key(1), (7, 5))


def test_mean_and_scale_are_those_that_q_states(oracle, xs):
    found = evaluation.encode(oracle.params, keys(7), xs, vae=oracle.vae)
    exact = [oracle.vae.encode(oracle.params, x) for x in xs]
    covariances = [q.scale_tril @ q.scale_tril.T if hasattr(q, "scale_tril") else jnp.diag(q.scale**2) for q in exact]
    assert found.num_draws is None
    np.testing.assert_allclose(found.mean, [q.mean for q in exact], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scale, [jnp.sqrt(jnp.diag(c)) for c in covariances], rtol=1e-5)


class Foreign:
    """A correlated Gaussian that says nothing of its moments."""

    def __init__(self, q: MultivariateNormal) -> None:
        self._q, self.event_shape = q, q.mean.shape

    def sample(self, key):
        return self._q.sample(key)

    def log_prob(self, value):
        return self._q.log_prob(value)


def with_posterior(oracle, make) -> VAE:
    def encode(params, x):
        mean = jnp.arange(3.0) + 1000 * x[:1]
        return make(mean, jnp.array([[1.0, 0, 0], [0.5, 2, 0], [0, 0.1, 0.01]]))

    return VAE(oracle.vae.init, encode, oracle.vae.decode, oracle.vae.prior)


def test_a_q_that_states_neither_is_described_by_its_draws(oracle, xs):
    """Also where its mean is much larger than its scale, and without bias of its variance."""
    vae = with_posterior(oracle, lambda mean, tril: Foreign(MultivariateNormal(mean, tril)))
    number, num_draws = 400, 4
    many = jnp.resize(xs, (number, 5))
    found = evaluation.encode(oracle.params, keys(number), many, vae=vae, num_draws=num_draws)
    mean, scale = np.arange(3.0) + 1000 * np.asarray(many)[:, :1], np.sqrt([1.0, 4.25, 0.0101])
    assert found.num_draws == num_draws
    assert np.abs((np.asarray(found.mean) - mean) / scale * np.sqrt(num_draws)).max() < 4.5
    # 2e-3 of rounding, of numbers near 1000 with a scale of 0.1
    variance = np.mean(np.asarray(found.scale) ** 2, axis=0) / scale**2
    assert np.abs(variance - 1).max() < 4.5 * np.sqrt(2 / (num_draws - 1) / number) + 2e-3


def test_a_numpyro_posterior_states_mean_and_variance(oracle, xs):
    vae = with_posterior(oracle, lambda mean, tril: LowRankMultivariateNormal(mean, tril, jnp.ones(3)))
    found = evaluation.encode(oracle.params, keys(7), xs, vae=vae)
    assert found.num_draws is None
    np.testing.assert_allclose(found.scale, np.tile(np.sqrt([2.0, 5.25, 1.0101]), (7, 1)), rtol=1e-5)


def test_a_reconstruction_is_the_mean_of_p_at_the_mean_of_q(oracle, xs):
    found = evaluation.reconstruct(oracle.params, keys(7), xs, vae=oracle.vae)
    exact = [oracle.vae.decode(oracle.params, oracle.vae.encode(oracle.params, x).mean).mean for x in xs]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


def test_encode_decode_and_reconstruct_agree_to_the_bit_also_by_draws(oracle, xs):
    vae = with_posterior(oracle, lambda mean, tril: Foreign(MultivariateNormal(mean, tril)))
    z = evaluation.encode(oracle.params, keys(7), xs, vae=vae, num_draws=8, chunk_size=4).mean
    decoded = jax.jit(jax.vmap(lambda z: vae.decode(oracle.params, z).mean))
    in_blocks = [decoded(block)[:7] for block in (z[:4], z[jnp.array([4, 5, 6, 6])])]
    found = evaluation.reconstruct(oracle.params, keys(7), xs, vae=vae, num_draws=8, chunk_size=4)
    np.testing.assert_array_equal(found, np.concatenate(in_blocks)[:7])


@pytest.fixture(scope="module")
def network():
    vae = networks.mlp(event_shape=(9,), latent_dim=4, hidden=(33, 17), likelihood="normal(learn=shared)")
    return vae, vae.init(jax.random.key(2))


@pytest.mark.parametrize("number", [1, 300])
def test_an_example_is_to_the_bit_the_same_whatever_stands_beside_it(network, number):
    vae, params = network
    xs = jax.random.normal(jax.random.key(3), (500, 9))
    for function in (evaluation.encode, evaluation.reconstruct, evaluation.predict):
        whole, some = (
            jax.tree.leaves(function(params, keys(500)[:n], xs[:n], vae=vae, chunk_size=64)) for n in (500, number)
        )
        for all_of_it, part in zip(whole, some, strict=True):
            if np.ndim(part):
                np.testing.assert_array_equal(all_of_it[:number], part)


def a_table() -> VAE:
    """z is the first column, and p(x|z) puts 0.6 on class 2 of three, and 0.7 on level 1 of two."""
    parts = lambda z: Joint(
        {
            "number": DiagonalNormal(2 * z[0], jnp.ones(())),
            "class": distributions.Categorical(jnp.log(jnp.array([0.3, 0.1, 0.6]))),
            "level": distributions.Ordinal(jnp.zeros(()), jnp.array([jnp.log(0.3 / 0.7)])),
        }
    )
    number = lambda x: x["number"].value if isinstance(x["number"], Masked) else x["number"]
    return VAE(
        init=lambda key: {},
        encode=lambda params, x: DiagonalNormal(number(x)[None], jnp.full(1, 0.5)),
        decode=lambda params, z: parts(z),
        prior=lambda params: DiagonalNormal(jnp.zeros(1), jnp.ones(1)),
    )


def rows(number: int) -> dict:
    return {
        "number": jnp.linspace(-1, 1, number),
        "class": jnp.zeros(number, jnp.int32),
        "level": jnp.zeros(number, jnp.int32),
    }


@pytest.mark.parametrize("masked", [False, True])
def test_a_table_is_reconstructed_by_means_and_most_probable_classes(masked):
    xs = rows(5)
    xs = {name: Masked(of, jnp.ones(5, bool)) for name, of in xs.items()} if masked else xs
    found = evaluation.reconstruct({}, keys(5), xs, vae=a_table())
    np.testing.assert_allclose(found["number"], 2 * np.linspace(-1, 1, 5), atol=1e-6)
    assert found["class"].tolist() == [2] * 5
    assert found["level"].tolist() == [1] * 5
    assert found["class"].dtype == jnp.int32


class Silent:
    """A function of a key that says nothing of its mean."""

    def __init__(self, sample) -> None:
        self.sample, self.log_prob = sample, lambda value: jnp.zeros(())


def test_a_reconstruction_without_a_stated_mean_is_that_of_draws_of_their_own():
    """Whole numbers too, and no draw of one column, or of z, is that of another."""
    number, num_draws = 400, 10
    vae = VAE(
        init=lambda key: {},
        encode=lambda params, x: Foreign(MultivariateNormal(jnp.zeros(1), jnp.eye(1))),
        decode=lambda params, z: Joint(
            {
                "a": Silent(lambda key: z[0] + jax.random.normal(key, (1,))[0]),
                "b": Silent(lambda key: jax.random.normal(key, (1,))[0]),
                "c": Silent(lambda key: jax.random.bernoulli(key, 0.5).astype(jnp.int32)),
            }
        ),
        prior=lambda params: DiagonalNormal(jnp.zeros(1), jnp.ones(1)),
    )
    xs = {"a": jnp.zeros(number), "b": jnp.zeros(number), "c": jnp.zeros(number, jnp.int32)}
    z = evaluation.encode({}, keys(number), xs, vae=vae, num_draws=num_draws).mean[:, 0]
    found = evaluation.reconstruct({}, keys(number), xs, vae=vae, num_draws=num_draws)
    parts = np.array([z, found["a"] - z, found["b"], 2 * found["c"] - 1]) * np.sqrt(num_draws)
    assert np.abs(parts.mean(axis=1)).max() < 4.5 / np.sqrt(number)
    assert np.abs(np.cov(parts) - np.eye(4)).max() < 4.5 * np.sqrt(2 / number)


def test_a_prediction_is_drawn_from_p_at_a_draw_of_q():
    found = evaluation.predict(
        {}, keys(4000), jax.tree.map(lambda of: of[jnp.zeros(4000, int)], rows(5)), vae=a_table()
    )
    assert abs(np.mean(found["number"]) + 2) < 4 * np.sqrt(2 / 4000)
    assert abs(np.std(found["number"]) / np.sqrt(2) - 1) < 4 / np.sqrt(8000)
    assert np.abs(np.bincount(found["class"]) / 4000 - [0.3, 0.1, 0.6]).max() < 4 * np.sqrt(0.25 / 4000)


def test_c_is_given_to_the_encoder_and_the_decoder():
    base = a_table()
    vae = VAE(
        base.init,
        lambda params, x, c: DiagonalNormal(x + c, jnp.full(1, 0.5)),
        lambda params, z, c: DiagonalNormal(z * c, jnp.ones(1)),
        lambda params, c: base.prior(params),
        given=lambda example: example,
    )
    xs, cs = jnp.arange(3.0)[:, None], jnp.array([[1.0], [2.0], [4.0]])
    np.testing.assert_allclose(evaluation.encode({}, keys(3), (xs, cs), vae=vae).mean[:, 0], [1, 3, 6])
    np.testing.assert_allclose(evaluation.reconstruct({}, keys(3), (xs, cs), vae=vae)[:, 0], [1, 6, 24])


@pytest.mark.parametrize("function", [evaluation.encode, evaluation.reconstruct, evaluation.predict])
def test_bad_examples_are_refused(function):
    xs, vae = rows(3), a_table()
    with pytest.raises(ValueError, match=r"one key for each example: got keys of shape \(2,\) for 3"):
        function({}, keys(2), xs, vae=vae)
    with pytest.raises(ValueError, match=r"chunk_size must be.* 1"):
        function({}, keys(3), xs, vae=vae, chunk_size=0)
    with pytest.raises(ValueError, match="outside"):
        function({}, keys(3), xs | {"class": jnp.full(3, 3)}, vae=vae)


def test_a_z_of_whole_numbers_has_no_mean_to_be_encoded_as(oracle, xs):
    q = Silent(lambda key: jax.random.bernoulli(key, 0.5, (3,)).astype(jnp.int32))
    vae = VAE(
        oracle.vae.init,
        lambda params, x: q,
        lambda params, z: DiagonalNormal(jnp.zeros(5), jnp.ones(5)),
        oracle.vae.prior,
    )
    with pytest.raises(ValueError, match="encode needs a z that is one array of real numbers"):
        evaluation.encode(oracle.params, keys(7), xs, vae=vae)


@pytest.mark.parametrize("function", [evaluation.encode, evaluation.reconstruct, evaluation.predict, evaluation.score])
def test_an_accelerator_computes_products_in_full(network, function):
    """Whose default has ten bits."""
    vae, params = network
    with jax.default_matmul_precision("default"):
        found = products(lambda xs: jax.tree.leaves(function(params, keys(2), xs, vae=vae)), jnp.zeros((2, 9)))
    assert found
    assert {str(precision) for product, _ in found for precision in product.params["precision"]} == {"HIGHEST"}


@pytest.mark.parametrize("function", [evaluation.encode, evaluation.reconstruct])
def test_one_draw_has_no_spread_and_is_refused(function, oracle, xs):
    with pytest.raises(ValueError, match=r"num_draws must be.* 2"):
        function(oracle.params, keys(7), xs, vae=oracle.vae, num_draws=1)
