"""A finished run, or its export, as (vae, params, config)."""

import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import FrozenConfigDict

from . import data, exports, expressions
from .fitted import Fitted, StoredModel, build_vae
from .migration import migrate_contents
from .model import VAE, Params
from .training import Checkpoints, json_files
from .training.provenance import PROVENANCE

_FIELDS: dict[str, Any] = {
    "config": dict,
    "event_shape": list[int] | None,
    "data_mean": list[float] | None,
    "contents": dict | None,
}


def load(
    workdir: str | Path,
    *,
    average: bool = False,
    checkpoint: str | int | None = None,
    trusted: Collection[str] = (),
) -> tuple[VAE, Params, FrozenConfigDict]:
    """Returns the model of a run of `experiments.train`, its parameters at a checkpoint, and its config; of an export
    of `experiments.export` the same, to the bit.

    Args:
      workdir: the run's folder, or an export's.
      average: whether to load the weight average, of which a run that keeps one reports the figures, in place of the
        raw parameters.
      checkpoint: "latest", "best" (by the validation ELBO), or a step; None is the one whose figures the run reports,
        "best" for a run with `training.patience` and "latest" for any other. Every file is first compared with its
        SHA-256; "latest" passes over damaged checkpoints, with a warning. An export holds one checkpoint, and takes
        None or its step.
      trusted: packages of one's own whose functions the run's model may name, "mypackage" for
        "mypackage.nets:tower(width=64)". Nothing else that a run's folder names is imported.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where it is damaged, or does not fit the code, or the run keeps no weight average, or its config
        names a module that is not trusted.
    """
    with open_model(workdir, checkpoint=checkpoint) as opened:
        vae = opened.build(trusted)
        params = opened.read_params(jax.eval_shape(vae.init, jax.random.key(0)), average=average)
    return vae, params, FrozenConfigDict(opened.stored.config)


class OpenModel(NamedTuple):
    """A checkpoint of a run, or an export, of which nothing is built.

    Attributes:
      step: of the checkpoint.
      where: what messages call it.
      stored: what it tells of its model.
      provenance: what wrote the checkpoint, `{"versions", "commit"}`, each None where it does not say.
      read_params: (pytree of arrays or their shapes, average=False) -> the parameters, or their average; raises
        `ValueError` where there are others, or no average.
    """

    step: int
    where: str
    stored: StoredModel
    provenance: dict[str, Any]
    read_params: Callable[..., Params]

    def build(self, trusted: Collection[str]) -> VAE:
        """Returns the model; raises `ValueError` where it cannot be built, or names a module that is not trusted."""
        check_trusted(self.stored.config, trusted, self.where)
        try:
            return build_vae(self.stored.config["model"], self.stored.fitted)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.where} holds a model that cannot be built: {error}") from error


@contextlib.contextmanager
def open_model(workdir: str | Path, *, checkpoint: str | int | None = None) -> Iterator[OpenModel]:
    """Yields what the folder of a run or an export holds of a model at a checkpoint; both arguments as in `load`.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where it is damaged.
    """
    if exports.is_export(workdir):
        exported = exports.read(workdir)
        if checkpoint is not None and str(checkpoint) != str(exported.step):
            raise ValueError(
                f"{exported.where} holds one checkpoint, that of step {exported.step}, and not {checkpoint!r}: leave "
                "the checkpoint out, or name the folder of the run"
            )
        yield OpenModel(exported.step, exported.where, exported.stored, exported.provenance, exported.read_params)
        return
    with open_checkpoints(workdir) as checkpoints:
        step = choose(checkpoints, checkpoint)
        stored, provenance = stored_model(checkpoints, step), checkpoints.metadata(step, **PROVENANCE)
        yield OpenModel(
            step,
            _named(checkpoints, step),
            stored,
            {name: provenance[name] for name in PROVENANCE},
            functools.partial(checkpoints.restore_params, step),
        )


def read_fitted(workdir: str | Path) -> Fitted:
    """Returns what the model of a run or an export took from its training data, the same at every checkpoint; raises
    as `load`."""
    with open_model(workdir, checkpoint=None if exports.is_export(workdir) else "latest") as opened:
        return opened.stored.fitted


def open_rows(
    workdir: str | Path, path: str | Path, *, layer: str | None = None, id_name: str | None = None
) -> data.Rows:
    """Returns the rows of a file as examples of a run's model, read some at a time, or all by `read()`.

    Args:
      workdir: the run's folder, or an export's.
      path: as in `data.open_rows`.
      layer: of an AnnData file, that which is read in the place of X; by default the one that the run was trained on.
      id_name: the column that names the rows; by default the one that the run's schema says, or that is called "id".

    Raises:
      FileNotFoundError: where there is no run or no file.
      ValueError: as `load` and `data.open_rows`.
    """
    contents = read_fitted(workdir).contents
    stored = json_files.read_object(
        Path(workdir).expanduser() / "config.json", {"data": dict | None, "data_fingerprint": dict | None}
    )
    options, about = stored["data"] or {}, stored["data_fingerprint"] or {}
    return data.open_rows(
        path,
        contents,
        layer=layer or (options.get("layer") if Path(path).suffix == ".h5ad" else None),
        image_size=options.get("image_size"),
        channels=options.get("channels"),
        id_name=id_name,
        schema=about.get("schema"),
        element_names=about.get("element_names"),
    )


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
    metadata = checkpoints.metadata(step, **_FIELDS)
    try:
        contents, arrays = migrate_contents(metadata, checkpoints.constants(step))
        return StoredModel.of(metadata["config"], data.Contents.from_json(contents), arrays)
    except ValueError as error:
        raise ValueError(f"{_named(checkpoints, step)} is damaged: {error}") from error


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
    if exports.is_export(workdir):
        raise FileNotFoundError(f"{workdir} is an export, which holds one checkpoint, and no folder of them")
    if not folder.is_dir():
        raise FileNotFoundError(f"{workdir} holds no run: there is no folder {folder}")
    return folder


def _named(checkpoints: Checkpoints, step: int) -> str:
    return f"the checkpoint {checkpoints.directory / str(step)}"


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
        raise ValueError(f"{_named(checkpoints, step)} is damaged ({'; '.join(damages)})")
    return step


def _step(checkpoint: str | int) -> int:
    if not re.fullmatch("[0-9]+", str(checkpoint)):
        raise ValueError(f"a checkpoint is 'latest', 'best' or a step, got {checkpoint!r}")
    return int(checkpoint)
