"""A user's mistake: one message that names it, a non-zero exit, no traceback, nothing written."""

import math
import re
import subprocess
from pathlib import Path

import pytest

from experiments import train
from experiments.command.errors import UserError
from experiments.configs import digits
from experiments.run import build, workdir
from experiments.run.config import Config, validate
from tests import commands

# Arguments of `train`, and what the message must name.
ARGUMENTS = {
    "--config.training.learning_rat=1": ("training.learning_rat", "training.learning_rate"),
    "--config.trainin.num_steps=1": ("trainin.num_steps", "training.num_steps"),
    "--config.training=1": ("unknown config field --config.training;",),
    "--config=no/such/file.py": ("no/such/file.py", "no such file"),
    "--config=README.md": ("README.md is no Python file",),
    "--config=experiments/configs/__init__.py": ("get_config",),
    "--config=experiments/configs/digits.py:large": ("digits.py:large", "takes 0 positional arguments"),
    "--workdirr=x": ("workdirr",),
    "stray": ("stray",),
    "--require_platform=gpus": ("require_platform", "cpu|gpu|tpu"),
    "--stuck_after=-1": ("stuck_after", "non-negative"),
    "--config.training.num_steps=many": ("--config.training.num_steps=many: expected a whole number",),
    "--config.training.num_steps=1.5": ("--config.training.num_steps=1.5: expected a whole number",),
    "--config.training.num_steps=None": ("--config.training.num_steps=None: expected a whole number",),
    "--config.training.learning_rate=high": ("--config.training.learning_rate=high: expected a number",),
    "--config.training.learning_rate=nan": ("training.learning_rate", "nan"),
    "--config.training.clip_norm=high": ("--config.training.clip_norm=high: expected a number, or None",),
    "--config.model.latent_dim=(abc,)": ("--config.model.latent_dim=(abc,): expected whole numbers, as in (200, 200)",),
    "--config.model.latent_dim=(3, 4.5)": ("--config.model.latent_dim=(3, 4.5): expected whole numbers",),
    "--config.model.data_bias=maybe": ("--config.model.data_bias=maybe: expected true or false",),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("config", [(), ("--config=experiments/configs/mnist.py",)], ids=["default", "given"])
def test_a_mistake_in_the_flags_is_named(argument, config, monkeypatch):
    monkeypatch.chdir(commands.ROOT)
    with pytest.raises(UserError, match=re.escape(ARGUMENTS[argument][0])) as caught:
        train.parse(["train", *config, argument])
    assert not [text for text in ARGUMENTS[argument] if text not in str(caught.value)], caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("1 / 0", r"\(line 1\): ZeroDivisionError: division by zero"),
        ("def get_config():\n    raise KeyError('lost')", r"\(line 2\): KeyError: lost"),
        ("def get_config(:", "SyntaxError: "),
        ("import nosuch", "ModuleNotFoundError: No module named 'nosuch'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def get_config():\n    return get_config()", "RecursionError: something is nested too deeply"),
        ("def get_config():\n    return None", r"must return an experiments\.run\.config\.Config, got a NoneType"),
        ("def get_config():\n    return {'seed': 0}", "got a dict"),
        ("def get_config():\n    from experiments.run.config import Config\n    return Config", "got a type"),
    ],
)
def test_a_config_file_that_fails_is_named(tmp_path, program, message):
    file = tmp_path / "config.py"
    file.write_text(program)
    with pytest.raises(UserError, match=rf"--config={file}.*{message}"):
        train.parse(["train", f"--config={file}", "--config.seed=1"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [("--track=wandb(project=x)", r"vae_jax\[wandb\]"), ("--require_platform=gpu", "require_platform=gpu.*found cpu")],
)
def test_what_the_machine_lacks_is_named_before_anything_is_loaded(argument, message):
    with pytest.raises(UserError, match=message):
        train.main(train.parse(["train", argument]))


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--config.training.learning_rat=1", "training.learning_rate"),
        ("--config.model.likelihood=bernouli", "'bernoulli'"),
    ],
    ids=["in_the_flags", "in_the_model"],
)
def test_a_command_reports_a_mistake_in_one_message_with_status_1_and_writes_nothing(tmp_path, argument, named):
    result = commands.run("train", argument, f"--workdir={tmp_path / 'run'}")
    check_refused(result, named)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


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
    ("loss.beta", "inf"): "beta must be at least 0 and finite",
    ("loss.beta", 0.5): "loss.beta must be of type str",
    ("loss.regularizers", "free_bits(-0.5)"): "minimum must be at least 0 nats",
    ("loss.regularizers", "free_bit(0.5)"): "'free_bits'",
    ("loss.regularizers", "free_bits(0.5, beta=2)"): "no argument 'beta'",
    ("loss.regularizers", "free_bits(0.1) + free_bits(0.2)"): "2 of them replace the mean loss",
    ("loss.bound", "elboo"): "'elbo'",
    ("loss.bound", "renyi"): "alpha must be given",
    ("loss.gradient", "path"): "'pathwise'",
    ("loss.kl", "analytical"): "'analytic'",
    ("loss.beta", "cyclic(9)"): "'cyclical'",
    ("loss.beta", "linear"): "anneal_steps must be given",
    ("model.latent_dim", (0,)): "model.latent_dim",
    ("model.network", "mlp(hidden=(20, 0))"): "hidden must be of whole numbers",
    ("model.network", "mlp(width=3)"): r"no argument 'width'.*mlp\(hidden=\(200, 200\), activation=tanh, gated=False\)",
    ("model.network", "mlp(hidden=[x for x in y])"): "no literal",
    ("model.network", "nowhere.nets:tower(width=64)"): "nowhere.nets cannot be imported",
    ("model.network", "mpl"): "'mlp'",
    ("model.network", "mlp(activation=rellu)"): "'relu'",
    ("model.posterior", "diag"): "'diagonal'",
    ("model.likelihood", "bernouli"): "'bernoulli'",
    ("model.likelihood", "normal(scale=0.0)"): "scale must be a finite number above 0",
    ("model.prior", "standard"): "'standard_normal'",
    ("model.prior", "vamp(4001)"): "begins at 4001 examples of the data, and there are 4000",
    ("model.compute_dtype", "float16"): "'bfloat16'",
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
    settings.model.posterior, settings.loss.regularizers = "full", "free_bits(0.1)"
    with pytest.raises(ValueError, match="factorise"):
        check(settings)


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ("poisson", "Poisson takes whole numbers from 0 on"),
        ("lognormal", "LogNormal takes numbers above 0"),
        ("discretized_logistic(levels=16)", "DiscretizedLogistic takes the 16 levels k/15 from 0 to 1"),
        ("categorical(256)", "Categorical takes whole numbers .* x is of dtype float32"),
    ],
)
def test_grey_pictures_that_a_likelihood_is_not_of_are_refused_before_training(likelihood, message):
    settings = digits.get_config()
    settings.data.binarization, settings.model.likelihood = "none", likelihood
    with pytest.raises(ValueError, match=message):
        check(settings)


