"""Which fields of a config are expressions, and of which parts."""

from typing import NamedTuple

from vae_jax import expressions
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.losses import OBJECTIVES, REGULARIZERS
from vae_jax.networks.bodies import BODIES
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS
from vae_jax.training import BETA_SCHEDULES, OPTIMIZERS


class FieldRole(NamedTuple):
    """The role of the parts that a field takes, and the arguments that the code gives them."""

    role: expressions.Role
    later: tuple[str, ...] = ()

    def written(self) -> list[str]:
        """Returns how each part is written."""
        return [expressions.signature(*item, later=self.later) for item in self.role.parts.items()]


ROLES = {
    "model.network": FieldRole(BODIES),
    "model.posterior": FieldRole(POSTERIORS),
    "model.prior": FieldRole(PRIORS),
    "model.likelihood": FieldRole(LIKELIHOODS),
    "loss.bound": FieldRole(OBJECTIVES),
    "loss.beta": FieldRole(BETA_SCHEDULES),
    "loss.regularizers": FieldRole(REGULARIZERS, ("beta",)),
    "training.optimizer": FieldRole(OPTIMIZERS, ("learning_rate",)),
}


def canonical(field: str, text: str) -> str:
    """Returns one text for all that name the same parts with the same arguments, for a field of `ROLES`.

    Several of `loss.regularizers` are joined by " + ", and `loss.beta` may be a number.
    """
    try:
        return str(float(text))
    except ValueError:
        texts = expressions.split_sum(text) if field == "loss.regularizers" else [text]
        role, later = ROLES[field]
        return " + ".join(expressions.canonical(part, role, later=later) for part in texts)
