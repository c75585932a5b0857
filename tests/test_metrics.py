"""The log of a run: a line for each step and split, whatever came between."""

import json
import threading

from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments.run.metrics import MetricsLog, Progress


def lines(folder) -> list[dict]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def events(path) -> list[Event]:
    """Of a file of records: length, its checksum, bytes, their checksum."""
    left, found = path.read_bytes(), []
    while left:
        size = int.from_bytes(left[:8], "little")
        found.append(Event.FromString(left[12 : 12 + size]))
        left = left[16 + size :]
    return found


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


def test_the_lines_of_progress_say_what_is_weighted_and_in_which_unit(capsys):
    with Progress(num_steps=2, step=0, seconds_between_lines=0) as progress:
        progress.update(1, {"loss": 3.0, "elbo": -2.0, "kl": 1.0, "reconstruction": -1.0})
    header, line = capsys.readouterr().out.splitlines()
    assert header == "in nats per example: loss, which is minimised, with beta and free bits; elbo and kl, without"
    assert line.startswith("step 1/2  loss 3.00  elbo -2.00  kl 1.00  ")
