"""What data sets hold: contents, statistics, hidden entries, side information, and those that need no files."""

import json

import jax
import numpy as np
import pytest

from tests.own_files import save_npz
from vae_jax import data
from vae_jax.distributions import Masked

NUM = 40
RNG = np.random.default_rng(0)
TABLE = data.Contents(
    {"age": data.Variable("real"), "kind": data.Variable("category", (), ("a", "b"))},
    {"dose": data.Variable("real")},
    masked=True,
)


def dataset(x, contents, **more) -> data.Dataset:
    split = data.Split(x, None)
    return data.Dataset("numbers", split, split, split, contents, **more)


@pytest.mark.parametrize(
    "contents", [TABLE, data.pictures((28, 28, 1)), data.Contents(data.Variable("count", (9,)), sized=True)]
)
def test_contents_survive_json(contents):
    assert data.Contents.from_json(json.loads(json.dumps(contents.to_json()))) == contents


def test_other_json_is_no_contents():
    with pytest.raises(ValueError, match="its contents are no description of examples"):
        data.Contents.from_json({"x": {}})
    with pytest.raises(ValueError, match="have the kind 'wave', not one of picture, real"):
        data.Contents.from_json({**TABLE.to_json(), "x": {"kind": "wave", "shape": [3], "levels": []}})


def test_the_structure_is_that_of_an_example():
    value = Masked(np.zeros(3), np.ones(3, bool))
    assert TABLE.structure() == jax.tree.structure(({"age": value, "kind": value}, {"dose": 0}))
    assert data.pictures((2, 2, 1)).structure() == jax.tree.structure(0)


class TestStatistics:
    values = RNG.lognormal(size=(NUM, 3))
    observed = RNG.random((NUM, 3)) < 0.7

    @pytest.mark.parametrize(("kind", "transform"), [("real", lambda x: x), ("positive", np.log), ("count", np.log1p)])
    def test_moments_are_those_of_what_was_observed(self, kind, transform):
        values = np.rint(9 * self.values) if kind == "count" else self.values
        stored = Masked(np.where(self.observed, values, 0).astype(np.float32), self.observed)
        found = data.statistics(dataset(stored, data.Contents(data.Variable(kind, (3,)), masked=True))).x[""]
        for column in range(3):
            seen = values[self.observed[:, column], column].astype(np.float32).astype(float)
            exact = (seen.mean(), seen.std(), transform(seen).mean(), transform(seen).std())
            np.testing.assert_allclose([moment[column] for moment in found], exact, rtol=1e-5)

    def test_arrays_give_them_back(self):
        x = {"age": RNG.normal(size=NUM).astype(np.float32), "kind": RNG.integers(0, 2, NUM).astype(np.int32)}
        contents = TABLE._replace(masked=False)
        found = data.statistics(dataset((x, {"dose": RNG.normal(size=NUM)}), contents))
        again = data.Statistics.from_arrays(found.to_arrays())
        jax.tree.map(np.testing.assert_array_equal, again, found)

    def test_those_of_pictures_are_a_mean_as_runs_have_always_kept_it(self):
        images = RNG.integers(0, 256, (NUM, 2, 2, 1)).astype(np.uint8)
        arrays = data.statistics(dataset(images, data.pictures((2, 2, 1)))).to_arrays()
        assert list(arrays) == ["data_mean"]
        np.testing.assert_array_equal(arrays["data_mean"], images.mean(0, dtype=np.float64) / 255)

    def test_a_constant_column_and_one_without_entries_are_refused(self):
        real = data.Contents(data.Variable("real", (2,)), masked=True)
        constant = Masked(np.stack([self.values[:, 0], np.full(NUM, 7.0)], 1), np.ones((NUM, 2), bool))
        with pytest.raises(data.DataError, match="numbers: column 1 is constant in the training split, 7: its density"):
            data.statistics(dataset(constant, real))
        empty = Masked(self.values[:, :2], np.ones((NUM, 2), bool) & np.array([True, False]))
        with pytest.raises(data.DataError, match="numbers: column 1 has no entry in the training split"):
            data.statistics(dataset(empty, real))


def test_hidden_entries_are_as_many_as_asked_the_same_each_time_and_stored_as_zero():
    first, again = (data.load("synthetic_cells", missing=0.3).train.examples for _ in range(2))
    number = first.observed.size
    assert abs((~first.observed).sum() - 0.3 * number) < 4 * np.sqrt(0.21 * number)
    np.testing.assert_array_equal(first.observed, again.observed)
    assert (first.value[~first.observed] == 0).all()
    np.testing.assert_array_equal(np.where(first.observed, data.load("synthetic_cells").train.examples, 0), first.value)


