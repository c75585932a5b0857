"""The typed config of an experiment, and its checks.

A config file returns a `Config` from `get_config()`; any field can be overridden by a flag,
`--config.training.num_steps=20000`.
"""

import dataclasses
import math
import shlex
import types
import typing
from collections.abc import Iterator
from typing import Any

from ..command.flags import fields

# Real annotations and unfrozen classes: the flags read the first to parse overrides, and write to the second.


@dataclasses.dataclass
class Data:
    name: str = "digits_5k"
    path: str | None = None  # one's own images: an .npy or .npz file, or a folder
    manual_dir: str | None = None  # a folder of raw files, in place of a download
    binarization: str = "dynamic"  # none | fixed | dynamic
    image_size: tuple[int, ...] | None = None  # (height, width), to crop and resample to
    channels: int | None = None  # 1: grey; 3: colour; None: as the images are
    held_out: float = 0.1  # the fraction for validation, and for test, where the data set has no such split
    memory_gb: float = 2.0  # training images of more are read from disk as they are needed


@dataclasses.dataclass
class Model:
    network: str = "mlp"  # mlp | conv
    activation: str = "tanh"
    latent_dim: int = 50
    hidden: tuple[int, ...] = (200, 200)  # units, or channels of conv
    posterior: str = "diagonal"  # diagonal | full
    prior: str = "standard_normal"
    likelihood: str = "bernoulli"  # bernoulli | gaussian | gaussian_shared | gaussian_per_pixel
    scale: float = 1.0  # σ of a Gaussian likelihood: fixed, or its start
    center_input: bool = False  # subtract the training data's mean from the encoder's input
    data_bias: bool = False  # start with the training data's mean as the decoder's output


@dataclasses.dataclass
class Loss:
    bound: str = "elbo"  # elbo | iwae | renyi | miwae | piwae | ciwae | wake_sleep | thermodynamic
    gradient: str = "pathwise"  # of losses.legal_combinations()
    baseline: str | None = None  # leave_one_out, for gradient=score_function
    kl: str = "auto"  # auto | analytic | monte_carlo
    num_samples: int = 1  # over all groups
    num_groups: int = 1  # of miwae and piwae
    alpha: float = 0.5  # of renyi
    elbo_weight: float = 0.5  # of ciwae
    phi: str = "wake"  # of wake_sleep: wake | sleep | both
    beta: float = 1.0
    beta_schedule: str = "constant"  # constant | linear | cyclical
    beta_anneal_steps: int = 0
    beta_cycles: int = 4
    free_bits: float = 0.0  # nats per latent dimension


@dataclasses.dataclass
class Training:
    batch_size: int = 100
    num_steps: int = 10_000
    learning_rate: float = 1e-3
    schedule: str = "constant"  # constant | cosine | linear
    warmup_steps: int = 0
    optimizer: str = "adam"
    clip_norm: float | None = None
    average_decay: float | None = None  # of the weight average, which is then what is evaluated
    microbatches: int = 1  # parts in which a device's batch is computed, for want of memory
    max_skipped: int = 0  # steps that may be skipped because their loss or gradient is not finite
    log_every: int = 100
    eval_every: int = 1000
    checkpoint_every: int = 1000


@dataclasses.dataclass
class Evaluation:
    num_samples: int = 5000
    num_examples: int | None = None  # of validation and of test; None: all


@dataclasses.dataclass
class Parallel:
    backend: str = "jit"  # jit | pmap | shard_map
    shard_params: bool = False  # spread parameters and optimiser over the devices, under jit


@dataclasses.dataclass
class Config:
    seed: int = 0
    init_from: str | None = None  # the folder of a run whose parameters this one starts with
    data: Data = dataclasses.field(default_factory=Data)
    model: Model = dataclasses.field(default_factory=Model)
    loss: Loss = dataclasses.field(default_factory=Loss)
    training: Training = dataclasses.field(default_factory=Training)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    parallel: Parallel = dataclasses.field(default_factory=Parallel)


def to_dict(config: Config) -> dict[str, Any]:
    """The config as what JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """The config of `to_dict`, or of the JSON made from it.

    Raises:
      KeyError, TypeError: for a field that does not exist.
      ValueError: for an illegal value.
    """
    annotations: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Config)}

    def section(name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return annotations[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})

    config = Config(**{name: section(name, value) for name, value in values.items()})
    validate(config)
    return config


def as_flags(config: Config) -> list[str]:
    """Returns every field that has a value, as the flag that sets it."""
    return [shlex.quote(f"--config.{name}={value}") for name, _, value in fields(config) if value is not None]


def differences(mine: Config, other: Config) -> list[str]:
    """Returns a line for each field in which a stored config differs."""
    there = {name: value for name, _, value in fields(other)}
    return [f"{name}: {there[name]!r} there, {here!r} here" for name, _, here in fields(mine) if there[name] != here]


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
    "data.image_size": 1,
    "model.latent_dim": 1,
    "model.hidden": 1,
    "loss.num_samples": 1,
    "loss.num_groups": 1,
    "loss.beta": 0,
    "loss.beta_anneal_steps": 0,
    "loss.beta_cycles": 1,
    "loss.free_bits": 0,
    "training.batch_size": 1,
    "training.num_steps": 1,
    "training.warmup_steps": 0,
    "training.microbatches": 1,
    "training.max_skipped": 0,
    "training.log_every": 1,
    "training.eval_every": 1,
    "training.checkpoint_every": 1,
    "evaluation.num_samples": 1,
    "evaluation.num_examples": 1,
}
_POSITIVE = (
    "data.held_out",
    "data.memory_gb",
    "model.scale",
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
    if not _is_a(value, annotation):
        wanted = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else annotation
        raise ValueError(f"{name} must be of type {wanted}, got {value!r}")


def _is_a(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, types.UnionType):
        return any(_is_a(value, option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        element = typing.get_args(annotation)[0]
        return isinstance(value, tuple) and all(_is_a(item, element) for item in value)
    if annotation in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if annotation is float else annotation)
