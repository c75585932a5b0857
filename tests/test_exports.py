"""Exports: folders that hold a run's model to the bit, functions that JAX alone calls, and a card that says it all."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from experiments import train
from experiments.command.errors import UserError
from experiments.run import build, scores, workdir
from experiments.run.config import Config, Data, Model
from experiments.sharing import figures
from tests import commands, made_runs
from vae_jax import evaluation, exports, networks, runs
from vae_jax.data import pictures
from vae_jax.exports import functions, tensors
from vae_jax.training import json_files, manifest

NUM = 5
MADE = {
    "wine": Config(data=Data(name="wine", missing=0.2), model=Model(network="mlp(hidden=(8,))", latent_dim=(2,))),
    "cells": Config(
        data=Data(name="synthetic_cells", condition="batch,size"),
        model=Model(network="mlp(hidden=(8,))", latent_dim=(2,), posterior="iaf(num_layers=1, hidden=(4,))"),
    ),
}
RUNS = ("digits", *MADE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, trained) -> dict[str, Path]:
    """Runs, digits with a weight average and a summary; the export of each lies beside it."""
    folder = tmp_path_factory.mktemp("exports")
    for name, config in MADE.items():
        made_runs.make(folder / name, config)
    found = {"digits": trained} | {name: folder / name for name in MADE}
    for name, run in found.items():
        commands.call("export", f"--workdir={run}", f"--output={folder / f'{name}_export'}")
    return found | {f"{name}_export": folder / f"{name}_export" for name in found}


@pytest.fixture
def copied(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders["digits_export"], tmp_path / "export"))


@pytest.mark.parametrize("name", RUNS)
def test_an_export_is_the_run_to_the_bit(folders, name):
    vae, params, config = runs.load(folders[name])
    same_vae, same_params, same_config = runs.load(folders[f"{name}_export"])
    assert (same_vae, same_config) == (vae, config)
    chex.assert_trees_all_equal(same_params, params)
    chex.assert_trees_all_equal_dtypes(same_params, params)


def test_the_average_is_the_runs_and_is_asked_for(folders):
    _, raw, _ = runs.load(folders["digits_export"])
    _, average, _ = runs.load(folders["digits_export"], average=True)
    chex.assert_trees_all_equal(average, runs.load(folders["digits"], average=True)[1])
    assert not np.array_equal(*(jax.tree.leaves(tree)[0] for tree in (raw, average)))
    with pytest.raises(ValueError, match="wine_export holds no weight average, only params"):
        runs.load(folders["wine_export"], average=True)


@pytest.mark.parametrize("name", RUNS)
def test_functions_encode_and_decode_as_the_model_does(folders, name):
    """They are of the weights that the run's figures are of, and compute as the commands do."""
    config, experiment = workdir.load(folders[name], data_dir=None, data_path=None)
    vae, params, _ = runs.load(folders[name], average=scores.evaluated_weights(config) == "average")
    example, keys = experiment.observed("test", np.arange(NUM)), keys_of(NUM)
    expected = evaluation.encode(params, keys, example, vae=vae)
    encode, decode = (load(folders[f"{name}_export"], file) for file in (exports.ENCODE, exports.DECODE))
    assert encode.platforms == decode.platforms == ("cpu", "cuda", "tpu")
    found = encode.call(*of_example(name, example))
    of = "" if expected.num_draws is None else "_of_draws"
    np.testing.assert_allclose(found[f"mean{of}"], expected.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[f"scale{of}"], expected.scale, rtol=1e-5, atol=1e-6)
    decoded = decode.call(found[f"mean{of}"], *of_example(name, example)[1:], *totals(name, example))
    again = evaluation.reconstruct(params, jax.random.clone(keys), example, vae=vae)
    for column, values in again.items() if name == "wine" else [("", again)]:
        np.testing.assert_allclose(decoded[f"{column}.mean".lstrip(".")], values, rtol=1e-5, atol=1e-6)


def test_functions_take_any_number_of_rows(folders):
    encode = load(folders["digits_export"], exports.ENCODE)
    x = np.random.default_rng(0).uniform(size=(3, 28, 28, 1)).astype(np.float32)
    np.testing.assert_allclose(encode.call(x)["mean"][:1], encode.call(x[:1])["mean"], rtol=1e-5)


