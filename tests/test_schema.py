"""Schemas: what a file says of columns, and what is refused in it."""

import pytest

from vae_jax.data import DataError, schema
from vae_jax.data.schema import Column


@pytest.fixture
def read(tmp_path):
    """A function that writes the text of a schema, and reads it."""

    def of(text: str) -> dict[str, Column]:
        (tmp_path / "schema.json").write_text(text, encoding="utf-8")
        return schema.read_schema(tmp_path / "schema.json")

    return of


def test_a_word_or_an_object_describes_a_column(read):
    text = """{"age": "real", "stage": {"kind": "ordinal", "levels": ["I", "II"]}, "site": "condition",
               "dose": {"kind": "real", "condition": true}, "sort": {"kind": "label"}}"""
    assert read(text) == {
        "age": Column("age", "real"),
        "stage": Column("stage", "ordinal", ("I", "II")),
        "site": Column("site", "condition", (), True),
        "dose": Column("dose", "real", (), True),
        "sort": Column("sort", "label"),
    }


COLUMNS = [
    *(Column(kind, kind) for kind in schema.KINDS if kind != "condition"),
    Column("guessed", "condition", condition=True),
    Column('a "quoted", näme', "category", ("I", "ü", '"')),
    Column("yes", "binary", ("yes", "no"), condition=True),
    Column("", "label", ("one",)),
    Column("site", "count", condition=True),
]


def test_the_text_of_a_schema_reads_back_as_its_columns(read):
    assert list(read(schema.schema_text(COLUMNS)).values()) == COLUMNS


def test_the_text_of_a_schema_has_a_line_for_each_column():
    columns = [Column("age", "real"), Column("c", "condition", (), True), Column("ü", "ordinal", ("a", "b"), True)]
    assert schema.schema_text(columns).split("\n") == [
        "{",
        '  "age": "real",',
        '  "c": "condition",',
        '  "ü": {"kind": "ordinal", "levels": ["a", "b"], "condition": true}',
        "}",
        "",
    ]


BAD = {
    "no JSON": ('{"age": real}', r"schema \S*schema\.json cannot be read: .*line 1"),
    "no object": ('["age"]', r'schema\.json must be an object of columns, .*got \["age"\]'),
    "a column twice": (
        '{"age": "real", "age": "count"}',
        r"cannot be read: 'age' is in it more than once",
    ),
    "an unknown kind": ('{"age": "reel"}', r"schema\.json, column 'age': unknown kind 'reel'\. Did you mean 'real'"),
    "an unknown key": ('{"a": {"kind": "real", "level": []}}', r"column 'a': unknown entry 'level'.* mean 'levels'"),
    "no kind": ('{"a": {"levels": ["1", "2"]}}', r'column \'a\': it must be a kind, .*got \{"levels": \["1", "2"\]\}'),
    "a kind that is no text": ('{"a": {"kind": 3}}', r"column 'a': it must be a kind, such as \"real\""),
    "neither word nor object": ('{"a": null}', r"column 'a': it must be a kind, .*got null"),
    "levels of numbers": ('{"a": {"kind": "real", "levels": ["1", "2"]}}', r"levels are for binary, .* kind is 'real'"),
    "levels that are guessed": ('{"a": {"kind": "condition", "levels": ["1", "2"]}}', r"its kind is 'condition'"),
    "levels that are no texts": ('{"a": {"kind": "ordinal", "levels": [1, 2]}}', r"a list of texts, .*got \[1, 2\]"),
    "levels that are no list": ('{"a": {"kind": "ordinal", "levels": "ab"}}', r'a list of texts, .*got "ab"'),
    "a level twice": ('{"a": {"kind": "category", "levels": ["b", "b"]}}', r"its levels hold 'b' more than once"),
    "one category": ('{"a": {"kind": "category", "levels": ["b"]}}', r"'category' needs 2 or more levels, got \['b'\]"),
    "no levels": ('{"a": {"kind": "label", "levels": []}}', r"'label' needs 1 or more levels, got \[\]"),
    "three of two": ('{"a": {"kind": "binary", "levels": ["a", "b", "c"]}}', r"'binary' needs 2 levels, got"),
    "a condition in words": ('{"a": {"kind": "real", "condition": "yes"}}', r'must be true or false, got "yes"'),
    "no condition": ('{"a": {"kind": "condition", "condition": false}}', r"'condition' contradicts a .* of false"),
    "an ignored condition": ('{"a": {"kind": "ignore", "condition": true}}', r"'ignore' contradicts a .* of true"),
    "a condition as label": ('{"a": {"kind": "label", "condition": true}}', r"'label' contradicts a .* of true"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_meaning_is_refused_by_file_and_column(read, case):
    text, message = BAD[case]
    with pytest.raises(DataError, match=message):
        read(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"schema \S*absent\.json cannot be read: .*No such file"):
        schema.read_schema(tmp_path / "absent.json")
