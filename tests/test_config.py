"""Configs: every file, every field through JSON, and how many examples are evaluated."""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from experiments.configs import digits
from experiments.run import build
from experiments.run.config import Config, Data, Evaluation, from_dict, to_dict, validate
from tests.commands import ROOT
from vae_jax import data

CONFIGS = sorted(file.stem for file in (ROOT / "experiments" / "configs").glob("*.py") if file.stem != "__init__")


def through_json(config: Config) -> Config:
    return from_dict(json.loads(json.dumps(to_dict(config))))


def test_there_are_configs():
    assert {"digits", "mnist", "binarized_mnist"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_file_gives_a_legal_config_that_survives_json(name):
    """A new one at every call: flags write to it."""
    module = importlib.import_module(f"experiments.configs.{name}")
    config = module.get_config()
    assert type(config) is Config
    validate(config)
    assert from_dict(to_dict(config)) == config
    assert through_json(config) == config
    config.data.name = "another"
    assert module.get_config() != config


def test_every_field_of_the_data_and_the_evaluation_survives_json():
    """None of them as it is by default."""
    config = Config(
        data=Data("mnist", "images", "raw", "fixed", (32, 24), 3, 0.25, 0.5),
        evaluation=Evaluation(num_samples=7, num_examples=3),
    )
    for section in ("data", "evaluation"):
        given, default = getattr(config, section), getattr(Config(), section)
        assert all(getattr(given, f.name) != getattr(default, f.name) for f in dataclasses.fields(given))
    assert through_json(config) == config


def test_a_field_that_a_config_lacks_has_its_default():
    """Runs of earlier versions can be read."""
    stored = to_dict(digits.get_config())
    for name in ("image_size", "channels", "held_out", "memory_gb"):
        del stored["data"][name]
    del stored["evaluation"]["num_examples"]
    assert from_dict(stored) == digits.get_config()


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "data.image_size": (None, (1, 1), (64, 48)),
        "data.channels": (None, 1, 3),
        "data.held_out": (1e-6, 0.1, 0.499),
        "data.memory_gb": (1e-9, 1, 1e6),
        "evaluation.num_examples": (None, 1, 10**9),
    }.items(),
)
def test_the_ends_of_a_range_are_legal(field, values):
    section, name = field.split(".")
    for value in values:
        config = Config()
        setattr(getattr(config, section), name, value)
        validate(config)


@pytest.mark.parametrize(
    ("num_examples", "most", "rows"),
    [
        (10, 4, [0, 3, 6, 9]),
        (11, 3, [0, 5, 10]),
        (10, 3, [0, 4, 9]),
        (500, 6, [0, 99, 199, 299, 399, 499]),
        (5, 5, [0, 1, 2, 3, 4]),
        (4, 9, [0, 1, 2, 3]),
        (7, 1, [0]),
        (1, 3, [0]),
    ],
)
def test_rows_are_spread_evenly_from_the_first_to_the_last(num_examples, most, rows):
    spread = data.spread_rows(num_examples, most)
    assert spread.dtype == np.int32
    assert spread.tolist() == rows


def test_spread_rows_are_all_different():
    for num_examples in (2, 97, 4000, 60_000):
        for most in (2, 10, 96, 3999, 10_000):
            rows = data.spread_rows(num_examples, most)
            assert len(set(rows.tolist())) == len(rows) == min(num_examples, most)
            assert (rows[0], rows[-1]) == (0, num_examples - 1)


def test_evaluation_takes_examples_spread_over_validation_and_test():
    """With their labels; the training images are all there."""
    settings = digits.get_config()
    settings.evaluation.num_examples = 6
    built = build.build(settings, data_dir=None).dataset
    whole = data.load("digits_5k")
    rows = [0, 99, 199, 299, 399, 499]
    for name in ("validation", "test"):
        split, expected = getattr(built, name), getattr(whole, name)
        np.testing.assert_array_equal(split.images, expected.images[rows])
        np.testing.assert_array_equal(split.labels, expected.labels[rows])
    np.testing.assert_array_equal(built.train.images, whole.train.images)