def test_a_function_names_no_folder_of_the_machine_that_made_it(folders):
    for name in (exports.ENCODE, exports.DECODE):
        assert str(commands.ROOT).encode() not in (folders["digits_export"] / name).read_bytes()


def test_a_decoder_gives_what_its_distribution_is_made_of(folders):
    vae, params, _ = runs.load(folders["digits"], average=True)
    z = jnp.asarray([[0.5, -1.0], [2.0, 0.0]])
    found = load(folders["digits_export"], exports.DECODE).call(z)
    np.testing.assert_allclose(found["logits"], jax.vmap(lambda z: vae.decode(params, z).logits)(z), rtol=1e-5)


def load(folder: Path, name: str) -> Any:
    return export.deserialize(bytearray((folder / name).read_bytes()))


def keys_of(number: int) -> jax.Array:
    """As the commands make them, of seed 0."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(number))


def of_example(name: str, example: Any) -> tuple[Any, ...]:
    if name == "wine":
        return ({n: {"value": of.value, "observed": of.observed} for n, of in example.items()},)
    return example if name == "cells" else (example,)


def totals(name: str, example: Any) -> tuple[Any, ...]:
    return (np.asarray(example[0].sum(1), np.float32),) if name == "cells" else ()


def test_what_cannot_be_a_function_is_refused_with_the_reason():
    vae = networks.mlp(event_shape=(2, 2, 1), latent_dim=2, hidden=(3,))
    params = jax.jit(vae.init)(jax.random.key(0))
    of_classes = lambda params, x: jax.tree_util.Partial(lambda: None)
    classes = type(vae)(vae.init, of_classes, vae.decode, vae.prior)
    with pytest.raises(ValueError, match="has no attribute 'sample'"):
        functions.encoder(classes, params, pictures((2, 2, 1)))


def test_a_function_that_cannot_be_made_is_told_in_the_card_and_the_rest_is_written(folders, tmp_path, monkeypatch):
    def refuse(*model: Any) -> None:
        raise ValueError("it is of the moon")

    monkeypatch.setattr(functions, "encoder", refuse)
    printed = commands.call("export", f"--workdir={folders['wine']}", f"--output={tmp_path / 'out'}")
    assert "encode.stablehlo could not be made: it is of the moon" in printed
    assert "`encode.stablehlo` could not be made: it is of the moon" in (tmp_path / "out" / exports.CARD).read_text()
    assert [path.name for path in (tmp_path / "out").glob("*.stablehlo")] == [exports.DECODE]
    runs.load(tmp_path / "out")


@pytest.mark.parametrize("name", ["params.safetensors", "average.safetensors", "config.json", "encode.stablehlo"])
def test_each_damaged_file_is_named(copied, name):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"the export \S+ is damaged \({name} has other bytes\): copy it anew"):
        runs.load(copied)
    (copied / name).unlink()
    with pytest.raises(ValueError, match=rf"is damaged \({name} is missing\)"):
        runs.load(copied)


def test_a_list_of_files_that_leaves_one_out_is_damaged(copied):
    """What nobody has compared is not loaded."""
    lines = (copied / manifest.NAME).read_text().splitlines(keepends=True)
    (copied / manifest.NAME).write_text("".join(line for line in lines if "average" not in line))
    with pytest.raises(ValueError, match=r"\(average\.safetensors is not listed\)"):
        runs.load(copied)


def test_a_card_may_be_changed_files_may_be_added_and_links_followed(copied, tmp_path):
    """As hubs of models do; the system's own command finds the files as they were too."""
    (copied / exports.CARD).write_text("Ours.")
    (copied / ".gitattributes").write_text("*.safetensors filter=lfs")
    (copied / "params.safetensors").rename(tmp_path / "blob")
    (copied / "params.safetensors").symlink_to(tmp_path / "blob")
    runs.load(copied)
    check = subprocess.run(["sha256sum", "--check", "--strict", manifest.NAME], cwd=copied, capture_output=True)
    assert check.returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"export_version": 2}, r"has export_version 2, and this version of vae_jax reads those up to 1; use a newer"),
        ({"export_version": "1"}, "export_version must be int, got '1'"),
        ({"format_version": 99}, "has format_version 99, and this version of vae_jax reads those up to"),
        ({"contents": {}}, "its contents are no description of examples"),
    ],
)
def test_an_export_that_this_version_cannot_read_is_refused_by_name(copied, changes, message):
    path = copied / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    manifest.write(copied, besides=(exports.CARD,))
    with pytest.raises(ValueError, match=message):
        runs.load(copied)


