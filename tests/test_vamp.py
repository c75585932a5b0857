"""The VampPrior: its density, where its pseudo-inputs begin, and what they cost."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.bound_parts import TOLD, loss_of
from tests.jaxpr_equations import products
from tests.statistics_checks import FALSE_ALARMS, normal_log_density
from vae_jax import VAE, evaluation, losses, networks, priors
from vae_jax.distributions import Mixture
from vae_jax.networks import bodies

EVENT, LATENT, HIDDEN, NUMBER = 7, 2, 11, 5
XS = np.random.default_rng(0).uniform(size=(40, EVENT)).astype(np.float32)


def build(prior: Any = f"vamp({NUMBER})", **options: Any) -> VAE:
    """The encoder's hidden layer has a width that no other array has."""
    parts = {"encoder": bodies.mlp(HIDDEN), "decoder": bodies.mlp(3), "event_shape": EVENT, "latent_shape": LATENT}
    return networks.assemble(**parts, prior=prior, **{"examples": XS} | options)


def drawn(vae: VAE, seed: int = 1) -> Any:
    """Parameters of random numbers, but for the pseudo-inputs, which are where they begin."""
    rng, shapes = np.random.default_rng(seed), jax.eval_shape(vae.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.7, size=leaf.shape), jnp.float32), shapes)
    return params | {"prior": {"pseudo_inputs": jnp.asarray(XS[: len(params["prior"]["pseudo_inputs"])])}}


@functools.cache
def usual() -> tuple[VAE, Any]:
    vae = build()
    return vae, drawn(vae)


def started(prior: Any = f"vamp({NUMBER})", seed: int = 0, **options: Any) -> np.ndarray:
    """The pseudo-inputs that `init` returns."""
    vae = build(prior, **options)
    return np.asarray(jax.jit(lambda key: vae.init(key)["prior"]["pseudo_inputs"])(jax.random.key(seed)))


class TestDensity:
    """log p(z) = log (1/K) Σ_k q(z|u_k)."""

    Z = np.array([0.3, -1.1], np.float32)

    def found(self, vae: VAE, params: Any) -> tuple[Any, Any]:
        """log p(z), and the q(z|u_k)."""
        compute = lambda params, z: (
            vae.prior(params).log_prob(z),
            jax.vmap(lambda u: vae.encode(params, u))(params["prior"]["pseudo_inputs"]),
        )
        return jax.jit(compute)(params, jnp.asarray(self.Z))

    def test_is_that_of_the_mixture_of_the_encoders_gaussians(self):
        vae, params = usual()
        value, qs = self.found(vae, params)
        means, scales = (np.asarray(leaf, np.float64) for leaf in (qs.mean, qs.scale))
        assert np.ptp(means, axis=0).min() > 0.1
        of_each = scipy.stats.norm.logpdf(self.Z, means, scales).sum(axis=1)
        np.testing.assert_allclose(value, scipy.special.logsumexp(of_each) - math.log(NUMBER), rtol=1e-5)

    def test_with_full_covariances_too(self):
        vae = build(posterior="full")
        value, qs = self.found(vae, drawn(vae))
        covariances = [tril @ tril.T for tril in np.asarray(qs.scale_tril, np.float64)]
        assert min(abs(covariance[0, 1]) for covariance in covariances) > 0.01
        means = np.asarray(qs.mean, np.float64)
        of_each = [normal_log_density(self.Z, *gaussian) for gaussian in zip(means, covariances, strict=True)]
        np.testing.assert_allclose(value, scipy.special.logsumexp(of_each) - math.log(NUMBER), rtol=1e-5)


def test_with_all_examples_as_pseudo_inputs_the_prior_is_the_aggregate_posterior():
    """Then KL(q(z) ‖ p(z)) = 0, and the KL of the examples is their mutual information with z."""
    vae = build(f"vamp({len(XS)})")
    keys = jax.random.split(jax.random.key(3), len(XS))
    found = evaluation.latent_statistics(drawn(vae), keys, XS, vae=vae, chunk_size=len(XS))
    assert found.kl > 0.3
    np.testing.assert_allclose(found.marginal_kl.upper, 0, atol=1e-5)
    assert found.marginal_kl.interval[0] == 0
    np.testing.assert_allclose(found.mutual_information.lower, found.kl, rtol=1e-4)


