"""Bias, variance and signal-to-noise ratio of gradient estimators: `python -m experiments.gradient_study`.

On an oracle (--oracle), where the exact gradient is known, or at a run's checkpoint (--workdir) and one test image.
Writes study.csv, a row for each estimator, number of samples and block of parameters, and figures against the number
of samples K, with the slopes of Rainforth et al. 2018 (arXiv:1802.04537) drawn in.
"""

import csv
import functools
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from vae_jax import evaluation, figures, losses, oracles, runs

from . import cli, scores, setup, workdir

ORACLES: dict[str, Callable[[jax.Array], oracles.Oracle]] = {
    "linear_gaussian": functools.partial(oracles.linear_gaussian, latent_dim=3, event_dim=5),
    "ppca": functools.partial(oracles.ppca, latent_dim=1, event_dim=4),
    "discrete": functools.partial(oracles.discrete, latent_dim=4, event_dim=6),
    "one_dimensional": oracles.one_dimensional,
}

_ORACLE = flags.DEFINE_enum("oracle", "ppca", list(ORACLES), "The model, where no --workdir is given.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a run: its model at the newest checkpoint.")
_DATA_DIR = cli.define_data_dir()
_EXAMPLE = flags.DEFINE_integer("example", 0, "The test image, with --workdir.", lower_bound=0)
_WIDTH = flags.DEFINE_float("width", 1.2, "Of q over the exact posterior's, with --oracle=ppca; others keep their q.")
_BOUND = flags.DEFINE_enum("bound", "iwae", ["elbo", "iwae"], "The bound.")
_GRADIENTS = flags.DEFINE_list("gradients", None, "The estimators, of losses.GRADIENTS; all that apply by default.")
_NUM_SAMPLES = flags.DEFINE_list("num_samples", ["4", "8", "16", "32", "64"], "The numbers of samples K.")
_NUM_REPLICATES = flags.DEFINE_integer("num_replicates", 20_000, "Replicates of each.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Of the model and the noise.", lower_bound=0, upper_bound=2**32 - 1)
_OUTPUT = flags.DEFINE_string("output", "runs/gradient_study", "Where to write.")


class Subject(NamedTuple):
    """What is studied: a model at some parameters, one x, and the exact gradient of minus the bound, if known."""

    vae: Any
    params: Any
    x: Any
    exact: Callable[[int], Any]


def main() -> None:
    with cli.user_errors():
        subject = _of_oracle() if _WORKDIR.value is None else _of_run(_WORKDIR.value)
        gradients = _gradients(subject)
        counts = [_count(text) for text in _NUM_SAMPLES.value]
    key = jax.random.key(_SEED.value)
    rows = []
    for gradient, count in itertools.product(gradients, counts):
        loss = functools.partial(setup.BOUNDS[_BOUND.value][0], vae=subject.vae, gradient=gradient, num_samples=count)
        with cli.user_errors():
            report = evaluation.gradient_report(
                loss,
                subject.params,
                key,
                subject.x,
                num_replicates=_NUM_REPLICATES.value,
                exact=subject.exact(count),
            )
        print(f"\n{_BOUND.value}, {gradient}, K = {count}\n{report}", flush=True)
        for block, statistics in report.blocks.items():
            rows.append({"gradient": gradient, "num_samples": count, "block": block, **statistics._asdict()})
    _write(rows, Path(_OUTPUT.value))


def _of_oracle() -> Subject:
    model_key, x_key = jax.random.split(jax.random.key(_SEED.value))
    oracle = ORACLES[_ORACLE.value](model_key)
    params = oracle.params
    if _ORACLE.value == "ppca" and oracle.with_exact_posterior is not None:
        params = oracle.with_exact_posterior(params)
        params["encoder"]["log_scale"] += math.log(_WIDTH.value)
    z_key, noise_key = jax.random.split(x_key)
    x = oracle.vae.decode(params, oracle.vae.prior(params).sample(z_key)).sample(noise_key)

    def exact(count: int) -> Any:
        if _BOUND.value == "elbo":
            bound = lambda params: oracle.elbo(params, x)
        elif oracle.iwae is not None:
            iwae = oracle.iwae
            bound = lambda params: iwae(params, x, count)
        else:
            return None
        return jax.jit(jax.grad(lambda params: -bound(params)))(params)

    return Subject(oracle.vae, params, x, exact)


def _of_run(run: str) -> Subject:
    folder = Path(run)
    config = workdir.read_config(folder)
    experiment = setup.build(config, data_dir=_DATA_DIR.value)
    images = experiment.dataset.test.images[:]
    if _EXAMPLE.value >= len(images):
        raise ValueError(f"--example={_EXAMPLE.value}: there are {len(images)} test images, counted from 0")
    vae, params, _ = runs.load(folder, average=scores.evaluated_weights(config) == "average")
    keys = jax.random.split(setup.purpose_key(experiment.key, setup.TEST), len(images))
    chosen = slice(_EXAMPLE.value, _EXAMPLE.value + 1)
    _, xs = experiment.observe(keys[chosen], images[chosen])
    return Subject(vae, params, xs[0], lambda count: None)


def _gradients(subject: Subject) -> list[str]:
    legal = losses.legal_combinations()[_BOUND.value]
    if _GRADIENTS.value is not None:
        for name in _GRADIENTS.value:
            if name not in legal:
                raise ValueError(f"--gradients={name}: {_BOUND.value} has {', '.join(legal)}")
        return _GRADIENTS.value
    loss = functools.partial(setup.BOUNDS[_BOUND.value][0], vae=subject.vae, num_samples=2)

    def applies(gradient: str) -> bool:
        try:
            jax.eval_shape(functools.partial(loss, gradient=gradient), subject.params, jax.random.key(0), subject.x)
        except ValueError:
            return False
        return True

    return [gradient for gradient in legal if applies(gradient)]


def _count(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise ValueError(f"--num_samples={text!r}: give whole numbers of at least 1, as 1,4,16")
    return int(text)


def _write(rows: list[dict[str, Any]], folder: Path) -> None:
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
                xs.append(row["num_samples"])
                ys.append(row[statistic])
        if not curves:
            continue
        figure = figures.power_laws(
            curves,
            xlabel="K",
            ylabel={"bias": "‖mean − exact‖", "variance": "total variance", "snr": "signal-to-noise ratio"}[statistic],
            title=f"{_BOUND.value}, {block}, {_NUM_REPLICATES.value} replicates",
            slopes=_slopes(block) if statistic == "snr" and _BOUND.value == "iwae" else None,
        )
        figure.savefig(folder / f"{statistic}_{block}.png")
    print(f"wrote {folder / 'study.csv'} and figures")


def _slopes(block: str) -> dict[str, float]:
    """Rainforth et al. 2018, theorem 1, and Tucker et al. 2019 for the doubly reparameterised gradient."""
    if block == "encoder":
        return {"pathwise": -0.5, "doubly_reparameterized": 0.5}
    return {"pathwise": 0.5}


if __name__ == "__main__":
    cli.run(main)
