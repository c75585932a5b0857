"""Real launchers, Open MPI and a Slurm of this one machine: a run finishes, is put back, resumes, is cancelled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = 77
LAWS = (
    "mpirun: two processes finish as one run",
    "sbatch: two tasks finish as one run",
    "sbatch: a job put back, and one whose time is up, resume and finish",
    "scancel: it saves and ends",
)


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> str:
    script = Path(__file__).parent / "launchers" / "run.sh"
    result = subprocess.run(
        [str(script), str(tmp_path_factory.mktemp("launchers"))],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    if result.returncode == SKIPPED:
        pytest.skip(result.stdout.splitlines()[-1])
    return result.stdout + result.stderr


@pytest.mark.launchers
@pytest.mark.parametrize("law", LAWS)
def test_real_launchers(said, law):
    assert law in said
