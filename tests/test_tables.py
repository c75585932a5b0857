"""Tables: what each column is taken for, its numbers and hashes, and which levels must be trained on."""

import hashlib

import numpy as np
import pytest

from tests.table_files import X, read
from vae_jax.data import DataError, schema, tables
from vae_jax.distributions import Masked


def ids(number: int) -> list[str]:
    return [f"id {i}" for i in range(number)]


GUESSES = {
    "numbers": ("0.5 -1 2", "real"),
    "whole numbers below 0": ("3 -1 2", "real"),
    "positive numbers of one size": ("1.0 99.9 50", "real"),
    "positive numbers of two magnitudes": ("1.0 100 50", "positive"),
    "numbers from 0 of many magnitudes": ("0.0 100 0.5", "real"),
    "whole numbers": ("3 0 7", "count"),
    "whole numbers written with a point": ("3.0 0 7", "real"),
    "whole numbers written with an exponent": ("3e0 0 7", "real"),
    "whole numbers that int32 does not hold": ("1 2147483648 7", "positive"),
    "the largest of int32": ("1 2147483647 7", "count"),
    "zeros and ones": ("0 1 1.0", "binary"),
    "two texts": ("no yes no", "binary"),
    "three texts": ("a b 3", "category"),
    "20 texts of their own": (ids(20), "category"),
    "21 texts of their own": (ids(21), "id"),
    "21 texts in 42 rows": (ids(21) * 2, "category"),
    "22 texts in 43 rows": ([*ids(22), *ids(21)], "ignore"),
    "the rows from 0": ("0 1 2", "id"),
    "the rows from 1": ("1 2 3", "id"),
    "the rows from 2": ("2 3 4", "count"),
    "the rows in another order": ("2 1 3", "count"),
    "one text": ("a a a", "ignore"),
    "one number": ("1 1.0 1", "ignore"),
    "nothing": ("NA ? NA", "ignore"),
}


@pytest.mark.parametrize("case", GUESSES)
def test_a_kind_is_guessed_by_the_texts_of_a_column(tmp_path, case):
    texts, kind = GUESSES[case]
    texts = texts.split() if isinstance(texts, str) else texts
    assert read(tmp_path, {"x": X[: len(texts)], "guessed": texts}).columns[1].kind == kind


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["NA", "", "?"], "is ignored: it has no entries"),
        (["a", "", "a"], "is ignored: every entry is 'a'"),
        ([str(10**40), str(10**40 + 1), ""], f"is ignored: every entry is '{10**40}' in float64"),
        (["1", "2", "3"], "is taken for the rows' id: it numbers the rows"),
        (ids(30), "is taken for the rows' id: it has 30 different texts in 30 rows"),
        ([*ids(30), "id 0"], "is ignored: it has 30 different texts in 31 rows"),
    ],
)
def test_what_the_guess_does_not_model_is_noted_with_the_reason(tmp_path, texts, reason):
    assert read(tmp_path, {"x": X[: len(texts)], "odd": texts}).notes == [f"column 'odd' {reason}"]


def test_a_table_has_one_id_and_further_ones_are_ignored(tmp_path):
    columns = {"n": list("123"), "x": X[:3], "m": list("012")}
    assert [column.kind for column in read(tmp_path, columns).columns] == ["id", "real", "ignore"]
    assert [column.kind for column in read(tmp_path, columns, {"m": "id"}).columns] == ["ignore", "real", "id"]


def test_a_table_may_have_an_id_a_label_and_a_condition(tmp_path):
    columns = {"x": X[:3], "n": list("abc"), "y": list("aba"), "c": ["0.5", "1", "2"]}
    table = read(tmp_path, columns, {"n": "id", "y": "label", "c": "condition"})
    assert [column.kind for column in table.columns] == ["real", "id", "label", "real"]


def test_marks_within_the_names_of_columns_separate_nothing(tmp_path):
    assert [column.name for column in read(tmp_path, {"x;y": X[:3], "z|w": X[3:6]}).columns] == ["x;y", "z|w"]


def test_what_a_schema_ignores_is_not_noted(tmp_path):
    assert read(tmp_path, {"x": X[:3], "odd": ["1", "2", "3"]}, {"odd": "ignore"}).notes == []


