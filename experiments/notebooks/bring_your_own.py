# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own networks and distributions
#
# A `VAE` is four pure functions, and a distribution is anything with `sample(key)` and `log_prob(value)`. So the
# encoder and the decoder may be written with Equinox, Flax NNX, or nothing but JAX, and q(z|x), p(z) and p(x|z) may be
# NumPyro's. Here one model is written in each way: probabilistic PCA, with the q(z|x) that is its exact posterior. Its
# log p(x) is known, and equals the ELBO of every sample.
#
# Needs `pip install equinox numpyro`. Open this file with jupytext, or run it as a script.

# %%
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as npd
from flax import nnx

from vae_jax import VAE, evaluation, losses, networks, oracles
from vae_jax.distributions import DiagonalNormal, standard_normal
from vae_jax.parts import Family, Prior

LATENT, EVENT = 2, 5
oracle = oracles.ppca(jax.random.key(0), latent_dim=LATENT, event_dim=EVENT)
exact = oracle.with_exact_posterior(oracle.params)
x = jnp.asarray([0.5, -1.0, 0.3, 1.2, -0.4])
log_evidence = oracle.log_evidence(exact, x)
noise, spread = jnp.exp(exact["decoder"]["log_scale"]), jnp.exp(exact["encoder"]["log_scale"])


def check(name, vae, params):
    """The ELBO is log p(x), and a step of gradient descent is possible."""
    loss = lambda params: losses.negative_elbo(params, jax.random.key(1), x, vae=vae, num_samples=3, kl="monte_carlo")
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    print(f"{name:<10} ELBO {-value:.5f}, log p(x) {log_evidence:.5f}")
    np.testing.assert_allclose(-value, log_evidence, rtol=1e-4)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# %% [markdown]
# ## Nothing but JAX
#
# The parameters are any pytree of arrays.


# %%
def affine(params, value):
    return params["weight"] @ value + params["mean"]


bare = VAE(
    init=lambda key: exact,
    encode=lambda params, x: DiagonalNormal(affine(params["encoder"], x), jnp.exp(params["encoder"]["log_scale"])),
    decode=lambda params, z: DiagonalNormal(affine(params["decoder"], z), jnp.exp(params["decoder"]["log_scale"])),
    prior=lambda params: standard_normal(LATENT),
)
check("JAX", bare, bare.init(jax.random.key(2)))

# %% [markdown]
# ## NumPyro's distributions
#
# `.to_event(n)` says which axes are one event, so that `log_prob` is a scalar. They state themselves whether they are
# reparameterised.

# %%
foreign = VAE(
    init=lambda key: exact,
    encode=lambda params, x: npd.Normal(affine(params["encoder"], x), spread).to_event(1),
    decode=lambda params, z: npd.Normal(affine(params["decoder"], z), noise).to_event(1),
    prior=lambda params: npd.Normal(jnp.zeros(LATENT), 1.0).to_event(1),
)
check("NumPyro", foreign, exact)

# %% [markdown]
# ## Equinox
#
# A module is a pytree; its arrays are the parameters, and the rest is put back by `eqx.combine`.


# %%
def equinox_linear(weights, key):
    linear = eqx.nn.Linear(*weights["weight"].shape[::-1], key=key)
    return eqx.tree_at(lambda m: (m.weight, m.bias), linear, (weights["weight"], weights["mean"]))


def modules(key):
    keys = jax.random.split(key)
    return {name: equinox_linear(exact[name], key) for name, key in zip(("encoder", "decoder"), keys, strict=True)}


_, static = eqx.partition(modules(jax.random.key(3)), eqx.is_array)


def applied(params, name, value):
    return eqx.combine(params, static)[name](value)


equinox = VAE(
    init=lambda key: eqx.partition(modules(key), eqx.is_array)[0],
    encode=lambda params, x: DiagonalNormal(applied(params, "encoder", x), spread),
    decode=lambda params, z: DiagonalNormal(applied(params, "decoder", z), noise),
    prior=lambda params: standard_normal(LATENT),
)
check("Equinox", equinox, equinox.init(jax.random.key(4)))

# %% [markdown]
# ## Flax NNX
#
# `nnx.split` gives the graph and its state; the state is the parameters.


# %%
class Linear(nnx.Module):
    def __init__(self, weights, *, rngs):
        self.linear = nnx.Linear(*weights["weight"].shape[::-1], rngs=rngs)
        self.linear.kernel[...] = weights["weight"].T
        self.linear.bias[...] = weights["mean"]

    def __call__(self, value):
        return self.linear(value)


split = {name: nnx.split(Linear(exact[name], rngs=nnx.Rngs(0))) for name in ("encoder", "decoder")}
graphs = {name: graph for name, (graph, _) in split.items()}
flax = VAE(
    init=lambda key: {name: state for name, (_, state) in split.items()},
    encode=lambda params, x: DiagonalNormal(nnx.merge(graphs["encoder"], params["encoder"])(x), spread),
    decode=lambda params, z: DiagonalNormal(nnx.merge(graphs["decoder"], params["decoder"])(z), noise),
    prior=lambda params: standard_normal(LATENT),
)
check("Flax NNX", flax, flax.init(jax.random.key(5)))

# %% [markdown]
# ## As parts
#
# A NumPyro distribution becomes a part by a function of the network's numbers, and goes with every other part. Its
# support is compared with the data: a Beta likelihood takes numbers between 0 and 1 alone.

# %%
laplace_posterior = Family(
    outputs=lambda shape: {"location": shape, "log_scale": shape},
    build=lambda own, numbers, shape, given: npd.Laplace(numbers["location"], jnp.exp(numbers["log_scale"])).to_event(
        1
    ),
)
beta_likelihood = Family(
    outputs=lambda shape: (*shape, 2),
    build=lambda own, numbers, shape, given: npd.Beta(*jnp.moveaxis(1 + jnp.exp(numbers), -1, 0)).to_event(1),
)
laplace_prior = Prior(build=lambda own, latent, event, encode: npd.Laplace(jnp.zeros(latent.shape), 1.0).to_event(1))
vae = networks.mlp(
    event_shape=EVENT,
    latent_dim=LATENT,
    hidden=(16,),
    posterior=laplace_posterior,
    prior=laplace_prior,
    likelihood=beta_likelihood,
)
params = jax.jit(vae.init)(jax.random.key(6))
keys, xs = jax.random.split(jax.random.key(7), 8), jax.random.uniform(jax.random.key(8), (8, EVENT))
for gradient in ("pathwise", "doubly_reparameterized", "vimco"):
    loss = functools.partial(losses.negative_iwae, vae=vae, num_samples=5, gradient=gradient)
    value, _ = jax.jit(losses.over_batch(loss))(params, keys, xs)
    print(f"{gradient:<24} {value:.4f}")
print(evaluation.log_evidence(params, jax.random.split(jax.random.key(9), 8), xs, vae=vae, num_samples=50).value)
try:
    evaluation.log_evidence(params, jax.random.split(jax.random.key(9), 8), xs + 1, vae=vae, num_samples=50)
except ValueError as error:
    refusal = str(error)
print(refusal)
assert "outside the support" in refusal
