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
# # What log p(x) says of anomalies, and what it does not
#
# A model of handwritten digits gives pictures of a single line a higher probability than digits (Nalisnick et al. 2019,
# arXiv:1810.09136): the likelihood of a picture tells how complex it is before it tells what it shows. The likelihood
# regret (Xiao, Yan and Amit 2020, arXiv:2003.02977) asks how much better a q(z|x) could be that is optimised for x
# alone. It finds most of what the likelihood misses, though not all. `./launch.sh score --regret --labels=COLUMN`
# prints such a table for a run and a file. Open this file with jupytext, or run it as a script.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from vae_jax import data, evaluation, losses, networks, training

NUMBER = 150
split = data.load("digits_5k")
keys = iter(jax.random.split(jax.random.key(0), 20))


def binarized(pictures: np.ndarray) -> np.ndarray:
    """Returns pictures of zeros and ones, drawn with the grey values as probabilities."""
    return np.asarray(jax.vmap(data.binarize)(jax.random.split(next(keys), len(pictures)), jnp.asarray(pictures)))


digits = binarized(split.train.examples)
vae = networks.mlp(
    event_shape=(28, 28, 1), latent_dim=20, hidden=(200,), activation="tanh", output_mean=digits.mean(axis=0)
)
loss = functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)
params, curve = training.fit(
    loss, vae.init(next(keys)), next(keys), digits, optimizer=optax.adam(1e-3), num_steps=3000, batch_size=100
)
print(f"negative ELBO of the last steps: {curve[-100:].mean():.1f} nats")

# %% [markdown]
# ## Normal and abnormal pictures
#
# Normal ones are digits of the test set. Abnormal ones are single lines, digits of half the size in a corner or in the
# centre, digits without their upper half, digits upside down, and negatives.

# %%
normal = split.test.examples[:NUMBER]
rng = np.random.default_rng(0)


def lines() -> np.ndarray:
    pictures = np.zeros((NUMBER, 28, 28, 1), np.uint8)
    for number, picture in enumerate(pictures):
        row, column, length = rng.integers(4, 24), rng.integers(2, 16), rng.integers(6, 12)
        shown = picture if number % 2 else picture.swapaxes(0, 1)
        shown[row : row + 2, column : column + length] = 255
    return pictures


def half_size(corner: int) -> np.ndarray:
    pictures = np.zeros_like(normal)
    pictures[:, corner : corner + 14, corner : corner + 14] = normal[:, ::2, ::2]
    return pictures


upper = np.arange(28)[:, None, None] < 14
abnormal = {
    "lines": lines(),
    "small, in a corner": half_size(1),
    "lower half": np.where(upper, 0, normal).astype(np.uint8),
    "upside down": normal[:, ::-1],
    "negatives": 255 - normal,
    "small, in the centre": half_size(7),
}

# %% [markdown]
# ## Scores
#
# The AUROC is the probability that an abnormal picture has the larger score; 0.5 is chance. Of each the 95% interval.

# %%


def scores(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Returns -log p(x) and the likelihood regret, in nats."""
    xs, of_each = binarized(pictures), jax.random.split(next(keys), len(pictures))
    found = evaluation.score(params, of_each, xs, vae=vae, num_samples=200)
    regret = evaluation.likelihood_regret(
        params, jax.random.clone(of_each), xs, vae=vae, num_steps=300, num_samples=400
    )
    return {"-log p(x)": np.asarray(-found.log_evidence, float), "regret": np.asarray(regret.value, float)}


of_normal = scores(normal)
of_abnormal = {name: scores(pictures) for name, pictures in abnormal.items()}
is_abnormal = np.arange(2 * NUMBER) >= NUMBER
areas = {}
print(f"{'':22}{'-log p(x)':24}regret")
for name, found in of_abnormal.items():
    of = {score: np.concatenate([of_normal[score], found[score]]) for score in of_normal}
    areas[name] = {score: evaluation.auroc(values, is_abnormal) for score, values in of.items()}
    print(f"{name:22}" + "".join(f"{a.value:.2f} ({a.low:.2f} to {a.high:.2f})     " for a in areas[name].values()))

# %% [markdown]
# The model finds lines, small digits and lower halves more probable than digits: they have fewer pixels to be wrong
# about. Their regret is large where the encoder, which has never seen such pictures, finds a poor q(z|x). For a small
# digit in the centre it finds a good one, as good as the decoder allows, and the regret says nothing. No one score is
# enough.

# %%
figure = plt.figure(figsize=(9, 6), layout="constrained")
for axes, score in zip(figure.subplots(2, 1), of_normal, strict=True):
    shown = {"digits": of_normal[score], **{n: of_abnormal[n][score] for n in list(abnormal)[:3]}}
    top = np.quantile(np.concatenate(list(shown.values())), 0.995)
    for name, values in shown.items():
        axes.hist(values, bins=np.linspace(0, top, 40), histtype="step", label=name, density=True)
    axes.set(xlabel=f"{score}, nats", yticks=[])
    axes.legend(fontsize=8)

# %%
for name in ("lines", "small, in a corner", "lower half"):
    assert areas[name]["-log p(x)"].high < 0.5 < areas[name]["regret"].low
assert areas["negatives"]["-log p(x)"].low > 0.95
assert areas["small, in the centre"]["regret"].low < 0.6  # what the regret does not find either