def test_parameters_of_another_model_are_refused_by_name(copied):
    found = tensors.from_bytes((copied / "params.safetensors").read_bytes())
    name, kernel = next((name, of) for name, of in found.items() if of.ndim == 2)
    (copied / "params.safetensors").write_bytes(tensors.to_bytes({**found, name: kernel[:1], "extra": kernel}))
    manifest.write(copied, besides=(exports.CARD,))
    shape = re.escape(f"params.{name} is float32[1, {kernel.shape[1]}] there and float32{list(kernel.shape)} here")
    with pytest.raises(ValueError, match=rf"the export \S+ does not fit this model: {shape}"):
        runs.load(copied)


def test_an_export_runs_no_code_but_of_packages_that_are_trusted(copied):
    path = copied / "config.json"
    config = json.loads(path.read_text())
    config["model"]["network"] = "theirs.nets:tower"
    path.write_text(json.dumps(config))
    manifest.write(copied, besides=(exports.CARD,))
    with pytest.raises(ValueError, match=r"export \S+ has a model\.network that would run code of the module theirs"):
        runs.load(copied)


def test_an_export_holds_one_checkpoint(folders):
    runs.load(folders["digits_export"], checkpoint=60)
    with pytest.raises(ValueError, match="holds one checkpoint, that of step 60, and not 'best': leave the checkpoint"):
        runs.load(folders["digits_export"], checkpoint="best")
    with pytest.raises(FileNotFoundError, match="is an export, which holds one checkpoint, and no folder of them"):
        runs.open_checkpoints(folders["digits_export"])


def test_a_folder_that_holds_anything_is_left_as_it_is(folders, tmp_path):
    (tmp_path / "mine").write_text("x")
    for output, message in [
        (tmp_path, "exists and is no empty folder"),
        (tmp_path / "mine", "exists and is no empty folder"),
        (folders["wine_export"], "exists and is no empty folder"),
        (folders["digits_export"], "holds an export of step 60 of this run already; nothing was changed"),
    ]:
        with pytest.raises(UserError, match=message):
            commands.call("export", f"--workdir={folders['digits']}", f"--output={output}")
    assert (tmp_path / "mine").read_text() == "x"
    with pytest.raises(UserError, match="is an export already: copy the folder"):
        commands.call("export", f"--workdir={folders['wine_export']}", f"--output={tmp_path / 'again'}")
    with pytest.raises(UserError, match="--output is absent: name the folder"):
        commands.call("export", f"--workdir={folders['digits']}")


def test_a_disk_that_is_full_leaves_no_export(folders, tmp_path, largest_file):
    largest_file(10_000)
    with pytest.raises(UserError, match="export: File too large"):
        commands.call("export", f"--workdir={folders['wine']}", f"--output={tmp_path / 'export'}")
    assert not list(tmp_path.iterdir())


def test_commands_take_an_export_for_its_run(folders, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8))
    found = []
    for name in ("digits", "digits_export"):
        output = tmp_path / f"{name}.npz"
        commands.call("encode", f"--workdir={folders[name]}", f"--input={tmp_path / 'x.npy'}", f"--output={output}")
        found.append(dict(np.load(output)))
    chex.assert_trees_all_equal(*found)
    drawn = [
        commands.call("sample", f"--workdir={folders[name]}", f"--output={tmp_path / name}.csv", "--num_images=3")
        and (tmp_path / f"{name}.csv").read_text()
        for name in ("wine", "wine_export")
    ]
    assert drawn[0] == drawn[1]


def test_training_goes_on_from_an_export_in_another_folder(folders, copied):
    experiment = build.build(workdir.read_config(copied), data_dir=None, **workdir.as_stored(copied))
    chex.assert_trees_all_equal(scores.load_params(copied, experiment.vae), runs.load(folders["digits"])[1])
    with pytest.raises(UserError, match=r"is an export, which cannot be trained on; .* where --init_from=\S+ starts"):
        commands.call("train", f"--workdir={copied}")


