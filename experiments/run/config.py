"""The typed config of an experiment, and its checks.

A config file returns a `Config` from `get_config()`; any field can be overridden by a flag,
`--config.training.num_steps=20000`.
"""

import dataclasses
import math
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

from vae_jax.migration import migrate_config
from vae_jax.training import json_files

from ..command.flags import fields
from .roles import ROLES, canonical


def _field(default: Any, meaning: str, *, legal: str = "") -> Any:
    """Returns a field with what `describe` says about it; its range is in `_AT_LEAST` and `_POSITIVE`."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "legal": legal})


# Real annotations and unfrozen classes: the flags read the first to parse overrides, and write to the second.


@dataclasses.dataclass
class Data:
    name: str = _field(
        "digits_5k",
        "the data set",
        legal="digits_5k, wine, synthetic_cells, mnist, fashion_mnist, kmnist, emnist/…, binarized_mnist, cifar10, or "
        "another of TFDS",
    )
    path: str | None = _field(
        None,
        "your own data, in place of a data set",
        legal="an .npy, .npz, .h5ad, .csv or .parquet file, or a folder of pictures",
    )
    layer: str | None = _field(None, "the layer of an .h5ad file that is read in the place of X")
    schema: str | None = _field(None, "what each column of a table is; None: guessed", legal="a JSON file")
    condition: str | None = _field(
        None, "what is given to the model beside x, joined by commas", legal="label, size, columns of a table"
    )
    missing: float = _field(0.0, "the fraction of the entries of x that are hidden, at random", legal="below 1")
    manual_dir: str | None = _field(None, "raw files, in place of a download", legal="a folder")
    binarization: str = _field(
        "auto",
        "how pictures become pixels: as they are, or drawn as 0 or 1, once or at every step; auto: dynamic if grey",
        legal="auto, none, fixed, dynamic",
    )
    image_size: tuple[int, ...] | None = _field(None, "crop and resample to this size", legal="(height, width)")
    channels: int | None = _field(None, "convert to grey (1) or colour (3)", legal="1, 3")
    held_out: float = _field(
        0.1, "the fraction for validation, and for test, where the data set has no such split", legal="below 0.5"
    )
    memory_gb: float = _field(2.0, "training examples of more are read from disk as they are needed")


@dataclasses.dataclass
class Model:
    network: str = _field("mlp(hidden=(200, 200), activation=tanh)", "the encoder; the decoder mirrors it")
    latent_dim: tuple[int, ...] = _field((50,), "the dimension of z, or its shape")
    posterior: str = _field("diagonal", "q(z|x)")
    prior: str = _field("standard_normal", "p(z)")
    likelihood: str = _field(
        "auto",
        "p(x|z); auto: bernoulli for grey pictures and zeros and ones, normal(learn=shared) for colours and numbers, "
        "negative_binomial for counts, joint for a table",
        legal="auto",
    )
    compute_dtype: str = _field("float32", "the type in which the networks compute", legal="float32, bfloat16")
    center_input: bool = _field(False, "subtract the training data's mean from the encoder's input")
    data_bias: bool = _field(False, "start with the training data's mean as the decoder's output")


@dataclasses.dataclass
class Loss:
    bound: str = _field("elbo", "what is maximised")
    gradient: str = _field(
        "auto",
        "the gradient estimator; auto: pathwise where q is reparameterised, else score_function with leave_one_out",
        legal="auto, and those of docs/estimators.md for the bound",
    )
    baseline: str | None = _field(None, "for gradient=score_function", legal="leave_one_out")
    kl: str = _field("auto", "the KL in closed form, or from the samples", legal="auto, analytic, monte_carlo")
    num_samples: int = _field(1, "samples of z for each example, over all groups")
    beta: str = _field("1.0", "the weight of the KL in the ELBO", legal="a number")
    regularizers: str = _field("", "terms of a batch, joined by +")


@dataclasses.dataclass
class Training:
    batch_size: int = _field(100, "examples in a step, over all devices")
    num_steps: int = _field(10_000, "steps of the whole run")
    learning_rate: float = _field(1e-3, "the learning rate, after the warm-up")
    schedule: str = _field(
        "constant", "the learning rate after the warm-up: constant, or falling to 0", legal="constant, cosine, linear"
    )
    warmup_steps: int = _field(0, "steps in which the learning rate rises from 0", legal="below num_steps")
    optimizer: str = _field("adam", "the optimiser, of Optax")
    clip_norm: float | None = _field(None, "the largest global norm of a gradient; None: any")
    average_decay: float | None = _field(
        None, "decay of the weight average, which is then what is evaluated; None: no average", legal="below 1"
    )
    microbatches: int = _field(1, "parts in which a device's batch is computed, to save memory")
    max_skipped: int = _field(0, "steps that may be skipped because their loss or gradient is not finite")
    log_every: int = _field(100, "steps between lines of metrics")
    eval_every: int = _field(1000, "steps between evaluations on the validation split")
    checkpoint_every: int = _field(1000, "steps between checkpoints")
    patience: int | None = _field(
        None,
        "evaluations on the validation split without a better ELBO after which training stops, and the best is "
        "evaluated; None: never",
    )


@dataclasses.dataclass
class Evaluation:
    num_samples: int = _field(5000, "importance samples of log p(x) for each example")
    num_examples: int | None = _field(None, "examples of validation and of test, evenly spread; None: all")


@dataclasses.dataclass
class Parallel:
    backend: str = _field("jit", "what spreads a batch over the devices", legal="jit, pmap, shard_map")
    shard_params: bool = _field(False, "spread parameters and optimiser over the devices too, under jit")


@dataclasses.dataclass
class Config:
    seed: int = _field(0, "what all random numbers derive from", legal="below 2**32")
    init_from: str | None = _field(None, "the folder of a run whose parameters this one starts with")
    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    loss: Loss = dataclasses.field(default_factory=Loss)
    training: Training = dataclasses.field(default_factory=Training)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    parallel: Parallel = dataclasses.field(default_factory=Parallel)


class Described(NamedTuple):
    """A field of a config: its dotted name, type, value, legal values where they are limited, and meaning."""

    name: str
    type: str
    value: Any
    legal: str
    meaning: str


def describe(config: Config) -> list[Described]:
    """Returns every field of a config with its type, value, legal values and meaning."""
    described = []
    for name, annotation, value in fields(config):
        section, _, field = name.rpartition(".")
        about = type(_get(config, section) if section else config).__dataclass_fields__[field].metadata
        ranges = [f"at least {_AT_LEAST[name]}"] if name in _AT_LEAST else ["positive"] if name in _POSITIVE else []
        parts = [*ROLES[name].role.parts, "module:name"] if name in ROLES else []
        legal = ", ".join([*ranges, *filter(None, [about["legal"]]), *parts])
        described.append(Described(name, json_files.type_name(annotation), value, legal, about["meaning"]))
    return described


def as_flags(config: Config) -> list[str]:
    """Returns a line for each field: the flag that sets it, and what it means as a comment of the shell."""
    lines = []
    for field in describe(config):
        flag = shlex.quote(f"--config.{field.name}={field.value}")
        limits = f" ({field.legal})" if field.legal else ""
        lines.append(f"{flag:<44}  # {field.type}{limits}: {field.meaning}")
    return lines


def to_dict(config: Config) -> dict[str, Any]:
    """The config as what JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """Returns the config of `to_dict`, or of the JSON made from it by this version or one before.

    A field that is absent has its default.

    Raises:
      ValueError: for an illegal value, or a field that this version does not have.
    """
    config = _from_dict(Config, migrate_config(values))
    validate(config)
    return config


