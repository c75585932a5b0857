"""Entries that are hidden at random."""

import jax
import numpy as np
import pytest

from tests.own_files import save_npy
from vae_jax import data
from vae_jax.data.missing import with_holes
from vae_jax.distributions import Masked

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize("split", SPLITS)
def test_as_many_entries_are_hidden_as_were_asked_for(split):
    """Within four standard deviations."""
    observed = getattr(data.load("synthetic_cells", missing=0.3), split).examples.observed
    assert abs((~observed).sum() - 0.3 * observed.size) < 4 * np.sqrt(0.21 * observed.size)


def test_the_same_entries_are_hidden_at_every_call():
    first, again = (data.load("digits_5k", missing=0.5).train.examples.observed for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_entries_are_hidden_independently():
    """Of pairs of neighbours in a row, and in a column, a fourth is hidden: within four standard deviations."""
    hidden = ~data.load("synthetic_cells", missing=0.5).train.examples.observed
    for both in (hidden[:, 1:] & hidden[:, :-1], hidden[1:] & hidden[:-1]):
        assert abs(both.mean() - 0.25) < 4 * np.sqrt(5 / 16 / both.size)  # neighbouring pairs share an entry


def test_what_is_not_hidden_is_as_it_was_and_zero_is_stored_for_the_rest():
    hidden, whole = data.load("synthetic_cells", missing=0.3), data.load("synthetic_cells")
    for split in SPLITS:
        x, exact = getattr(hidden, split).examples, getattr(whole, split).examples
        np.testing.assert_array_equal(x.value, np.where(x.observed, exact, 0))
        assert x.value.dtype == exact.dtype
    assert (hidden.contents.masked, whole.contents.masked) == (True, False)


@pytest.mark.parametrize("name", ["wine", "digits_5k"])
def test_no_row_loses_all_its_entries(name):
    examples = data.load(name, missing=0.999).train.examples
    leaves = [examples] if name == "digits_5k" else list(examples.values())
    assert all(isinstance(leaf, Masked) for leaf in leaves)
    observed = np.concatenate([leaf.observed.reshape(len(leaf.observed), -1) for leaf in leaves], axis=1)
    assert (observed.sum(axis=1) >= 1).all()
    assert observed.sum() < 1.5 * len(observed) + 0.002 * observed.size  # one, but for chance


def test_what_is_given_is_not_hidden():
    hidden = data.load("synthetic_cells", condition=("batch",), missing=0.4)
    plain = data.load("synthetic_cells", condition=("batch",))
    for split in SPLITS:
        (x, c), (_, exact) = getattr(hidden, split).examples, getattr(plain, split).examples
        assert isinstance(x, Masked)
        jax.tree.map(np.testing.assert_array_equal, c, exact)


def with_nan() -> np.ndarray:
    """Rows of which the first entry is missing, so that it is not the one to stay."""
    numbers = np.random.default_rng(0).normal(size=(300, 4))
    numbers[::2, 0] = np.nan
    return numbers


def test_what_was_missing_before_stays_missing_and_no_row_loses_its_last_entry(tmp_path):
    path = save_npy(tmp_path / "own.npy", with_nan())
    before, after = data.load("own", path=path), data.load("own", path=path, missing=0.8)
    for split in SPLITS:
        x, known = getattr(after, split).examples, getattr(before, split).examples
        assert not (x.observed & ~known.observed).any()
        assert x.observed.any(axis=1).all()


@pytest.mark.parametrize("fraction", [1.0, -0.1, float("nan")])
def test_another_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=f"data.missing must be from 0 to below 1, got {fraction}"):
        with_holes(data.load("wine"), fraction)


def test_streamed_examples_are_refused(tmp_path):
    path = save_npy(tmp_path / "own.npy", with_nan())
    with pytest.raises(data.DataError, match=r"these data are streamed; raise data\.memory_gb"):
        data.load("own", path=path, missing=0.5, memory_gb=2000 / 2**30)
