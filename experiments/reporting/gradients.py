"""A study of gradient estimators: its subject, a table of statistics, and figures against the number of samples."""

import csv
import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import figures, losses, oracles

from ..run import build, scores, workdir

ORACLES: dict[str, Callable[[jax.Array], oracles.Oracle]] = {
    "linear_gaussian": functools.partial(oracles.linear_gaussian, latent_dim=3, event_dim=5),
    "ppca": functools.partial(oracles.ppca, latent_dim=1, event_dim=4),
    "discrete": functools.partial(oracles.discrete, latent_dim=4, event_dim=6),
    "one_dimensional": oracles.one_dimensional,
}


class Subject(NamedTuple):
    """What is studied: a model at some parameters, one x, and the exact gradient of minus the bound, if known."""

    vae: Any
    params: Any
    x: Any
    exact: Callable[[int], Any]


def of_oracle(name: str, *, seed: int, bound: str, width: float) -> Subject:
    """Returns an oracle, and one x drawn from it; q of "ppca" is `width` times as wide as the exact posterior."""
    model_key, x_key = jax.random.split(build.purpose_key(jax.random.key(seed), build.ORACLE))
    oracle = ORACLES[name](model_key)
    params = oracle.params
    if name == "ppca" and oracle.with_exact_posterior is not None:
        params = oracle.with_exact_posterior(params)
        params["encoder"]["log_scale"] += math.log(width)
    z_key, noise_key = jax.random.split(x_key)
    x = oracle.vae.decode(params, oracle.vae.prior(params).sample(z_key)).sample(noise_key)

    def exact(count: int) -> Any:
        if bound == "elbo":
            exact_bound = lambda params: oracle.elbo(params, x)
        elif oracle.iwae is not None:
            iwae = oracle.iwae
            exact_bound = lambda params: iwae(params, x, count)
        else:
            return None
        return jax.jit(jax.grad(lambda params: -exact_bound(params)))(params)

    return Subject(oracle.vae, params, x, exact)


def of_run(folder: Path, *, example: int, **read: Any) -> Subject:
    """Returns the model of a run at the checkpoint that it reports, and a test image; `read` is as for `workdir.load`.

    Raises:
      ValueError: where there is no such image.
    """
    config, experiment = workdir.load(folder, **read)
    number = experiment.dataset.test.number
    if example >= number:
        raise ValueError(f"--example={example}: there are {number} test images, counted from 0")
    average = scores.evaluated_weights(config) == "average"
    params = scores.load_weights(experiment, folder, checkpoint=None, weights="average" if average else "params")[1]
    x = jax.tree.map(lambda leaf: leaf[0], experiment.observed("test", np.array([example])))
    return Subject(experiment.vae, params, x, lambda count: None)


def applicable(subject: Subject, bound: str, wanted: list[str] | None) -> list[str]:
    """Returns the estimators that are wanted, or all that apply to the subject.

    Raises:
      ValueError: for one that the bound does not have.
    """
    legal = losses.legal_combinations()[bound]
    if wanted is not None:
        for name in wanted:
            if name not in legal:
                raise ValueError(f"--gradients={name}: {bound} has {', '.join(legal)}")
        return wanted
    loss = functools.partial(
        losses.negative_bound, bound=losses.OBJECTIVES.parts[bound](), vae=subject.vae, num_samples=2
    )

    def applies(gradient: str) -> bool:
        try:
            jax.eval_shape(functools.partial(loss, gradient=gradient), subject.params, jax.random.key(0), subject.x)
        except ValueError:
            return False
        return True

    return [gradient for gradient in legal if applies(gradient)]


def count(text: str) -> int:
    """Returns a number of samples; raises `ValueError` for what is none."""
    if not text.strip().isdigit() or int(text) < 1:
        raise ValueError(f"--num_samples={text!r}: give whole numbers of at least 1, as 1,4,16")
    return int(text)


def write(rows: list[dict[str, Any]], folder: Path, *, bound: str, num_replicates: int) -> None:
    """Writes study.csv and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "study.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for block, statistic in itertools.product(dict.fromkeys(row["block"] for row in rows), ("bias", "variance", "snr")):
        curves: dict[str, tuple[list[float], list[float]]] = {}
        for row in rows:
            if row["block"] == block and row[statistic] and np.isfinite(row[statistic]):
                xs, ys = curves.setdefault(row["gradient"], ([], []))
                xs.append(float(row["num_samples"]))
                ys.append(row[statistic])
        if not curves:
            continue
        figure = figures.power_laws(
            curves,
            xlabel="K",
            ylabel={"bias": "‖mean − exact‖", "variance": "total variance", "snr": "signal-to-noise ratio"}[statistic],
            title=f"{bound}, {block}, {num_replicates} replicates",
            slopes=_slopes(block) if statistic == "snr" and bound == "iwae" else None,
        )
        figure.savefig(folder / f"{statistic}_{block}.png")


def _slopes(block: str) -> dict[str, float]:
    """Rainforth et al. 2018, theorem 1, and Tucker et al. 2019 for the doubly reparameterised gradient."""
    if block == "encoder":
        return {"pathwise": -0.5, "doubly_reparameterized": 0.5}
    return {"pathwise": 0.5}
