"""JSON of a run's files: what is written is JSON, and what is read has the types that were asked for."""

import json
import math

import numpy as np
import pytest

from vae_jax.training import json_files


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path):
    path = tmp_path / "summary.json"
    json_files.write(path, {"elbo": math.nan, "test": [{"nll": -math.inf}, 0.1, np.float64(math.nan)], "step": 2})
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict == {"elbo": None, "test": [{"nll": None}, 0.1, None], "step": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_an_earlier_version_with_nan_is_read(tmp_path):
    (tmp_path / "summary.json").write_text('{"step": 1, "elbo": NaN, "nll": -Infinity}')
    assert json_files.read_object(tmp_path / "summary.json") == {"step": 1, "elbo": None, "nll": None}


def test_a_file_that_cannot_be_written_is_as_it_was_and_named(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_text("kept")

    def full(number):
        raise OSError(27, "File too large")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="File too large") as caught:
        json_files.write(path, {})
    assert caught.value.filename == str(path)
    assert [(place.name, place.read_text()) for place in tmp_path.iterdir()] == [("summary.json", "kept")]


def test_fields_that_may_be_absent_are_none(tmp_path):
    json_files.write(tmp_path / "a.json", {"step": 3, "more": "kept"})
    found = json_files.read_object(tmp_path / "a.json", {"step": int, "score": float | None})
    assert found == {"step": 3, "more": "kept", "score": None}


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, float, True),
        (True, int, False),
        (True, float, False),
        ("1", float | None, False),
        (None, float | None, True),
        ([1, 2.5], list[float], True),
        ([1, None], list[float], False),
        ([1, 2.5], list[int], False),
        ((1, 2), tuple[int, ...], True),
        ([1, 2], tuple[int, ...], False),
        ({}, dict, True),
        ({}, list[int], False),
    ],
)
def test_values_have_the_types_of_annotations(value, annotation, expected):
    assert json_files.is_a(value, annotation) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": "3"}', "damaged: step must be int, got '3'"),
        ("{}", "damaged: step must be int, and is absent"),
        ("3", "damaged: it holds no object, but a int"),
        ("", "damaged: Expecting value"),
        ("[" * 200_000, "damaged: it is nested too deeply"),
        ("9" * 5000, "damaged: "),
    ],
    ids=["type", "absent", "number", "empty", "deep", "long"],
)
def test_what_was_not_written_here_is_refused_naming_the_file(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path} is {message}"):
        json_files.read_object(path, {"step": int})


def test_a_newer_version_is_told_from_damage(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"format_version": json_files.FORMAT_VERSION + 1}))
    with pytest.raises(json_files.NewerVersionError, match=r"a\.json has format_version 5"):
        json_files.read_object(tmp_path / "a.json")
