"""Data sets that need no files."""

import numpy as np
import pytest
from sklearn.datasets import load_wine

from vae_jax import data

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(("name", "sizes"), [("wine", (142, 18, 18)), ("synthetic_cells", (3200, 400, 400))])
def test_a_tenth_is_held_out_for_each_split(name, sizes):
    dataset = data.load(name)
    assert tuple(getattr(dataset, split).number for split in SPLITS) == sizes


def test_wine_is_the_table_of_its_package_each_row_once_with_its_label():
    loaded, wine = load_wine(), data.load("wine")
    assert list(wine.contents.x) == list(loaded.feature_names)
    assert set(wine.contents.x.values()) == {data.Variable("real")}
    splits = [getattr(wine, split) for split in SPLITS]
    columns = [np.concatenate([split.examples[name] for split in splits]) for name in wine.contents.x]
    found = np.stack([*columns, np.concatenate([split.labels for split in splits])], axis=1)
    exact = np.column_stack([loaded.data, loaded.target]).astype(np.float32)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], exact[np.lexsort(exact.T)])


@pytest.mark.parametrize("name", ["wine", "synthetic_cells"])
def test_the_same_examples_are_made_at_every_call(name):
    assert data.fingerprint(data.load(name)) == data.fingerprint(data.load(name))


@pytest.mark.parametrize("name", ["wine", "synthetic_cells"])
def test_what_would_change_them_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} comes with a package as it is"):
        data.load(name, channels=1)
    with pytest.raises(ValueError, match=rf"data\.held_out=0\.5 leaves {name} no training examples"):
        data.load(name, held_out=0.5)


@pytest.fixture(scope="module")
def cells() -> data.Dataset:
    """3,200 cells: numbers that are drawn are within five standard errors."""
    return data.load("synthetic_cells")


def test_cells_are_counts_of_200_genes(cells):
    assert cells.contents == data.Contents(data.Variable("count", (200,)))
    assert cells.train.examples.dtype == np.int32
    assert cells.train.examples.min() == 0


@pytest.mark.parametrize(("known", "number"), [("label", 5), ("batch", 2)])
def test_types_and_batches_of_cells_are_equally_frequent(cells, known, number):
    values = cells.train.labels if known == "label" else cells.covariates["batch"].train
    assert values.dtype == np.int32
    share = 1 / number
    error = np.sqrt(share * (1 - share) / 3200)
    np.testing.assert_allclose(np.bincount(values) / 3200, np.full(number, share), atol=5 * error)


def test_the_mean_total_of_a_cell_is_that_of_the_library_size(cells):
    """E[n] = 2000 exp(0.4² / 2), of which a tenth is set to 0."""
    totals = cells.train.examples.sum(axis=1)
    exact = 0.9 * 2000 * np.exp(0.4**2 / 2)
    assert abs(totals.mean() - exact) < 5 * totals.std() / np.sqrt(3200)


def test_totals_of_cells_spread_as_the_library_size_does(cells):
    """Log totals have its scale, 0.4, and of 200 counts of means n s_g a share Σ_g s_g² / 2 ≈ 0.01 of variance more."""
    spread = np.log(cells.train.examples.sum(axis=1)).std()
    assert 0.4 - 5 * 0.4 / np.sqrt(2 * 3200) < spread < 0.45


def test_a_tenth_of_the_large_counts_of_cells_is_set_to_zero(cells):
    """The negative binomial itself has a zero with probability (2 / (2 + μ))², which is below 0.02 on average."""
    counts = cells.train.examples
    large = counts[:, counts.mean(axis=0) > 60]
    assert large.shape[1] >= 3
    assert 0.1 - 5 * np.sqrt(0.09 / large.size) < (large == 0).mean() < 0.12


def test_genes_of_cells_differ_with_the_batch(cells):
    """A factor exp(β₁ − β₀) with β ~ N(0, 0.4²): log ratios of means have the standard deviation 0.4 √2."""
    counts, batch = cells.train.examples, cells.covariates["batch"].train
    frequent = counts.mean(axis=0) > 5
    first, second = (counts[batch == number][:, frequent].mean(axis=0) for number in (0, 1))
    ratio = np.log(second / first)
    assert abs(ratio.std() / (0.4 * np.sqrt(2)) - 1) < 5 / np.sqrt(2 * frequent.sum())
