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
# # Missing entries of a table, imputed with their errors
#
# 178 wines by 13 quantities, of which a fifth of the cells is hidden. A VAE is fitted to what is left, and its
# imputations are compared with the hidden values, beside a column's mean and scikit-learn's `IterativeImputer`.
# `experiments/configs/wine.py` is the same model as a run. Open this file with jupytext, or run it as a script.

# %%
import functools

import jax
import numpy as np
import optax
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # without it IterativeImputer is not there
from sklearn.impute import IterativeImputer

from vae_jax import data, evaluation, likelihoods, losses, networks, training
from vae_jax.networks.preprocess import standardize

complete, holes = data.load("wine").train.examples, data.load("wine", missing=0.2)
xs, moments = holes.train.examples, data.statistics(holes).x
names = list(complete)
number = len(complete[names[0]])

# %% [markdown]
# A row is a dict of columns, each a `Masked` value: what was measured, and whether it was. Every column has a Gaussian
# of its own σ; the networks see standardised numbers and, beside them, what is missing. log p is that of the observed
# cells in their own units.

# %%
vae = networks.assemble(
    encoder="mlp(hidden=(64,))",
    likelihood=likelihoods.joint({name: likelihoods.normal(learn="shared") for name in names}),
    event_shape=dict.fromkeys(names, ()),
    latent_shape=6,
    masked=True,
    preprocess={name: standardize(of.mean, of.scale) for name, of in moments.items()},
    output_mean={name: of.mean for name, of in moments.items()},
    output_scale={name: of.scale for name, of in moments.items()},
)
init_key, fit_key, impute_key = jax.random.split(jax.random.key(0), 3)
bound = functools.partial(losses.negative_iwae, num_samples=20)
loss = functools.partial(losses.over_batch(bound), vae=vae)
optimizer = optax.adamw(1e-3, weight_decay=1.0)  # 142 rows are few
params, curve = training.fit(
    loss, vae.init(init_key), fit_key, xs, optimizer=optimizer, num_steps=1000, batch_size=number
)
print(f"IWAE-20 of the training rows: {-curve[0]:.1f} nats at the start, {-curve[-1]:.1f} at the end")

# %% [markdown]
# ## E[x_missing | x_observed], by self-normalised importance sampling
#
# `mean` holds the observed cells as they are; `draws` are samples of p(x_missing | x_observed), for intervals.

# %%
imputed = evaluation.impute(params, jax.random.split(impute_key, number), xs, vae=vae, num_samples=500)
truth = np.stack([complete[name] for name in names], axis=1)
observed = np.stack([np.asarray(xs[name].observed) for name in names], axis=1)
scale = np.array([moments[name].scale for name in names])
mean = np.array([moments[name].mean for name in names])


def error(found: np.ndarray) -> float:
    """Returns the root mean squared error of the hidden cells, in standard deviations of their columns."""
    return float(np.sqrt(np.mean(((found - truth) / scale)[~observed] ** 2)))


by_vae = np.stack([np.asarray(imputed.mean[name]) for name in names], axis=1)
iterative = IterativeImputer(max_iter=50, random_state=0)
by_regression = iterative.fit_transform(np.where(observed, (truth - mean) / scale, np.nan)) * scale + mean
errors = {
    "column mean": error(np.broadcast_to(mean, truth.shape)),
    "IterativeImputer": error(by_regression),
    "VAE": error(by_vae),
}
low, high = (np.stack([np.quantile(imputed.draws[n], q, axis=1) for n in names], axis=1) for q in (0.025, 0.975))
covered = np.mean(((low <= truth) & (truth <= high))[~observed])
for name, value in errors.items():
    print(f"{name:17s} {value:.3f}")
print(f"95% intervals of the draws cover {100 * covered:.0f}% of the {np.sum(~observed)} hidden cells")
assert errors["VAE"] < 0.85 * errors["column mean"]
