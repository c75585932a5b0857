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
# # Evaluation: every number with its error
#
# An ELBO is a bound, and an importance-sampled log p(x) is an estimate with an error and a bias. This notebook measures
# a model whose log p(x) is known, so that each estimate can be compared with the truth, and then spoils the encoder to
# see which diagnostics notice. Open this file with jupytext, or run it as a script.

# %%
import dataclasses

import jax
import matplotlib.pyplot as plt  # which makes a notebook show figures
import numpy as np

from vae_jax import distributions, evaluation, figures, oracles

oracle = oracles.linear_gaussian(jax.random.key(0), latent_dim=4, event_dim=10)
vae, params = oracle.vae, oracle.with_exact_posterior(oracle.params)
z_key, x_key, key = jax.random.split(jax.random.key(1), 3)
zs = jax.vmap(vae.prior(params).sample)(jax.random.split(z_key, 200))
xs = jax.vmap(lambda z, key: vae.decode(params, z).sample(key))(zs, jax.random.split(x_key, 200))
exact = np.asarray(jax.vmap(lambda x: oracle.log_evidence(params, x))(xs))
print(f"log p(x), exact: {exact.mean():.2f} nats, the mean of 200 examples that the model has drawn")

# %% [markdown]
# ## Importance sampling
#
# log p(x) ≈ log (1/K) Σ p(x, z_k) / q(z_k|x). The encoder here gives the posterior itself, for which one sample is
# exact. So the encoder below is wider by half, as one that has not learned everything. The bounds L_K rise to log p(x)
# with K. The standard error is that over the examples.


# %%
def with_scale(factor):
    def encode(params, x):
        q = vae.encode(params, x)
        return distributions.MultivariateNormal(q.mean, factor * q.scale_tril)

    return dataclasses.replace(vae, encode=encode)


wide, narrow = with_scale(1.5), with_scale(0.25)
keys = jax.random.split(key, len(xs))
found = evaluation.log_evidence(params, keys, xs, vae=wide, num_samples=2000)
sizes = evaluation.bound_sizes(2000)
bounds = [evaluation.mean_and_error(found.bounds[:, number]) for number in range(len(sizes))]
for size, (mean, error) in zip(sizes, bounds, strict=True):
    print(f"L_{size:<5} {mean:8.3f} ± {error:.3f}")
print(f"off by {np.mean(found.value - exact):+.4f} nats on average")
figures.convergence(sizes, *zip(*bounds, strict=True), ylabel="nats, ± 2 standard errors", title="L_K against K")

# %% [markdown]
# ## Can it be believed?
#
# A q(z|x) that is narrower than the posterior gives weights without a variance. With a quarter of the posterior's scale
# the estimate is low, its standard error does not say so, and k̂ does: it estimates from the largest weights whether
# their variance exists.

# %%
spoiled = evaluation.log_evidence(params, keys, xs, vae=narrow, num_samples=2000)
threshold = evaluation.pareto_k_threshold(2000)
for name, of in {"wide": found, "narrow": spoiled}.items():
    error = np.asarray(of.value) - exact
    bad = np.mean(np.asarray(of.pareto_k) > threshold)
    print(f"{name:7} off by {error.mean():+.3f} nats; k̂ above {threshold:.2f} for {bad:.0%} of the examples")
figures.histogram(
    np.asarray(spoiled.pareto_k), xlabel="k̂ of the narrow q", ylabel="examples", marked=("reliable up to", threshold)
)

# %% [markdown]
# ## From above, and what inference loses
#
# Annealed importance sampling needs no good q. On data that the model has drawn it can be run from both sides, and
# the truth lies between. `inference_gaps` divides log p(x) − ELBO into what the family of q costs and what the encoder
# costs: the family holds this posterior, so the first is zero, and the narrow encoder pays the second.

# %%
both_key, gap_key = jax.random.split(jax.random.key(2))
of_each = jax.random.split(both_key, 20)
both = evaluation.bidirectional_log_evidence(params, of_each, vae=vae, num_temperatures=200)
lower, upper = (evaluation.mean_and_error(values)[0] for values in (both.lower, both.upper))
print(f"20 simulated examples: between {lower:.3f} and {upper:.3f} nats")
of_each = jax.random.split(gap_key, 10)
for name, model in {"wide": wide, "narrow": narrow}.items():
    gaps = evaluation.inference_gaps(params, of_each, xs[:10], vae=model, family="full", num_steps=300, num_samples=500)
    of_family, of_encoder = (
        evaluation.mean_and_error(gap)[0] for gap in (gaps.approximation_gap, gaps.amortization_gap)
    )
    print(f"{name:7} the family costs {of_family:.3f}, the encoder {of_encoder:.3f} nats")

# %%
assert abs(np.mean(found.value - exact)) < 0.05
assert np.mean(np.asarray(spoiled.pareto_k) > threshold) > 0.9
assert lower < upper + 0.01
plt.close("all")
