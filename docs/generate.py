"""Writes the tables of docs/estimators.md, config.md and parts.md from the code: `python docs/generate.py`."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.parts import source
from experiments.run.config import Config, describe
from experiments.run.roles import ROLES
from vae_jax import losses

# Beside the laws of `vae_jax.testing`, which run on every posterior, prior, likelihood and body (tests/test_laws.py),
# and the covering array (tests/test_combinations.py).
PROOFS = {
    "joint": "its families on their own numbers; columns written out (test_inputs, test_masked)",
    "mlp": "gates and layers by the laws; starts at the data's mean (test_networks)",
    "conv": "shapes of odd and even sides, starts at the data's mean (test_networks)",
    "resnet": "shapes from 7×5 to 64×63, starts at the data's mean (test_networks)",
    "diagonal": "SciPy; KL in closed form (test_distributions, test_kl)",
    "full": "SciPy; KL in closed form (test_distributions, test_kl)",
    "iaf": "autodiff Jacobian, sequential inverse, linear-Gaussian oracle (test_autoregressive, test_flow_losses)",
    "coupling": "autodiff Jacobian, inverse, integral over a grid (test_coupling)",
    "standard_normal": "SciPy (test_distributions)",
    "mixture": "SciPy (test_priors), quadrature (test_mixture)",
    "vamp": "the mixture written out; all x as pseudo-inputs (test_vamp)",
    "bernoulli": "SciPy; enumeration (test_distributions, test_enumerated_oracles)",
    "continuous_bernoulli": "closed form in float64 around log-odds of 0 and up to ±100 (test_likelihoods)",
    "normal": "SciPy (test_distributions, test_networks, test_priors)",
    "laplace": "SciPy (test_likelihoods)",
    "student_t": "SciPy (test_likelihoods)",
    "lognormal": "SciPy (test_likelihoods)",
    "discretized_logistic": "SciPy, and sums to 1 within 1e-5 at scales from e^−7 to e^7 (test_likelihoods)",
    "categorical": "SciPy (test_likelihoods)",
    "ordinal": "differences of the cumulative logit (test_likelihoods)",
    "poisson": "SciPy within 1e-5, means from 1e-3 to 1e5 (test_likelihoods)",
    "negative_binomial": "SciPy within 1e-5, means to 1e5, dispersions from 1e-2 to 1e4 (test_likelihoods)",
    "zero_inflated": "SciPy within 1e-5, on the same grid (test_likelihoods)",
    "elbo": "linear-Gaussian and enumerated oracles (test_elbo, test_bounds)",
    "iwae": "the same (test_bounds, test_estimators)",
    "renyi": "the same (test_bounds, test_estimators)",
    "miwae": "the same (test_bounds, test_estimators)",
    "piwae": "the same (test_bounds, test_estimators)",
    "ciwae": "the same (test_bounds, test_estimators)",
    "wake_sleep": "enumerated oracle (test_wake_sleep)",
    "thermodynamic": "enumerated oracle (test_wake_sleep)",
    "linear": "its values (test_schedules)",
    "cyclical": "its values (test_schedules)",
    "free_bits": "closed form; eight devices (test_over_batch, test_parallel)",
    "total_correlation": "a Gaussian aggregate posterior; eight devices (test_regularisers, test_parallel)",
    "dip": "the exact covariance; eight devices (test_regularisers, test_parallel)",
    "mmd": "two Gaussians; eight devices (test_regularisers, test_parallel)",
    "capacity": "closed form; eight devices (test_regularisers, test_parallel)",
}
_TABLE = re.compile(r"(<!-- the table is .* -->\n).*(<!-- end of the table -->)", re.DOTALL)


def estimators() -> list[str]:
    """Returns the table of the legal combinations of bounds and gradients."""
    combinations = losses.legal_combinations()
    lines = ["| gradient | " + " | ".join(f"`{bound}`" for bound in combinations) + " |"]
    lines.append("|---|" + ":-:|" * len(combinations))
    for gradient in losses.GRADIENTS:
        marks = ("✓" if gradient in legal else "" for legal in combinations.values())
        lines.append(f"| `{gradient}` | " + " | ".join(marks) + " |")
    return lines


def config() -> list[str]:
    """Returns the table of the fields of a config."""
    lines = ["| field | type | default | legal values | meaning |", "|---|---|---|---|---|"]
    for field in describe(Config()):
        cells = (f"`{field.name}`", f"`{field.type}`", f"`{field.value}`", field.legal, field.meaning)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return lines


def parts() -> list[str]:
    """Returns the table of the parts that a config can name, save those of Optax, whose arguments are its own.

    Raises:
      KeyError: for a part of which PROOFS does not say what proves it.
    """
    lines = ["| field | part | what it is | proof | source |", "|---|---|---|---|---|"]
    for field, of_field in ROLES.items():
        for written, (name, function) in zip(of_field.written(), of_field.role.parts.items(), strict=True):
            if source(function) != "optax":
                cells = (f"`{field}`", f"`{written}`", what(function), PROOFS[name], source(function))
                lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return lines


def what(function: Callable[..., Any]) -> str:
    """Returns what a part is: the first sentence of its docstring, without "Returns"."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.])\. ", text.removeprefix("Returns "))[0].rstrip(".")


PAGES = {Path(__file__).parent / f"{table.__name__}.md": table for table in (estimators, config, parts)}


def with_table(path: Path) -> str:
    """Returns the text of a page with the table that the code gives."""
    table = "\n".join(["", *PAGES[path](), "", ""])
    return _TABLE.sub(lambda match: match[1] + table + match[2], path.read_text())


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_table(path))
