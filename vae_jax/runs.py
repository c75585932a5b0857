"""A finished run as (vae, params, config)."""

import math
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import FrozenConfigDict

from . import data, expressions, likelihoods
from .migration import migrate_config
from .model import VAE, Params
from .networks import assemble, preprocess
from .training import Checkpoints, json_files

_FIELDS: dict[str, Any] = {
    "config": dict,
    "event_shape": list[int] | None,
    "data_mean": list[float] | None,
    "contents": dict | None,
}


class Fitted(NamedTuple):
    """What a model takes from its training data.

    Attributes:
      contents: what an example is.
      statistics: means and scales.
      examples: as `vae_jax.networks.assemble` takes them, for a prior that begins at some; or None.
    """

    contents: data.Contents
    statistics: data.Statistics
    examples: Any = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that a checkpoint keeps: `statistics`, and examples that a prior does not move."""
        x, alone = self.contents.x, not self.contents.is_conditional and not self.contents.masked
        is_moved = alone and isinstance(x, data.Variable) and x.kind in ("picture", "real", "binary")
        kept = [] if self.examples is None or is_moved else jax.tree.leaves(self.examples)
        leaves = {f"{_EXAMPLES}{number}": np.asarray(leaf) for number, leaf in enumerate(kept)}
        return self.statistics.to_arrays() | leaves

    @classmethod
    def from_arrays(cls, contents: data.Contents, arrays: Mapping[str, np.ndarray]) -> "Fitted":
        """Returns what `to_arrays` was made of; raises `ValueError` for examples that are not of these contents."""
        leaves = [arrays[name] for name in sorted(arrays, key=_number_of) if name.startswith(_EXAMPLES)]
        examples = jax.tree.unflatten(contents.structure(), leaves) if leaves else None
        return cls(contents, data.Statistics.from_arrays(arrays), examples)


_EXAMPLES = "example:"


def _number_of(name: str) -> int:
    number = name.removeprefix(_EXAMPLES)
    return int(number) if number.isdigit() else -1


class StoredModel(NamedTuple):
    """What a checkpoint tells of its model: the run's config, in this version's form, and what it took of the data."""

    config: dict[str, Any]
    fitted: Fitted


def build_vae(model: Mapping[str, Any], fitted: Fitted) -> VAE:
    """Returns the VAE that the `model` section of a config describes.

    Args:
      model: "network", an expression for the encoder's body, which the decoder mirrors; "latent_dim", the shape of z;
        "posterior", "prior", "likelihood" and "compute_dtype", as in `networks.assemble`; of pictures and zeros and
        ones "center_input" and "data_bias" say whether the data's mean is used as its `input_mean` and `output_mean`.
        Other numbers are standardised for the networks, and p(x|z) is in their own units.
      fitted: what the model takes from its training data.

    Raises:
      ValueError: for an unknown part or argument, with the nearest, parts that do not go together, or a field that is
        absent or unknown.
    """
    options = dict(model)
    center_input, data_bias = (options.pop(name, None) for name in ("center_input", "data_bias"))
    for name in ("network", "latent_dim"):
        if name not in options:
            raise ValueError(f"model.{name} is absent")
    network, latent_dim = options.pop("network"), options.pop("latent_dim")
    for name in options:
        if name not in _PARTS:
            raise ValueError(f"model.{name} is a field that this version of vae_jax does not have")
    contents = fitted.contents
    return assemble(
        encoder=network,
        latent_shape=tuple(latent_dim),
        event_shape=contents.event_shape,
        masked=contents.masked,
        sized=contents.sized,
        examples=fitted.examples,
        **_of_data(fitted, center_input, data_bias),
        **options | {"likelihood": _likelihood(options.get("likelihood", "bernoulli"), contents)},
    )


_PARTS = ("posterior", "prior", "likelihood", "compute_dtype")


def _of_data(fitted: Fitted, center_input: bool | None, data_bias: bool | None) -> dict[str, Any]:
    """Returns the arguments of `assemble` by which values are standardised."""
    contents, (of_x, of_condition) = fitted.contents, fitted.statistics
    found: dict[str, Any] = {}
    if contents.condition:
        found["condition_shape"] = {name: of.shape for name, of in contents.condition.items()}
        found["preprocess_condition"] = {
            n: _preprocess(of, of_condition.get(n)) for n, of in contents.condition.items()
        }
    variables = contents.variables()
    whole: Callable[[dict[str, Any]], Any] = lambda by_name: by_name if contents.is_table else by_name[""]
    if any(of.kind in data.TRANSFORMS for of in variables.values()) or contents.is_table:
        found["preprocess"] = whole({name: _preprocess(of, of_x[name]) for name, of in variables.items()})
        found["output_mean"] = whole({name: of_x[name].mean for name in variables})
        found["output_scale"] = whole({name: _positive(of_x[name].scale, of_x[name].mean) for name in variables})
        return found
    if center_input:
        found["input_mean"] = of_x[""].mean
    if data_bias:
        found["output_mean"] = of_x[""].mean
    return found


def _preprocess(variable: data.Variable, moments: data.Moments | None) -> Any:
    if variable.kind in ("category", "ordinal"):
        return preprocess.one_hot(len(variable.levels))
    if moments is None or moments.input_mean is None:
        return None
    scale = _positive(moments.input_scale, moments.input_mean)
    return preprocess.standardize(moments.input_mean, scale, of=data.TRANSFORMS[variable.kind])


def _positive(scale: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    """A scale, 1 where it is 0 or there is none."""
    return np.ones_like(like) if scale is None else np.where(scale > 0, scale, 1.0)


def _likelihood(likelihood: Any, contents: data.Contents) -> Any:
    """Returns the family of a table's columns: "joint" as their kinds say, any other for every column."""
    if not contents.is_table:
        return likelihood
    if likelihood == "joint":
        return likelihoods.joint({name: _family(of) for name, of in contents.variables().items()})
    family: Any = expressions.make(likelihood, likelihoods.LIKELIHOODS)
    return likelihoods.joint(dict.fromkeys(contents.variables(), family))


