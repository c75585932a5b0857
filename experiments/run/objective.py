"""The training loss that a config names."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax import VAE, data, expressions, losses, threefry, training
from vae_jax.distributions import is_reparameterized

from .config import Config, Loss


def make_loss(config: Config, vae: VAE, view: data.View, *, axis_name: str | None) -> training.LossFn:
    """Returns the training loss (params, keys, batch as stored, step) -> (loss, terms).

    Binarisation happens inside, with keys split from those of the noise.

    Raises:
      ValueError: for an unknown bound, gradient, schedule or regulariser, or what does not go together.
    """
    options: Loss = config.loss
    bound, beta = expressions.make(options.bound, losses.OBJECTIVES), training.beta_schedule(options.beta)
    _check_used(options, bound)
    _check_regularizers(options, bound, _regularizers(options, 1.0))

    def loss_fn(params: Any, keys: jax.Array, batch: jax.Array, step: jax.Array) -> tuple[jax.Array, Any]:
        noise_keys, xs = observations(view, keys, batch)
        now = jnp.asarray(beta(step))
        loss = _of_example(options, bound, now, functools.partial(_reparameterized, vae, params, xs))
        terms = _regularizers(options, now)
        replace = next((term for term in terms if term.replaces), None)
        add = [term for term in terms if not term.replaces]
        batch_loss = losses.over_batch(loss, replace=replace, add=add, axis_name=axis_name)
        return batch_loss(params, noise_keys, xs, vae=vae)

    return losses.BatchLoss(loss_fn, is_mean=not options.regularizers)


def _regularizers(options: Loss, beta: Any) -> list[losses.Regularizer]:
    texts = expressions.split_sum(options.regularizers)
    return [expressions.make(text, losses.REGULARIZERS, beta=beta) for text in texts]


def _check_regularizers(
    options: Loss, bound: losses.Bound | losses.Objective, regularizers: list[losses.Regularizer]
) -> None:
    """Raises `ValueError` for terms that replace the loss where there are several, or the KL has no effect on them."""
    replacing = sum(term.replaces for term in regularizers)
    if replacing > 1:
        raise ValueError(
            f"loss.regularizers={options.regularizers!r}: {replacing} of them replace the mean loss, as free_bits "
            "does, and only one can"
        )
    if any(term.replaces and not term.uses_kl for term in regularizers) and "monte_carlo" in (
        options.kl,
        getattr(bound, "kl", None),
    ):
        raise ValueError(
            f"loss.regularizers={options.regularizers!r} replaces the mean loss, and kl='monte_carlo' has no effect "
            "on what takes its place"
        )


def _of_example(
    options: Loss, bound: losses.Bound | losses.Objective, beta: jax.Array, reparameterized: Callable[[], bool]
) -> Callable[..., Any]:
    """Returns the loss of one example, without its VAE; `reparameterized` says whether q(z|x) is, for "auto"."""
    if isinstance(bound, losses.Objective):
        return functools.partial(bound.loss, num_samples=options.num_samples)
    gradient, baseline = options.gradient, options.baseline
    if gradient == "auto" and reparameterized():
        gradient = "pathwise"
    elif gradient == "auto":
        gradient = "score_function"
        baseline = "leave_one_out" if baseline is None and options.num_samples > 1 else baseline
    estimated = {"num_samples": options.num_samples, "gradient": gradient, "baseline": baseline}
    if bound.kl is None:
        return functools.partial(losses.negative_bound, bound=bound, **estimated)
    kl = options.kl if bound.kl == "auto" else bound.kl
    return functools.partial(losses.negative_elbo, kl=kl, beta=beta, **estimated)


def _reparameterized(vae: VAE, params: Any, xs: Any) -> bool:
    found = []  # q itself need not be a pytree, that it could be returned

    def look(example: Any) -> None:
        x, at = vae.at(example)
        found.append(is_reparameterized(at.encode(params, x)))

    jax.eval_shape(look, jax.tree.map(lambda leaf: leaf[0], xs))
    return found[0]


def _check_used(options: Loss, bound: losses.Bound | losses.Objective) -> None:
    """Raises `ValueError` for a field that has been set and that nothing would read."""
    unread = {"gradient", "baseline", "kl", "beta", "regularizers"}
    if isinstance(bound, losses.Bound):
        unread -= {"gradient", "baseline"} if bound.kl is None else unread
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in unread and value != field.default:
            raise ValueError(f"loss.{field.name}={value!r} has no effect on loss.bound={options.bound!r}")


@functools.partial(jax.jit, static_argnums=0)
def observations(view: data.View, keys: jax.Array, batch: Any) -> tuple[jax.Array, Any]:
    """Returns (keys left for the noise, examples) of a batch as stored.

    What is drawn of them, by dynamic binarisation, takes its keys from a split of `keys`.
    """
    if not view.is_random:
        return keys, jax.vmap(view.observe)(keys, batch)
    split = jax.vmap(lambda key: threefry.split(key, 2))(keys)
    return split[:, 1], jax.vmap(view.observe)(split[:, 0], batch)
