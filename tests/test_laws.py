"""The laws of `vae_jax.testing` on every part, and each law on a part that breaks it."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.written_parts import EDGES, OF_ELEMENTS, written
from vae_jax import expressions, networks, testing
from vae_jax.distributions import DiagonalNormal, Laplace, Masked, Poisson, standard_normal
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.networks.bodies import BODIES
from vae_jax.parts import Event, Latent
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS

LATENT, EVENT = (3,), (2,)


def key():
    return jax.random.key(0)


def moved(tree, rng: np.random.Generator, spread: float):
    """A pytree of arrays, away from where it is."""
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(spread * rng.normal(size=leaf.shape), leaf.dtype), tree)


def numbers_of(family, shape: tuple[int, ...], rng: np.random.Generator, spread: float):
    """Numbers of a network, and own parameters."""
    zeros = jax.tree.map(jnp.zeros, family.outputs(shape), is_leaf=lambda node: isinstance(node, tuple))
    return moved({"own": family.init(key(), shape), "numbers": zeros}, rng, spread)


def member(family, shape: tuple[int, ...]):
    return lambda given: family.build(given["own"], given["numbers"], shape, None)


# The same at every run, and no more than pays: shapes stay, so that nothing compiles twice.
drawn = hypothesis.settings(max_examples=4, derandomize=True, deadline=None, database=None)
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("name", OF_ELEMENTS)
@drawn
@hypothesis.given(seed=seeds, spread=st.sampled_from([0.3, 1.0]))
def test_a_likelihood_is_a_density_that_its_samples_follow(name, seed, spread):
    family = expressions.make(written(name), LIKELIHOODS)
    p = member(family, (1,))(numbers_of(family, (1,), np.random.default_rng(seed), spread))
    testing.check_density(p, jax.random.key(seed))


@pytest.mark.parametrize("name", OF_ELEMENTS)
@drawn
@hypothesis.given(seed=seeds, spread=st.sampled_from([1.0, 10.0, 60.0]))
def test_a_likelihood_is_finite_with_a_finite_gradient_at_any_numbers(name, seed, spread):
    family = expressions.make(written(name), LIKELIHOODS)
    testing.check_finite(
        member(family, EVENT), numbers_of(family, EVENT, np.random.default_rng(seed), spread), jnp.asarray(EDGES[name])
    )


@pytest.mark.parametrize("name", OF_ELEMENTS)
def test_a_likelihood_of_a_masked_value_is_that_of_its_observed_elements(name):
    family = expressions.make(written(name), LIKELIHOODS)
    given = numbers_of(family, EVENT, np.random.default_rng(0), 1.0)
    testing.check_masked(member(family, EVENT), given, jnp.asarray(EDGES[name]))


@pytest.mark.parametrize("name", POSTERIORS.parts)
def test_a_posterior_is_a_density_with_the_gradient_of_its_samples(name):
    family, rng = expressions.make(written(name), POSTERIORS), np.random.default_rng(0)
    given = numbers_of(family, LATENT, rng, 0.5)
    q = member(family, LATENT)(given)
    testing.check_reparameterization(q, jax.random.key(1))
    testing.check_sampled_density(q, jax.random.key(2))
    testing.check_pathwise_gradient(member(family, LATENT), given, jax.random.key(3))


@pytest.mark.parametrize("name", ["diagonal", "full"])
@drawn
@hypothesis.given(seed=seeds, spread=st.sampled_from([0.3, 1.0]))
def test_a_kl_in_closed_form_is_that_of_the_samples(name, seed, spread):
    family, rng = expressions.make(name, POSTERIORS), np.random.default_rng(seed)
    q = member(family, LATENT)(numbers_of(family, LATENT, rng, spread))
    p = DiagonalNormal(
        jnp.asarray(rng.normal(size=LATENT), float), jnp.exp(jnp.asarray(rng.normal(size=LATENT), float))
    )
    testing.check_kl(q, p, jax.random.key(seed))


def prior_of(name: str, shape: tuple[int, ...], seed: int):
    prior, rng = expressions.make(written(name), PRIORS), np.random.default_rng(seed)
    latent = Latent(shape, jnp.dtype(jnp.float32))
    own = moved(prior.init(key(), latent, Event((4,))), rng, 0.5)
    encode = lambda x: DiagonalNormal(2 * x[: shape[0]], jnp.exp(0.5 * x[-shape[0] :]))
    return prior.build(own, latent, Event((4,)), encode)


@pytest.mark.parametrize("name", PRIORS.parts)
@drawn
@hypothesis.given(seed=seeds)
def test_a_prior_is_a_density_that_its_samples_follow(name, seed):
    testing.check_sampled_density(prior_of(name, (2,), seed), jax.random.key(seed))


OF_ALL = [(POSTERIORS, name) for name in POSTERIORS.parts] + [(LIKELIHOODS, name) for name in OF_ELEMENTS]


@pytest.mark.parametrize(("role", "name"), OF_ALL, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_family_is_the_same_under_jit_and_vmap(role, name):
    family = expressions.make(written(name), role)
    member_of = member(family, (2,))(numbers_of(family, (2,), np.random.default_rng(3), 0.5))
    testing.check_transformations(member_of, jax.random.key(4))


@pytest.mark.parametrize("name", BODIES.parts)
def test_a_body_treats_examples_independently(name):
    vae = networks.assemble(encoder=written(name), event_shape=(6, 5, 1), latent_shape=2)
    xs = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 6, 5, 1)), float)

    @jax.jit
    def decoded(key, xs):
        params = vae.init(key)
        q = jax.vmap(lambda x: vae.encode(params, x))(xs)
        return q.mean, jax.vmap(lambda z: vae.decode(params, z))(q.mean).logits

    testing.check_independence(lambda xs: decoded(key(), xs), xs)


ONE = jnp.ones(1)


class NoNormaliser(Laplace):
    def log_prob(self, value):
        return super().log_prob(value) + jnp.log(2.0)


class OtherSamples(Poisson):
    def sample(self, key):
        return super().sample(key) + 1


class StoppedScale(DiagonalNormal):
    def sample(self, key):
        return self.mean + jax.lax.stop_gradient(self.scale) * self.noise(key)


class WrongVariance(DiagonalNormal):
    def log_prob(self, value):
        return DiagonalNormal(self.mean, self.scale * 1.2).log_prob(value)


class RootOfASquare(Laplace):
    def log_prob(self, value):
        return -jnp.sum(jnp.sqrt((value - self.location) ** 2) / self.scale + jnp.log(2 * self.scale))


class OtherUnderTrace(DiagonalNormal):
    def log_prob(self, value):
        return super().log_prob(value) + isinstance(jnp.asarray(value), jax.core.Tracer)


class AllOfTheScales(DiagonalNormal):
    def log_prob(self, value):
        if not isinstance(value, Masked):
            return super().log_prob(value)
        return super().log_prob(value) + jnp.sum(jnp.where(value.observed, 0, -jnp.log(self.scale)))


class MaskedTwice(DiagonalNormal):
    def log_prob(self, value):
        return super().log_prob(value) * (2 if isinstance(value, Masked) else 1)


class MaskedTooLate(DiagonalNormal):
    def log_prob(self, value):
        if not isinstance(value, Masked):
            return super().log_prob(value)
        return jnp.sum(jnp.where(value.observed, self.log_prob_per_element(value.value), 0))


def check_mask_of(distribution):
    make = lambda at: distribution(at["mean"], at["scale"])
    testing.check_masked(make, {"mean": np.zeros(3, np.float32), "scale": np.full(3, 0.5, np.float32)}, np.ones(3))


BROKEN = {
    "adds up to": lambda: testing.check_density(NoNormaliser(0 * ONE, ONE), key()),
    "samples do not follow": lambda: testing.check_density(OtherSamples(3 * ONE), key()),
    r"the mean of r\(z\)/p\(z\) is": lambda: testing.check_sampled_density(WrongVariance(0 * ONE, ONE), key()),
    r"with respect to \['scale'\] differs": lambda: testing.check_pathwise_gradient(
        lambda at: StoppedScale(at["mean"], at["scale"]), {"mean": 0.3 * ONE, "scale": 0.7 * ONE}, key()
    ),
    r"KL\(DiagonalNormal ‖ DiagonalNormal\)": lambda: testing.check_kl(
        DiagonalNormal(0 * ONE, ONE), DiagonalNormal(ONE, ONE), key(), kl=lambda q, p: 0.4
    ),
    "the gradient with respect to  is": lambda: testing.check_finite(
        lambda location: RootOfASquare(location, ONE), ONE, ONE
    ),
    "log_prob is -inf": lambda: testing.check_finite(lambda at: Laplace(at, 1e-30 * ONE), 1e30 * ONE, ONE),
    "log_prob under jit": lambda: testing.check_transformations(OtherUnderTrace(0 * ONE, ONE), key()),
    "with all elements observed log_prob is": lambda: check_mask_of(MaskedTwice),
    "the observed elements' alone add up to": lambda: check_mask_of(AllOfTheScales),
    "with nan under the mask": lambda: check_mask_of(MaskedTooLate),
    "depends on the other examples": lambda: testing.check_independence(
        lambda xs: xs - jnp.mean(xs, axis=0, keepdims=True), jnp.arange(6.0).reshape(3, 2)
    ),
}


@pytest.mark.parametrize("message", BROKEN)
@jax.debug_key_reuse(False)
def test_a_law_finds_what_breaks_it(message):
    with pytest.raises(AssertionError, match=message):
        BROKEN[message]()


def test_a_foreign_distribution_obeys_the_laws():
    """NumPyro's, which state their supports in another way."""
    import numpyro.distributions

    normal = numpyro.distributions.Normal(jnp.asarray([0.5, -1.0]), jnp.asarray([0.3, 2.0])).to_event(1)
    testing.check_sampled_density(normal, jax.random.key(5))
    testing.check_kl(
        normal, standard_normal(2), jax.random.key(6), kl=lambda q, p: 0.5 * (0.09 + 4 + 0.25 + 1 - 2) - np.log(0.6)
    )
