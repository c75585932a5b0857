"""What the README shows is what the package does."""

import re

import numpy as np
import pytest

from tests.commands import ROOT
from vae_jax.likelihoods import LIKELIHOODS
from vae_jax.networks.bodies import BODIES
from vae_jax.posteriors import POSTERIORS
from vae_jax.priors import PRIORS

PAGE = (ROOT / "README.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_it_is_short():
    assert len(PAGE.splitlines()) <= 150
    assert len(CODE.splitlines()) <= 25


def test_the_notebook_example_runs_and_learns():
    shown: dict = {}
    exec(CODE.replace("num_steps=500", "num_steps=60").replace("num_replicates=1000", "num_replicates=10"), shown)
    assert shown["curve"].shape == (60,)
    first, last = shown["curve"][:3].mean(), shown["curve"][-10:].mean()
    assert last < first - 200  # nats; x is in [0, 1], and its density may exceed 1
    assert np.all(shown["estimate"].value > -first)
    assert np.isfinite(shown["loss"])


@pytest.mark.parametrize(
    ("row", "role"),
    [("posterior", POSTERIORS), ("prior", PRIORS), ("likelihood", LIKELIHOODS), ("network", BODIES)],
)
def test_the_parts_that_it_names_are_all_that_there_are(row, role):
    (table,) = re.findall(r"^## What goes together\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    (cell,) = re.findall(rf"^\| {row} .*?(?<!\\)\| (.*?) (?<!\\)\|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", cell)) == set(role.parts)
