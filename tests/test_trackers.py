"""Trackers: what they are told of a run, in their order; and none of them ends it."""

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from experiments.run import trackers
from experiments.run.metrics import MetricsLog, read_metrics
from experiments.run.trackers import Tracked, Trackers
from tests import commands
from tests.event_files import events
from vae_jax.training import json_files

CONFIG = {"training.learning_rate": 1e-3, "model.latent_dim": (2,), "data.path": None, "loss.bound": "elbo"}
RESULTS = {"elbo": -100.5, "nll": None, "elbo_standard_error": np.nan}


def of(folder: Path, step: int = 0) -> Tracked:
    return Tracked(folder, "mine", step, CONFIG)


def summaries(folder: Path) -> dict[str, Any]:
    """The last (step, value) of each tag of TensorBoard's files."""
    found = [event for path in sorted(folder.glob("events.out.tfevents.*")) for event in events(path)]
    return {value.tag: (event.step, value) for event in found for value in event.summary.value}


def test_a_run_shows_its_pictures_its_config_and_its_results_in_tensorboard(trained):
    found, summary = summaries(trained), json_files.read_object(trained / "summary.json")
    pictures = {path.stem: path for path in (trained / "figures").glob("*.png")}
    assert {"reconstructions", "samples"} <= set(pictures)
    for name, path in pictures.items():
        step, value = found[name]
        with Image.open(path) as opened:
            assert (step, value.image.width, value.image.height) == (60, *opened.size)
        assert value.image.encoded_image_string == path.read_bytes()
    step, value = found["test/elbo"]
    assert (step, value.simple_value) == (60, np.float32(summary["test"]["elbo"]))
    of_plugin = lambda tag: HParamsPluginData.FromString(found[tag][1].metadata.plugin_data.content)
    fields = of_plugin("_hparams_/session_start_info").session_start_info.hparams
    assert fields["training.num_steps"].number_value == 60
    assert fields["model.network"].string_value == "mlp(hidden=(16,))"
    assert fields["model.latent_dim"].string_value == "(2,)"
    metrics = of_plugin("_hparams_/experiment").experiment.metric_infos
    assert "test/elbo" in [metric.name.tag for metric in metrics]


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
    """The tracker of the docs, as a module."""
    page = (commands.ROOT / "docs" / "runs.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Lines" in block)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "tracking.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mypackage", raising=False)
    (named,) = re.findall(r"`--track='(.*?)'` uses it", page)
    yield named
    for name in ("mypackage", "mypackage.tracking"):
        sys.modules.pop(name, None)


def test_the_tracker_of_the_docs_is_told_of_a_run_what_tensorboard_is(own, tmp_path):
    trackers.check(own)
    (tmp_path / "figures").mkdir()
    Image.new("L", (2, 3)).save(tmp_path / "figures" / "samples.png")
    with MetricsLog(tmp_path, step=0, track=own, config=CONFIG, run_id="mine") as log:
        log.write(10, "train", {"loss": 3.0})
        log.show_results(20, RESULTS, tmp_path / "figures")
    told = [json.loads(line) for line in (tmp_path / "shown.jsonl").read_text().splitlines()]
    assert told == [
        {"step": 10, "train/loss": 3.0},
        {"step": 20, "test/elbo": -100.5},
        {"step": 20, "samples": str(tmp_path / "figures" / "samples.png")},
        {"step": None, **CONFIG, "model.latent_dim": [2], "test/elbo": -100.5},
    ]
    assert {"train/loss", "test/elbo", "samples"} <= set(summaries(tmp_path))


class Service:
    """In the place of the package wandb."""

    def __init__(self, failing: str = "") -> None:
        self.told: list[Any] = []
        self.summary = types.SimpleNamespace(update=lambda results: self.tell("summary", results))
        self.Image = lambda path: ("image", path)
        self._failing = failing

    def tell(self, what: str, *values: Any) -> None:
        if what == self._failing:
            raise ConnectionError("the service cannot be reached\nat all")
        self.told.append((what, *values))

    def init(self, **options: Any) -> "Service":
        self.tell("init", options)
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.tell("log", step, values)

    def finish(self) -> None:
        self.tell("finish")


def tracked(folder: Path, track: str) -> None:
    (folder / "figures").mkdir()
    Image.new("RGB", (2, 3)).save(folder / "figures" / "samples.png")
    with MetricsLog(folder, step=0, track=track, config=CONFIG, run_id="mine") as log:
        log.write(10, "train", {"loss": 3.0})
        log.write(20, "train", {"loss": 2.0})
        log.show_results(20, RESULTS, folder / "figures")


def test_weights_and_biases_is_told_of_all(tmp_path, monkeypatch):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    tracked(tmp_path, "wandb(project=digits)")
    options = {"project": "digits", "name": tmp_path.name, "dir": str(tmp_path), "id": "mine", "resume": "allow"}
    assert service.told == [
        ("init", {**options, "config": CONFIG}),
        ("log", 10, {"train/loss": 3.0}),
        ("log", 20, {"train/loss": 2.0}),
        ("log", 20, {"test/elbo": -100.5}),
        ("log", 20, {"samples": ("image", str(tmp_path / "figures" / "samples.png"))}),
        ("summary", {"test/elbo": -100.5}),
        ("finish",),
    ]
    assert not list(tmp_path.glob("events*"))


@pytest.mark.parametrize("failing", ["init", "log", "summary", "finish"])
def test_a_tracker_that_fails_is_named_once_and_left_out_and_the_others_go_on(tmp_path, monkeypatch, capsys, failing):
    service = Service(failing)
    monkeypatch.setitem(sys.modules, "wandb", service)
    tracked(tmp_path, "wandb(project=digits) + tensorboard")
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: --track=wandb(project=digits) failed, and is left out from now on: ConnectionErr")
    before = {
        "init": [],
        "log": ["init"],
        "summary": ["init", *["log"] * 4],
        "finish": ["init", *["log"] * 4, "summary"],
    }
    assert [what for what, *_ in service.told] == before[failing]
    assert {"train/loss", "test/elbo", "samples"} <= set(summaries(tmp_path))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20]


def test_no_room_for_a_file_of_the_run_ends_it_whoever_writes_the_file(tmp_path, monkeypatch):
    class Full(Service):
        def log(self, values: dict[str, Any], step: int) -> None:
            raise OSError(28, "No space left on device", str(tmp_path / "wandb" / "log"))

    monkeypatch.setitem(sys.modules, "wandb", Full())
    opened = Trackers("wandb(project=digits)", of(tmp_path))
    with pytest.raises(OSError, match="No space left"):
        opened.scalars(1, {"loss": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorbord", r"tracker 'tensorbord': unknown tracker 'tensorbord'\. Did you mean 'tensorboard'"),
        ("wandb", "project must be given; wandb is written wandb\\(project\\)"),
        ("wandb(projekt=mine)", "wandb has no argument 'projekt'. Did you mean 'project'"),
        ("tensorboard + wandb(project=mine)", r"needs the package wandb: pip install 'vae_jax\[wandb\]'"),
        ("nopackage.tracking:Lines", "nopackage.tracking cannot be imported"),
    ],
)
def test_trackers_that_do_not_exist_are_refused_before_a_run_begins(text, message):
    with pytest.raises(ValueError, match=message):
        trackers.check(text)


def test_no_tracker_is_one_too(tmp_path):
    tracked(tmp_path, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "metrics.jsonl"]
