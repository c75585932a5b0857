"""The suite under the newest Python and the newest JAX that pyproject.toml allows: `python -m pytest -m newest`."""

import subprocess

import pytest

from tests.commands import ROOT

SKIPPED = 77


@pytest.mark.newest
def test_the_suite_passes_under_the_newest_python_and_jax(tmp_path):
    script = ROOT / "tests" / "newest" / "run.sh"
    result = subprocess.run([script, tmp_path, "--quiet"], capture_output=True, text=True, timeout=5400, check=False)
    if result.returncode == SKIPPED:
        pytest.skip(result.stderr.splitlines()[-1])
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
