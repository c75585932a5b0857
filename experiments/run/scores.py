"""The figures that a run is judged by."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import VAE, data, evaluation, parallel, runs, training
from vae_jax.distributions import Binary, Joint

from ..command import signals, watchdog
from . import build
from .config import Config

# Samples per validation image: enough that their noise is small beside the differences between images.
_VALIDATION_SAMPLES = 10
_PURPOSES = {"validation": build.VALIDATION, "test": build.TEST}
# A block of images takes seconds on a slow machine: no more samples than this, unless each device has one image.
_BLOCK_SAMPLES = 250_000


def evaluated_weights(config: Config) -> str:
    """What is evaluated: the weight "average" where the run keeps one, else the "params"."""
    return "params" if config.training.average_decay is None else "average"


def evaluated_params(state: training.TrainState) -> Any:
    """Those weights of a state."""
    return state.params if state.average is None else state.average


def load_weights(
    experiment: build.Experiment, folder: Path, *, checkpoint: str | None, weights: str
) -> tuple[int, Any]:
    """(step, "average" or "params") of a run's checkpoint: "latest", "best", a step, or None as in `runs.load`.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged, or holds another model, or no average.
    """
    template = jax.eval_shape(experiment.vae.init, jax.random.key(0))
    with runs.open_model(folder, checkpoint=checkpoint) as opened:
        return opened.step, opened.read_params(template, average=weights == "average")


def load_params(folder: Path, vae: VAE) -> Any:
    """The raw parameters of the checkpoint that a run reports; raises as `load_weights`."""
    with runs.open_model(folder) as opened:
        return opened.read_params(jax.eval_shape(vae.init, jax.random.key(0)))


def validation_scores(experiment: build.Experiment, params: Any) -> dict[str, float]:
    """The ELBO of the validation split and its standard error, with the same noise at every call."""
    evidence = log_evidence(experiment, params, "validation", _VALIDATION_SAMPLES)
    scores = evaluation.dataset_evidence(evidence, num_samples=_VALIDATION_SAMPLES)
    return {"elbo": scores.elbo, "elbo_standard_error": scores.elbo_standard_error}


def test_scores(experiment: build.Experiment, params: Any, *, num_samples: int) -> evaluation.DatasetEvidence:
    """ELBO and importance-sampled negative log-likelihood of the test split, with standard errors."""
    evidence = log_evidence(experiment, params, "test", num_samples)
    return evaluation.dataset_evidence(evidence, num_samples=num_samples)


class Meaning(NamedTuple):
    """What log p(x|z) of the test examples is.

    Attributes:
      not_a_density: why it is no log-density; "" where it is one.
      num_elements: of an event, where nats have a meaning in bits per dimension; else None.
      log_volume: of the unit in which p(x|z) is a density, 0 where it is a probability.
      reason: why bits per dimension have no meaning, or what they are.
      given: what log p(x) is conditional on; "" for nothing.
    """

    not_a_density: str
    num_elements: int | None
    log_volume: float = 0.0
    reason: str = ""
    given: str = ""

    def in_bits(self, nats: float) -> float:
        """Returns bits per dimension, of nats per example; NaN where they have no meaning."""
        return self.error_in_bits(nats - self.log_volume)

    def error_in_bits(self, nats: float) -> float:
        """Returns a standard error in bits per dimension, of one in nats per example; NaN where there is none."""
        return math.nan if self.num_elements is None else nats / (self.num_elements * math.log(2))

    @property
    def remark(self) -> str:
        """What a reader of log p(x) should know; "" for nothing."""
        return "; ".join(filter(None, (self.not_a_density, self.given and f"log p(x|{self.given})")))


def meaning(experiment: build.Experiment, params: Any) -> Meaning:
    """Returns what log p(x|z) of the test examples is."""
    vae, contents = experiment.vae, experiment.dataset.contents
    given = ", ".join([*contents.condition, *["total"] * contents.sized])
    _, at = vae.at(jax.tree.map(lambda leaf: leaf[0], experiment.observed("test", np.arange(1))))
    p = at.decode(params, at.prior(params).sample(jax.random.key(0)))
    supports = [getattr(part, "support", None) for part in (p.parts.values() if isinstance(p, Joint) else (p,))]
    if contents.masked:
        return Meaning("", None, reason="entries of x are missing, more in some examples than in others", given=given)
    if not all(getattr(support, "is_discrete", False) for support in supports):
        if experiment.view.log_volume:
            reason = "of the density at each level, times the width of a level"
            return Meaning("", contents.num_elements, experiment.view.log_volume, reason, given)
        reason = "log p(x|z) is a density, not a probability: its nats are those of a unit of x"
        return Meaning("", None, reason=reason, given=given)
    if isinstance(supports[0], Binary) and not contents.is_table:
        xs = experiment.observed("test", data.spread_rows(experiment.dataset.test.number, build.LOOKED_AT))
        if not bool(jnp.all(supports[0].is_exact(xs[0] if contents.condition else xs))):
            grey = "not a density: x is grey, and a Bernoulli likelihood is a density of zeros and ones"
            return Meaning(grey, None, reason=grey, given=given)
    return Meaning("", contents.num_elements, given=given)


def params_sha256(params: Any) -> str:
    """SHA-256 of the parameters' bytes, leaf by leaf in `tree_flatten_with_path` order."""
    digest = hashlib.sha256()
    for _, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def noise_keys(experiment: build.Experiment, split: str) -> jax.Array:
    """Returns the key of the evidence of every example of "validation" or "test"."""
    number = getattr(experiment.dataset, split).number
    return jax.random.split(build.purpose_key(experiment.key, _PURPOSES[split]), number)


def log_evidence(
    experiment: build.Experiment,
    params: Any,
    split: str,
    num_samples: int,
    *,
    on_block: Callable[[int, int], None] = lambda done, number: None,
) -> evaluation.LogEvidence:
    """Returns the evidence of every example of "validation" or "test"; `on_block` as in `by_blocks`."""
    keys = noise_keys(experiment, split)
    params = parallel.whole(params)
    mesh = parallel.local_mesh()

    def estimate(rows: np.ndarray) -> evaluation.LogEvidence:
        xs = experiment.observed(split, rows)
        return evaluation.log_evidence(params, keys[rows], xs, vae=experiment.vae, num_samples=num_samples, mesh=mesh)

    size = max(1 if mesh is None else mesh.size, _BLOCK_SAMPLES // num_samples)
    return by_blocks(estimate, len(keys), size, on_block=on_block)


def by_blocks(
    function: Callable[[np.ndarray], Any],
    number: int,
    size: int,
    *,
    on_block: Callable[[int, int], None] = lambda done, number: None,
) -> Any:
    """Returns `function(rows)` of the rows below `number`, a pytree with a row for each, computed in blocks of `size`
    for each process: between them a signal is noticed, and `on_block` is given how many rows of how many are done."""
    size = min(number, size * parallel.num_processes())
    blocks = []
    for start in range(0, number, size):
        signals.check()
        watchdog.progress()
        # The last block is filled with the last row, so that all are compiled once.
        rows = np.minimum(np.arange(start, start + size), number - 1)
        blocks.append(jax.tree.map(np.asarray, parallel.map_shares(function, rows)))
        on_block(min(start + size, number), number)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:number], *blocks)