def _from_dict(kind: Any, values: dict[str, Any], prefix: str = "") -> Any:
    sections = {field.name: field.type for field in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in sections:
            raise ValueError(f"{prefix}{name} is a field that this version does not have")
        if dataclasses.is_dataclass(sections[name]):
            if not isinstance(value, dict):
                raise ValueError(f"{prefix}{name} must be a section of fields, got {value!r:.100}")
            given[name] = _from_dict(sections[name], value, f"{prefix}{name}.")
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)


def changed(mine: Config, other: Config) -> list[str]:
    """Returns the names of the fields in which two configs differ; texts of one part are no difference."""
    there = {name: value for name, _, value in fields(other)}
    one = lambda name, value: canonical(name, value) if name in ROLES else value
    return [name for name, _, here in fields(mine) if one(name, there[name]) != one(name, here)]


def differences(mine: Config, other: Config) -> list[str]:
    """Returns a line for each field in which a stored config differs, as `changed`."""
    return [f"{name}: {_get(other, name)!r} there, {_get(mine, name)!r} here" for name in changed(mine, other)]


def extends(mine: Config, other: Config) -> bool:
    """Returns whether a config is a stored one with more steps, the first of which are the stored one's."""
    longer = mine.training.num_steps > other.training.num_steps and mine.training.schedule == "constant"
    training = dataclasses.replace(mine.training, num_steps=other.training.num_steps)
    return longer and not differences(dataclasses.replace(mine, training=training), other)


def validate(config: Config) -> None:
    """Raises `ValueError`, naming field and value, unless every type, range and number is legal.

    Names (of data sets, networks, …) are checked by the functions that look them up, which know them.
    """
    for name, annotation, value in fields(config):
        _check_type(name, annotation, value)
    for name, value in _numbers(config):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
    for name, minimum in _AT_LEAST.items():
        value = _get(config, name)
        if value is not None and not all(v >= minimum for v in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    for name in _POSITIVE:
        value = _get(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    if config.data.image_size is not None and len(config.data.image_size) != 2:
        raise ValueError(f"data.image_size must be (height, width), got {config.data.image_size}")
    if config.data.channels not in (None, 1, 3):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (colour), got {config.data.channels}")
    if config.data.held_out >= 0.5:
        raise ValueError(f"data.held_out must be below 0.5, got {config.data.held_out}")
    if config.training.average_decay is not None and not config.training.average_decay < 1:
        raise ValueError(f"training.average_decay must be below 1, got {config.training.average_decay}")
    if config.seed > 2**32 - 1:
        raise ValueError(f"seed must be below 2**32, got {config.seed}")


_AT_LEAST = {
    "seed": 0,
    "data.missing": 0,
    "data.image_size": 1,
    "model.latent_dim": 1,
    "loss.num_samples": 1,
    "training.batch_size": 1,
    "training.num_steps": 1,
    "training.warmup_steps": 0,
    "training.microbatches": 1,
    "training.max_skipped": 0,
    "training.log_every": 1,
    "training.eval_every": 1,
    "training.checkpoint_every": 1,
    "training.patience": 1,
    "evaluation.num_samples": 1,
    "evaluation.num_examples": 1,
}
_POSITIVE = (
    "data.held_out",
    "data.memory_gb",
    "training.learning_rate",
    "training.clip_norm",
    "training.average_decay",
)


def _get(config: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def _numbers(config: Config) -> Iterator[tuple[str, float]]:
    for name, _, value in fields(config):
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)):
                yield name, number


def _check_type(name: str, annotation: Any, value: Any) -> None:
    if not json_files.is_a(value, annotation):
        raise ValueError(f"{name} must be of type {json_files.type_name(annotation)}, got {value!r}")
