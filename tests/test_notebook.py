"""The notebook, whose cells assert what its text says."""

import subprocess
import sys

from tests.commands import ROOT, environment


def test_the_notebook_runs_and_its_assertions_hold():
    command = [sys.executable, "experiments/notebooks/estimators.py"]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    assert "log p(x) - L(x)" in run.stdout
