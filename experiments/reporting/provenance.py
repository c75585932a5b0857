"""Where a run comes from: the command that makes it, its data, and the versions of what made it and its page."""

import datetime
import importlib.metadata
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vae_jax import data

from ..command.flags import load_config, recipes
from ..run import build
from ..run.config import Config, changed, describe
from .record import Record

_DEFAULT = "digits"
_PACKAGES = ("vae_jax", "jax", "jaxlib", "flax", "optax", "numpy")


class Field(NamedTuple):
    """A field of a config: its name, value and default as texts, whether these differ, and what it means."""

    name: str
    value: str
    default: str
    differs: bool
    meaning: str


def fields(config: Config, contents: data.Contents) -> list[Field]:
    """Returns the fields of a config; `contents` decide what "auto" is by default."""
    default = _resolved(Config(), contents)
    differ = changed(config, default)
    return [
        Field(here.name, str(here.value), str(there.value), here.name in differ, here.meaning)
        for here, there in zip(describe(config), describe(default), strict=True)
    ]


def command(config: Config, folder: Path, contents: data.Contents) -> str:
    """Returns the command that trains a run of this config: the recipe that is nearest, and the fields that differ."""
    configs = {name: load_config(name, Config) for name in dict.fromkeys([_DEFAULT, *recipes()])}
    differ = {name: changed(config, _resolved(recipe, contents)) for name, recipe in configs.items()}
    nearest = min(differ, key=lambda name: len(differ[name]))
    values = {field.name: field.value for field in describe(config)}
    file = [] if nearest == _DEFAULT else [f"--config={nearest}"]
    given = [f"--config.{name}={values[name]}" for name in differ[nearest]]
    words = ["./launch.sh", "train", *file, f"--workdir={folder}", *given]
    return " \\\n  ".join(shlex.quote(word) for word in words).replace(" \\\n  train", " train", 1)


def _resolved(config: Config, contents: data.Contents) -> Config:
    """Returns a config with what the data decide in the place of "auto", if it can be of them."""
    try:
        return build.resolved(config, contents)
    except ValueError:
        return config


def facts(record: Record) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of a run's folder, its data, its parameters and its speed."""
    summary, fingerprint = record.summary or {}, record.stored.fingerprint or {}
    yield "folder", str(record.folder.resolve())
    yield "run", record.stored.run_id or "of a version without names for runs"
    yield "seed", str(record.config.seed)
    yield "data", record.config.data.path or record.config.data.name
    for split in ("train", "validation", "test"):
        if isinstance(of := fingerprint.get(split), dict):
            yield f"{split} examples", f"{of.get('examples', '?')}, SHA-256 {of.get('sha256', 'not known')}"
    if "step" in summary:
        yield "step", str(summary["step"])
    if "params_sha256" in summary:
        yield "SHA-256 of the parameters", summary["params_sha256"]
    if isinstance(summary.get("wall_seconds"), int | float):
        yield "duration", f"{summary['wall_seconds']:,.0f} s"
    if isinstance(summary.get("examples_per_second"), int | float):
        yield "speed of training", f"{summary['examples_per_second']:,.0f} examples a second"
    if record.trained_with:
        yield "trained with", ", ".join(f"{name} {version}" for name, version in record.trained_with.items())


def of_this_page() -> Iterator[tuple[str, str]]:
    """Yields (name, text) of what writes this page."""
    installed = [(name, _version(name)) for name in _PACKAGES]
    versions = [f"{name} {version}" for name, version in [("Python", platform.python_version()), *installed]]
    devices = jax.devices()
    yield "this page", datetime.datetime.now(datetime.UTC).strftime("written %Y-%m-%d %H:%M UTC")
    yield "written with", ", ".join(versions)
    yield "device", f"{len(devices)} × {devices[0].device_kind}, platform {devices[0].platform}"


def _version(package: str) -> Any:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