VALUES = {
    "real": ("real", "0.1 -2 3e1", [0.1, -2, 30], np.float32),
    "positive": ("positive", "0.1 2 3e1", [0.1, 2, 30], np.float32),
    "counts": ("count", "5.0 0 2147483647", [5, 0, 2**31 - 1], np.int32),
    "zeros and ones": ("binary", "1.0 0 1", [1, 0, 1], np.float32),
    "two texts": ("binary", "yes no no", [1, 0, 0], np.float32),
    "two whole numbers": ("binary", "10 9 9", [1, 0, 0], np.float32),
    "two texts in the order given": ({"kind": "binary", "levels": ["yes", "no"]}, "yes no no", [0, 1, 1], np.float32),
    "ones and zeros": ({"kind": "binary", "levels": ["1", "0"]}, "1 0 0", [0, 1, 1], np.float32),
    "categories": ("category", "b c a", [1, 2, 0], np.int32),
    "numbered categories": ("category", "10 9 -1", [2, 1, 0], np.int32),
    "categories that are no numbers for their signs": ("category", "+-10 9 --1", [0, 2, 1], np.int32),
    "categories zero and one": ("category", "1 0 1", [1, 0, 1], np.int32),
    "all that float32 holds": (
        "positive",
        "1.1754943508222875e-38 1 3.4028234663852886e38",
        [1.1754943508222875e-38, 1, 3.4028234663852886e38],
        np.float32,
    ),
    "categories in the order given": ({"kind": "category", "levels": ["c", "b", "d"]}, "b c b", [1, 0, 1], np.int32),
    "levels by value": ("ordinal", "10 9 1", [2, 1, 0], np.int32),
    "levels in the order given": ({"kind": "ordinal", "levels": ["low", "m", "up"]}, "m up low", [1, 2, 0], np.int32),
    "conditions": ({"kind": "category", "condition": True}, "b c a", [1, 2, 0], np.int32),
    "guessed conditions": ("condition", "5 0 7", [5, 0, 7], np.int32),
}


@pytest.mark.parametrize("case", VALUES)
def test_the_values_of_a_column_follow_from_its_kind(tmp_path, case):
    kind, texts, exact, dtype = VALUES[case]
    value = read(tmp_path, {"x": X[:3], "y": texts.split()}, {"y": kind}).values["y"]
    np.testing.assert_array_equal(value, np.array(exact, dtype), strict=True)


@pytest.mark.parametrize(
    ("name", "entries", "kind"),
    [
        ("label", ["2", "0", "2"], "label"),
        ("labels", ["b", "a", "a"], "label"),
        ("label", ["0", "1", "1"], "label"),
        ("label", ["0.5", "1", "2"], "real"),  # no classes
        ("label", ["2", "", "0"], "count"),  # nor is every row of one
        ("y", ["2", "0", "2"], "count"),
    ],
)
def test_classes_called_label_are_the_label_unless_the_schema_says_otherwise(tmp_path, name, entries, kind):
    table = read(tmp_path, {"x": X[:3], name: entries})
    assert table.columns[1].kind == kind
    assert (table.labels is not None) == (kind == "label")
    if kind == "label":
        assert "is taken for the label" in table.notes[0]
        assert read(tmp_path, {"x": X[:3], name: entries}, {name: "category"}).labels is None


def test_labels_are_coded_by_value_or_in_alphabetical_order_and_not_modelled(tmp_path):
    table = read(tmp_path, {"x": X[:3], "y": ["10", "9", "9"]}, {"y": "label"})
    assert (table.labels.tolist(), list(table.values), table.columns[1].levels) == ([1, 0, 0], ["x"], ("9", "10"))
    assert read(tmp_path, {"x": X[:3], "y": ["b", "9", "a"]}, {"y": "label"}).labels.tolist() == [2, 0, 1]
    assert read(tmp_path, {"x": X[:3], "y": ["a", "a", "a"]}, {"y": "label"}).labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("text", ["", "NA", "na", "NaN", "nan", "N/A", "null", "NULL", "None", "none", "?", "  "])
def test_a_missing_entry_masks_every_modelled_column_with_zeros_stored(tmp_path, text):
    table = read(tmp_path, {"x": ["1.5", "-2", "0"], "y": ["c", text, "b"], "z": ["a", "b", "c"]}, conditions=("z",))
    assert [isinstance(table.values[name], Masked) for name in ("x", "y", "z")] == [True, True, False]
    assert table.values["x"].observed.tolist() == [True] * 3
    assert table.values["y"].observed.tolist() == [True, False, True]
    assert table.values["y"].value.tolist() == [1, 0, 0]
    assert table.missing == {"x": 0, "y": 1}


@pytest.mark.parametrize(
    ("kind", "texts", "exact"),
    [
        ("real", "NA 1 7", [0, 1, 7]),
        ("positive", "NA 1 7", [0, 1, 7]),
        ("count", "NA 1 7", [0, 1, 7]),
        ("binary", "NA 1 1.0", [0, 1, 1]),
        ("category", "NA b a", [0, 1, 0]),
        ("ordinal", "NA 10 9", [0, 1, 0]),
    ],
)
def test_a_missing_entry_changes_no_other_and_has_zero_stored(tmp_path, kind, texts, exact):
    assert read(tmp_path, {"x": X[:3], "y": texts.split()}, {"y": kind}).values["y"].value.tolist() == exact


