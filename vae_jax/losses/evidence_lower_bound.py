"""The evidence lower bound (E3, E4, E7, E11–E13)."""

from typing import Any

from jaxtyping import Array, Float, Key

from ..model import VAE, Params
from .bounds import elbo
from .estimators import Baseline, estimate
from .terms import Terms


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
    """Returns −L(x) of ONE example x, in nats: −E_q[log p(x|z)] + β KL(q(z|x) ‖ p(z)) (E7, E13), and its `Terms`.

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
      gradient: as in `negative_bound`: "pathwise" differentiates through z_s (E12); "score_function" is for a q that
        is not reparameterised (E9); "naive" moves ∇φ inside the expectation, which is wrong (E9).
      baseline: for "score_function": None, "leave_one_out" (S ≥ 2), or one number near the ELBO.

    Raises:
      ValueError: for a batch in place of one example, an illegal argument, a q that is not reparameterised,
        kl="analytic" without a closed form, or a log-density that is not a scalar.
      TypeError: for a raw uint32 key.

    Source: Kingma and Welling 2014, arXiv:1312.6114, equations 3 and 7; Rezende et al. 2014, arXiv:1401.4082; the
    other gradients: Roeder et al. 2017, arXiv:1703.09194; Kool, van Hoof and Welling 2019, Buy 4 REINFORCE samples,
    get a baseline for free.
    """
    return estimate(
        params,
        key,
        x,
        vae=vae,
        bound=elbo(kl),
        num_samples=num_samples,
        gradient=gradient,
        baseline=baseline,
        beta=beta,
    )