def test_no_row_loses_all_its_entries():
    for column in data.load("wine", missing=0.95).train.examples.values():
        assert isinstance(column, Masked)
    observed = np.stack([c.observed for c in data.load("wine", missing=0.95).train.examples.values()])
    assert observed.any(axis=0).all()
    with pytest.raises(ValueError, match=r"data.missing must be from 0 to below 1, got 1.0"):
        data.load("wine", missing=1.0)


class TestConditions:
    @pytest.fixture
    def path(self, tmp_path):
        site = np.array(["north", "south"])[np.arange(NUM) % 2]
        more = {"site": site, "dose": np.linspace(0, 1, NUM), "note": np.zeros((NUM, 2))}
        x = RNG.poisson(5, (NUM, 3))
        return save_npz(tmp_path / "own.npz", x=x, y=np.arange(NUM) % 4, **more)

    def test_what_stands_beside_x_can_be_given(self, path):
        given = data.load("own", path=path, condition=("label", "site", "dose", "size"), held_out=0.2)
        assert given.contents.condition == {
            "label": data.Variable("category", (), ("0", "1", "2", "3")),
            "site": data.Variable("category", (), ("north", "south")),
            "dose": data.Variable("real"),
        }
        assert given.contents.sized
        x, c = given.train.examples
        plain = data.load("own", path=path, held_out=0.2)
        np.testing.assert_array_equal(x, plain.train.examples)
        np.testing.assert_array_equal(c["label"], plain.train.labels)
        # In the file site, dose and label are functions of the row.
        np.testing.assert_array_equal(c["site"], c["label"] % 2)
        np.testing.assert_array_equal(np.rint(c["dose"] * (NUM - 1)) % 4, c["label"])

    @pytest.mark.parametrize(
        ("condition", "message"),
        [
            (("sit",), r"data.condition='sit': .* has nothing of that name beside x\. Did you mean 'site'\?"),
            (("note",), "There are: site, dose, label, size"),
        ],
    )
    def test_what_does_not_is_refused_with_what_can_be_given(self, path, condition, message):
        with pytest.raises(ValueError, match=message):
            data.load("own", path=path, condition=condition)

    def test_a_class_that_no_training_example_has_is_refused_by_row(self):
        labels = {"train": [0, 0, 1], "validation": [0, 1, 1], "test": [1, 2, 0]}
        splits = {name: data.Split(np.zeros((3, 2), np.float32), np.array(of, np.int32)) for name, of in labels.items()}
        from vae_jax.data.conditions import with_condition

        whole = data.Dataset("numbers", **splits, contents=data.Contents(data.Variable("real", (2,))))
        with pytest.raises(
            data.DataError, match="numbers: row 1 of the test split has the label '2', which no training"
        ):
            with_condition(whole, ("label",))

    def test_a_total_is_of_counts(self):
        with pytest.raises(
            ValueError, match="needs an array of counts, whole numbers from 0 on, of which none is missing"
        ):
            data.load("digits_5k", condition=("size",))

    def test_labels_that_there_are_none_of_cannot_be_given(self, tmp_path):
        path = save_npz(tmp_path / "own.npz", x=RNG.normal(size=(NUM, 3)))
        with pytest.raises(ValueError, match=r"data.condition='label': the examples of .* have no labels"):
            data.load("own", path=path, condition=("label",))


class TestEmbedded:
    def test_wine_is_the_table_of_its_package(self):
        from sklearn.datasets import load_wine

        loaded, wine = load_wine(), data.load("wine")
        splits = (wine.train, wine.validation, wine.test)
        assert [split.number for split in splits] == [142, 18, 18]
        rows = np.concatenate([np.stack([split.examples[n] for n in wine.contents.x], 1) for split in splits])
        assert list(wine.contents.x) == list(loaded.feature_names)
        exact = loaded.data.astype(np.float32)
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], exact[np.lexsort(exact.T)])

    def test_cells_have_the_sizes_and_the_excess_of_zeros_that_are_stated(self):
        cells = data.load("synthetic_cells")
        assert [split.number for split in (cells.train, cells.validation, cells.test)] == [3200, 400, 400]
        counts = cells.train.examples
        assert (counts.dtype, counts.shape[1:]) == (np.int32, (200,))
        # A tenth of the counts is taken away of totals of log-normal mean log 2000 + log 0.9.
        totals = np.log(counts.sum(1))
        assert abs(totals.mean() - np.log(1800)) < 5 * totals.std() / np.sqrt(3200) + 0.03
        assert set(cells.train.labels) == set(range(5))
        assert set(cells.covariates["batch"].train) == {0, 1}