def _family(variable: data.Variable) -> Any:
    if variable.kind in ("category", "ordinal"):
        return getattr(likelihoods, _FAMILIES[variable.kind])(len(variable.levels))
    return expressions.make(_FAMILIES[variable.kind], likelihoods.LIKELIHOODS)


_FAMILIES = {
    "real": "normal(learn=shared)",
    "positive": "lognormal(learn=shared)",
    "count": "negative_binomial",
    "binary": "bernoulli",
    "category": "categorical",
    "ordinal": "ordinal",
}


def load(
    workdir: str | Path,
    *,
    average: bool = False,
    checkpoint: str | int | None = None,
    trusted: Collection[str] = (),
) -> tuple[VAE, Params, FrozenConfigDict]:
    """The model of a run of `experiments.train`, its parameters at a checkpoint, and its config.

    Args:
      workdir: the run's folder.
      average: whether to load the weight average, of which a run that keeps one reports the figures, in place of the
        raw parameters.
      checkpoint: "latest", "best" (by the validation ELBO), or a step; None is the one whose figures the run reports,
        "best" for a run with `training.patience` and "latest" for any other. Every file is first compared with its
        SHA-256; "latest" passes over damaged checkpoints, with a warning.
      trusted: packages of one's own whose functions the run's model may name, "mypackage" for
        "mypackage.nets:tower(width=64)". Nothing else that a run's folder names is imported.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where it is damaged, or does not fit the code, or the run keeps no weight average, or its config
        names a module that is not trusted.
    """
    with open_checkpoints(workdir) as checkpoints:
        step = choose(checkpoints, checkpoint)
        stored, where = stored_model(checkpoints, step), f"the checkpoint {checkpoints.directory / str(step)}"
        check_trusted(stored.config, trusted, where)
        try:
            vae = build_vae(stored.config["model"], stored.fitted)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} holds a model that cannot be built: {error}") from error
        params = checkpoints.restore_params(step, jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(stored.config)


def check_trusted(config: Mapping[str, Any], trusted: Collection[str], where: str) -> None:
    """Raises `ValueError` where a stored config names a module outside the trusted packages: a function of one's own
    would be called by whoever wrote the folder."""
    for field, module in named_modules(config):
        if not any(module == package or module.startswith(f"{package}.") for package in trusted):
            package = module.partition(".")[0]
            raise ValueError(
                f"{where} has a {field} that would run code of the module {module}, which is no part of vae_jax. If "
                f"you trust both, say so: --trust={package} for a command, trusted=[{package!r}] for runs.load"
            )


def named_modules(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns (field, module) of each module that the expressions of a config name."""
    found = []
    for section, field in EXPRESSIONS:
        text = config[section].get(field) if isinstance(config.get(section), Mapping) else None
        texts = [text] if isinstance(text, str) else []
        if field == "regularizers":  # as they are read: no other field is divided
            texts = [part for text in texts for part in expressions.split_sum(text)]
        found += [(f"{section}.{field}", module) for text in texts for module in expressions.modules(text)]
    return found


# The fields of a config that may name a module.
EXPRESSIONS = (
    *(("model", field) for field in ("network", "posterior", "prior", "likelihood")),
    *(("loss", field) for field in ("bound", "beta", "regularizers")),
    ("training", "optimizer"),
)


def stored_model(checkpoints: Checkpoints, step: int) -> StoredModel:
    """Returns what a checkpoint tells of its model; raises `ValueError` where it is damaged."""
    metadata, where = checkpoints.metadata(step, **_FIELDS), f"the checkpoint {checkpoints.directory / str(step)}"
    arrays = dict(checkpoints.constants(step))
    # Before version 3 of the format the mean was among the metadata.
    if metadata["data_mean"] is not None:
        arrays.setdefault("data_mean", np.asarray(metadata["data_mean"], float))
    try:
        if metadata["contents"] is None:  # of a run before there was anything but pictures
            contents = data.pictures(tuple(metadata["event_shape"] or ()))
            _check_mean(arrays, contents.event_shape)
            arrays["data_mean"] = np.asarray(arrays["data_mean"], float).reshape(contents.event_shape)
        else:
            contents = data.Contents.from_json(metadata["contents"])
        fitted = Fitted.from_arrays(contents, arrays)
        for name, of in contents.variables().items():
            if name not in fitted.statistics.x or fitted.statistics.x[name].mean.shape != of.shape:
                raise ValueError(f"it has no mean of shape {list(of.shape)} of {name or 'x'}")
    except ValueError as error:
        raise ValueError(f"{where} is damaged: {error}") from error
    config = migrate_config(metadata["config"])
    if not isinstance(config.get("model"), dict):
        raise ValueError(f"{where} is damaged: its config has no model")
    return StoredModel(config, fitted)


def _check_mean(arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> None:
    size = None if "data_mean" not in arrays else np.size(arrays["data_mean"])
    if size is None or min(shape, default=1) < 1 or size != math.prod(shape):
        found = "no data_mean" if size is None else f"a data_mean of {size} numbers"
        raise ValueError(f"it has {found}, for {list(shape)}")


def open_checkpoints(workdir: str | Path) -> Checkpoints:
    """Returns the checkpoints of a run's folder, to be closed by `with`.

    Raises:
      FileNotFoundError: where there is no run, or none that has come to a checkpoint.
      ValueError: where its config.json is damaged or of a newer version.
    """
    folder, stored = checkpoint_folder(workdir), Path(workdir).expanduser() / "config.json"
    run_id = json_files.read_object(stored, {"run_id": str | None})["run_id"] if stored.exists() else None
    return Checkpoints(folder, run_id=run_id)


def checkpoint_folder(workdir: str | Path) -> Path:
    """Returns where a run keeps its checkpoints; raises `FileNotFoundError` where it has none."""
    folder = Path(workdir).expanduser() / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{workdir} holds no run: there is no folder {folder}")
    return folder


def choose(checkpoints: Checkpoints, checkpoint: str | int | None) -> int:
    """Returns the step of a checkpoint as `load` names it, whose files are as they were written.

    Where no checkpoint has a finite validation score, so that none is the best, "best" is the latest, with a warning.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged.
    """
    best = checkpoints.best_step() if checkpoint in (None, "best") else None
    if checkpoint is None:
        has_patience = best is not None and checkpoints.metadata(best, patience=dict | None)["patience"] is not None
        checkpoint = "best" if has_patience else "latest"
    if checkpoint == "best":
        if best is None:
            warnings.warn(
                f"no checkpoint in {checkpoints.directory} has a validation score that is a finite number, so that "
                "none is the best: the latest is used",
                stacklevel=3,
            )
        checkpoint = "latest" if best is None else best
    if checkpoint == "latest":
        step = checkpoints.newest_good(lambda message: warnings.warn(message, stacklevel=3))
        if step is None:
            raise FileNotFoundError(f"{checkpoints.directory} holds no whole checkpoint")
        return step
    step = _step(checkpoint)
    if step not in checkpoints.steps():
        raise FileNotFoundError(f"{checkpoints.directory} has no checkpoint {step}, but {checkpoints.steps()}")
    if damages := checkpoints.damages(step):
        raise ValueError(f"the checkpoint {checkpoints.directory / str(step)} is damaged ({'; '.join(damages)})")
    return step


def _step(checkpoint: str | int) -> int:
    if not re.fullmatch("[0-9]+", str(checkpoint)):
        raise ValueError(f"a checkpoint is 'latest', 'best' or a step, got {checkpoint!r}")
    return int(checkpoint)
