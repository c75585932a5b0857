"""A user's mistake: one message that names it, a non-zero exit, no traceback, nothing written."""

import json
import math
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.configs import digits
from experiments.run import build
from experiments.run.config import Config, validate
from tests import commands


class Case(NamedTuple):
    """Arguments of `train`, and what the message must name."""

    arguments: tuple[str, ...]
    named: tuple[str, ...]
    devices: int = 1


COMMANDS = {
    "unknown_field": Case(("--config.training.learning_rat=1",), ("training.learning_rat", "training.learning_rate")),
    "unknown_section": Case(("--config.trainin.num_steps=1",), ("trainin.num_steps", "training.num_steps")),
    "missing_config_file": Case(("--config=no/such/file.py",), ("no/such/file.py",)),
    "config_file_without_get_config": Case(("--config=experiments/configs/__init__.py",), ("get_config",)),
    "unknown_flag": Case(("--workdirr=x",), ("workdirr",)),
    "stray_argument": Case(("stray",), ("stray",)),
    "word_for_an_int": Case(("--config.training.num_steps=many",), ("training.num_steps", "many")),
    "fraction_for_an_int": Case(("--config.training.num_steps=1.5",), ("training.num_steps", "1.5")),
    "word_for_a_float": Case(("--config.training.learning_rate=high",), ("training.learning_rate", "high")),
    "not_a_number": Case(("--config.training.learning_rate=nan",), ("training.learning_rate", "nan")),
    "word_in_a_tuple": Case(("--config.model.hidden=(abc,)",), ("model.hidden", "abc")),
    "unknown_likelihood": Case(("--config.model.likelihood=bernouli",), ("bernouli", "bernoulli")),
    "batch_not_divisible": Case(("--config.training.batch_size=100",), ("100", "3 devices"), devices=3),
    "wandb_not_installed": Case(("--wandb_project=x",), ("vae_jax[wandb]",)),
    "platform_not_there": Case(("--require_platform=gpu",), ("gpu", "cpu")),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Every case run once, two at a time: each takes seconds, nearly all of them imports."""
    folder = tmp_path_factory.mktemp("bad_input")

    def outcome(name: str):
        case = COMMANDS[name]
        return commands.run(
            "train", *commands.SMALL, f"--workdir={folder / name}", *case.arguments, devices=case.devices
        )

    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(COMMANDS, pool.map(outcome, COMMANDS), strict=True))
    return folder, results


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_told_in_one_message_and_nothing_is_written(outcomes, name):
    folder, results = outcomes
    check_refused(results[name], *COMMANDS[name].named)
    assert not (folder / name).exists()


CONFIGS = {
    ("seed", -1): "seed",
    ("training.num_steps", -1): "training.num_steps",
    ("training.num_steps", True): "training.num_steps",
    ("training.batch_size", 0): "training.batch_size",
    ("training.batch_size", 4001): "4000 training examples of digits_5k",
    ("training.warmup_steps", 10_000): "warmup_steps",
    ("training.clip_norm", 0.0): "training.clip_norm",
    ("training.average_decay", 1.0): "training.average_decay",
    ("training.optimizer", "adamm"): "'adam'",
    ("training.schedule", "cosin"): "'cosine'",
    ("loss.num_samples", 0): "loss.num_samples",
    ("loss.beta", math.inf): "loss.beta",
    ("loss.free_bits", -0.5): "loss.free_bits",
    ("loss.bound", "elboo"): "'elbo'",
    ("loss.gradient", "path"): "'pathwise'",
    ("loss.kl", "analytical"): "'analytic'",
    ("loss.beta_schedule", "cyclic"): "'cyclical'",
    ("loss.beta_schedule", "linear"): "anneal_steps",
    ("model.latent_dim", 0): "model.latent_dim",
    ("model.hidden", (20, 0)): "model.hidden",
    ("model.hidden", (20, 3.5)): "model.hidden",
    ("model.scale", 0.0): "model.scale",
    ("model.network", "mpl"): "'mlp'",
    ("model.activation", "rellu"): "'relu'",
    ("model.posterior", "diag"): "'diagonal'",
    ("model.prior", "standard"): "'standard_normal'",
    ("data.name", "digits5k"): "'digits_5k'",
    ("data.path", "no/images.npy"): "data.path no/images.npy does not exist",
    ("data.image_size", 28): "data.image_size",
    ("data.image_size", (28,)): "data.image_size",
    ("data.image_size", (28, 28, 1)): "data.image_size",
    ("data.image_size", (28, 0)): "data.image_size",
    ("data.image_size", (28.5, 28)): "data.image_size",
    ("data.channels", 2): "data.channels",
    ("data.channels", 0): "data.channels",
    ("data.held_out", 0): "data.held_out",
    ("data.held_out", -0.1): "data.held_out",
    ("data.held_out", 0.5): "data.held_out",
    ("data.held_out", math.nan): "data.held_out",
    ("data.memory_gb", 0): "data.memory_gb",
    ("data.memory_gb", -1.0): "data.memory_gb",
    ("data.memory_gb", math.inf): "data.memory_gb",
    ("evaluation.num_examples", 0): "evaluation.num_examples",
    ("evaluation.num_examples", 1.5): "evaluation.num_examples",
    ("data.binarization", "dynamical"): "'dynamic'",
    ("parallel.backend", "pjit"): "'jit'",
}


def check(settings: Config) -> None:
    validate(settings)
    build.check(settings, build.build(settings, data_dir="no/such/folder"), num_devices=1)


@pytest.mark.parametrize(("field", "value"), CONFIGS)
def test_an_illegal_value_is_named_with_what_is_legal(field, value):
    settings = digits.get_config()
    section, _, name = field.rpartition(".")
    setattr(getattr(settings, section) if section else settings, name, value)
    with pytest.raises((ValueError, FileNotFoundError), match=CONFIGS[field, value]) as caught:
        check(settings)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("manual_dir", "raw"), ("image_size", (28, 28)), ("channels", 1)])
def test_the_bundled_digits_are_had_as_they_are(field, value):
    settings = digits.get_config()
    setattr(settings.data, field, value)
    with pytest.raises(ValueError, match=f"digits_5k .*{field}"):
        check(settings)


def test_a_path_and_raw_files_of_a_named_data_set_are_refused_together():
    settings = digits.get_config()
    settings.data.path, settings.data.manual_dir = "images.npy", "raw"
    with pytest.raises(ValueError, match=r"data\.manual_dir raw .* data\.path images\.npy"):
        check(settings)


def test_free_bits_on_a_posterior_that_does_not_factorise_is_refused_before_training():
    settings = digits.get_config()
    settings.model.posterior, settings.loss.free_bits = "full", 0.1
    with pytest.raises(ValueError, match="factorise"):
        check(settings)


def test_microbatches_with_free_bits_are_refused_before_training():
    settings = digits.get_config()
    settings.training.microbatches, settings.loss.free_bits = 2, 0.1
    with pytest.raises(ValueError, match="functions of the whole batch"):
        check(settings)


def check_refused(result, *named: str) -> None:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    for text in named:
        assert text in result.stderr, result.stderr


def test_a_workdir_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    for workdir in ("file", "file/below"):
        result = commands.run("train", *commands.SMALL, f"--workdir={tmp_path / workdir}")
        check_refused(result, str(tmp_path / "file"), "not a folder")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_workdir_of_something_else_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept")
    check_refused(commands.run("train", *commands.SMALL, f"--workdir={tmp_path}"), "metrics.jsonl", "config.json")
    assert (tmp_path / "metrics.jsonl").read_text() == "kept"


def test_evaluating_what_is_no_run_or_a_damaged_one_is_refused(tmp_path):
    check_refused(commands.run("evaluate", f"--workdir={tmp_path}"), "config.json")
    stored = tmp_path / "config.json"
    stored.write_text('{"seed": ')
    check_refused(commands.run("evaluate", f"--workdir={tmp_path}"), str(stored), "damaged")
    stored.write_text(json.dumps({"seeed": 0}))
    check_refused(commands.run("evaluate", f"--workdir={tmp_path}"), str(stored), "seeed")


def test_the_launcher_names_the_commands_it_knows():
    result = subprocess.run(
        [str(Path(commands.ROOT) / "launch.sh"), "trian"], capture_output=True, text=True, check=False
    )
    check_refused(result, "trian", "train", "evaluate", "sample", "benchmark")
