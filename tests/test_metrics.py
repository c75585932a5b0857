"""The log of a run: a line for each step and split, whatever came between."""

import json
import math
import threading

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import SessionLog

from experiments.run import metrics
from experiments.run.metrics import MetricsLog, read_metrics
from experiments.run.progress import Progress
from tests.event_files import events


def lines(folder) -> list[dict]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def test_a_resumed_log_has_the_lines_up_to_its_step_and_no_line_that_a_kill_cut_short(tmp_path):
    with MetricsLog(tmp_path, step=0) as log:
        for step in (10, 20, 30):
            log.write(step, "train", {"loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "spl')
    with MetricsLog(tmp_path, step=20) as log:
        log.write(30, "train", {"loss": 3.0})
    assert lines(tmp_path) == [
        {"step": 10, "split": "train", "loss": 1 / 10},
        {"step": 20, "split": "train", "loss": 1 / 20},
        {"step": 30, "split": "train", "loss": 3.0},
    ]


def stored(step: int, split: str = "train", **values: float) -> bytes:
    return json.dumps({"step": step, "split": split, "seconds": step / 100, **values}).encode()


@pytest.mark.parametrize("size", [1, 7, 50, 2**16])
@pytest.mark.parametrize("step", [0, 10, 25, 60, 100])
def test_a_log_is_cut_where_it_stands_whatever_blocks_it_is_read_in(tmp_path, monkeypatch, size, step):
    monkeypatch.setattr(metrics, "_BLOCK_BYTES", size)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(stored(number) + b"\n" for number in range(10, 70, 10)))
    before, kept = path.stat().st_ino, [number for number in range(10, 70, 10) if number <= step]
    with MetricsLog(tmp_path, step=step) as log:
        np.testing.assert_allclose(log.seconds(), max(kept, default=0) / 100, atol=0.1)
    assert [line["step"] for line in lines(tmp_path)] == kept
    assert path.stat().st_ino == before


STRAY = {
    "number": b"5",
    "list": b"[1, 2]",
    "null": b"null",
    "empty": b"",
    "no_step": b'{"split": "train", "seconds": 1}',
    "no_split": b'{"step": 1, "seconds": 1}',
    "no_seconds": b'{"step": 1, "split": "train"}',
    "step_of_another_type": b'{"step": "1", "split": "train", "seconds": 1}',
    "split_of_another_type": b'{"step": 1, "split": [], "seconds": 1}',
    "seconds_of_another_type": b'{"step": 1, "split": "train", "seconds": true}',
    "seconds_not_a_number": b'{"step": 1, "split": "train", "seconds": NaN}',
    "value_of_another_type": b'{"step": 1, "split": "train", "seconds": 1, "loss": {}}',
    "huge": b'{"step": 1, "split": "train", "seconds": 1' + b"0" * 400 + b"}",
    "deep": b"[" * 200_000,
    "bytes": b'\xff\xfe{"step": 1}',
}


@pytest.mark.parametrize("case", STRAY)
def test_a_line_that_no_run_wrote_is_passed_over(tmp_path, case):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([STRAY[case], stored(10), STRAY[case], stored(20), STRAY[case]]))
    assert [line["step"] for line in read_metrics(path)] == [10, 20]
    with MetricsLog(tmp_path, step=20) as log:
        log.write(20, "train", {})
        log.write(30, "train", {})
    assert [line["step"] for line in read_metrics(path)] == [10, 20, 30]


def test_a_whole_line_without_its_end_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(stored(10) + b"\n" + stored(20))
    with MetricsLog(tmp_path, step=20) as log:
        log.write(30, "train", {})
    assert [line["step"] for line in lines(tmp_path)] == [10, 20, 30]


def test_a_number_that_is_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path):
    with MetricsLog(tmp_path, step=0) as log:
        log.write(10, "validation", {"elbo": math.nan, "elbo_standard_error": math.inf})
    assert lines(tmp_path) == [{"step": 10, "split": "validation", "elbo": None, "elbo_standard_error": None}]
    assert all(math.isnan(log.lines[0][name]) for name in ("elbo", "elbo_standard_error"))


def test_of_very_many_lines_evenly_spaced_ones_of_each_split_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_MOST_LINES", 10)
    texts = [stored(step) for step in range(1, 101)]
    texts.insert(50, stored(50, "validation"))
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(texts))
    read = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in read if line["split"] == "train"] == [1, 17, 33, 49, 65, 81, 97]
    assert [(at, line["step"]) for at, line in enumerate(read) if line["split"] == "validation"] == [(4, 50)]


def test_an_evaluation_that_is_repeated_after_an_interruption_has_one_line(tmp_path):
    for _ in range(2):
        with MetricsLog(tmp_path, step=10) as log:
            log.write(10, "train", {"loss": 1.0})
            log.write(10, "validation", {"elbo": -2.0})
    assert [line["split"] for line in lines(tmp_path)] == ["train", "validation"]


def test_tensorboard_shows_the_same_numbers_from_the_resumed_step_on(tmp_path):
    with MetricsLog(tmp_path, step=20) as log:
        log.write(30, "train", {"loss": 0.5, "kl": 2.0})
    (path,) = tmp_path.glob("events.out.tfevents.*")
    version, start, *scalars = events(path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (21, SessionLog.START)
    written = [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in scalars]
    assert written == [(30, "train/loss", 0.5), (30, "train/kl", 2.0)]


def test_the_log_is_written_by_the_thread_that_writes_it(tmp_path):
    """A thread of its own would die where the disk is full, and what waits for it would wait for ever."""
    before = threading.enumerate()
    with MetricsLog(tmp_path, step=0) as log:
        for step in range(100):
            log.write(step, "train", {"loss": 1.0})
        assert threading.enumerate() == before


def test_a_disk_that_is_full_is_an_error_of_the_file(tmp_path, largest_file):
    log = MetricsLog(tmp_path, step=0)
    largest_file(200)  # room for what TensorBoard's file begins with
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        log.write(10, "train", {f"value{number}": 1.0 for number in range(20)})
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        log.__exit__(None, None, None)


def test_the_lines_of_progress_say_what_is_weighted_and_in_which_unit(capsys):
    with Progress(num_steps=2, step=0, seconds_between_lines=0) as progress:
        progress.update(1, {"loss": 3.0, "elbo": -2.0, "kl": 1.0, "reconstruction": -1.0})
    header, line = capsys.readouterr().out.splitlines()
    assert header == "in nats per example: loss, which is minimised, with beta and regularizers; elbo and kl, without"
    assert line.startswith("step 1/2  loss 3.00  elbo -2.00  kl 1.00  ")
