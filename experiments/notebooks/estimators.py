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
# # From the evidence lower bound to doubly reparameterised gradients
#
# Every step is measured against an exact answer. Open this file with jupytext, or run it as a script. E1 … E14 are the
# rows of `docs/theory.md`.

# %%
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import evaluation, figures, losses, oracles

oracle = oracles.ppca(jax.random.key(0), latent_dim=1, event_dim=4)
params, vae = oracle.params, oracle.vae
x = jnp.asarray([0.5, -1.0, 0.3, 1.2])


def report(loss, exact, params=params, num_replicates=20_000):
    return evaluation.gradient_report(loss, params, jax.random.key(1), x, num_replicates=num_replicates, exact=exact)


# %% [markdown]
# ## E1, E2: what the bound misses
#
# log p(x) − L(x) = KL(q(z|x) ‖ p(z|x)). In probabilistic PCA all three are known, so the identity can be looked at.

# %%
q, posterior = vae.encode(params, x), oracle.posterior(params, x)
ratio = posterior.scale[0, 0] / q.scale[0]
kl = jnp.log(ratio) + (1 + ((q.mean - posterior.mean)[0] / q.scale[0]) ** 2) / (2 * ratio**2) - 0.5
gap = oracle.log_evidence(params, x) - oracle.elbo(params, x)
print(f"log p(x) - L(x) = {gap:.5f}, KL(q || p(z|x)) = {kl:.5f}")
np.testing.assert_allclose(gap, kl, rtol=1e-4)

# %% [markdown]
# ## E9: ∇φ does not move inside the expectation
#
# E_q[∇φ (log p(x, z) − log q(z|x))] looks like the gradient of the bound. Its φ-part is E_q[−∇φ log q] = 0, whatever
# the gradient is: the decoder's gradient (E8) is right, the encoder's is gone.

# %%
exact = jax.jit(jax.grad(lambda params: -oracle.elbo(params, x)))(params)
elbo = functools.partial(losses.negative_elbo, vae=vae, num_samples=4, kl="monte_carlo")
naive = report(functools.partial(elbo, gradient="naive"), exact)
print(naive)
encoder = naive.blocks["encoder"]
assert encoder.bias_z > 10 * encoder.bias_z_threshold
assert naive.blocks["decoder"].bias_z < naive.blocks["decoder"].bias_z_threshold

# %% [markdown]
# ## The score function repairs it, at a price
#
# ∇φ E_q[f] = E_q[f ∇φ log q] + E_q[∇φ f]. It is unbiased, and noisy; a baseline from the other samples removes much of
# the noise and no part of the mean.

# %%
score = report(functools.partial(elbo, gradient="score_function"), exact)
leave_one_out = report(functools.partial(elbo, gradient="score_function", baseline="leave_one_out"), exact)
print(score, leave_one_out, sep="\n\n")

# %% [markdown]
# ## E10–E13: z = μ + σe
#
# With the noise drawn first the gradient does move inside, and along the path it carries the gradient of log p(x, z).

# %%
pathwise = report(elbo, exact)
print(pathwise)
for unbiased in (score, leave_one_out, pathwise):
    assert all(block.bias_z < block.bias_z_threshold for block in unbiased.blocks.values())
variances = [r.blocks["encoder"].variance for r in (score, leave_one_out, pathwise)]
print("variance of the encoder's gradient:", ", ".join(f"{v:.3g}" for v in variances))
assert variances[0] > variances[1] > variances[2]

# %% [markdown]
# ## Sticking the landing
#
# The path's gradient has a part −∇φ log q(z|x) at fixed z, whose mean is zero. Without it the gradient's noise vanishes
# where q is the posterior (Roeder et al. 2017).

# %%
at_posterior = oracle.with_exact_posterior(params)
landing = functools.partial(elbo, gradient="sticking_the_landing")
noise = {
    "pathwise": report(elbo, None, at_posterior).blocks["encoder"].variance,
    "sticking the landing": report(landing, None, at_posterior).blocks["encoder"].variance,
}
print(noise)
assert noise["sticking the landing"] < 1e-8 * noise["pathwise"]

# %% [markdown]
# ## Importance weighting: better for θ, worse for φ
#
# The IWAE bound rises with K to log p(x); here it is known for every K. The signal-to-noise ratio of θ's gradient rises
# as √K, that of φ's pathwise gradient falls as 1/√K (Rainforth et al. 2018): its mean vanishes faster than its noise.
# Applying the reparameterisation a second time, to the score term, repairs it (Tucker et al. 2019).

# %%
counts = [4, 16, 64]
print(
    "bound:", [round(float(oracle.iwae(params, x, k)), 4) for k in counts], "log p(x):", oracle.log_evidence(params, x)
)

wide = oracle.with_exact_posterior(params)
wide["encoder"]["log_scale"] += jnp.log(1.2)
curves = {}
for count in counts:
    exact = jax.jit(jax.grad(lambda params, count=count: -oracle.iwae(params, x, count)))(wide)
    for gradient in ("pathwise", "doubly_reparameterized"):
        iwae = functools.partial(losses.negative_iwae, vae=vae, num_samples=count, gradient=gradient)
        blocks = report(iwae, exact, wide, num_replicates=5000).blocks
        parts = ("decoder", "encoder") if gradient == "pathwise" else ("encoder",)
        for block in parts:
            xs, ys = curves.setdefault(f"{block}, {gradient}", ([], []))
            xs.append(count)
            ys.append(blocks[block].snr)

theory = {"decoder, pathwise": 0.5, "encoder, pathwise": -0.5, "encoder, doubly_reparameterized": 0.5}
figure = figures.power_laws(curves, xlabel="K", ylabel="signal-to-noise ratio", slopes=theory)
slopes = {name: np.polyfit(np.log(xs), np.log(ys), 1)[0] for name, (xs, ys) in curves.items()}
print({name: round(float(slope), 3) for name, slope in slopes.items()})
assert all(abs(slopes[name] - slope) < 0.07 for name, slope in theory.items())
figure
