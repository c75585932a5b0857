"""What the README shows is what the package does."""

import re

import numpy as np

from tests.commands import ROOT


def test_the_notebook_example_runs_and_learns():
    code = "".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    shown: dict = {}
    exec(code.replace("num_steps=500", "num_steps=60").replace("num_replicates=1000", "num_replicates=10"), shown)
    assert shown["curve"].shape == (60,)
    assert shown["curve"][-10:].mean() < 0.6 * shown["curve"][:3].mean()
    assert np.all(shown["estimate"].value > -400)
    assert np.isfinite(shown["loss"])


def test_every_folder_of_the_map_exists():
    (table,) = re.findall(r"## The map\n(.*?)\n##? ", (ROOT / "README.md").read_text(), re.DOTALL)
    named = re.findall(r"^\| `([a-z_/.]+)`", table, re.MULTILINE)
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
