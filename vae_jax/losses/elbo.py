"""The evidence lower bound (E3, E4, E7, E11–E13)."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from ..distributions import has_closed_form_kl, kl_divergence
from ..keys import check_key
from ..model import VAE, Params
from ..names import check_name
from .checks import check_count, check_one_example
from .estimators import Baseline, bound_loss, check_path
from .importance import elbo_bound
from .samples import densities, make_terms, over_samples
from .terms import Terms

_KL_KINDS = ("auto", "analytic", "monte_carlo")


def negative_elbo(
    params: Params,
    key: Key[Array, ""],
    x: Any,
    *,
    vae: VAE,
    num_samples: int = 1,
    beta: float | Float[Array, ""] = 1.0,
    kl: str = "auto",
    gradient: str = "pathwise",
    baseline: Baseline = None,
) -> tuple[Float[Array, ""], Terms]:
    """−L(x) for ONE example x, in nats: −E_q[log p(x|z)] + β KL(q(z|x) ‖ p(z)) (E7, E13).

    The expectation is a mean over z_s = g(x, e_s), e_s ~ N(0, I), s = 1…num_samples: unbiased for any number of
    samples (E11), and so is its gradient (E12).

    Args:
      params: the pytree that `vae.init` returned.
      key: a typed PRNG key.
      x: one example, of the event's shape.
      vae: the model.
      num_samples: S, at least 1.
      beta: weight of the KL (β-VAE, Higgins et al. 2017; KL annealing, Bowman et al. 2016, arXiv:1511.06349);
        below 1 the value bounds nothing.
      kl: "analytic" for the closed form (E4), "monte_carlo" for the mean of log q(z_s|x) − log p(z_s) (E3), "auto"
        for the closed form where there is one and the gradient is pathwise.
      gradient: one of `legal_combinations()["elbo"]`: "pathwise" differentiates through z_s (E12); "score_function"
        is for a q that is not reparameterised (E9); "naive" moves ∇φ inside the expectation, which is wrong (E9).
      baseline: for "score_function": None, "leave_one_out" (S ≥ 2), or one number near the ELBO.

    Returns:
      The loss, a scalar, and its `Terms`.

    Raises:
      ValueError: for a batch in place of one example, an illegal argument, a q that is not reparameterised,
        kl="analytic" without a closed form, or a log-density that is not a scalar.
      TypeError: for a raw uint32 key.

    Source: Kingma and Welling 2014, arXiv:1312.6114, equations 3 and 7; Rezende et al. 2014, arXiv:1401.4082; the
    other gradients: Roeder et al. 2017, arXiv:1703.09194; Kool, van Hoof and Welling 2019, Buy 4 REINFORCE samples,
    get a baseline for free.
    """
    check_name(kl, "kl", _KL_KINDS)
    if kl == "analytic" and gradient != "pathwise":
        raise ValueError(f"kl='analytic' goes with gradient='pathwise'; {gradient!r} needs 'auto' or 'monte_carlo'")
    if gradient != "pathwise" or baseline is not None:
        options = {"num_samples": num_samples, "gradient": gradient, "baseline": baseline, "beta": beta}
        return bound_loss(params, key, x, vae=vae, bound=elbo_bound(), **options)
    check_key(key)
    num_samples = check_count(num_samples, "num_samples")
    q, prior = vae.encode(params, x), vae.prior(params)
    check_one_example(q, prior, key)
    check_path(q, gradient)
    z = over_samples(q.sample, jax.random.split(key, num_samples))
    at = densities(vae, params, x, q, z)
    analytic = kl == "analytic" or (kl == "auto" and has_closed_form_kl(q, prior))
    terms = make_terms(q, prior, z, at, kl=kl_divergence(q, prior) if analytic else None)
    return -terms.reconstruction + beta * terms.kl, terms
