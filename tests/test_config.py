"""Configs: every file, every field through JSON, and how many examples are evaluated."""

import dataclasses
import functools
import importlib
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import digits
from experiments.run import build, objective
from experiments.run.config import Config, Data, Evaluation, Loss, differences, from_dict, to_dict, validate
from tests.commands import ROOT
from tests.fitted import bytes_view
from tests.fixed_oracles import ppca
from tests.own_files import COLOUR, GREY, save_npy
from vae_jax import data, losses, oracles

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
        data=Data(
            name="mnist",
            path="images",
            layer="counts",
            schema="columns.json",
            condition="label",
            missing=0.5,
            manual_dir="raw",
            binarization="fixed",
            image_size=(32, 24),
            channels=3,
            held_out=0.25,
            memory_gb=0.5,
        ),
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
    ("field", "texts"),
    {
        "model.network": ("mlp", "mlp((200, 200))", "mlp(activation=tanh, hidden=(200,200))"),
        "model.prior": ("vamp", "vamp(500)", "vamp(num_components=500)"),
        "model.likelihood": ("normal(learn=shared)", "normal(1.0, shared)"),
        "loss.bound": ("renyi(0.5)", "renyi(alpha=0.5)"),
        "loss.beta": ("0.5", "5e-1", ".50"),
        "loss.regularizers": ("free_bits(0.1)", " free_bits(minimum=0.1) "),
        "training.optimizer": ("adam", "adam(b1=0.9)", "adam(b2=0.999, b1=0.9)"),
    }.items(),
)
def test_texts_of_one_part_are_no_other_config(field, texts):
    section, name = field.split(".")
    configs = [Config() for _ in (*texts, "")]
    for config, text in zip(configs, (*texts, "other(1)"), strict=True):
        setattr(getattr(config, section), name, text)
    first, *same, other = configs
    assert not [line for config in same for line in differences(first, config)]
    assert differences(first, other) == [f"{field}: 'other(1)' there, {texts[0]!r} here"]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"seeed": 0}, "seeed is a field that this version does not have"),
        ({"training": {"patiense": 3}}, "training.patiense is a field that this version does not have"),
        ({"training": None}, "training must be a section of fields, got None"),
        ({"seed": "0"}, "seed must be of type int, got '0'"),
    ],
)
def test_what_this_version_does_not_have_is_named(stored, message):
    with pytest.raises(ValueError, match=message):
        from_dict(stored)


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "data.image_size": (None, (1, 1), (64, 48)),
        "data.channels": (None, 1, 3),
        "data.held_out": (1e-6, 0.1, 0.499),
        "data.memory_gb": (1e-9, 1, 1e6),
        "training.patience": (None, 1, 10**9),
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
        np.testing.assert_array_equal(split.examples, expected.examples[rows])
        np.testing.assert_array_equal(split.labels, expected.labels[rows])
    np.testing.assert_array_equal(built.train.examples, whole.train.examples)


@pytest.mark.parametrize(("kind", "num_samples"), [("discrete", 1), ("discrete", 4), ("ppca", 1)])
def test_the_automatic_gradient_is_along_the_path_where_there_is_one(kind, num_samples):
    """Else the score function's, with the other samples as the baseline where there are some."""
    oracle = oracles.discrete(jax.random.key(0), latent_dim=2, event_dim=3) if kind == "discrete" else ppca()
    config = Config(data=Data(binarization="none"), loss=Loss(num_samples=num_samples))
    loss_fn, batch = (
        objective.make_loss(config, oracle.vae, bytes_view((3,)), axis_name=None),
        np.zeros((1, 3), np.uint8),
    )
    estimator = {"gradient": "pathwise"}
    if kind == "discrete":
        estimator = {"gradient": "score_function", "baseline": "leave_one_out" if num_samples > 1 else None}
    named = functools.partial(losses.negative_elbo, vae=oracle.vae, num_samples=num_samples, **estimator)
    keys, x = jax.random.split(jax.random.key(1), 1), jnp.zeros(3)
    found = jax.grad(loss_fn, has_aux=True)(oracle.params, keys, batch, jnp.asarray(0))[0]
    expected = jax.grad(named, has_aux=True)(oracle.params, jax.random.clone(keys)[0], x)[0]
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


def of_file(config: Config, images: np.ndarray, folder: Path, **options: object) -> Config:
    """The config with `images` as its data, and with other options of these."""
    config.data = dataclasses.replace(config.data, path=str(save_npy(folder / "own.npy", images)), **options)
    config.training.batch_size = 1
    return config


@pytest.mark.parametrize("binarization", ["dynamic", "fixed"])
def test_colours_are_never_binarised(tmp_path, binarization):
    settings = of_file(digits.get_config(), COLOUR, tmp_path, binarization=binarization)
    with pytest.raises(ValueError, match=rf"the data are colour pictures.*='{binarization}'.*data.channels=1"):
        build.build(settings, data_dir=None)


def test_the_ways_out_of_binarised_colours_are_legal(tmp_path):
    for options in ({"binarization": "none"}, {"channels": 1}):
        settings = of_file(digits.get_config(), COLOUR, tmp_path, **options)
        settings.model.likelihood = "normal(learn=shared)"
        build.build(settings, data_dir=None)


def test_one_training_image_is_enough(tmp_path):
    settings = of_file(digits.get_config(), GREY[:3], tmp_path)
    experiment = build.build(settings, data_dir=None)
    assert len(experiment.dataset.train.examples) == 1
    build.check(settings, experiment, num_devices=1)


def test_a_batch_larger_than_ones_own_data_names_their_path(tmp_path):
    settings = of_file(digits.get_config(), GREY, tmp_path)
    settings.training.batch_size = 31
    with pytest.raises(ValueError, match=rf"batch_size 31 is larger than the \d+ training examples of {tmp_path}/own"):
        build.check(settings, build.build(settings, data_dir=None), num_devices=1)
