"""What an encoder loses: the gap between log p(x) and the ELBO, by cause."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .. import parallel
from ..checks import check_count
from ..distributions import DiagonalNormal, Distribution, MultivariateNormal, Support, is_gaussian
from ..losses import negative_elbo
from ..losses.example import examples_of
from ..model import VAE, Params
from ..names import check_name
from ..precision import at_least_float32
from .checks import check_examples, check_support, real_sample

_FAMILIES = ("diagonal", "full")
_DRAWS = 64  # of a q(z|x) that is not Gaussian, for the Gaussian that the search begins at

_Gaussian = DiagonalNormal | MultivariateNormal


class InferenceGaps(NamedTuple):
    """For each of n examples, in nats; q* is the best Gaussian that was found for it.

    The ELBOs come from the same samples, drawn after q* was found: none is optimistic, and the standard errors of the
    gaps are those of differences. approximation_gap + amortization_gap = log_evidence − elbo.

    Attributes:
      approximation_gap: log p(x) − L(q*) = KL(q* ‖ p(z|x)), what the family costs; too large by what q* lacks.
      approximation_gap_standard_error: with that of `log_evidence`.
      amortization_gap: L(q*) − L(q), what the encoder costs; too small by what q* lacks. Below 0 where q(z|x) is of a
        richer family, or q* no better than it.
      amortization_gap_standard_error: its standard error.
      log_evidence: log p(x), as it was given, or by importance sampling from q*.
      log_evidence_standard_error: its standard error.
      effective_sample_size: of importance sampling from q*, between 1 and `num_samples`.
      elbo: L(q), of the encoder's q(z|x).
      elbo_standard_error: its standard error.
      refined_elbo: L(q*).
      refined_elbo_standard_error: its standard error.
      late_improvement: by how much L rose in the second half of the steps; far above 0, more steps are needed.
      posterior: q*, with a leading axis; over the numbers of z row by row, where z is no vector.
    """

    approximation_gap: Float[Array, " n"]
    approximation_gap_standard_error: Float[Array, " n"]
    amortization_gap: Float[Array, " n"]
    amortization_gap_standard_error: Float[Array, " n"]
    log_evidence: Float[Array, " n"]
    log_evidence_standard_error: Float[Array, " n"]
    effective_sample_size: Float[Array, " n"]
    elbo: Float[Array, " n"]
    elbo_standard_error: Float[Array, " n"]
    refined_elbo: Float[Array, " n"]
    refined_elbo_standard_error: Float[Array, " n"]
    late_improvement: Float[Array, " n"]
    posterior: DiagonalNormal | MultivariateNormal


def inference_gaps(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    family: str = "diagonal",
    num_steps: int = 1000,
    learning_rate: float = 0.05,
    samples_per_step: int = 16,
    num_samples: int = 5000,
    log_evidence: tuple[Float[ArrayLike, " given"], Float[ArrayLike, " given"]] | None = None,
    chunk_size: int = 500,
    mesh: jax.sharding.Mesh | None = None,
) -> InferenceGaps:
    """log p(x) − L(q) = [log p(x) − L(q*)] + [L(q*) − L(q)]: the approximation and the amortisation gap, in nats.

    q* maximises the ELBO of its example over the Gaussians of the family: Adam from q(z|x), in coordinates in which
    q(z|x) is N(0, I), so that steps are in units of its scales; the learning rate falls to 0 along a cosine. The
    gradients stick to the landing, and vanish where q* is the posterior. In the place of a q(z|x) that is not Gaussian,
    the search begins at one with the mean and the standard deviations of 64 of its draws.

    Called with examples of the training and of the test set, the difference of the means of `amortization_gap` is
    what inference loses by generalising: mean(test) − mean(train), ± the root of the sum of squares of their
    std / √n.

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n examples, with a leading axis.
      vae: the model; z is one array of real numbers, of any shape.
      family: of q*: "diagonal" for `DiagonalNormal`, "full" for `MultivariateNormal`.
      num_steps: of Adam, at least 1.
      learning_rate: of the first step.
      samples_per_step: of the gradient.
      num_samples: K, at least 2, fresh samples from which the ELBOs and log p(x) are estimated.
      log_evidence: log p(x) of the examples, and its standard errors; by default by importance sampling from the K
        samples of q*. A diagonal q* is narrower than a correlated posterior, and its weights have heavy tails: where
        its gap is more than some tenths of a nat, the default is too low. Pass what the family "full" found, or
        `annealed_log_evidence`.
      chunk_size: samples computed at once, over examples and samples of one step.
      mesh: the devices among which the examples are divided; by default one computes all.

    Raises:
      ValueError: for a count that is too small, a learning rate that is not positive, an unknown family, a z that is
        no array of real numbers or is confined to an interval, keys, examples or evidences of different number, or
        examples that are not finite.
      TypeError: for raw uint32 keys.

    Source: Cremer, Li and Duvenaud 2018, arXiv:1801.03558, equation 5; the gradient: Roeder, Wu and Duvenaud 2017,
    arXiv:1703.09194.
    """
    check_name(family, "family", _FAMILIES)
    options = {
        "num_steps": check_count(num_steps, "num_steps"),
        "samples_per_step": check_count(samples_per_step, "samples_per_step"),
        "num_samples": check_count(num_samples, "num_samples", 2),
        "chunk_size": check_count(chunk_size, "chunk_size"),
    }
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    check_examples(keys, xs, "inference_gaps")
    if log_evidence is not None and {np.shape(part) for part in log_evidence} != {np.shape(keys)}:
        raise ValueError(f"log_evidence is of {np.size(log_evidence[0])} examples, but there are {len(keys)}")
    compute = partial(_gaps, learning_rate=learning_rate, vae=vae, family=family, mesh=mesh, **options)
    examples = (params, keys, xs, log_evidence)
    jax.eval_shape(partial(compute, *examples))  # a q that has no gaps is refused before the data are looked at
    check_support(params, xs, vae)
    return compute(*parallel.replicate(examples, mesh))


@partial(jax.jit, static_argnames=("family", "num_steps", "samples_per_step", "num_samples", "chunk_size", "mesh"))
def _gaps(
    params, keys, xs, evidence, *, learning_rate, mesh: jax.sharding.Mesh | None, **options: Any
) -> InferenceGaps:
    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return parallel.over_devices(partial(_of_examples, **options), mesh)(
            (params, learning_rate), keys, xs, evidence
        )


def _of_examples(
    shared: tuple[Params, Any],
    keys: Key[Array, " n"],
    xs: Any,
    evidence: tuple[Float[Array, " n"], Float[Array, " n"]] | None,
    *,
    vae: VAE,
    family: str,
    num_steps: int,
    samples_per_step: int,
    num_samples: int,
    chunk_size: int,
) -> InferenceGaps:
    params, learning_rate = shared
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any, Any]) -> InferenceGaps:
        key, x, evidence = example
        of_x = at(key, x)
        refine_key, samples_key = jax.random.split(key)
        q, shape = of_x.q, _real_shape(of_x.q)
        if is_gaussian(q):
            near = _flat(q)
        else:
            refine_key, draws_key = jax.random.split(refine_key)
            near = _moments(q, draws_key, samples_per_step)
        start, member = _family(near, family)
        refined = VAE(
            init=vae.init,
            encode=lambda coordinates, x: member(coordinates),
            decode=lambda coordinates, z: of_x.decode(z.reshape(shape)),
            prior=lambda coordinates: _Flat(of_x.prior, shape),
        )
        loss = partial(negative_elbo, vae=refined, num_samples=samples_per_step, gradient="sticking_the_landing")
        best, halfway = _minimise(loss, start, refine_key, of_x.x, learning_rate, num_steps)

        def log_weights(sample: Int[Array, ""]) -> tuple[Float[Array, ""], ...]:
            key = jax.random.fold_in(samples_key, sample)
            noise = near.noise(key)
            # By the same key, of the same noise where it has any: the gap's error is that of a difference.
            own = near.transform(noise) if is_gaussian(q) else of_x.sample(jax.random.clone(key))
            drawn = own, member(best).transform(noise), member(halfway).transform(noise)
            return tuple(of_x.densities(z.reshape(shape), log_q).log_weights() for z, log_q in drawn)

        log_w, log_w_best, log_w_half = jax.lax.map(log_weights, jnp.arange(num_samples), batch_size=samples_per_step)
        return _summary(log_w, log_w_best, log_w_half, evidence, member(best))

    return jax.lax.map(one, (keys, xs, evidence), batch_size=max(1, chunk_size // samples_per_step))


class _Flat(NamedTuple):
    """A distribution whose values are flattened."""

    of: Distribution
    shape: tuple[int, ...]

    def sample(self, key: Key[Array, ""]) -> Float[Array, " d"]:
        return jnp.ravel(self.of.sample(key))

    def log_prob(self, value: Float[Array, " d"]) -> Float[Array, ""]:
        return self.of.log_prob(value.reshape(self.shape))


def _real_shape(q: Any) -> tuple[int, ...]:
    support = getattr(q, "support", None)
    if isinstance(support, Support):
        raise ValueError(
            f"inference_gaps needs a z over all real numbers, as q* is Gaussian; {type(q).__name__} is over {support}"
        )
    return real_sample(q, "inference_gaps").shape


def _flat(q: _Gaussian) -> _Gaussian:
    if isinstance(q, MultivariateNormal) or q.mean.ndim == 1:
        return q
    return DiagonalNormal(jnp.ravel(q.mean), jnp.ravel(jnp.broadcast_to(q.scale, q.event_shape)))


def _moments(q: Distribution, key: Key[Array, ""], batch_size: int) -> DiagonalNormal:
    """Returns a Gaussian over the flattened z with the mean and the standard deviations of draws of q."""
    draw = lambda number: at_least_float32(jnp.ravel(q.sample(jax.random.fold_in(key, number))))[0]
    draws = jax.lax.map(draw, jnp.arange(_DRAWS), batch_size=batch_size)
    return DiagonalNormal(jnp.mean(draws, axis=0), jnp.std(draws, axis=0))


def _family(q: _Gaussian, family: str) -> tuple[dict[str, Array], Callable[[dict[str, Array]], _Gaussian]]:
    """Coordinates of a Gaussian relative to `q`, at 0 for q itself, and the function that makes it from them."""
    zeros = jnp.zeros_like(q.mean)
    if family == "diagonal":
        full = isinstance(q, MultivariateNormal)
        scale = jnp.linalg.norm(q.scale_tril, axis=1) if full else jnp.broadcast_to(q.scale, q.mean.shape)

        def diagonal(at: dict[str, Array]) -> _Gaussian:
            return DiagonalNormal(q.mean + scale * at["shift"], scale * jnp.exp(at["log_scale"]))

        return {"shift": zeros, "log_scale": zeros}, diagonal

    tril = q.scale_tril if isinstance(q, MultivariateNormal) else jnp.diag(jnp.broadcast_to(q.scale, q.mean.shape))

    def correlated(at: dict[str, Array]) -> _Gaussian:
        relative = jnp.tril(at["below"], -1) + jnp.diag(jnp.exp(at["log_scale"]))
        return MultivariateNormal(q.mean + tril @ at["shift"], tril @ relative)

    return {"shift": zeros, "log_scale": zeros, "below": jnp.zeros_like(tril)}, correlated


def _minimise(
    loss: Callable[..., Any], start: Any, key: Key[Array, ""], x: Any, learning_rate: Any, num_steps: int
) -> tuple[Any, Any]:
    """Where Adam is after all of its steps, and after half of them."""
    import optax  # which `import vae_jax.evaluation` must not load

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def step(carry, number):
        at, halfway, state = carry
        halfway = jax.tree.map(lambda new, old: jnp.where(number == num_steps // 2, new, old), at, halfway)
        gradient = jax.grad(loss, has_aux=True)(at, jax.random.fold_in(key, number), x)[0]
        with jax.numpy_dtype_promotion("standard"):  # which optax relies on
            updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(at, updates), halfway, state), None

    carry = (start, start, optimizer.init(start))
    (end, halfway, _), _ = jax.lax.scan(step, carry, jnp.arange(num_steps))
    return end, halfway


def _summary(
    log_w: Float[Array, " K"],
    log_w_best: Float[Array, " K"],
    log_w_half: Float[Array, " K"],
    evidence: tuple[Float[Array, ""], Float[Array, ""]] | None,
    best: _Gaussian,
) -> InferenceGaps:
    num_samples = len(log_w)
    error = lambda values: jnp.std(values, ddof=1) / math.sqrt(num_samples)
    elbo, refined = jnp.mean(log_w), jnp.mean(log_w_best)
    share = jax.nn.softmax(log_w_best)
    if evidence is None:
        # To first order log p(x)'s estimate is a mean of K w̃_k, of the same samples as the ELBO.
        value = jax.nn.logsumexp(log_w_best) - math.log(num_samples)
        value_error, gap_error = error(num_samples * share), error(num_samples * share - log_w_best)
    else:
        value, value_error = evidence
        gap_error = jnp.hypot(value_error, error(log_w_best))
    return InferenceGaps(
        approximation_gap=value - refined,
        approximation_gap_standard_error=gap_error,
        amortization_gap=refined - elbo,
        amortization_gap_standard_error=error(log_w_best - log_w),
        log_evidence=value,
        log_evidence_standard_error=value_error,
        effective_sample_size=1 / jnp.sum(share**2),
        elbo=elbo,
        elbo_standard_error=error(log_w),
        refined_elbo=refined,
        refined_elbo_standard_error=error(log_w_best),
        late_improvement=refined - jnp.mean(log_w_half),
        posterior=best,
    )
