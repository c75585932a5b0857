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
# # Quick start: a variational autoencoder in a notebook
#
# A VAE is four pure functions: `init`, `encode`, `decode` and `prior`. The losses are functions of
# (params, key, example), so `jax.vmap`, `jax.grad` and `jax.jit` apply as they do to any function. This notebook trains
# one on real digits, which come with a package, and looks at what it has learned. Open this file with jupytext, or run
# it as a script.

# %%
import functools

import jax
import matplotlib.pyplot as plt  # which makes a notebook show figures
import numpy as np
import optax

from vae_jax import data, evaluation, figures, losses, networks, training

digits = data.load("digits_5k")
images = digits.train.examples  # bytes
print(images.shape, images.dtype)

# %% [markdown]
# ## The model
#
# `networks.mlp` puts a VAE together from parts: an encoder, q(z|x), p(z), a decoder and p(x|z). Each part may be named,
# as here, or be a value of your own.

# %%
vae = networks.mlp(
    event_shape=(28, 28, 1),
    latent_dim=10,
    hidden=(200, 200),
    posterior="diagonal",
    prior="standard_normal",
    likelihood="bernoulli",
)
init_key, loss_key, fit_key, sample_key, evidence_key = jax.random.split(jax.random.key(0), 5)
params = vae.init(init_key)
q = vae.encode(params, data.unit_interval(images[0]))
print("q(z|x) has a mean and a scale of shape", q.mean.shape, q.scale.shape)

# %% [markdown]
# ## The loss
#
# −ELBO = KL(q(z|x) ‖ p(z)) − E_q[log p(x|z)], in nats, of one example, with one sample of z. A Bernoulli likelihood is
# for zeros and ones. So the function below first draws each pixel, with its grey value as the probability of a one;
# the rest is the loss of the package.


# %%
def negative_elbo(params, key, image, *, vae):
    pixel_key, z_key = jax.random.split(key)
    return losses.negative_elbo(params, z_key, data.binarize(pixel_key, image), vae=vae)


loss, terms = negative_elbo(params, loss_key, images[0], vae=vae)
print(f"−ELBO {loss:.1f} = KL {terms.kl:.1f} − reconstruction {terms.reconstruction.mean():.1f} nats")

# %% [markdown]
# ## Training
#
# `over_batch` turns the loss of an example into that of a batch, and `training.fit` minimises it.

# %%
params, curve = training.fit(
    functools.partial(losses.over_batch(negative_elbo), vae=vae),
    params,
    fit_key,
    images,
    optimizer=optax.adam(1e-3),
    num_steps=2000,
    batch_size=100,
)
print(f"−ELBO of the first batch {curve[0]:.0f}, of the last 100 batches {curve[-100:].mean():.0f} nats")
smooth = np.convolve(curve, np.ones(50) / 50, mode="valid")
figures.learning_curves({"training": (range(50, 2001), -smooth)}, ylabel="ELBO, nats")

# %% [markdown]
# ## What it has learned
#
# Above, digits; below, the mean of p(x|z) at the mean of q(z|x).

# %%
shown = data.unit_interval(images[:12])
means = jax.vmap(lambda x: vae.decode(params, vae.encode(params, x).mean).mean)(shown)
figures.image_grid(np.stack([shown, means]), title="digits and their reconstructions")

# %% [markdown]
# Samples: z from the prior, and the mean of p(x|z).

# %%
zs = jax.vmap(vae.prior(params).sample)(jax.random.split(sample_key, 24))
samples = jax.vmap(lambda z: vae.decode(params, z).mean)(zs)
figures.image_grid(np.reshape(samples, (2, 12, 28, 28, 1)), title="samples")

# %% [markdown]
# ## How good it is
#
# log p(x) of held-out digits by importance sampling, with its standard error. The ELBO is a lower bound on it.

# %%
test = jax.vmap(data.binarize)(jax.random.split(jax.random.key(1), 100), digits.test.examples[:100])
keys = jax.random.split(evidence_key, len(test))
estimate = evaluation.log_evidence(params, keys, test, vae=vae, num_samples=500)
for name, values in {"ELBO": estimate.elbo, "log p(x)": estimate.value}.items():
    mean, error = evaluation.mean_and_error(values)
    print(f"{name:9} {mean:.1f} ± {error:.1f} nats")

assert curve[-100:].mean() < 0.5 * curve[0]
assert np.mean(estimate.value) > np.mean(estimate.elbo)
plt.close("all")
