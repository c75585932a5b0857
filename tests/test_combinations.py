"""Any posterior with any prior, likelihood and body, and any bound with any of its gradients.

Every pair of parts of two roles goes together in at least one row of the covering array, whose loss and gradient are
traced; `-m proof` traces the whole product.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.written_parts import EDGES, OF_ELEMENTS, written
from vae_jax import losses, networks
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.losses import OBJECTIVES, Objective
from vae_jax.networks.bodies import BODIES
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS

ROLES = (POSTERIORS, PRIORS, LIKELIHOODS, BODIES)
PARTS = [OF_ELEMENTS if role is LIKELIHOODS else list(role.parts) for role in ROLES]
PRODUCT = list(itertools.product(*PARTS))


def pairs(row: tuple[str, ...]) -> set:
    """Of each two roles."""
    return set(itertools.combinations(enumerate(row), 2))


def covering_array() -> list[tuple[str, ...]]:
    """Returns rows in which every pair occurs: each next row is one with the most pairs that are still missing."""
    missing, rows = set().union(*map(pairs, PRODUCT)), []
    while missing:
        rows.append(max(PRODUCT, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(rows[-1])
    return rows


def check(posterior: str, prior: str, likelihood: str, body: str) -> None:
    """The loss is a number, and its gradient is that of every parameter, in float32."""
    vae = networks.assemble(
        encoder=written(body),
        posterior=written(posterior),
        prior=written(prior),
        likelihood=written(likelihood),
        event_shape=(6, 5, 1),
        latent_shape=3,
    )
    x = jnp.full((6, 5, 1), jnp.asarray(EDGES[likelihood])[0])
    loss = lambda params, key: losses.negative_elbo(params, key, x, vae=vae)[0]

    def traced(key):
        init_key, key = jax.random.split(key)
        params = vae.init(init_key)
        return params, jax.value_and_grad(loss)(params, key)

    params, (value, gradients) = jax.eval_shape(traced, jax.random.key(0))
    assert (value.shape, value.dtype) == ((), jnp.float32)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), gradients) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), params
    )


@pytest.mark.parametrize("row", covering_array(), ids=" ".join)
def test_every_two_parts_go_together(row):
    check(*row)


@pytest.mark.proof
@pytest.mark.parametrize("row", PRODUCT, ids=" ".join)
def test_all_parts_go_together(row):
    check(*row)


def test_the_covering_array_has_every_pair():
    sizes = list(map(len, PARTS))
    covered = set().union(*map(pairs, covering_array()))
    assert len(covered) == sum(a * b for a, b in itertools.combinations(sizes, 2))
    assert len(PRODUCT) == math.prod(sizes)


BOUNDS = {name: function(0.5) if name == "renyi" else function() for name, function in OBJECTIVES.parts.items()}
ESTIMATED = [
    (name, gradient)
    for name, bound in BOUNDS.items()
    for gradient in (("",) if isinstance(bound, Objective) else bound.gradients)
]


@functools.cache
def small():
    vae = networks.mlp(event_shape=4, latent_dim=2, hidden=(3,))
    params = jax.jit(vae.init)(jax.random.key(0))
    return vae, jax.tree.map(np.asarray, params)


@pytest.mark.parametrize(("name", "gradient"), ESTIMATED)
def test_every_bound_has_its_gradients(name, gradient):
    vae, params = small()
    options = {"vae": vae, "num_samples": 16}

    def loss(params, key):
        bound = BOUNDS[name]
        if isinstance(bound, Objective):
            return bound.loss(params, key, jnp.ones(4), **options)[0]
        return losses.negative_bound(params, key, jnp.ones(4), bound=bound, gradient=gradient, **options)[0]

    value, gradients = jax.eval_shape(jax.value_and_grad(loss), params, jax.random.key(1))
    assert value.shape == ()
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
