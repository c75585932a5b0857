"""Why latent dimensions are unused: what probabilistic PCA says of a Gaussian likelihood's σ, and what is left."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..checks import check_rows
from .latents import LatentStatistics

# Of I(x; z), in nats: what so little information does for the reconstruction is below what is reported of it.
_NEGLIGIBLE = 0.1


def ppca_active_dimensions(xs: ArrayLike, scale: float, *, beta: float = 1.0) -> int:
    """How many latent dimensions pPCA uses on these data at a fixed σ: the number of λ_i > βσ².

    λ are the eigenvalues of the data's covariance (1/n) Σ (x − x̄)(x − x̄)ᵀ. At a fixed σ the maximum-likelihood
    W = U(Λ − σ²I)^½R has a column for each λ_i > σ² and zeros for the others, and the linear VAE's ELBO has the same
    optimum. The β-ELBO of a linear VAE at σ, over β, is up to a constant the ELBO at √β σ, hence βσ².

    Args:
      xs: n ≥ 2 examples of any shape, with a leading axis.
      scale: σ > 0 of the Gaussian likelihood, `terms.scale` say.
      beta: β > 0, the weight of the KL.

    Raises:
      ValueError: for fewer than two examples, values that are not finite, or a σ or β that is not positive and finite.

    Source: Tipping and Bishop 1999, Journal of the Royal Statistical Society B 61(3), equations 7–9 and appendix A;
    Lucas et al. 2019, arXiv:1911.02469, section 4.
    """
    _check_positive(scale, "scale")
    _check_positive(beta, "beta")
    return _num_above(_eigenvalues(xs), scale, beta)


class CollapseDiagnosis(NamedTuple):
    """`print` it for its explanation.

    Attributes:
      causes: of "data", "scale", "beta", "optimisation", "decoder" and "unexplained"; () where nothing collapsed.
      latent_dim: the number of latent dimensions.
      active_units: how many are active.
      ppca_dimensions: `ppca_active_dimensions` at σ and β = 1; None without a Gaussian likelihood, as the next.
      ppca_dimensions_at_beta: the same at the β of training.
      explanation: the causes in words, with their figures.
    """

    causes: tuple[str, ...]
    latent_dim: int
    active_units: int
    ppca_dimensions: int | None
    ppca_dimensions_at_beta: int | None
    explanation: str

    def __str__(self) -> str:
        return self.explanation


def diagnose_collapse(
    statistics: LatentStatistics,
    *,
    annealed: bool,
    beta: float = 1.0,
    xs: ArrayLike | None = None,
    scale: float | None = None,
) -> CollapseDiagnosis:
    """The causes for which fewer latent dimensions are active than there are.

    Under a Gaussian likelihood, each limit on what pPCA uses that is below the one before it, and below which the
    active units are not explained by it alone, is a cause:

    - "data": the data vary in fewer directions than there are latent dimensions.
    - "scale": at σ (and β = 1, or a smaller β of training) pPCA uses fewer dimensions. σ is then too large:
      pPCA's own maximum-likelihood σ, the mean of the eigenvalues left out, leaves no dimension unused.
    - "beta": at the β > 1 of training it uses fewer still. Under another likelihood, wherever β > 1.

    Where fewer units are active than the last of these limits (than there are, without pPCA), in addition:

    - "optimisation": the KL was not annealed; a warm-up of β may help.
    - "decoder": it was, and I(x; z) is below 0.1 nats by its interval: a decoder that models x without z. Where I(x; z)
      is not known, by `kl` + 2 standard errors, as I(x; z) ≤ `kl`.
    - "unexplained": it was, and z does inform, or may do so; a network may need fewer dimensions than a linear model.

    Args:
      statistics: of `latent_statistics`.
      annealed: whether β rose from a smaller value in training.
      beta: the weight of the KL at the end of training, β > 0.
      xs: examples of the data, with `scale`, where the likelihood is Gaussian.
      scale: the learned σ.

    Raises:
      ValueError: where only one of `xs` and `scale` is given, and as `ppca_active_dimensions`.

    Source: Lucas et al. 2019, arXiv:1911.02469, sections 4 and 6; Bowman et al. 2016, arXiv:1511.06349 (annealing, and
    decoders that ignore z).
    """
    _check_positive(beta, "beta")
    if (xs is None) != (scale is None):
        raise ValueError("diagnose_collapse: xs and scale go together, and are given for a Gaussian likelihood")
    latent_dim, active = len(statistics.activity), statistics.active_units
    at_one = at_beta = None
    limit, causes, words = latent_dim, [], []
    if xs is not None and scale is not None:
        _check_positive(scale, "scale")
        eigenvalues = _eigenvalues(xs)
        at_one, at_beta = _num_above(eigenvalues, scale, 1.0), _num_above(eigenvalues, scale, beta)
        rank = int(np.sum(eigenvalues > 1e-9 * eigenvalues[0]))
        kept = min(latent_dim, rank)
        needed = math.sqrt(eigenvalues[kept - 1] / min(beta, 1.0)) if kept else 0.0
        limits = {
            "data": (rank, f"the data vary in {rank} directions"),
            "scale": (
                max(at_one, at_beta),
                f"σ too large: at σ = {scale:.3g} and β = {min(beta, 1.0):.3g} pPCA uses {max(at_one, at_beta)}, and "
                f"{kept} below σ = {needed:.3g}",
            ),
            "beta": (at_beta, f"β too large: at β = {beta:.3g} pPCA uses {at_beta}, at β = 1 {at_one}"),
        }
        for cause, (number, word) in limits.items():
            if number < limit and active < limit:
                causes.append(cause)
                words.append(word)
                limit = number
    elif beta > 1 and active < latent_dim:
        causes.append("beta")
        words.append(f"β may be too large: β = {beta:.3g}")
    if active < limit:
        information = statistics.mutual_information
        most = statistics.kl + 2 * statistics.kl_standard_error if information is None else information.interval[1]
        more = f"there are {limit}" if at_beta is None else f"{limit} could be active by pPCA"
        if not annealed:
            causes.append("optimisation")
            words.append(f"optimisation: {more}, and the KL was not annealed; try a warm-up of β")
        elif most < _NEGLIGIBLE:
            causes.append("decoder")
            words.append(
                f"decoder too strong: {more}, the KL was annealed, and I(x; z) is below {most:.2g} nats: "
                "it models x without z"
            )
        else:
            causes.append("unexplained")
            why = "the network may need no more"
            if information is None:
                why = f"{why}, or the decoder models x without z: I(x; z) is not known, as {statistics.reason}"
            words.append(f"unexplained: {more}, and the KL was annealed; {why}")
    summary = f"{active} of {latent_dim} latent dimensions are active"
    return CollapseDiagnosis(
        tuple(causes), latent_dim, active, at_one, at_beta, f"{summary}: {'; '.join(words) or 'no collapse'}."
    )


def _eigenvalues(xs: ArrayLike) -> Float[np.ndarray, " k"]:
    """Of the data's covariance, descending; of the smaller of XᵀX/n and XXᵀ/n, which share all but zeros."""
    num = check_rows(xs, "xs", 2)
    centred = np.asarray(xs, np.float64).reshape(num, -1)
    centred = centred - centred.mean(axis=0, keepdims=True)
    gram = centred.T @ centred if centred.shape[1] <= num else centred @ centred.T
    return np.linalg.eigvalsh(gram / num)[::-1]


def _num_above(eigenvalues: Float[np.ndarray, " k"], scale: float, beta: float) -> int:
    return int(np.sum(eigenvalues > beta * scale**2))


def _check_positive(value: float, name: str) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
