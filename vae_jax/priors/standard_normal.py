"""The usual prior."""

from typing import Any

from jaxtyping import Array, Key

from .. import distributions
from ..parts import Event, Latent, Prior, part


@part
def standard_normal() -> Prior:
    """Returns p(z) = N(0, I) over real z of any shape.

    Raises, where the model is built:
      ValueError: for a q(z|x) over z that are no real numbers.

    Source: Kingma and Welling 2014, arXiv:1312.6114, section 3.
    """
    return Prior(build=lambda own, latent, event, encode: distributions.standard_normal(latent.shape), init=_init)


def _init(key: Key[Array, ""], latent: Latent, event: Event) -> dict[str, Any]:
    latent.check_real("standard_normal")
    return {}
