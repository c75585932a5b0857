"""What a hostile checkpoint or a hostile file of a stopped step cannot do, and what SECURITY.md names."""

import contextlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.run.nonfinite import replay
from tests.commands import ROOT
from tests.own_files import Touches
from tests.test_checkpoints import METADATA, other, trained
from vae_jax.training import Checkpoints, manifest


def test_a_checkpoint_makes_nothing_be_imported(tmp_path, monkeypatch):
    """Orbax writes the names of classes and types into it; here they are of a module that lies ready."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(trained(), METADATA)
    (tmp_path / "hostile_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    (step,) = (tmp_path / "checkpoints").iterdir()
    changed = 0
    for file in [step / "_CHECKPOINT_METADATA", *step.glob("*/_METADATA")]:
        text = file.read_text()
        hostile = re.sub(r"orbax\.checkpoint\.[\w.]+|jax\.Array", "hostile_module.Thing", text)
        changed += hostile != text
        file.write_text(hostile)
    assert changed == 4
    manifest.write(step)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints, contextlib.suppress(Exception):
        checkpoints.restore(other())
    assert "hostile_module" not in sys.modules


def test_no_pickle_in_a_stopped_step_is_ever_executed(tmp_path):
    np.savez(tmp_path / "nonfinite_3.npz", step=np.array([Touches(tmp_path / "executed")]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        replay(tmp_path / "nonfinite_3.npz")
    assert not (tmp_path / "executed").exists()


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert named
    assert not [test for file, test in named if f"def {test}(" not in Path(ROOT, file).read_text()]
