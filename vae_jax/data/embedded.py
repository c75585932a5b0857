"""Data sets that need no files: a table that comes with a package, and counts that are made here."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .contents import Contents, Variable
from .dataset import Covariate, Dataset, Split
from .splits import by_position

_CELLS, _GENES, _TYPES, _BATCHES = 4000, 200, 5, 2


def wine(held_out: float = 0.1) -> Dataset:
    """Returns 178 wines by 13 measured quantities, a table, which comes with the package scikit-learn.

    Labels are the three cultivars.

    Source: Aeberhard, Coomans and de Vel 1992; the UCI machine learning repository's "wine".
    """
    from sklearn.datasets import load_wine

    loaded: Any = load_wine()
    columns = {name: loaded.data[:, number].astype(np.float32) for number, name in enumerate(loaded.feature_names)}
    contents = Contents({name: Variable("real") for name in columns})
    return _divided("wine", columns, loaded.target.astype(np.int32), contents, {}, held_out)


def synthetic_cells(held_out: float = 0.1) -> Dataset:
    """Returns counts of 200 genes in 4,000 cells, made from stated factors.

    A cell has a type t of five (the label), a batch b of two (the covariate "batch"), a place s ~ N(0, 1) on a gradient
    that all types share, and a library size n ~ LogNormal(log 2000, 0.4). With g a gene, α ~ N(0, 1), τ_t ~ N(0, 0.8²)
    in a fifth of the genes, γ ~ N(0, 0.5²) in a fifth and β_b ~ N(0, 0.4²), its mean is μ = n softmax(α + τ_t + s γ +
    β_b) over the genes, and its count negative binomial with mean μ and inverse dispersion 2. Each count is set to 0
    with probability 0.1.
    """
    rng = np.random.RandomState(0)  # its streams are frozen; those of numpy's newer generators are not
    some = lambda *shape: (rng.random_sample(shape) < 0.2) * rng.normal(size=shape)
    level, of_type, gradient = rng.normal(size=_GENES), 0.8 * some(_TYPES, _GENES), 0.5 * some(_GENES)
    of_batch = 0.4 * rng.normal(size=(_BATCHES, _GENES))
    types, batch = rng.randint(_TYPES, size=_CELLS), rng.randint(_BATCHES, size=_CELLS)
    place, size = rng.normal(size=(_CELLS, 1)), np.exp(np.log(2000) + 0.4 * rng.normal(size=(_CELLS, 1)))
    logits = level + of_type[types] + place * gradient + of_batch[batch]
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = size * share / share.sum(axis=1, keepdims=True)
    counts = rng.poisson(rng.gamma(2.0, mean / 2.0)) * (rng.random_sample(mean.shape) >= 0.1)
    known = {"batch": (Variable("category", (), tuple(map(str, range(_BATCHES)))), batch.astype(np.int32))}
    contents = Contents(Variable("count", (_GENES,)))
    return _divided("synthetic_cells", counts.astype(np.int32), types.astype(np.int32), contents, known, held_out)


def _divided(
    name: str,
    examples: Any,
    labels: np.ndarray,
    contents: Contents,
    known: dict[str, tuple[Variable, np.ndarray]],
    held_out: float,
) -> Dataset:
    rows = by_position(len(labels), held_out, ("test", "validation"))
    if rows is None:
        raise ValueError(f"data.held_out={held_out} leaves {name} no training examples; hold out less")
    split = lambda of: Split(jax.tree.map(lambda array: array[rows[of]], examples), labels[rows[of]])
    covariates = {
        given: Covariate(variable, *(values[rows[of]] for of in ("train", "validation", "test")))
        for given, (variable, values) in known.items()
    }
    return Dataset(name, split("train"), split("validation"), split("test"), contents, covariates)


EMBEDDED: dict[str, Callable[[float], Dataset]] = {"wine": wine, "synthetic_cells": synthetic_cells}
