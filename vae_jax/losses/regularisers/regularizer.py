"""What a term of a whole batch is."""

import dataclasses
from collections.abc import Callable

from jaxtyping import Array, Float

from ..terms import Terms


@dataclasses.dataclass(frozen=True)
class Regularizer:
    """A function of a whole batch's terms, by value: called as one.

    Attributes:
      term: terms with a leading axis -> a scalar in nats.
      replaces: whether it is a `replace` of `over_batch`, whose value takes the place of the mean loss; else an `add`.
      uses_kl: of one that replaces the loss, whether its KL is `Terms.kl`, the loss's own, by whichever estimate.
    """

    term: Callable[[Terms], Float[Array, ""]]
    replaces: bool = False
    uses_kl: bool = False

    def __call__(self, terms: Terms) -> Float[Array, ""]:
        return self.term(terms)
