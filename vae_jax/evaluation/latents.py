"""What the latents of a trained model hold."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from .. import parallel
from ..checks import check_count, check_rows
from ..distributions import (
    DiagonalNormal,
    Distribution,
    MultivariateNormal,
    has_closed_form_kl,
    is_gaussian,
    kl_divergence,
    kl_per_dimension,
)
from ..losses.checks import check_scalar
from ..losses.example import Example, examples_of
from ..model import VAE, Params
from ..precision import at_least_float32
from .checks import check_examples, real_sample
from .evidence import mean_and_error
from .information import Gaussians, InformationEstimate, aggregate_posterior, bracket

_DRAWS = 64  # of a q(z|x) that is not Gaussian: two independent halves


class LatentStatistics(NamedTuple):
    """Of q(z|x) over n examples, d latent dimensions; in nats, standard errors over examples.

    Attributes:
      num_examples: n.
      num_draws: of each q(z|x), which `activity` is estimated from; None for a Gaussian, whose mean is known.
      activity: Cov_x(E_q[z_d]) of each dimension; may be below 0 where it is estimated.
      active: activity > `threshold`.
      active_units: their number.
      kl: E_x[KL(q(z|x) ‖ p(z))], the rate.
      kl_standard_error: of `kl`.
      kl_per_dimension: E_x[KL(q(z_d|x) ‖ p(z_d))], of the marginals, which add up to `kl` where q and p factorise; None
        where q or the prior is not Gaussian, as the next two.
      kl_per_dimension_standard_error: of `kl_per_dimension`.
      collapsed: P_x[KL(q(z_d|x) ‖ p(z_d)) < ε] ≥ 1 − δ, of each dimension.
      mutual_information: I_q(x; z) = E_x[KL(q(z|x) ‖ q(z))]; None where q is not Gaussian, as the next two.
      marginal_kl: KL(q(z) ‖ p(z)) = `kl` − I_q(x; z).
      total_correlation: KL(q(z) ‖ Π_d q(z_d)).
      reason: why some of these are None; None where none is.
    """

    num_examples: int
    num_draws: int | None
    activity: Float[np.ndarray, " d"]
    active: Bool[np.ndarray, " d"]
    active_units: int
    kl: float
    kl_standard_error: float
    kl_per_dimension: Float[np.ndarray, " d"] | None
    kl_per_dimension_standard_error: Float[np.ndarray, " d"] | None
    collapsed: Bool[np.ndarray, " d"] | None
    mutual_information: InformationEstimate | None
    marginal_kl: InformationEstimate | None
    total_correlation: InformationEstimate | None
    reason: str | None


def latent_statistics(
    params: Params,
    keys: Key[Array, " n"],
    xs: Any,
    *,
    vae: VAE,
    threshold: float = 1e-2,
    epsilon: float = 1e-2,
    delta: float = 1e-2,
    chunk_size: int = 100,
    mesh: jax.sharding.Mesh | None = None,
) -> LatentStatistics:
    """Returns active units, collapse, KL, mutual information, marginal KL and total correlation.

    A Gaussian q(z|x), `DiagonalNormal` or `MultivariateNormal`, gives all of them, from one z_i ~ q(z|x_i) each. With
    q(z) the aggregate posterior E_x[q(z|x)], log q(z_i) is estimated by the mixture of all n posteriors, in
    expectation too high, and by that of the n − 1 others, too low. log q(z_i|x_i) − log q(z_i) so is an estimate of
    I(x; z) from below, at most log n, and from above; likewise log q(z_i) − log p(z_i) and log q(z_i) −
    Σ_d log q(z_id). All is of the distribution that the examples were drawn from; the lower estimate of I is also the
    unbiased one for the uniform distribution over these n examples. I ≤ `kl` bounds it too.

    Of any other q(z|x), an `InverseAutoregressiveFlow` for one, the density at the samples of all examples is costly,
    and those of its marginals are unknown: there are `activity` and `kl` alone, from 64 draws of each. `activity` is
    the covariance over x of the means of two halves of them, which are independent given x, hence unbiased; `kl` is
    the mean of log q(z|x) − log p(z), or the closed form that `distributions.register_kl` was given.

    The work grows as n²d (n²d² for a full covariance; nd where q is not Gaussian), memory as nd (nd²).

    Args:
      params: the model's parameters.
      keys: one typed key per example, `jax.random.split(key, n)`.
      xs: n ≥ 2 examples, with a leading axis.
      vae: the model; z is one array of real numbers, of any shape, and its dimensions are numbered row by row.
      threshold: of an active unit's activity.
      epsilon: ε of the collapse, in nats.
      delta: δ of the collapse.
      chunk_size: examples computed at once, and posteriors that they are compared with at once.
      mesh: the devices among which the examples are divided; by default one computes all.

    Raises:
      ValueError: for fewer than two examples, keys of another number, values that are not finite (naming the rows), a
        z that is no array of real numbers, a threshold or ε below 0, a δ outside [0, 1), or a `chunk_size` below 1.
      TypeError: for raw uint32 keys.

    Source: Burda et al. 2016, arXiv:1509.00519, section 5.2 (active units); Lucas et al. 2019, arXiv:1911.02469,
    definition 1 (collapse); Hoffman and Johnson 2016, ELBO surgery (I and marginal KL); Poole et al. 2019,
    arXiv:1905.06922, section 2 (the two bounds of I); Chen et al. 2018, arXiv:1802.04942 (total correlation).
    """
    for name, value in (("threshold", threshold), ("epsilon", epsilon)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be in [0, 1), got {delta!r}")
    chunk_size = check_count(chunk_size, "chunk_size")
    num = check_examples(keys, xs, "latent_statistics", 2)
    examples = parallel.replicate((params, keys, xs), mesh)
    at = _posteriors(*examples, vae=vae, chunk_size=min(chunk_size, num), mesh=mesh)
    check_rows(at, "q(z|x) and p(z), at the examples and their samples,")
    on_host = lambda leaf: np.asarray(leaf, np.float64)
    first, second = map(on_host, at.means)
    activity = np.sum((first - first.mean(axis=0)) * (second - second.mean(axis=0)), axis=0) / (num - 1)
    per_dimension = per_dimension_error = collapsed = reason = None
    if at.kl_per_dimension is not None:
        kls = on_host(at.kl_per_dimension)
        per_dimension, per_dimension_error = kls.mean(axis=0), kls.std(axis=0, ddof=1) / math.sqrt(num)
        collapsed = np.mean(kls >= epsilon, axis=0) <= delta
    else:
        reason = f"it needs a Gaussian {'q(z|x)' if at.drawn is None else 'prior'}"
    kl = on_host(at.kl)
    information = (None, None, None) if at.drawn is None else _information(at.drawn, kl, chunk_size, mesh)
    return LatentStatistics(
        num_examples=num,
        num_draws=_DRAWS if at.drawn is None else None,
        activity=activity,
        active=activity > threshold,
        active_units=int(np.sum(activity > threshold)),
        kl=mean_and_error(kl)[0],
        kl_standard_error=mean_and_error(kl)[1],
        kl_per_dimension=per_dimension,
        kl_per_dimension_standard_error=per_dimension_error,
        collapsed=collapsed,
        mutual_information=information[0],
        marginal_kl=information[1],
        total_correlation=information[2],
        reason=reason,
    )


class _Drawn(NamedTuple):
    """Gaussian q(z|x), and one sample of each."""

    gaussians: Gaussians
    z: Float[Array, "n d"]
    log_posterior: Float[Array, " n"]
    log_prior: Float[Array, " n"]


class _AtExamples(NamedTuple):
    """`means` are two estimates of E_q[z], independent given x: the mean of a Gaussian twice."""

    means: tuple[Float[Array, "n d"], Float[Array, "n d"]]
    kl: Float[Array, " n"]
    kl_per_dimension: Float[Array, "n d"] | None
    drawn: _Drawn | None


@partial(jax.jit, static_argnames=("chunk_size", "mesh"))
def _posteriors(params, keys, xs, *, mesh: jax.sharding.Mesh | None, **options: Any) -> _AtExamples:
    # Reduced-precision matrix products (the default on TPUs and some GPUs) would bias every figure.
    with jax.default_matmul_precision("highest"):
        return parallel.over_devices(partial(_of_examples, **options), mesh)(params, keys, xs)


def _of_examples(params: Params, keys: Key[Array, " n"], xs: Any, *, vae: VAE, chunk_size: int) -> _AtExamples:
    at = examples_of(vae, params)

    def one(example: tuple[Key[Array, ""], Any]):
        key, x = example
        of_x = at(key, x)
        q, prior = of_x.q, of_x.prior
        marginals, prior_marginals = _marginals(q), _marginals(prior)
        if marginals is None:
            return *_means_and_kl(of_x, key), None, None
        z = q.sample(key)
        log_posterior, log_prior = q.log_prob(z), prior.log_prob(z)
        check_scalar(log_prior, "p(z)")
        whitening = None
        if isinstance(q, MultivariateNormal):
            whitening = jax.scipy.linalg.solve_triangular(q.scale_tril, jnp.eye(q.mean.size), lower=True)
        return (
            (marginals.mean, marginals.mean),
            kl_divergence(q, prior) if has_closed_form_kl(q, prior) else log_posterior - log_prior,
            None if prior_marginals is None else kl_per_dimension(marginals, prior_marginals),
            ((marginals.mean, marginals.scale, whitening), jnp.ravel(z), log_posterior, log_prior),
        )

    means, kl, kls, drawn = jax.lax.map(one, (keys, xs), batch_size=chunk_size)
    return _AtExamples(means, kl, kls, None if drawn is None else _Drawn(Gaussians(*drawn[0]), *drawn[1:]))


def _means_and_kl(of_x: Example, key: Key[Array, ""]):
    """Returns E_q[z] by each half of the draws, and the KL by its closed form, else by all of them."""
    like = real_sample(of_x.q, "latent_statistics")

    def half(numbers: Int[Array, " draws"]) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        def add(total: Float[Array, " d"], number: Int[Array, ""]):
            z, log_posterior = of_x.sample(jax.random.fold_in(key, number))
            log_ratio = log_posterior - of_x.prior.log_prob(z)
            check_scalar(log_ratio, "q(z|x) or p(z)")
            return total + jnp.ravel(z).astype(total.dtype), log_ratio

        # One draw after another: all at once would take more memory than the largest chunk that a caller chose.
        zero = at_least_float32(jnp.zeros(math.prod(like.shape), like.dtype))[0]
        total, log_ratios = jax.lax.scan(add, zero, numbers)
        return total / len(numbers), jnp.mean(log_ratios)

    means, log_ratios = jax.vmap(half)(jnp.arange(_DRAWS).reshape(2, -1))
    closed = has_closed_form_kl(of_x.q, of_x.prior)
    return tuple(means), kl_divergence(of_x.q, of_x.prior) if closed else jnp.mean(log_ratios)


def _information(
    drawn: _Drawn, kl: Float[np.ndarray, " n"], chunk_size: int, mesh: jax.sharding.Mesh | None
) -> tuple[InformationEstimate, InformationEstimate, InformationEstimate]:
    """Returns the mutual information, the marginal KL and the total correlation."""
    aggregate = aggregate_posterior(drawn.gaussians, drawn.z, chunk_size=chunk_size, mesh=mesh)
    own, prior = np.asarray(drawn.log_posterior, np.float64), np.asarray(drawn.log_prior, np.float64)
    # Within one nat of its ceiling, an example's own posterior is a third of the mixture.
    saturated = float(np.mean(own - aggregate.joint_included)) > math.log(len(kl)) - 1
    return (
        bracket(own - aggregate.joint_included, own - aggregate.joint_left_out, saturated=saturated, bound_terms=kl),
        bracket(aggregate.joint_left_out - prior, aggregate.joint_included - prior, saturated=saturated),
        bracket(
            aggregate.joint_left_out - aggregate.marginals_included,
            aggregate.joint_included - aggregate.marginals_left_out,
            saturated=saturated,
        ),
    )


def _marginals(d: Distribution) -> DiagonalNormal | None:
    """The marginals of a Gaussian, as one over a vector; None for any other distribution."""
    if not is_gaussian(d):
        return None
    if isinstance(d, MultivariateNormal):
        return DiagonalNormal(d.mean, jnp.sqrt(jnp.sum(d.scale_tril**2, axis=1)))
    return DiagonalNormal(jnp.ravel(d.mean), jnp.ravel(jnp.broadcast_to(d.scale, d.event_shape)))
