"""Derivatives of losses beyond ∂params: with respect to what the model was computed from, and of second order."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.bound_parts import TOLD, assert_same, loss_of
from tests.estimator_parts import SEED, build
from vae_jax import VAE, losses
from vae_jax.distributions import Bernoulli, DiagonalNormal

pytestmark = pytest.mark.usefixtures("float64")


def key() -> jax.Array:
    return jax.random.key(SEED)


class Of:
    """p(x|z) of this x, whatever value it is asked for."""

    def __init__(self, p: Bernoulli, x: jax.Array) -> None:
        self.p, self.x = p, x

    def log_prob(self, value: Any) -> jax.Array:
        return self.p.log_prob(self.x)

    def sample(self, key: jax.Array) -> jax.Array:
        return self.p.sample(key)


def model(read: Any) -> VAE:
    """All four functions depend on an embedding and on x, which `read` finds for them."""
    base, _, _ = build("bernoulli_mlp")

    def encode(params: Any, x: Any) -> DiagonalNormal:
        q = base.encode(params["base"], read(params)["x"])
        return DiagonalNormal(q.mean + read(params)["emb"], q.scale * jnp.exp(read(params)["emb"]))

    def decode(params: Any, z: Any) -> Of:
        p = base.decode(params["base"], z * jnp.cos(read(params)["emb"]))
        return Of(p, read(params)["x"])

    def prior(params: Any) -> DiagonalNormal:
        p = base.prior(params["base"])
        return DiagonalNormal(p.mean - read(params)["emb"], p.scale)

    return VAE(base.init, encode, decode, prior)


def derivatives(loss: Any, *, within_params: bool) -> Any:
    _, params, x = build("bernoulli_mlp")
    beside = {"emb": jnp.array([0.4, -0.2]), "x": x + 0.1}

    def value(params: Any, beside: Any) -> jax.Array:
        if within_params:
            return loss({"base": params} | beside, key(), beside["x"], vae=model(lambda params: params))[0]
        return loss({"base": params}, key(), beside["x"], vae=model(lambda params: beside))[0]

    return jax.grad(value, argnums=(0, 1))(params, beside)


def estimators() -> list[Any]:
    bounds = {"iwae": losses.GRADIENTS[:3], "piwae": losses.GRADIENTS[:4], "elbo": losses.GRADIENTS[1:2]}
    cases = [
        (bound, {"num_samples": 4, "gradient": gradient} | TOLD.get(bound, {}))
        for bound, gradients in bounds.items()
        for gradient in gradients
    ]
    cases += [("wake_sleep", {"num_samples": 3, "phi": "both"}), ("thermodynamic", {"num_samples": 3})]
    return [pytest.param(*case, id=f"{case[0]}-{case[1].get('gradient', '')}") for case in cases]


@pytest.mark.parametrize(("bound", "options"), estimators())
def test_what_reaches_the_model_beside_params_has_the_gradient_that_it_has_in_them(bound, options):
    """An embedding closed over, and x: of all four functions at once."""
    loss = functools.partial(loss_of(bound), **options)
    beside, within = (derivatives(loss, within_params=within) for within in (False, True))
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(within[1]))
    assert_same(beside, within, rtol=1e-10)


def test_the_dream_of_wake_sleep_has_no_gradient():
    """Of φ's sleep phase alone log q(z'|x') is differentiated: an embedding in p alone has none."""
    base, params, x = build("bernoulli_mlp")

    def value(emb: jax.Array) -> jax.Array:
        shifted = lambda params: DiagonalNormal(base.prior(params).mean + emb, base.prior(params).scale)
        vae = VAE(base.init, base.encode, lambda params, z: base.decode(params, z + emb), shifted)
        sleep, wake = (
            losses.negative_wake_sleep(params, key(), x, vae=vae, num_samples=3, phi=phi)[0]
            for phi in ("sleep", "wake")
        )
        return sleep - wake

    # The two have the same θ-gradient, and what is left is of φ, on which the embedding has no effect.
    np.testing.assert_allclose(jax.grad(value)(jnp.array([0.3, -0.1])), 0, atol=1e-12)


def along_a_line(bound: str, options: dict, gradient: str) -> Any:
    """The loss as a function of how far the parameters are moved in one direction."""
    vae, params, x = build("bernoulli_mlp")
    direction = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), params)
    options = options | {"num_samples": 4, "gradient": gradient, "vae": vae}
    return lambda t: loss_of(bound)(jax.tree.map(lambda p, d: p + t * d, params, direction), key(), x, **options)[0]


@pytest.mark.parametrize(
    ("bound", "options"),
    [("renyi", {"alpha": 0.5}), pytest.param("miwae", {"num_groups": 2}, marks=pytest.mark.proof)],
)
def test_the_pathwise_second_derivative_is_that_of_the_bound(bound, options):
    """Against differences of the value, of which no derivative knows, in float64."""
    loss = along_a_line(bound, options, "pathwise")
    step = 1e-3
    values = [float(loss(number * step)) for number in (-2, -1, 0, 1, 2)]
    exact = np.dot([-1, 16, -30, 16, -1], values) / (12 * step**2)  # to the fourth power of the step
    np.testing.assert_allclose(jax.grad(jax.grad(loss))(0.0), exact, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(jax.grad(loss), (0.0,), (1.0,))[1], exact, rtol=1e-6)


@pytest.mark.parametrize("gradient", ["doubly_reparameterized", "score_function"])
def test_an_estimator_has_one_derivative_forwards_and_backwards(gradient):
    loss = along_a_line("iwae", {}, gradient)
    np.testing.assert_allclose(jax.jvp(loss, (0.0,), (1.0,))[1], jax.grad(loss)(0.0), rtol=1e-10)


@pytest.mark.parametrize("gradient", losses.GRADIENTS[1:])
def test_an_estimator_refuses_a_second_derivative(gradient):
    loss = along_a_line("iwae", {}, gradient)
    for second in (jax.grad(jax.grad(loss)), jax.hessian(loss), jax.jacrev(jax.jacfwd(loss))):
        with pytest.raises(TypeError, match=r"a first derivative only: .* Use gradient='pathwise'"):
            jax.eval_shape(second, 0.0)


@pytest.mark.parametrize("bound", ["wake_sleep", "thermodynamic", "piwae"])
def test_an_objective_whose_gradient_is_defined_refuses_a_second_derivative(bound):
    vae, params, x = build("bernoulli_mlp")
    options = {"num_samples": 4, "vae": vae} | TOLD.get(bound, {})
    shifted = lambda t: jax.tree.map(lambda leaf: leaf + t, params)
    with pytest.raises(TypeError, match="a first derivative only"):
        jax.eval_shape(jax.grad(jax.grad(lambda t: loss_of(bound)(shifted(t), key(), x, **options)[0])), 0.0)
