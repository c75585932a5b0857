"""Means and scales of training data."""

import jax
import numpy as np
import pytest

from tests.own_files import save_npy
from vae_jax import data
from vae_jax.distributions import Masked

NUM = 40
RNG = np.random.default_rng(0)
VALUES = RNG.lognormal(size=(NUM, 3))
OBSERVED = RNG.random((NUM, 3)) < 0.7


def statistics(x, x_contents, **more) -> data.Statistics:
    """Those of a data set whose training examples are x."""
    masked = isinstance(x, Masked)
    split = data.Split(x, None)
    contents = data.Contents(x_contents, masked=masked, **more)
    return data.statistics(data.Dataset("numbers", split, split, split, contents))


TRANSFORMS = pytest.mark.parametrize(
    ("kind", "transform"), [("real", lambda x: x), ("positive", np.log), ("count", np.log1p)]
)


@TRANSFORMS
def test_moments_are_those_of_x_and_of_what_a_network_sees(kind, transform):
    values = np.rint(9 * VALUES).astype(np.int32) if kind == "count" else VALUES.astype(np.float32)
    found = statistics(values, data.Variable(kind, (3,))).x[""]
    seen = transform(values.astype(float))
    for moment, exact in zip(found, (values.mean(0), values.std(0), seen.mean(0), seen.std(0)), strict=True):
        np.testing.assert_allclose(moment, exact, rtol=1e-6)


@TRANSFORMS
def test_moments_are_those_of_what_was_observed(kind, transform):
    values = np.rint(9 * VALUES) if kind == "count" else VALUES
    stored = Masked(np.where(OBSERVED, values, 0).astype(np.float32), OBSERVED)
    found = statistics(stored, data.Variable(kind, (3,))).x[""]
    for column in range(3):
        seen = values[OBSERVED[:, column], column].astype(np.float32).astype(float)
        exact = (seen.mean(), seen.std(), transform(seen).mean(), transform(seen).std())
        np.testing.assert_allclose([moment[column] for moment in found], exact, rtol=1e-5)


def test_moments_of_many_rows_far_from_zero_are_exact():
    """In several pieces, and where the mean of the squares is a hundred million times the variance."""
    values = (1e4 + RNG.normal(size=(7000, 100))).astype(np.float32)
    found = statistics(values, data.Variable("real", (100,))).x[""]
    exact = values.astype(float)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, exact.std(0), rtol=1e-9)


@pytest.mark.parametrize(("dtype", "greatest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_the_mean_of_pictures_is_that_of_numbers_in_the_unit_interval(dtype, greatest):
    images = (RNG.random((NUM, 2, 2, 1)) * greatest).astype(dtype)
    (moments,) = statistics(images, data.Variable("picture", (2, 2, 1))).x.values()
    np.testing.assert_allclose(moments.mean, images.astype(float).mean(0) / greatest, rtol=1e-12)
    assert moments[1:] == (None, None, None)


def test_categories_have_no_scale():
    codes = RNG.integers(0, 3, NUM).astype(np.int32)
    assert statistics(codes, data.Variable("category", (), ("a", "b", "c"))).x[""][1:] == (None, None, None)


def test_what_is_given_has_moments_of_its_own():
    dose, x = RNG.normal(3, 2, NUM).astype(np.float32), VALUES.astype(np.float32)
    found = statistics((x, {"dose": dose}), data.Variable("real", (3,)), condition={"dose": data.Variable("real")})
    np.testing.assert_allclose(found.x[""].mean, x.mean(0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(found.condition["dose"][:2], (dose.mean(dtype=float), dose.std(dtype=float)), rtol=1e-9)


def test_arrays_give_statistics_back():
    x = {"age": RNG.normal(size=NUM).astype(np.float32), "kind": RNG.integers(0, 2, NUM).astype(np.int32)}
    columns = {"age": data.Variable("real"), "kind": data.Variable("category", (), ("a", "b"))}
    given = {"dose": data.Variable("positive")}
    found = statistics((x, {"dose": RNG.lognormal(size=NUM)}), columns, condition=given)
    again = data.Statistics.from_arrays({**found.to_arrays(), "another": np.zeros(3), "z:age:mean": np.zeros(3)})
    assert jax.tree.structure(again) == jax.tree.structure(found)
    jax.tree.map(np.testing.assert_array_equal, again, found)


def test_those_of_pictures_are_a_mean_as_runs_have_always_kept_it():
    images = RNG.integers(0, 256, (NUM, 2, 2, 1)).astype(np.uint8)
    arrays = statistics(images, data.Variable("picture", (2, 2, 1))).to_arrays()
    assert list(arrays) == ["data_mean"]
    np.testing.assert_array_equal(arrays["data_mean"], images.mean(0, dtype=np.float64) / 255)


CONSTANT = np.stack([VALUES[:, 0], np.full(NUM, 7.0)], 1)
HALF = np.ones((NUM, 2), bool) & np.array([True, False])
REFUSED = {
    "a constant column": (CONSTANT, ("real", (2,)), "column 1 is constant in the training split, 7: its density"),
    "a column that is constant where it was observed": (
        Masked(np.where(OBSERVED[:, :2], CONSTANT, 0), OBSERVED[:, :2]),
        ("real", (2,)),
        "column 1 is constant in the training split, 7: its density",
    ),
    "constant numbers": (np.full(NUM, 0.1), ("positive",), "the array is constant in the training split, 0.1: its"),
    "a column without entries": (
        Masked(VALUES[:, :2], HALF),
        ("real", (2,)),
        "column 1 has no entry in the training split: nothing can be learned of it; leave it out",
    ),
    "counts without entries": (Masked(VALUES[:, :2], HALF), ("count", (2,)), "column 1 has no entry"),
    "a pixel without entries": (
        Masked(VALUES[:, :2].reshape(NUM, 1, 2, 1), HALF.reshape(NUM, 1, 2, 1)),
        ("picture", (1, 2, 1)),
        r"the element \[0, 1, 0\] has no entry",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_of_is_refused_by_its_place(case):
    x, variable, message = REFUSED[case]
    with pytest.raises(data.DataError, match=f"numbers: {message}"):
        statistics(x, data.Variable(*variable))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.full(NUM, 3.0), "column 'age' is constant"),
        (Masked(np.ones(NUM), np.zeros(NUM, bool)), "column 'age' has no"),
    ],
)
def test_a_column_of_a_table_is_refused_by_its_name(column, message):
    with pytest.raises(data.DataError, match=f"numbers: {message}"):
        statistics({"age": column, "dose": VALUES[:, 0]}, {n: data.Variable("real") for n in ("age", "dose")})


def test_constant_pixels_and_counts_are_not_refused():
    """Borders are white in all pictures, and a gene may be silent in all cells."""
    assert statistics(np.ones((NUM, 2, 2)), data.Variable("real", (2, 2))).x[""].scale.tolist() == [[0, 0], [0, 0]]
    assert statistics(np.full((NUM, 2), 4), data.Variable("count", (2,))).x[""].scale.tolist() == [0, 0]


def test_streamed_numbers_have_the_moments_of_those_in_memory(tmp_path):
    numbers = np.where(OBSERVED | (np.arange(3) == 0), VALUES, np.nan)
    path = save_npy(tmp_path / "own.npy", numbers)
    streamed, held = (data.load("own", path=path, memory_gb=bytes_ / 2**30) for bytes_ in (400, 2**30))
    assert (streamed.train.is_streamed, held.train.is_streamed) == (True, False)
    jax.tree.map(np.testing.assert_array_equal, data.statistics(streamed), data.statistics(held))
