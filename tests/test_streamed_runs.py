"""A run that reads its training images as it goes is the run that holds them in memory."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.configs import digits
from experiments.run import build
from experiments.run.config import Config
from tests import commands
from tests.test_resume import metrics, summary
from vae_jax import data

# 5,000 images of 784 bytes: the 500 of a held-out split fit into 0.001 GiB, the 4,000 for training do not.
SMALL_MEMORY = 0.001
SMALL = (*commands.SMALL, "--config.evaluation.num_examples=40")


def start(workdir: Path, *arguments: str) -> commands.Started:
    return commands.Started("train", *SMALL, f"--workdir={workdir}", *arguments)


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> Path:
    """The bundled digits as one's own file."""
    path = tmp_path_factory.mktemp("digits") / "digits.npy"
    digits = data.load("digits_5k")
    splits = (digits.train, digits.validation, digits.test)
    np.save(path, np.concatenate([split.examples[..., 0] for split in splits]))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Thirty small pictures, no two alike."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, array) -> dict[str, Path]:
    """The folders of a run in memory and of one streamed, killed at step 20 and started again."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = {"memory": (f"--config.data.path={array}",)}
    arguments["streamed"] = (*arguments["memory"], f"--config.data.memory_gb={SMALL_MEMORY}")
    with start(folder / "streamed", *arguments["streamed"]) as process:  # SIGKILL ends it
        commands.wait_until((folder / "streamed" / "checkpoints" / "20").exists, process)
    assert not (folder / "streamed" / "summary.json").exists()
    for name, given in arguments.items():
        commands.train(folder / name, *SMALL, *given)
    return {name: folder / name for name in arguments}


def training_file(pictures: Path) -> Path:
    """The first of the pictures that is not held out."""
    kept = data.load("", path=pictures).train.examples
    return next(
        file for file in sorted(pictures.iterdir()) if np.any(np.all(kept[..., 0] == pixels(file), axis=(1, 2)))
    )


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def config(array: Path, memory_gb: float) -> Config:
    settings = digits.get_config()
    settings.data.path, settings.data.memory_gb = str(array), memory_gb
    return settings


def test_training_images_larger_than_the_memory_are_streamed_and_their_mean_is_exact(array):
    """The control of the tests below: the two runs read their data in different ways."""
    streamed = build.build(config(array, SMALL_MEMORY), data_dir=None)
    held = build.build(config(array, 2.0), data_dir=None)
    assert isinstance(streamed.dataset.train.examples, data.Streamed)
    assert isinstance(held.dataset.train.examples, np.ndarray)
    np.testing.assert_array_equal(streamed.dataset.train.examples[:], held.dataset.train.examples)
    for built in (streamed, held):
        np.testing.assert_array_equal(
            built.data_mean, held.dataset.train.examples.astype(np.float64).mean(axis=0) / 255
        )


def test_a_streamed_run_that_is_killed_resumes_to_the_bits_of_the_one_in_memory(runs):
    memory, streamed = runs["memory"], runs["streamed"]
    assert summary(streamed)["params_sha256"] == summary(memory)["params_sha256"]
    assert summary(streamed)["test"] == summary(memory)["test"]
    assert metrics(streamed) == metrics(memory)


def test_evaluation_is_of_as_many_examples_as_were_asked_for(runs):
    assert summary(runs["memory"])["test"]["num_examples"] == 40


def test_a_picture_that_breaks_while_it_is_streamed_stops_the_run_in_one_message(pictures, tmp_path):
    """Training without end, and a file that is cut short once that is under way."""
    endless = [f"--config.training.{name}=1000000" for name in ("num_steps", "eval_every")]
    tiny = (f"--config.data.path={pictures}", "--config.data.memory_gb=1e-7", "--config.training.batch_size=10")
    file = training_file(pictures)
    with start(tmp_path / "run", *endless, *tiny) as process:
        commands.wait_until((tmp_path / "run" / "checkpoints" / "20").exists, process)
        os.truncate(file, file.stat().st_size // 2)
        assert process.wait() == 1
        (told,) = process.stderr.splitlines()
    assert told.startswith("error: ")
    assert f"{file} cannot be read as an image" in told


def test_fixed_binarization_of_streamed_images_is_refused(array):
    settings = config(array, SMALL_MEMORY)
    settings.data.binarization = "fixed"
    with pytest.raises(ValueError, match=r"data.binarization='fixed'.*data.memory_gb"):
        build.build(settings, data_dir=None)