def test_what_loads_an_export_needs_none_of_what_trains(folders):
    heavy = ["orbax", "tensorflow_datasets", "grain", "matplotlib", "scipy", "sklearn", "mlxtend", "blackjax", "tqdm"]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({heavy}))"
    code = f"{blocked}; import vae_jax; vae_jax.runs.load({str(folders['wine_export'])!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


ARRAYS = {
    "bfloat16": np.asarray([1.5, -0.1, np.inf], jnp.bfloat16),
    "scalar": np.asarray(0.1, np.float32),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "empty": np.zeros((0, 3), np.int32),
    "mask": np.asarray([True, False]),
    "a/b.c d é": np.asarray([-1, 2], np.int8),
}


def test_arrays_of_any_type_are_the_same_to_the_bit():
    found = tensors.from_bytes(tensors.to_bytes(ARRAYS))
    for name, array in ARRAYS.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        assert found[name].tobytes() == np.asarray(array, order="C").tobytes(), name


@pytest.mark.parametrize("stored", [b"", b"x" * 100, tensors.to_bytes(ARRAYS)[:-1]])
def test_what_is_no_file_of_arrays_is_refused(stored):
    with pytest.raises(ValueError, match="Error while deserializing"):
        tensors.from_bytes(stored)


def test_a_card_says_what_a_reader_asks(folders, tmp_path):
    commands.call(
        "export", f"--workdir={folders['digits']}", f"--output={tmp_path / 'out'}", '--license=mine: "all" | <b>'
    )
    card = (tmp_path / "out" / exports.CARD).read_text()
    assert card.startswith('---\nlibrary_name: vae_jax\nlicense: "mine: \\"all\\" | <b>"\ntags:\n')
    assert 'The weights: mine: "all" \\| \\<b\\>.' in card
    summary, stored = (json_files.read_object(folders["digits"] / name) for name in ("summary.json", "config.json"))
    assert f"| test.elbo | −{-summary['test']['elbo']:.2f} ± " in card
    for split in ("train", "validation", "test"):
        assert stored["data_fingerprint"][split]["sha256"] in card
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(of)) for name, of in runs.load(folders["digits"])[1].items()
    }
    assert f"| parameters | {sum(sizes.values()):,} (decoder {sizes['decoder']:,}, encoder" in card
    assert "zeros and ones, drawn at every step" in card
    assert "license: unknown\n" in (folders["digits_export"] / exports.CARD).read_text()


def test_the_command_of_a_card_makes_the_runs_config(folders):
    card = (folders["digits_export"] / exports.CARD).read_text()
    (command,) = re.findall(r"```bash\n\./launch\.sh (.*?)```", card, re.DOTALL)
    config = train.parse(shlex.split(command.replace("\\\n", " ")))
    assert build.resolved(config, pictures((28, 28, 1))) == workdir.read_config(folders["digits"])


@pytest.mark.parametrize("name", RUNS)
def test_the_code_of_a_card_runs(folders, name, monkeypatch):
    monkeypatch.chdir(folders[f"{name}_export"])
    blocks = re.findall(r"```python\n(.*?)```", Path(exports.CARD).read_text(), re.DOTALL)
    shown: dict[str, Any] = {}
    for block in blocks:
        exec(block, shown)
    assert len(blocks) == 2
    (leaf, *_) = jax.tree.leaves(shown["p"])
    assert len(leaf) == 4


SUMMARY = {
    "step": 10,
    "test": {"elbo": -108.7312, "elbo_standard_error": 1.389, "nll": None, "nll_standard_error": None},
    "remarks": {"test.elbo": "a | b"},
    "reasons": {"test.nll": "too few"},
}


def test_figures_have_their_errors_remarks_and_reasons():
    lines = figures.lines(SUMMARY, None, step=10, weights="params")
    assert lines[-2:] == ["| test.elbo | −108.73 ± 1.39 nats; a \\| b |", "| test.nll | not known: too few |"]


def test_figures_of_other_weights_are_not_shown():
    evaluated = {"step": 10, "weights": "params", "latents": {"kl": 2.0, "kl_standard_error": 0.01}}
    assert figures.lines(SUMMARY, evaluated, step=10, weights="params")[-1] == "| latents.kl | 2.000 ± 0.010 nats |"
    assert "| test.elbo" in figures.lines(SUMMARY, evaluated, step=10, weights="average")[-2]
    assert figures.lines(SUMMARY, evaluated, step=20, weights="params")[0].startswith("Not known: none were measured")
