"""Values of x as an output has them: filled, as names of classes, and in intervals."""

import numpy as np
import pytest

from experiments.apply import values
from vae_jax.data import Contents, Variable
from vae_jax.data.entries import of_numbers, of_texts

WHERE = "row {}".format
CLASSES = Variable("category", (), ("a", "none"))


def texts(*entries: str, levels: tuple[str, ...] = ()):
    return of_texts("x.csv", "column", entries, WHERE, levels)


def numbers(*entries: float):
    return of_numbers("x.parquet", "column", np.array(entries), WHERE)


FILLED = {
    "texts": (texts("none", "", "a", levels=CLASSES.levels), [0, 1, 1], CLASSES, ["none", "none", "a"]),
    "numbers as texts": (numbers(2, np.nan), [0, 0], Variable("ordinal", (), ("1", "2")), ["2", "1"]),
    "counts": (texts("7", "", "7"), [1, 2.6, 1], Variable("count"), [7, 3, 7]),
    "ones": (numbers(0, np.nan, np.nan), [0.8, 0.8, 0.2], Variable("binary"), [0, 1, 0]),
    "reals": (texts("0.30", "", "?"), [9, 0.1, 0.2], Variable("real"), [0.3, 0.1, 0.2]),
}


@pytest.mark.parametrize("case", FILLED)
def test_what_is_missing_is_filled_and_what_is_there_stays(case):
    """Reals by the shortest decimals of float32."""
    entries, imputed, variable, expected = FILLED[case]
    found = values.filled(entries, np.array(imputed, np.float32), variable)
    assert found.tolist() == expected
    assert isinstance(found.tolist()[0], type(expected[0]))


TABLE = Contents({"age": Variable("real"), "grade": Variable("ordinal", (), ("low", "high")), "class": CLASSES})


def test_columns_have_their_names_and_their_classes_too():
    found = values.named({"age": [1.5], "grade": [1], "class": [0]}, TABLE, suffix="_draw_0")
    assert {name: of.tolist() for name, of in found.items()} == {
        "age_draw_0": [1.5],
        "grade_draw_0": ["high"],
        "class_draw_0": ["a"],
    }


def test_an_interval_is_of_values_that_were_drawn_and_of_what_has_an_order():
    draws = {"age": np.arange(100.0)[None] + 0.5, "grade": np.arange(100)[None] // 94, "class": np.zeros((1, 100))}
    found = values.intervals(draws, TABLE, 0.9)
    assert {name: of.tolist() for name, of in found.items()} == {
        "age_low": [4.5],
        "age_high": [94.5],
        "grade_low": ["low"],
        "grade_high": ["high"],
    }
    assert values.intervals(draws["class"], Contents(Variable("binary")), 0.9) == {}