def test_a_total_correlation_of_a_posterior_that_does_not_factorise_is_refused_before_training():
    settings = digits.get_config()
    settings.model.posterior, settings.loss.regularizers = "full", "total_correlation(5.0, 4000)"
    with pytest.raises(ValueError, match="a posterior that factorises, as diagonal does"):
        check(settings)


def test_the_estimate_of_the_kl_is_refused_where_what_replaces_the_loss_has_another():
    settings = digits.get_config()
    settings.loss.kl, settings.loss.regularizers = "monte_carlo", "free_bits(0.1)"
    with pytest.raises(ValueError, match="kl='monte_carlo' has no effect"):
        check(settings)
    settings.loss.regularizers = "capacity(30.0, 10.0)"
    check(settings)


def test_microbatches_with_free_bits_are_refused_before_training():
    settings = digits.get_config()
    settings.training.microbatches, settings.loss.regularizers = 2, "free_bits(0.1)"
    with pytest.raises(ValueError, match="functions of the whole batch"):
        check(settings)


def test_a_batch_that_the_devices_cannot_share_is_refused():
    settings = digits.get_config()
    experiment = build.build(settings, data_dir=None)
    with pytest.raises(ValueError, match=r"100.*3 devices"):
        build.check(settings, experiment, num_devices=3)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_workdir_that_is_a_file_or_below_one_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    with (
        pytest.raises(UserError, match=f"{tmp_path / 'file'} is a file, not a folder"),
        workdir.claimed(tmp_path / place, digits.get_config(), {}),
    ):
        pytest.fail("it is no folder")
    assert (tmp_path / "file").read_text() == "kept"


def check_refused(result, *named: str) -> None:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    for text in named:
        assert text in result.stderr, result.stderr


def test_the_launcher_names_the_commands_it_knows():
    result = subprocess.run(
        [str(Path(commands.ROOT) / "launch.sh"), "trian"], capture_output=True, text=True, check=False
    )
    check_refused(result, "trian", "train", "evaluate", "sample", "benchmark")
