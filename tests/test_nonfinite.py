"""A loss that is no number: so many steps are skipped, over all resumptions; then the step is left to be seen."""

import re

import numpy as np
import pytest

from experiments.run import nonfinite
from tests import commands
from vae_jax import training

_MOST, _FIRST_BAD = 3, 1
# The first step of plain SGD at such a rate overflows the parameters; from the second on the loss is no number.
_OVERFLOWS = (
    *commands.SMALL,
    "--config.training.optimizer=sgd",
    "--config.training.learning_rate=1e30",
    f"--config.training.max_skipped={_MOST}",
    "--config.training.log_every=1",
    "--config.training.checkpoint_every=1",
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that stopped, what it said, and what it said when it was started again."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    return workdir, *(commands.run("train", *_OVERFLOWS, f"--workdir={workdir}") for _ in range(2))


def test_so_many_steps_are_skipped_and_the_next_stops_the_run(stopped):
    _, first, _ = stopped
    skipped = re.findall(r"skipped, (\d) of at most 3 \(training\.max_skipped\): at step (\d+) ", first.stdout)
    assert skipped == [(str(k + 1), str(_FIRST_BAD + k)) for k in range(_MOST)]
    assert first.returncode == 1
    assert first.stderr.startswith(f"error: training stopped: at step {_FIRST_BAD + _MOST} the loss is ")
    assert first.stderr.count("\n") == 1


def test_steps_skipped_before_a_resumption_count(stopped):
    _, _, again = stopped
    assert f"from step {_FIRST_BAD + _MOST}\n" in again.stdout
    assert "skipped" not in again.stdout
    assert again.returncode == 1
    assert f"at step {_FIRST_BAD + _MOST} the loss is " in again.stderr


def test_the_file_that_is_left_gives_a_loss_that_is_no_number_again(stopped):
    workdir, first, _ = stopped
    path = workdir / f"nonfinite_{_FIRST_BAD + _MOST}.npz"
    assert f"{path} holds the step, and computed again from there it recurs" in first.stderr
    again = nonfinite.replay(path)
    assert not np.isfinite([again.loss, again.gradient_norm]).all()
    assert again.losses.shape == (100,)
    assert not np.isfinite(again.losses).all()


def test_the_file_holds_the_rows_that_the_message_names_and_no_pickle(stopped):
    workdir, first, _ = stopped
    with np.load(workdir / f"nonfinite_{_FIRST_BAD + _MOST}.npz", allow_pickle=False) as arrays:
        assert f"training examples {arrays['rows'].tolist()}" in first.stderr
        assert arrays["stored:0"].shape == (100, 28, 28, 1)
        assert int(arrays["step"]) == _FIRST_BAD + _MOST


def error(step: int) -> training.NonFiniteError:
    return training.NonFiniteError(step, np.arange(2), float("nan"), 1.0)


def test_skips_are_counted_with_those_before_them(capsys):
    skips = nonfinite.Skips(2, [4])
    skips.skip(error(9))
    assert skips.steps == [4, 9]
    with pytest.raises(training.NonFiniteError, match="at step 11"):
        skips.skip(error(11))
    assert skips.steps == [4, 9]
    assert capsys.readouterr().out.startswith("skipped, 2 of at most 2")
