"""Networks that compute in bfloat16: how far their losses and gradients are from float32's, and what stays in it."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.estimator_parts import flat
from tests.jaxpr_equations import products
from vae_jax import VAE, data, losses, networks, training
from vae_jax.networks.assemble import COMPUTE_DTYPES

BATCH, STEPS = 100, 60


@functools.cache
def images() -> jax.Array:
    """Binary digits, drawn once."""
    bytes_ = data.load("digits_5k").train.examples[: 10 * BATCH]
    return data.unit_interval(data.binarize_once(jax.random.key(0), bytes_)).reshape(-1, 784)


def build(compute_dtype: str) -> VAE:
    mean = np.asarray(images()).mean(axis=0)
    return networks.mlp(event_shape=784, latent_dim=50, compute_dtype=compute_dtype, output_mean=mean)


def loss_of(vae: VAE) -> Any:
    return functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)


@functools.cache
def params(steps: int) -> Any:
    """Of the network in float32 after so many steps of training."""
    vae, optimizer = build("float32"), optax.adam(1e-3)
    start = jax.jit(vae.init)(jax.random.key(1))
    if steps == 0:
        return start
    rows = jnp.arange(steps * BATCH, dtype=jnp.int32).reshape(steps, BATCH) % len(images())
    train = jax.jit(functools.partial(training.train_steps, loss_fn=loss_of(vae), optimizer=optimizer))
    state, metrics = train(training.init_state(start, optimizer), jax.random.key(2), images(), rows)
    assert metrics["loss"][-1] < 0.8 * metrics["loss"][0]
    return state.params


@functools.cache
def compiled(compute_dtype: str) -> Any:
    return jax.jit(jax.value_and_grad(loss_of(build(compute_dtype)), has_aux=True))


def evaluate(compute_dtype: str, steps: int) -> tuple[Any, losses.Terms, Any]:
    keys = jax.random.split(jax.random.key(3), BATCH)
    (value, terms), gradient = compiled(compute_dtype)(params(steps), keys, images()[:BATCH])
    return value, terms, gradient


def relative_error(found: Any, exact: Any) -> float:
    return float(np.linalg.norm(flat(found) - flat(exact)) / np.linalg.norm(flat(exact)))


def test_losses_are_within_one_percent_and_gradients_within_three():
    """Of float32's, with the same noise; of the whole gradient and of each network's."""
    value, _, gradient = evaluate("bfloat16", STEPS)
    exact, _, exact_gradient = evaluate("float32", STEPS)
    np.testing.assert_allclose(value, exact, rtol=0.01)
    assert value != exact
    for block in ("encoder", "decoder"):
        assert 0 < relative_error(gradient[block], exact_gradient[block]) < 0.03
    assert relative_error(gradient, exact_gradient) < 0.03


FLOAT32 = jnp.dtype(jnp.float32)


def types_of(tree: Any) -> set[Any]:
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def test_losses_terms_gradients_and_parameters_are_float32():
    assert types_of(evaluate("bfloat16", 0)) == types_of(params(0)) == {FLOAT32}


def test_distributions_and_their_densities_are_float32():
    vae = build("bfloat16")

    def densities(params: Any, x: Any, z: Any) -> Any:
        q, p = vae.encode(params, x), vae.decode(params, z)
        return q, p, q.log_prob(z), p.log_prob(x)

    assert types_of(jax.eval_shape(densities, params(0), images()[0], jnp.zeros(50))) == {FLOAT32}


def types_of_products(function: Any, *args: Any) -> list[set[Any]]:
    """Of their factors and results."""
    return [types_of([v.aval for v in (*e.invars, *e.outvars)]) for e, _ in products(function, *args)]


@pytest.mark.parametrize("compute_dtype", COMPUTE_DTYPES)
def test_every_product_of_the_networks_is_of_that_type(compute_dtype):
    """Of seven layers, and of the gradients of their kernels and inputs, but for the input that is x."""
    loss = jax.value_and_grad(loss_of(build(compute_dtype)), has_aux=True)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(3), BATCH))
    found = types_of_products(loss, params(0), keys, images()[:BATCH])
    assert found == (3 * 7 - 1) * [{jnp.dtype(compute_dtype)}]


def test_so_are_those_of_convolutions():
    vae = networks.conv(event_shape=(4, 4, 1), latent_dim=2, hidden=(3,), compute_dtype="bfloat16")
    start = jax.eval_shape(vae.init, jax.random.key(0))
    autoencode = lambda params, x: vae.decode(params, vae.encode(params, x).mean)
    assert types_of_products(autoencode, start, jnp.zeros((4, 4, 1))) == 5 * [{jnp.dtype(jnp.bfloat16)}]


def test_a_flow_computes_in_float32():
    """Its log q is that of its z: it is a density, not a network."""
    vae = networks.mlp(event_shape=3, latent_dim=2, hidden=(), posterior="iaf(2, hidden=5)", compute_dtype="bfloat16")
    start = jax.eval_shape(vae.init, jax.random.key(0))
    assert types_of(jax.eval_shape(vae.encode, start, jnp.zeros(3))) == {FLOAT32}
    numbers, steps = 3 * [{jnp.dtype(jnp.bfloat16)}], 2 * 3 * [{FLOAT32}]
    transform = lambda params, noise: vae.encode(params, jnp.zeros(3)).transform(noise)
    assert types_of_products(transform, start, jnp.zeros(2)) == numbers + steps


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_the_input_is_centred_before_it_is_rounded(kind):
    """300 and 301 are one number in bfloat16, whose numbers there are two apart."""
    vae = networks.mlp(event_shape=2, latent_dim=1, hidden=(), compute_dtype="bfloat16", input_mean=np.full(2, 300.0))
    head = {name: {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)} for name in ("mean", "log_variance")}
    q = vae.encode({"encoder": {"PosteriorHead_0": head}}, jnp.asarray([301, 302], kind))
    np.testing.assert_array_equal(q.mean, [3.0])


def test_an_unknown_type_is_refused():
    message = "unknown compute_dtype 'bfloat'. Did you mean 'bfloat16' or 'float32'? Known: float32, bfloat16"
    with pytest.raises(ValueError, match=re.escape(message)):
        networks.mlp(event_shape=3, latent_dim=2, compute_dtype="bfloat")
