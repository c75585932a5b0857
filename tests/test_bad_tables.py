"""Tables that are refused: the row, its line, the column, and what is said of it."""

import pytest

from tests.table_files import X, read
from vae_jax.data import DataError, tables


def of(kind, *levels):
    return {"y": {"kind": kind, **({"levels": list(levels)} if levels else {})}}


# The column y, its schema, and what is said of it; x is in the table too.
BAD_ENTRIES = {
    "no number": ("1 1 b", of("real"), r"row 2 \(line 4\), column 'y': 'b' is no number"),
    "a number of Python": ("1 2 1_0", of("real"), r"row 2 \(line 4\), column 'y': '1_0' is no number"),
    "not a number": ("1 -nan 2", of("real"), r"row 1 .*'-nan' is no number"),
    "infinite": ("1 inf 2", of("real"), r"row 1 \(line 3\), column 'y': 'inf' is infinite"),
    "infinite by the guess": ("1.5 -inf 2", {}, r"row 1 .*'-inf' is infinite"),
    "infinite in float32": ("1 4e38 2", of("positive"), r"row 1 .*'4e38' is infinite in float32"),
    "zero": ("1 2 0", of("positive"), r"row 2 \(line 4\), column 'y': '0' is not positive"),
    "zero in float32": ("1 2 1e-39", of("positive"), r"row 2 .*'1e-39' is not positive, or below 1\.2e-38"),
    "a negative count": ("1 2 -1", of("count"), r"row 2 \(line 4\), column 'y': '-1' is no count"),
    "a broken count": ("1 2.5 1", of("count"), r"row 1 .*'2\.5' is no count"),
    "a large count": ("1 2 2147483648", of("count"), r"'2147483648' is no count, a whole number from 0 to 2147483647"),
    "a count in words": ("1 2 two", of("count"), r"row 2 .*'two' is no count"),
    "neither of two": ("0 1 2", of("binary"), r"row 2 \(line 4\), column 'y': '2' is neither 0 nor 1, .* 3 different"),
    "neither of two behind a hole": ("? 2 2", of("binary"), r"row 1 .*'2' is neither 0 nor 1"),
    "one text of two": ("a a a", of("binary"), r"row 0 .*'a' is neither 0 nor 1, and .* 1 different"),
    "neither level": ("n y m", of("binary", "n", "y"), r"row 2 .*'m' is none of the 2 levels of the column"),
    "no level": ("mild sever mild", of("category", "mild", "severe"), r"row 1 .*'sever' is none.* mean 'severe'\?"),
    "no level of a label": ("a b c", of("label", "a", "b"), r"row 2 .*'c' is none of the 2 levels"),
    "levels without an order": ("1 2 high", of("ordinal"), r"row 2 .*'high' is no whole number: a schema must list"),
    "a missing label": ("a NA b", of("label"), r"row 1 \(line 3\), column 'y': 'NA' is a missing entry, and a label"),
    "a missing condition": ("1 ? 2", {"y": "condition"}, r"row 1 .*'\?' is a missing entry, and a condition must"),
    "a constant": ("2 2.0 NA", of("real"), r", column 'y': every entry is 2, and a real column must vary"),
    "one category": ("a a a", of("category"), r", column 'y': every entry is 'a'; ignore .* or list its levels"),
    "nothing at all": ("NA NA NA", of("real"), r", column 'y': it has no entries, so that it cannot be real"),
    "time stamps": (
        "1.7e9 1700000001 1700000002",
        of("real"),
        r"column 'y': float32 changes .* subtract .* 1700000001",
    ),
    "time stamps of an hour": ("1.7e9 1700001800 1700003600", of("real"), r"column 'y': float32 changes .* subtract"),
    "a constant condition": ("2 2 2", {"y": "condition"}, r"column 'y': every entry is '2', so that it is no con"),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_column_is_refused_by_its_first_bad_row(tmp_path, case):
    texts, described, message = BAD_ENTRIES[case]
    with pytest.raises(DataError, match=rf"cells\.csv.*{message}"):
        read(tmp_path, {"x": ["0.5", "-1", "2"], "y": texts.split()}, described)


BAD_FILES = {
    "an empty file": ("", r"cells\.csv holds nothing"),
    "a header alone": ("x,y\n", r"cells\.csv holds only the columns' names"),
    "two columns of one name": ("x, x\n1,2\n", r"line 1: two columns are called 'x'"),
    "a short line": ("x,y\n1,2\n3\n", r"line 3: 1 fields, but the first line names 2 columns"),
    "a long line": ('x,y\n1,"2\n3"\n3,4,5\n', r"line 4: 3 fields"),
    "another separator": ("x;y\n1;2\n", r"line 1: commas must separate the columns' names, got 'x;y'"),
    "an open quotation": ('x,y\n1,"2\n', r"line 2: it is no CSV"),
    "a row of holes": ("x,y,c\n1.5,a,1\nNA,,2\n-1,b,1\n", r"row 1 \(line 3\): every modelled entry is missing"),
    "nothing to model": (
        "n,c\n0,1\n1,5\n2,1\n",
        r"no column is left to be modelled\. column 'n' is taken for",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_is_no_table_is_refused_by_its_line(tmp_path, case):
    text, message = BAD_FILES[case]
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, conditions=("c",) if ",c\n" in text else ())


def test_another_encoding_is_refused(tmp_path):
    (tmp_path / "cells.csv").write_bytes("x\n1.5\ncafé\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cells\.csv is not in UTF-8"):
        tables.read_table(tmp_path / "cells.csv", schema=None)


@pytest.mark.parametrize(
    ("described", "conditions", "message"),
    [
        ({"sites": "category"}, (), r"lacks the column of the schema 'sites'\. Did you mean 'site'\? It has: x, site"),
        ({}, ("sit",), r"lacks the condition 'sit'\. Did you mean 'site'"),
        ({"site": "ignore"}, ("site",), r"the condition 'site' is of the kind 'ignore' in the schema"),
        ({"x": "label", "site": "label"}, (), r"at most one label column, and the schema has \['x', 'site'\]"),
    ],
)
def test_a_schema_that_does_not_fit_the_table_is_refused(tmp_path, described, conditions, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, {"x": X[:3], "site": ["a", "b", "a"]}, described, conditions)
