"""What a model takes from its training data, and the VAE that a config describes with it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from . import data, expressions, likelihoods
from .migration import migrate_config
from .model import VAE
from .networks import assemble, preprocess


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
    """What a run's checkpoint, or an export, tells of its model.

    Attributes:
      config: the run's, in this version's form.
      fitted: what the model took from its training data.
    """

    config: dict[str, Any]
    fitted: Fitted

    @classmethod
    def of(cls, config: Mapping[str, Any], contents: data.Contents, arrays: Mapping[str, np.ndarray]) -> "StoredModel":
        """Returns it, of the arrays of `Fitted.to_arrays`; raises `ValueError` where they are not of the contents, or
        the config has no model."""
        fitted = Fitted.from_arrays(contents, arrays)
        for name, of in contents.variables().items():
            if name not in fitted.statistics.x or fitted.statistics.x[name].mean.shape != of.shape:
                raise ValueError(f"it has no mean of shape {list(of.shape)} of {name or 'x'}")
        migrated = migrate_config(dict(config))
        if not isinstance(migrated.get("model"), dict):
            raise ValueError("its config has no model")
        return cls(migrated, fitted)


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