class TestStart:
    """Where the pseudo-inputs begin."""

    def test_at_examples_of_the_data_each_at_another(self):
        found = started()
        rows = [np.flatnonzero((u == XS).all(axis=1)) for u in found]
        assert [len(row) for row in rows] == [1] * NUMBER
        assert len(set(np.concatenate(rows))) == NUMBER

    def test_at_others_for_another_key(self):
        assert not np.array_equal(started(seed=0), started(seed=1))

    def test_at_all_examples_where_there_are_just_enough(self):
        found = started(examples=XS[:NUMBER])
        np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(XS[:NUMBER], axis=0))

    def test_whole_numbers_are_kept_as_they_are(self):
        counts = np.arange(NUMBER * EVENT, dtype=np.int32).reshape(NUMBER, EVENT)
        vae = build(examples=counts)
        params = vae.init(jax.random.key(0))
        assert "prior" not in params
        expected = Mixture(jax.vmap(lambda u: vae.encode(params, u))(jnp.asarray(counts)))
        z = jnp.array([0.3, -1.0])[: vae.prior(params).event_shape[0]]
        np.testing.assert_allclose(vae.prior(params).log_prob(z), expected.log_prob(z), rtol=1e-6)

    def test_without_examples_uniformly_in_the_unit_interval(self):
        found = started(priors.vamp(200), examples=None)
        assert found.shape == (200, EVENT)
        assert scipy.stats.kstest(found.ravel(), "uniform").pvalue > FALSE_ALARMS

    def test_fewer_examples_than_pseudo_inputs_are_refused(self):
        with pytest.raises(ValueError, match=r"vamp\(5\) begins at 5 examples of the data, and there are 4"):
            build(examples=XS[:4])

    @pytest.mark.parametrize("examples", [XS[:, :-1], XS[0], XS[:, :, None]], ids=lambda xs: str(xs.shape))
    def test_examples_of_another_shape_are_refused(self, examples):
        with pytest.raises(ValueError, match=r"examples must have the event shape \(7,\) after their axis, got"):
            build(examples=examples)

    def test_fewer_than_one_is_refused(self):
        with pytest.raises(ValueError, match="num_components must be a whole number of at least 1, got 0"):
            priors.vamp(0)

    def test_the_prior_says_how_many_examples_it_begins_at(self):
        assert (priors.vamp(7).num_examples, priors.standard_normal().num_examples) == (7, 0)


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_a_loss_is_its_slope_along_the_pseudo_inputs_and_the_encoder():
    """By a central difference along one random direction, with noise held fixed."""
    vae, params = build(), jax.tree.map(lambda leaf: leaf.astype(float), usual()[1])
    loss = lambda params, key: losses.negative_elbo(params, key, jnp.asarray(XS[7], float), vae=vae, num_samples=3)[0]
    value_and_grad, key = jax.jit(jax.value_and_grad(loss)), jax.random.key(4)
    gradient = value_and_grad(params, key)[1]
    of_pseudo_inputs = np.abs(gradient["prior"]["pseudo_inputs"]).max(axis=1)
    assert of_pseudo_inputs.shape == (NUMBER,)
    assert of_pseudo_inputs.min() > 1e-6
    rng, step = np.random.default_rng(5), 1e-5
    for block in ("prior", "encoder"):
        direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), params[block])
        at = lambda t, block=block, direction=direction: value_and_grad(
            params | {block: jax.tree.map(lambda a, d: a + t * d, params[block], direction)}, jax.random.clone(key)
        )[0]
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient[block], direction)))
        np.testing.assert_allclose((at(step) - at(-step)) / (2 * step), slope, rtol=1e-6)


class TestCost:
    """The pseudo-inputs are encoded once, however many examples and samples the prior is for."""

    BATCH, SAMPLES = 8, 3

    def encoded(self, function: Any, *args: Any) -> int:
        """How many inputs' worth of the encoder's first layer there is: of its products [rows, EVENT] × [EVENT, HIDDEN]
        and those of its gradient."""
        total = 0
        for equation, times in products(function, *args):
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, right = (variable.aval.shape for variable in equation.invars)
            out = equation.outvars[0].aval.shape
            if any({EVENT, HIDDEN} <= set(shape) for shape in (left, right, out)):
                size = math.prod(out) * math.prod(left[axis] for axis in contracted)
                assert size % (EVENT * HIDDEN) == 0
                total += times * size // (EVENT * HIDDEN)
        return total

    def arguments(self) -> tuple[VAE, Any, Any, Any]:
        return *usual(), jax.random.split(jax.random.key(0), self.BATCH), jnp.asarray(XS[: self.BATCH])

    def test_in_a_step_of_training(self):
        vae, params, keys, xs = self.arguments()
        batch_loss = losses.over_batch(functools.partial(losses.negative_iwae, vae=vae, num_samples=self.SAMPLES))
        value = lambda params: batch_loss(params, keys, xs)[0]
        inputs = self.BATCH + NUMBER
        assert self.encoded(value, params) == inputs
        # The gradient is of the kernel for each, and of the pseudo-inputs themselves.
        assert self.encoded(jax.grad(value), params) == 2 * inputs + NUMBER

    def test_in_the_evidence(self):
        vae, params, keys, xs = self.arguments()
        log_evidence = functools.partial(evaluation.log_evidence, vae=vae, num_samples=30, chunk_size=10)
        encoded = self.encoded(lambda params: log_evidence(params, keys, xs).value, params)
        assert encoded == self.BATCH + NUMBER

    def test_in_annealing(self):
        vae, params, keys, xs = self.arguments()
        options = {"num_temperatures": 3, "num_chains": 2, "num_leapfrog": 2}
        annealed = functools.partial(evaluation.annealed_log_evidence, vae=vae, **options)
        assert self.encoded(lambda params: annealed(params, keys, xs).value, params) == self.BATCH + NUMBER


@pytest.mark.parametrize("posterior", ["full", "iaf(num_layers=1, hidden=3)"])
def test_any_posterior_gives_a_finite_loss_and_gradient(posterior):
    vae = build(posterior=posterior)
    loss = lambda params, key: losses.negative_elbo(params, key, jnp.asarray(XS[7]), vae=vae, num_samples=2)[0]
    value, gradient = jax.jit(jax.value_and_grad(loss))(drawn(vae), jax.random.key(0))
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))
    assert np.abs(gradient["prior"]["pseudo_inputs"]).max() > 0


@pytest.mark.parametrize("name", [*losses.legal_combinations(), "wake_sleep", "thermodynamic"])
def test_every_loss_takes_it(name):
    vae, params = usual()
    loss = functools.partial(loss_of(name), x=jnp.asarray(XS[0]), vae=vae, num_samples=2, **TOLD.get(name, {}))
    gradient = jax.eval_shape(jax.grad(lambda params, key: loss(params, key)[0]), params, jax.random.key(0))
    assert gradient["prior"]["pseudo_inputs"].shape == (NUMBER, EVENT)
