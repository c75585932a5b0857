"""Which bound goes with which gradient estimator."""

from .importance import convex_bound, elbo_bound, grouped_bound, renyi_bound


def legal_combinations() -> dict[str, tuple[str, ...]]:
    """For each bound, a name as in `negative_<name>`, the gradients it has.

    "renyi" is for a finite α other than 0 and 1, where it is "iwae" and "elbo". The wake-sleep and thermodynamic
    objectives define their own gradients. Of all, "score_function" takes a baseline.
    """
    bounds = (elbo_bound(), renyi_bound(0.0, name="iwae"), renyi_bound(0.5), grouped_bound(2))
    return {bound.name: bound.gradients for bound in (*bounds, grouped_bound(2, partial=True), convex_bound(0.5))}
