"""The law of reparameterised families."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..distributions import Distribution


def check_reparameterization(distribution: Distribution, key: Key[Array, ""], *, tolerance: float = 1e-4) -> None:
    """The law of every reparameterised family: z = g(e) has density q(z) = p(e) / |det ∂g/∂e| (E10, E14).

    It is this identity that makes E_p(e)[f(g(e))] = E_q[f(z)] for every f. Checked at one drawn e, the determinant
    taken from g's autodiff Jacobian, for standard normal noise of z's size: `sample(key)` must be g(noise(key)), the
    log-density that `transform` returns with z must be this one, and so must `log_prob(z)`.

    Args:
      distribution: has `noise`, `transform`, `sample` and `log_prob`, over an event that is one array.
      key: a typed PRNG key.
      tolerance: the largest error of a log-density, relative to 1 + its size.

    Raises:
      AssertionError: naming the part that breaks the law.
    """
    noise = distribution.noise(key)  # pyright: ignore[reportAttributeAccessIssue]
    z, log_q = distribution.transform(noise)  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(
        distribution.sample(jax.random.clone(key)), z, rtol=1e-6, err_msg="sample(key) is not transform(noise(key))"
    )

    def flat(e: Float[Array, " d"]) -> Float[Array, " d"]:
        return distribution.transform(e.reshape(noise.shape))[0].ravel()  # pyright: ignore[reportAttributeAccessIssue]

    log_det = jnp.linalg.slogdet(jax.jacobian(flat)(noise.ravel()))[1]
    expected = jnp.sum(jax.scipy.stats.norm.logpdf(noise)) - log_det
    for name, value in (("transform", log_q), ("log_prob", distribution.log_prob(z))):
        error = abs(float(value - expected)) / (1 + abs(float(expected)))
        if not error <= tolerance:
            raise AssertionError(f"{name} gives log q(z) = {value}, but p(e) / |det ∂g/∂e| is {expected}")
