"""Who may write into a run's folder: one run at a time, of the config that the folder holds."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from experiments import train
from experiments.command.errors import UserError
from experiments.command.flags import CommandFlags, read_flags
from experiments.run import workdir
from experiments.run.config import Config, Training
from tests import commands
from vae_jax.training import json_files

_HOLDER = """
import sys, time
from pathlib import Path
from experiments.run import workdir
from experiments.run.config import Config
with workdir.claimed(Path(sys.argv[1]), Config(), {}):
    print("claimed", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has claimed the folder."""
    arguments = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with commands.started(arguments, env=commands.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        yield process


def claim(folder, config: Config) -> None:
    with workdir.claimed(folder, config, {}):
        pass


def lengthened(num_steps: int, **options) -> Config:
    return Config(training=Training(num_steps=num_steps, **options))


def test_a_second_run_is_refused_naming_the_first_and_a_killed_one_leaves_no_lock(tmp_path, holder):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    named = rf"in use by another run, process {holder.pid} on \S+; nothing was changed"
    with pytest.raises(UserError, match=named):
        claim(tmp_path, Config())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    claim(tmp_path, Config())


def test_of_many_that_claim_a_new_folder_at_once_the_holder_s_config_is_in_it(tmp_path):
    number, held = 8, []
    barrier, ended = (threading.Barrier(number, timeout=60) for _ in range(2))

    def run(seed: int) -> None:
        for trial in range(20):
            folder = tmp_path / str(trial)
            barrier.wait()
            try:
                with workdir.claimed(folder, Config(seed=seed), {}):
                    held.append((seed, workdir.read_config(folder).seed))
                    ended.wait()
                    held.append((seed, workdir.read_config(folder).seed))
            except UserError:
                ended.wait()

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 2 * 20
    assert all(mine == stored for mine, stored in held)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gs://bucket/run", "--workdir=gs://bucket/run: .* mount it"),
        ("s3://bucket/run", "--workdir=s3://bucket/run: .* mount it"),
        ("", "--workdir.* name a folder"),
    ],
)
def test_what_names_no_folder_is_refused(place, message):
    with pytest.raises(UserError, match=message):
        train.parse(["train", f"--workdir={place}"])


def test_a_folder_may_be_named_from_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/homes/me")
    flags = CommandFlags()
    folder = flags.workdir("runs/digits", "The folder.")
    read_flags(flags, ["train", "--workdir=~/x"])
    assert folder.value == "/homes/me/x"


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=rf"{tmp_path}/\.lock cannot be locked: No locks available\. .* --workdir"):
        claim(tmp_path, Config())


def test_a_disk_that_is_full_is_an_error_of_the_lock(tmp_path, largest_file):
    largest_file(0)
    with pytest.raises(OSError, match=r"\.lock"):
        claim(tmp_path, Config())


@pytest.mark.parametrize("remade", [False, True])
@pytest.mark.parametrize("error", [None, OSError("another message")])
def test_a_folder_that_is_moved_ends_its_run_with_one_message(tmp_path, remade, error):
    folder = tmp_path / "run"

    def run():
        with workdir.claimed(folder, Config(), {}) as place:
            place.check()
            folder.rename(tmp_path / "moved")
            if remade:
                shutil.copytree(tmp_path / "moved", folder)
            if error is not None:
                raise error

    with pytest.raises(UserError, match=rf"--workdir={folder} was moved, deleted or replaced"):
        run()
    assert folder.exists() == remade


def test_a_refusal_names_the_differences_and_the_way_out_and_leaves_the_folder(tmp_path):
    claim(tmp_path, Config())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    message = rf"another --workdir, where --init_from={tmp_path} starts a new run(.|\n)*\n  seed: 0 there, 1 here$"
    with pytest.raises(UserError, match=message):
        claim(tmp_path, Config(seed=1))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_files_of_a_run_without_a_config_are_left_alone(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept")
    with pytest.raises(UserError, match=r"holds metrics\.jsonl but no config\.json"):
        claim(tmp_path, Config())
    assert list(tmp_path.iterdir()) == [tmp_path / "metrics.jsonl"]


def test_a_finished_run_is_known_while_another_holds_the_folder(tmp_path):
    """As on a disk that is read-only now."""
    summary = {"step": 20, "test": {}}
    with workdir.claimed(tmp_path, lengthened(20), {}):
        assert workdir.finished(tmp_path, lengthened(20), {}) is None
        json_files.write(tmp_path / "summary.json", summary)
        assert workdir.finished(tmp_path, lengthened(20), {}) == summary


def test_a_run_may_have_more_steps_and_is_then_not_finished(tmp_path):
    claim(tmp_path, lengthened(20))
    run_id = workdir.read_stored(tmp_path).run_id
    json_files.write(tmp_path / "summary.json", {"step": 20})
    assert workdir.finished(tmp_path, lengthened(30), {}) is None
    claim(tmp_path, lengthened(30))
    assert workdir.read_stored(tmp_path) == (lengthened(30), run_id, {})


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (lengthened(20), lengthened(10)),
        (lengthened(20, schedule="cosine"), lengthened(30, schedule="cosine")),
        (lengthened(20), lengthened(30, learning_rate=0.1)),
    ],
    ids=["fewer", "decaying", "more_differs"],
)
def test_a_run_of_other_steps_than_its_first_ones_is_refused(tmp_path, there, here):
    claim(tmp_path, there)
    with pytest.raises(UserError, match=r"\n  training\.num_steps: 20 there, .0 here"):
        claim(tmp_path, here)
    assert workdir.read_config(tmp_path) == there


def test_two_runs_of_one_config_have_names_of_their_own(tmp_path):
    for name in ("a", "b"):
        claim(tmp_path / name, Config())
    assert len({workdir.read_stored(tmp_path / name).run_id for name in ("a", "b")} - {None}) == 2


def test_train_without_a_config_takes_that_of_the_folder(tmp_path):
    claim(tmp_path, Config(seed=7, training=Training(num_steps=20)))
    config = train.parse(["train", f"--workdir={tmp_path}", "--config.training.num_steps=30"])
    assert config == Config(seed=7, training=Training(num_steps=30))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "damaged: it is nested too deeply"),
        (b"\xff{}", "damaged: 'utf-8' codec can't decode"),
        ("[]", "damaged: it holds no object, but a list"),
        ('{"format_version": "1"}', r"format_version must be int \| None, got '1'"),
        ('{"format_version": 5}', "format_version 5, and .* reads those up to 4; use a newer vae_jax"),
        ('{"training": {"patiense": 3}}', r"no config of this version: training\.patiense is a field that"),
        ('{"training": 3}', r"no config of this version: training must be a section of fields, got 3"),
    ],
    ids=["deep", "bytes", "list", "typed", "newer", "unknown", "section"],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=f"{path} .*{message}"):
        workdir.read_config(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path}/none holds no run: there is no .*config\.json"):
        workdir.read_config(tmp_path / "none")
