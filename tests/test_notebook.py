"""The notebooks, whose cells assert what their texts say."""

import subprocess
import sys

import pytest

from tests.commands import ROOT, environment


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("estimators", "log p(x) - L(x)"),
        ("bring_your_own", "Flax NNX   ELBO -12.05"),
        # What it shows is proven by test_impute and test_table_runs.
        pytest.param("imputation", "IterativeImputer  0.782", marks=pytest.mark.proof),
        # By test_annotated, test_encoding and test_cells; and by test_scores and test_detection.
        pytest.param("cells", "denoised 0.045", marks=pytest.mark.proof),
        pytest.param("anomalies", "negatives             1.00", marks=pytest.mark.proof),
    ],
)
def test_a_notebook_runs_and_its_assertions_hold(name, printed):
    command = [sys.executable, f"experiments/notebooks/{name}.py"]
    run = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stderr
    assert printed in run.stdout
