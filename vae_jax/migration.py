"""What runs of earlier versions of the format hold, as this version reads it.

Before version 3 of the format a config spelled out the arguments of parts as fields of their own, and the learned σ of
a Gaussian likelihood was a parameter of the decoder.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

# The first version of the format whose parameters are those of this one.
PARAMS_VERSION = 3
_HEAD, _SCALE = "LikelihoodHead_0", "log_scale"


def migrate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config with the fields of this version; one that has them already is returned as it is.

    Sections that are no objects, and values of types that no version wrote, are left to whoever checks them.
    """
    migrated = dict(config)
    for name, section in (("model", _model), ("loss", _loss)):
        if isinstance(config.get(name), dict):
            migrated[name] = section(dict(config[name]))
    return migrated


def migrate_contents(
    metadata: Mapping[str, Any], constants: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns what an example is, as JSON has it, and the constant arrays, both as this version writes them.

    Before version 4 of the format examples were pictures of an `event_shape`, and before version 3 their mean was among
    the metadata, as `data_mean`.

    Raises:
      ValueError: where there is no mean of the pictures.
    """
    arrays = dict(constants)
    if metadata["data_mean"] is not None:
        arrays.setdefault("data_mean", np.asarray(metadata["data_mean"], float))
    if metadata["contents"] is not None:
        return metadata["contents"], arrays
    shape = list(metadata["event_shape"] or ())
    size = None if "data_mean" not in arrays else np.size(arrays["data_mean"])
    if size is None or min(shape, default=1) < 1 or size != math.prod(shape):
        found = "no data_mean" if size is None else f"a data_mean of {size} numbers"
        raise ValueError(f"it has {found}, for {shape}")
    arrays["data_mean"] = np.asarray(arrays["data_mean"], float).reshape(shape)
    picture = {"kind": "picture", "shape": shape, "levels": []}
    return {"x": picture, "condition": {}, "masked": False, "sized": False}, arrays


def old_params(tree: Any) -> Any:
    """Returns a pytree that holds parameters (an optimiser's state, say) with these where versions before had them."""
    return _of_params(tree, _to_old)


def new_params(tree: Any) -> Any:
    """Returns the pytree that `old_params` was given."""
    return _of_params(tree, _from_old)


def _model(model: dict[str, Any]) -> dict[str, Any]:
    if "hidden" in model:
        hidden, activation = model.pop("hidden"), model.pop("activation", "tanh")
        hidden = tuple(hidden) if isinstance(hidden, list) else hidden
        model["network"] = f"{model.get('network', 'mlp')}(hidden={hidden}, activation={activation})"
    if "scale" in model:
        scale = model.pop("scale")
        gaussian = {
            "gaussian": f"normal(scale={scale})",
            "gaussian_shared": f"normal(scale={scale}, learn=shared)",
            "gaussian_per_pixel": f"normal(scale={scale}, learn=each)",
        }
        likelihood = model.get("likelihood")
        model["likelihood"] = gaussian.get(str(likelihood), likelihood)
    if isinstance(model.get("latent_dim"), int):
        model["latent_dim"] = [model["latent_dim"]]
    return model


def _loss(loss: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(loss.get("beta"), str) and "beta" in loss:
        beta, schedule = loss["beta"], loss.pop("beta_schedule", "constant")
        steps, cycles = loss.pop("beta_anneal_steps", 0), loss.pop("beta_cycles", 4)
        loss["beta"] = {
            "linear": f"linear({steps}, beta={beta})",
            "cyclical": f"cyclical({steps}, beta={beta}, num_cycles={cycles})",
        }.get(str(schedule), str(float(beta) if isinstance(beta, int) else beta))
        # Every posterior of these versions was reparameterised.
        loss["gradient"] = "auto" if loss.get("gradient") == "pathwise" else loss.get("gradient", "auto")
        arguments = {"renyi": "alpha", "miwae": "num_groups", "piwae": "num_groups", "ciwae": "elbo_weight"}
        arguments |= {"wake_sleep": "phi"}
        name = arguments.get(str(loss.get("bound")))
        if name in loss:
            loss["bound"] = f"{loss['bound']}({name}={loss[name]})"
        for name in arguments.values():
            loss.pop(name, None)
        free_bits = loss.pop("free_bits", 0)
        loss["regularizers"] = f"free_bits({free_bits})" if free_bits else ""
    return loss


def _of_params(tree: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    is_params = lambda node: isinstance(node, dict) and "encoder" in node and isinstance(node.get("decoder"), dict)
    return jax.tree.map(lambda node: change(node) if is_params(node) else node, tree, is_leaf=is_params)


def _to_old(params: dict[str, Any]) -> dict[str, Any]:
    own = params.get("likelihood")
    if not isinstance(own, dict) or _SCALE not in own:
        return params
    others = {name: value for name, value in params.items() if name != "likelihood"}
    return {**others, "decoder": {**params["decoder"], _HEAD: own}}


def _from_old(params: dict[str, Any]) -> dict[str, Any]:
    if _HEAD not in params["decoder"]:
        return params
    decoder = dict(params["decoder"])
    return {**params, "likelihood": decoder.pop(_HEAD), "decoder": decoder}