def test_no_column_is_masked_where_nothing_modelled_is_missing(tmp_path):
    table = read(tmp_path, {"x": X[:3], "y": ["NA", "", "2"]}, {"y": "ignore"})
    assert isinstance(table.values["x"], np.ndarray)


def test_a_level_that_the_schema_lists_is_not_missing(tmp_path):
    table = read(
        tmp_path, {"x": X[:3], "y": ["None", "mild", "None"]}, {"y": {"kind": "ordinal", "levels": ["None", "mild"]}}
    )
    assert table.values["y"].tolist() == [0, 1, 0]


def test_the_hash_of_a_row_is_the_published_one_of_its_texts(tmp_path):
    """Without what is ignored, and in whatever way a missing entry is written."""
    table = read(tmp_path, {"n": ["0", "1", "2"], "x": ["0.5", " 1.50 ", "2"], "y": ["c", "N/A", "b"]})
    exact = [hashlib.sha256(text.encode()).digest()[:8] for text in ("0.5\x1fc", "1.50\x1f", "2\x1fb")]
    assert table.hashes.tolist() == [int.from_bytes(digest, "big") for digest in exact]


def test_the_hash_of_a_row_depends_on_no_other_row(tmp_path):
    few, more = (read(tmp_path, {"x": X[:n], "y": list("cbdafe"[:n])}) for n in (3, 6))
    assert few.columns != more.columns
    np.testing.assert_array_equal(few.hashes, more.hashes[:3])


def test_lines_are_those_of_the_file_where_texts_and_blanks_take_several(tmp_path):
    table = read(tmp_path, '\ufeffx,y\r\n1.5,"a\r\nb"\r\n\r\n2,c\r\n -3 , d ')
    lines = [table.where(row).removeprefix(f"{tmp_path / 'cells.csv'}, ") for row in range(3)]
    assert lines == ["row 0 (line 3)", "row 1 (line 5)", "row 2 (line 6)"]
    assert [column.name for column in table.columns] == ["x", "y"]
    assert table.values["x"].tolist() == [1.5, 2, -3]
    assert table.columns[1].levels == ("a\r\nb", "c", "d")


def test_a_condition_keeps_the_kind_that_the_schema_gives(tmp_path):
    table = read(tmp_path, {"x": X[:2], "c": ["1", "2"]}, {"c": "category"}, ("c",))
    assert table.columns[1] == schema.Column("c", "category", ("1", "2"), condition=True)


def test_large_numbers_that_float32_holds_are_not_refused(tmp_path):
    assert read(tmp_path, {"x": ["16777200", "16777201", "-5"]}, {"x": "real"}).values["x"][1] == 16777201


# Rows 0 to 2 are trained on, 3 and 4 held out.
UNSEEN = {
    "a category": ("a b a b c", "category", r"row 4 \(line 6\), column 'y': the level 'c' is in no row of the"),
    "an ordinal level": ("1 3 3 2 1", "ordinal", r"row 3 \(line 5\), column 'y': the level '2'"),
    "a category beside a hole": ("b c NA a c", "category", r"row 3 \(line 5\), column 'y': the level 'a'"),
    "a category behind a hole": ("b c b NA a", "category", r"row 4 \(line 6\), column 'y': the level 'a'"),
    "a binary condition": ("0 0 0 0 1", "condition", r"row 4 \(line 6\), column 'y': the level '1'"),
    "a condition of texts": ("a b a c b", "condition", r"row 3 \(line 5\), column 'y': the level 'c'"),
}


@pytest.mark.parametrize("case", UNSEEN)
def test_a_level_that_no_training_row_has_is_refused(tmp_path, case):
    texts, kind, message = UNSEEN[case]
    table = read(tmp_path, {"x": X[:5], "y": texts.split()}, {"y": kind})
    with pytest.raises(DataError, match=rf"cells\.csv, {message}"):
        tables.check_levels_in_training(table, np.arange(3), np.array([3, 4]))


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ("a b a b c", {"kind": "category", "levels": ["a", "b", "c"]}),
        ("a b a b NA", "category"),
        ("0 0 0 0 1", "binary"),
        ("3 0 3 2 1", "count"),
        ("3 0 3 2 1", {"kind": "count", "condition": True}),
        ("a b a b c", "label"),
        ("a b a b c", "ignore"),
    ],
    ids=[
        "listed levels",
        "a hole",
        "a modelled binary column",
        "a count",
        "a condition of counts",
        "a label",
        "what is ignored",
    ],
)
def test_nothing_else_need_be_in_a_training_row(tmp_path, texts, kind):
    table = read(tmp_path, {"x": X[:5], "y": texts.split()}, {"y": kind})
    tables.check_levels_in_training(table, np.arange(3), np.array([3, 4]))
