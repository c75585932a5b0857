"""Who may write into a run's folder: one run at a time, on a mounted file system."""

import signal
import subprocess
import sys

import pytest

from experiments.command.errors import UserError
from experiments.configs import digits
from experiments.run import workdir
from tests import commands

_HOLDER = """
import sys, time
from pathlib import Path
from experiments.run import workdir
with workdir.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder's lock."""
    arguments = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with commands.started(arguments, env=commands.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process


def test_a_second_run_is_refused_naming_the_first_and_a_killed_one_leaves_no_lock(tmp_path, holder):
    named = rf"in use by another run, process {holder.pid} on \S+; nothing was changed"
    with pytest.raises(UserError, match=named), workdir.locked(tmp_path):
        pytest.fail("two runs in one folder")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workdir.locked(tmp_path):
        pass


def test_train_in_a_folder_in_use_is_refused_and_writes_nothing(tmp_path, holder):
    workdir.claim(str(tmp_path), digits.get_config())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    result = commands.run("train", f"--workdir={tmp_path}")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: --workdir={tmp_path} is in use by another run, process {holder.pid} on ")
    assert result.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("place", ["gs://bucket/run", "s3://bucket/run"])
def test_an_object_store_is_refused_by_name(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--workdir={place}: .* mount it"):
        workdir.claim(place, digits.get_config())
    assert list(tmp_path.iterdir()) == []
