"""Side information: what is given beside x."""

import jax
import numpy as np
import pytest

from tests.own_files import GREY, LABELS, save_folder, save_npz
from tests.own_files import NUM as NUM_IMAGES
from tests.test_streaming import Arrays
from vae_jax import data
from vae_jax.data.conditions import with_condition

NUM, SPLITS = 40, ("train", "validation", "test")
RNG = np.random.default_rng(0)
COUNTS, ROWS = RNG.poisson(5, (NUM, 3)), np.arange(NUM)
# All are functions of the row.
BESIDE = {
    "site": np.array(["north", "south"])[ROWS % 2],
    "code": np.array([b"north", b"south"])[ROWS % 2],
    "stage": ROWS % 3 + 1,
    "dose": ROWS / 4,
    "change": ROWS - 20,
    "is_old": ROWS % 5 == 0,
}


def load(tmp_path, condition=(), x=COUNTS, **arrays) -> data.Dataset:
    return data.load("own", path=save_npz(tmp_path / "own.npz", x=x, **arrays), condition=condition, held_out=0.2)


GIVEN = {
    "label": (data.Variable("category", (), ("0", "1", "2", "3")), ROWS % 4),
    "site": (data.Variable("category", (), ("north", "south")), ROWS % 2),
    "code": (data.Variable("category", (), ("north", "south")), ROWS % 2),
    "stage": (data.Variable("category", (), ("1", "2", "3")), ROWS % 3),
    "dose": (data.Variable("real"), ROWS / 4),
    "change": (data.Variable("real"), ROWS - 20),
    "is_old": (data.Variable("category", (), ("False", "True")), ROWS % 5 == 0),
}


@pytest.mark.parametrize("name", GIVEN)
def test_each_example_is_given_what_stands_beside_it_in_the_file(tmp_path, name):
    """x is unchanged, and tells the row of an example."""
    dataset = load(tmp_path, (name,), x=ROWS[:, None] * [1, 2], y=ROWS % 4, **BESIDE)
    variable, exact = GIVEN[name]
    assert dataset.contents.condition == {name: variable}
    rows = []
    for split in SPLITS:
        x, c = getattr(dataset, split).examples
        np.testing.assert_array_equal(c[name], exact[x[:, 0]])
        assert c[name].dtype == (np.float32 if variable.kind == "real" else np.int32)
        rows += x[:, 0].tolist()
    assert sorted(rows) == ROWS.tolist()


def test_several_are_given_by_name(tmp_path):
    dataset = load(tmp_path, ("dose", "label", "site"), y=ROWS % 4, **BESIDE)
    _, c = dataset.train.examples
    assert list(c) == list(dataset.contents.condition) == ["dose", "label", "site"]
    np.testing.assert_array_equal(np.rint(4 * c["dose"]) % 4, c["label"])
    np.testing.assert_array_equal(c["site"], c["label"] % 2)


def test_the_total_of_counts_is_no_part_of_what_is_stored(tmp_path):
    dataset = load(tmp_path, ("size",))
    assert (dataset.contents.sized, dataset.contents.condition) == (True, {})
    np.testing.assert_array_equal(dataset.train.examples, load(tmp_path).train.examples)


def test_columns_of_a_table_are_given(tmp_path):
    lines = [f"{row % 3}.5,{'ab'[row % 2]},{row * 10}" for row in range(NUM)]
    (tmp_path / "own.csv").write_text("\n".join(["age,site,dose", *lines]))
    dataset = data.load("own", path=tmp_path / "own.csv", condition=("site", "dose"), held_out=0.2)
    assert set(dataset.contents.x) == {"age"}
    assert dataset.contents.condition["site"].levels == ("a", "b")
    for split in SPLITS:
        x, c = getattr(dataset, split).examples
        row = np.rint(np.asarray(c["dose"]) / 10)
        np.testing.assert_array_equal(x["age"], row % 3 + 0.5)
        np.testing.assert_array_equal(c["site"], row % 2)


