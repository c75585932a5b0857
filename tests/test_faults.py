"""The short form of `python -m tests.faults`: files that are damaged, and nothing lost. Runs: test_resume.py."""

import random

import pytest

from tests.faults import files


@pytest.fixture(scope="module")
def copies(trained, tmp_path_factory):
    return files.Copies(trained, tmp_path_factory.mktemp("faults") / "copies")


def losses(outcomes) -> list[str | None]:
    return [outcome.loss for outcome in outcomes if outcome.loss is not None]


def test_every_flipped_bit_is_found_and_nothing_else_is_restored(copies):
    assert losses(files.flips(copies, random.Random(0), 30)) == []


def test_every_shortened_missing_or_added_file_is_found(copies):
    rng = random.Random(0)
    assert losses(files.truncations(copies, rng)) == []
    assert losses(files.deletions(copies)) == []
    assert losses(files.additions(copies)) == []
