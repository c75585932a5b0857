"""What the latents of a run hold, and why some of them hold nothing."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import data, evaluation, parallel, training
from vae_jax.distributions import DiagonalNormal

from ..run import build
from . import missing

# The comparison of every latent with every posterior is quadratic in their number.
_COMPARED_NUMBERS = 2**26


class LatentUse(NamedTuple):
    """What the latents of some examples hold, and why; both None where that is not known, for the `reason`."""

    statistics: evaluation.LatentStatistics | None
    diagnosis: evaluation.CollapseDiagnosis | None
    reason: str = ""


def use(experiment: build.Experiment, params: Any, key: jax.Array, *, most_examples: int) -> LatentUse:
    """Returns what the latents of at most so many test examples hold; a failure is a reason."""
    try:
        rows = data.spread_rows(experiment.dataset.test.number, most_examples)
        examples = experiment.observed("test", rows)
        found = statistics(experiment, params, jax.random.split(key, len(rows)), examples)
        return LatentUse(found, diagnosis(experiment, params, found, examples))
    except Exception as error:  # of a posterior of the user's, say; the run's numbers are worth more
        return LatentUse(None, None, missing.reason(error))


def statistics(
    experiment: build.Experiment, params: Any, keys: jax.Array, examples: Any
) -> evaluation.LatentStatistics:
    """Returns `evaluation.latent_statistics` of examples, from all devices of this process."""
    vae = experiment.vae
    latent_dim = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(vae.prior(params).sample, jax.random.key(0))))
    chunk_size = max(1, min(100, math.isqrt(_COMPARED_NUMBERS // latent_dim)))
    mesh = parallel.local_mesh()
    return evaluation.latent_statistics(params, keys, examples, vae=vae, chunk_size=chunk_size, mesh=mesh)


def diagnosis(
    experiment: build.Experiment, params: Any, found: evaluation.LatentStatistics, examples: Any
) -> evaluation.CollapseDiagnosis:
    """Returns why some latent dimensions are unused, by the statistics of the examples and the config's β."""
    config, scale = experiment.config, _shared_scale(experiment, params)
    beta = training.beta_schedule(config.loss.beta)
    first, last = (float(np.asarray(beta(step))) for step in (0, config.training.num_steps))
    return evaluation.diagnose_collapse(
        found, annealed=first < last, beta=last, xs=None if scale is None else examples, scale=scale
    )


def _shared_scale(experiment: build.Experiment, params: Any) -> float | None:
    """Returns σ of a Gaussian likelihood with one σ, of an x that is given alone and whole; None for any other."""
    vae, contents = experiment.vae, experiment.dataset.contents
    if contents.is_conditional or contents.sized or contents.masked:
        return None
    likelihood = vae.decode(params, vae.prior(params).sample(jax.random.key(0)))
    is_shared = isinstance(likelihood, DiagonalNormal) and likelihood.scale.ndim == 0
    return float(likelihood.scale) if is_shared else None
