"""What a hostile checkpoint or a hostile file of a stopped step cannot do, and what SECURITY.md names."""

import contextlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.command.errors import UserError
from experiments.run.nonfinite import replay
from experiments.run.roles import ROLES
from tests import commands
from tests.commands import ROOT
from tests.own_files import Touches
from tests.test_checkpoints import METADATA, other
from tests.test_checkpoints import trained as a_state
from vae_jax import runs
from vae_jax.training import Checkpoints, manifest


def test_a_checkpoint_makes_nothing_be_imported(tmp_path, monkeypatch):
    """Orbax writes the names of classes and types into it; here they are of a module that lies ready."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(a_state(), METADATA)
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


_HOSTILE = "hostile_module:touch(name='executed')"


@pytest.fixture
def hostile(trained, tmp_path, monkeypatch):
    """A run whose config, in its folder and its checkpoints, calls a function of a module that lies ready."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (tmp_path / "hostile_module.py").write_text("def touch(name):\n    raise RuntimeError(name)\n")
    monkeypatch.syspath_prepend(tmp_path)
    steps = list((folder / "checkpoints").iterdir())
    for file in (folder / "config.json", *(step / "metadata.json" for step in steps)):
        stored = json.loads(file.read_text())
        stored.get("config", stored)["model"]["prior"] = _HOSTILE
        file.write_text(json.dumps(stored))
    for step in steps:
        (step / manifest.NAME).unlink()
        manifest.write(step)
    (folder / "summary.json").unlink()
    yield folder
    sys.modules.pop("hostile_module", None)


@pytest.mark.parametrize("name", ["load", "train", "evaluate", "sample", "gradient_study"])
def test_a_stored_config_runs_no_code_but_of_packages_that_are_trusted(hostile, name):
    def run(**trusted):
        if name == "load":
            return runs.load(hostile, **trusted)
        given = [f"--trust={','.join(trusted['trusted'])}"] if trusted else []
        return commands.call(name, f"--workdir={hostile}", *given)

    with pytest.raises((UserError, ValueError), match=r"run code of the module hostile_module.*trust=hostile_mod"):
        run()
    with pytest.raises((UserError, ValueError), match="of the module hostile_module"):
        run(trusted=["hostile"])
    assert "hostile_module" not in sys.modules
    with pytest.raises((RuntimeError, UserError, ValueError), match="executed"):
        run(trusted=["hostile_module"])


def test_every_expression_of_a_config_is_looked_at():
    assert {f"{section}.{field}" for section, field in runs.EXPRESSIONS} == set(ROLES)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("model.prior", "evil:f()"),
        ("model.prior", "  evil:f"),
        ("model.likelihood", "around('evil:f')"),
        ("model.likelihood", r"around('\x65vil:f')"),
        # Divided at the plus, neither half of it would be legal, and the module would not be found.
        ("model.likelihood", r"around(a='\'', b=')+', c='evil:f')"),
        ("loss.regularizers", "free_bits(0.1) + evil:f()"),
    ],
)
def test_a_module_is_found_wherever_an_expression_names_it(field, text):
    section, name = field.split(".")
    assert runs.named_modules({section: {name: text}}) == [(field, "evil")]


def test_no_pickle_in_a_stopped_step_is_ever_executed(tmp_path):
    np.savez(tmp_path / "nonfinite_3.npz", step=np.array([Touches(tmp_path / "executed")]))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        replay(tmp_path / "nonfinite_3.npz")
    assert not (tmp_path / "executed").exists()


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert named
    assert not [test for file, test in named if f"def {test}(" not in Path(ROOT, file).read_text()]