REFUSED = {
    "a name that is nearly one": (("sit",), r"name beside x\. Did you mean 'site'\? There are: .*, label, size$"),
    "an array of another shape": (
        ("note",),
        r"the array 'note', \[40, 2\] of float64, is left out: it is no covariate",
    ),
    "an array of another length": (("short",), r"the array 'short', \[39\] of float64, is left out"),
    "dates": (("day",), r"the array 'day', \[40\] of datetime64\[D\], is left out: .* \[40\] of numbers or text"),
    "a missing number": (("hole",), r"has a hole of nan: what is given must be known"),
    "an infinite number": (("far",), r"has a far of inf: what is given must be known"),
    "whole numbers that all differ": (("id",), r"of the \w+ split has the id '\d+', which no training .* as floats"),
    "labels that there are none of": (("label",), r"data.condition='label': the examples of .* have no labels$"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_given_is_refused_with_what_to_do(tmp_path, case):
    condition, message = REFUSED[case]
    more = {
        "site": BESIDE["site"],
        "note": np.zeros((NUM, 2)),
        "short": ROWS[1:] / 2,
        "day": ROWS.astype("datetime64[D]"),
        "hole": np.where(ROWS == 3, np.nan, ROWS),
        "far": np.where(ROWS == 3, 1e300, ROWS),
        "id": ROWS,
    }
    with pytest.raises(ValueError, match=message):
        load(tmp_path, condition, **more)


def test_arrays_that_are_no_covariates_are_noted_and_others_are_not(tmp_path):
    _, note = load(tmp_path, dose=ROWS / 4, mask=np.ones((NUM, 3), bool), y=LABELS[np.zeros(NUM, int)]).notes
    assert "own.npz: the array 'mask', [40, 3] of bool, is left out" in note


def test_a_class_that_no_training_example_has_is_refused_by_row():
    labels = {"train": [0, 0, 1], "validation": [0, 1, 1], "test": [1, 2, 0]}
    splits = {name: data.Split(np.zeros((3, 2), np.float32), np.array(of, np.int32)) for name, of in labels.items()}
    whole = data.Dataset("numbers", **splits, contents=data.Contents(data.Variable("real", (2,))))
    with pytest.raises(data.DataError, match=r"numbers: row 1 of the test split has the label '2', which .* out$"):
        with_condition(whole, ("label",))


@pytest.mark.parametrize("name", ["digits_5k", "wine"])
def test_a_total_is_of_counts(name):
    with pytest.raises(ValueError, match="needs an array of counts, whole numbers from 0 on, of which none is missing"):
        data.load(name, condition=("size",))


def test_labels_that_are_not_read_ahead_are_had_with_more_memory():
    split = data.Split(data.Streamed(Arrays(GREY), ROWS[:NUM_IMAGES]), None)
    streamed = data.Dataset("own", split, split, split, data.pictures(GREY.shape[1:]))
    with pytest.raises(ValueError, match=r"have no labels, or they are streamed: raise data\.memory_gb"):
        with_condition(streamed, ("label",))


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_classes_of_text_keep_their_names(tmp_path, dtype):
    words = np.array(["west", "east"]).astype(dtype)
    dataset = load(tmp_path, ("label",), y=words[ROWS % 2])
    assert dataset.contents.condition == {"label": data.Variable("category", (), ("east", "west"))}
    np.testing.assert_array_equal(dataset.train.examples[1]["label"], dataset.train.labels)


@pytest.mark.parametrize("memory_gb", [1.0, 1000 / 2**30])
def test_folders_of_classes_keep_their_names(tmp_path, memory_gb):
    """Whether or not the pictures are streamed; the grey values tell the row."""
    path = save_folder(tmp_path, GREY, below=lambda row: ("cat", "ant")[row % 2])
    dataset = data.load("own", path=path, condition=("label",), memory_gb=memory_gb)
    assert dataset.contents.condition == {"label": data.Variable("category", (), ("ant", "cat"))}
    places = {image.tobytes(): row for row, image in enumerate(GREY)}
    for split in SPLITS:
        pictures, c = getattr(dataset, split).examples
        rows = np.array([places[picture.tobytes()] for picture in pictures[:]])
        np.testing.assert_array_equal(c["label"], 1 - rows % 2)


def test_each_split_of_a_folder_is_given_its_own_classes(tmp_path):
    """A class has one number in all, though a split may lack it."""
    for split, classes in {"train": "abc", "val": "cb", "test": "aac"}.items():
        save_folder(tmp_path / split, GREY[: len(classes)], below=lambda row, classes=classes: classes[row])
    label = data.load("own", path=tmp_path).covariates["label"]
    assert label.variable.levels == ("a", "b", "c")
    found = [label.train.tolist(), label.validation.tolist(), label.test.tolist()]
    assert found == [[0, 1, 2], [1, 2], [0, 0, 2]]


def test_classes_that_one_split_has_not_are_no_covariate(tmp_path):
    for split, below in {"train": "a", "val": "", "test": "a"}.items():
        save_folder(tmp_path / split, GREY[:2], below=lambda row, below=below: below)
    assert not data.load("own", path=tmp_path).covariates


def test_a_covariate_of_a_data_set_that_needs_no_files_is_given():
    dataset = data.load("synthetic_cells", condition=("batch", "label"))
    x, c = dataset.test.examples
    plain = data.load("synthetic_cells")
    np.testing.assert_array_equal(x, plain.test.examples)
    jax.tree.map(
        np.testing.assert_array_equal, c, {"batch": plain.covariates["batch"].test, "label": plain.test.labels}
    )
