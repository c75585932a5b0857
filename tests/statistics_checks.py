"""Monte-Carlo samples against exact answers, with tolerances from standard errors; and scipy's Gaussian density."""

from typing import Any

import jax
import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

FALSE_ALARMS = 1e-3  # the chance that a right implementation fails one assertion, over all its comparisons


def assert_mean(samples: Any, exact: Any, *, resolution: float) -> None:
    """Asserts that `samples`, a pytree of arrays [N, ...], has the mean `exact`, in every component.

    The threshold on the z-scores follows from the number of comparisons. `resolution` gives the assertion its power: an
    error of this share of the norm of `exact` in any one component must be large enough to be seen.
    """
    drawn = [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in jax.tree.leaves(samples)]
    values = np.concatenate(drawn, axis=1)
    expected = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(exact)])
    assert values.shape[1:] == expected.shape
    standard_errors = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    z = scipy.stats.norm.isf(FALSE_ALARMS / (2 * expected.size))
    # A component that is the same in every sample has no standard error, only float32's rounding.
    tolerance = z * standard_errors + 1e-5 * (1 + np.abs(expected))
    seen = tolerance.max() / np.linalg.norm(expected)
    assert seen <= resolution, f"too few samples: no error below {seen:.1%} of the exact value would be seen"
    error = np.abs(values.mean(axis=0) - expected)
    worst = np.argmax(error / tolerance)
    assert np.all(error <= tolerance), (
        f"component {worst}: mean {values.mean(axis=0)[worst]:.6g}, exact {expected[worst]:.6g}, "
        f"standard error {standard_errors[worst]:.2g}, threshold z = {z:.2f}"
    )


def assert_standard(z_scores: np.ndarray) -> None:
    """Asserts that independent z-scores have the mean and the spread of a standard normal."""
    limit = scipy.stats.norm.isf(FALSE_ALARMS / 2) / np.sqrt(len(z_scores))
    assert abs(z_scores.mean()) < limit, z_scores.mean()
    assert abs(np.mean(z_scores**2) - 1) < np.sqrt(2) * limit, np.mean(z_scores**2)


def assert_standard_normal(noise: np.ndarray) -> None:
    """Asserts that the rows of `noise`, [N, d], are draws from N(0, I): Kolmogorov–Smirnov, and the covariance."""
    noise = np.asarray(noise, np.float64)
    p_value = scipy.stats.kstest(noise.ravel(), "norm").pvalue
    assert p_value > FALSE_ALARMS, f"the components are no draws from N(0, 1): p = {p_value:.2g}"
    assert_mean(noise[:, :, None] * noise[:, None, :], np.eye(noise.shape[1]), resolution=0.05)


def normal_log_density(value: ArrayLike, mean: ArrayLike, covariance: ArrayLike) -> Any:
    """log N(value; mean, covariance) in float64; of each row, for values [N, d]."""
    multivariate_normal: Any = scipy.stats.multivariate_normal
    return multivariate_normal.logpdf(value, mean, covariance)
