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
# # Cells of which the truth is known: from an .h5ad file to latents and denoised counts
#
# Counts of 200 genes in 3,000 cells are made from stated factors and written as an AnnData file. A VAE of counts is
# trained on it. Its latents group the cells by type and not by batch, and its means are nearer to the true means than
# the counts are. `docs/scvi.md` says what is called how in scvi-tools. Open this file with jupytext, or run it as a
# script.

# %%
import functools
import tempfile
from pathlib import Path

import anndata
import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pandas as pd
from scipy import sparse
from sklearn.decomposition import PCA

from vae_jax import data, evaluation, fitted, losses, training

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The file
#
# A cell has a type of six, a batch of two and a total n ~ LogNormal(log 1500, 0.4). With g a gene, its mean is
# μ_g = n softmax(α + τ_type + β_batch)_g, and its count is negative binomial with inverse dispersion 2. A seventh of
# the entries of τ is not 0; β shifts all genes, so that the batches lie far apart. The counts are a sparse layer of the
# file, and X is log(1 + 10⁴ share), as most files have it.

# %%
num_cells, num_genes, num_types = 3000, 200, 6
rng = np.random.default_rng(0)
level = rng.normal(size=num_genes)
of_type = (rng.random((num_types, num_genes)) < 1 / 7) * rng.normal(0, 1.2, (num_types, num_genes))
of_batch = rng.normal(0, 0.5, (2, num_genes))
kinds, batches = rng.integers(num_types, size=num_cells), rng.integers(2, size=num_cells)
logits = level + of_type[kinds] + of_batch[batches]
true_share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
totals = np.exp(rng.normal(np.log(1500), 0.4, (num_cells, 1)))
counts = rng.poisson(rng.gamma(2.0, totals * true_share / 2.0))

obs = pd.DataFrame(
    {"cell_type": [f"type {kind}" for kind in kinds], "batch": [f"batch {batch}" for batch in batches]},
    index=[f"cell {number}" for number in range(num_cells)],
)
cells = anndata.AnnData(obs=obs, var=pd.DataFrame(index=[f"gene {number}" for number in range(num_genes)]))
cells.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
cells.layers["counts"] = sparse.csr_matrix(counts)
cells.write_h5ad(folder / "cells.h5ad")

# %% [markdown]
# ## The model
#
# `data.load` reads the layer. What is given beside x is the batch and the total, so that log p is that of the shares of
# genes within a batch. The same by commands:
#
#     ./launch.sh train --config=experiments/configs/counts.py --workdir=runs/cells \
#         --config.data.path=cells.h5ad --config.data.layer=counts
#     ./launch.sh encode --workdir=runs/cells --input=cells.h5ad --output=latents.h5ad

# %%
dataset = data.load("cells", path=folder / "cells.h5ad", layer="counts", condition=("batch", "size"))
model = {"network": "mlp(hidden=(128,), activation=relu)", "latent_dim": (10,), "likelihood": "negative_binomial"}
vae = fitted.build_vae(model, fitted.Fitted(dataset.contents, data.statistics(dataset)))
init_key, fit_key, seed_key = jax.random.split(jax.random.key(0), 3)
loss = functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)
params, curve = training.fit(
    loss,
    vae.init(init_key),
    fit_key,
    dataset.train.examples,
    optimizer=optax.adam(1e-3),
    num_steps=1500,
    batch_size=128,
)
print(f"negative ELBO: {curve[:10].mean():.1f} nats at the start, {curve[-100:].mean():.1f} at the end")

# %% [markdown]
# ## Latents
#
# The ten nearest neighbours of a test cell tell its type. Among neighbours by principal components of X they tell the
# batch too; among neighbours by latents they hardly do, since the batch is given to the model.

# %%
xs = data.open_rows(folder / "cells.h5ad", dataset.contents, layer="counts").read()
keys = jax.random.split(seed_key, num_cells)
latents = np.asarray(evaluation.encode(params, jax.random.clone(keys), xs, vae=vae).mean)
spaces = {"principal components": PCA(10, random_state=0).fit_transform(cells.X), "latents": latents}
train, test = np.arange(num_cells) % 5 > 0, np.arange(num_cells) % 5 == 0
told = {}
for name, space in spaces.items():
    for what in ("cell_type", "batch"):
        labels = obs[what].to_numpy(str)
        probe = evaluation.nearest_neighbour_probe(space[train], labels[train], space[test], labels[test])
        told[name, what] = probe.accuracy
        print(f"{what:9} by ten neighbours in {name:20}: {probe.accuracy:.3f} ± {probe.standard_error:.3f}")

# %% [markdown]
# ## Denoised counts
#
# `reconstruct` gives the mean of p(x|z) at each cell's own total. Both are compared with the true shares of the genes,
# by Σ_g |p_g − p*_g| / 2, the share of the counts that would have to move to another gene.

# %%
means = np.asarray(evaluation.reconstruct(params, keys, xs, vae=vae))
distance = lambda share: float(np.mean(np.abs(share - true_share).sum(axis=1) / 2))
of_counts, of_means = (distance(of / of.sum(axis=1, keepdims=True)) for of in (counts, means))
print(f"distance to the true shares: counts {of_counts:.3f}, denoised {of_means:.3f}")

# %%
figure = plt.figure(figsize=(9, 7), layout="constrained")
shown = [(what, name, space) for what in ("cell_type", "batch") for name, space in spaces.items()]
for axis, (what, name, space) in zip(figure.subplots(2, 2).ravel(), shown, strict=True):
    two = PCA(2, random_state=0).fit_transform(space)
    for label in sorted(set(obs[what])):
        axis.scatter(*two[(obs[what] == label).to_numpy()].T, s=2, label=label)
    axis.set_title(f"{what}, in two directions of the {name}", fontsize=10)
    axis.legend(markerscale=4, fontsize=7)
    axis.set(xticks=[], yticks=[])

# %%
cells.obsm["X_vae_mean"], cells.layers["reconstruction"] = latents, means
cells.write_h5ad(folder / "cells.h5ad")  # in scanpy: sc.pp.neighbors(cells, use_rep="X_vae_mean")

assert told["latents", "cell_type"] > 0.95
assert told["principal components", "batch"] > 0.9
assert told["latents", "batch"] < 0.65
assert of_means < 0.5 * of_counts
