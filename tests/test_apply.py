"""Finished runs applied to files: digits, a table and cells, through every command and as in a notebook."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import anndata
import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy import sparse

from experiments.apply import command
from experiments.command.errors import UserError
from experiments.run.config import Config, Data, Model
from tests import commands, made_runs
from vae_jax import evaluation, runs

BLOCK = 256
RUNS = {
    "digits": Config(
        data=Data(missing=0.2, binarization="none"), model=Model(network="mlp(hidden=(16,))", latent_dim=(3, 2))
    ),
    "wine": Config(data=Data(name="wine", missing=0.2), model=Model(network="mlp(hidden=(8,))", latent_dim=(2,))),
    "cells": Config(
        data=Data(name="synthetic_cells", condition="batch,size"),
        model=Model(network="mlp(hidden=(16,))", latent_dim=(4,)),
    ),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(command, "_MOST_ROWS", BLOCK)


class Applied:
    """A run, a file of its test data, with ids and, where the run knows them, holes."""

    def __init__(self, folder: Path, name: str) -> None:
        experiment = made_runs.make(folder / name, RUNS[name])
        self.name, self.workdir, self.dataset = name, folder / name, experiment.dataset
        split = experiment.dataset.test
        if name == "wine":
            self.file, self.number = folder / "wine.csv", split.number
            columns = {n: np.where(of.observed, of.value, np.nan) for n, of in split.examples.items()}
            with self.file.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", *reversed(columns), "maker"])
                for row in range(self.number):
                    cells = [of[row] for of in reversed(columns.values())]
                    writer.writerow([f"b{row}", *("" if np.isnan(v) else str(v) for v in cells), f"maker {row % 3}"])
        else:
            self.file, self.number = folder / f"{name}.npz", 300
            x = split.examples if name == "digits" else split.examples[0]
            x = np.where(x.observed, x.value / np.float32(255), np.nan) if name == "digits" else x
            given = {} if name == "digits" else {"batch": split.examples[1]["batch"][: self.number]}
            ids = [f"row {row}" for row in range(self.number)]
            np.savez(self.file, x=x[: self.number], id=ids, label=split.labels[: self.number], **given)

    def in_notebook(self) -> tuple[Any, ...]:
        """The five lines."""
        vae, params, _ = runs.load(self.workdir)
        xs = runs.open_rows(self.workdir, self.file).read()
        keys = jax.random.split(jax.random.key(0), self.number)
        return vae, params, keys, xs

    def run(self, verb: str, output: Path, *arguments: str) -> Path:
        commands.call(verb, f"--workdir={self.workdir}", f"--input={self.file}", f"--output={output}", *arguments)
        return output


@pytest.fixture(scope="module")
def applied(tmp_path_factory) -> dict[str, Applied]:
    folder = tmp_path_factory.mktemp("apply")
    return {name: Applied(folder, name) for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_latents_are_those_of_the_notebook_to_the_bit(applied, name, tmp_path):
    vae, params, keys, xs = applied[name].in_notebook()
    expected = evaluation.encode(params, keys, xs, vae=vae)
    found = np.load(applied[name].run("encode", tmp_path / "z.npz"))
    np.testing.assert_array_equal(found["mean"], expected.mean)
    np.testing.assert_array_equal(found["scale"], expected.scale)
    assert found["id"].tolist() == [f"{'b' if name == 'wine' else 'row '}{row}" for row in range(applied[name].number)]
    assert np.ptp(found["mean"], axis=0).min() > 0


@pytest.mark.parametrize("name", RUNS)
def test_reconstructions_are_those_of_the_notebook_to_the_bit(applied, name, tmp_path):
    vae, params, keys, xs = applied[name].in_notebook()
    expected = evaluation.reconstruct(params, keys, xs, vae=vae)
    found = np.load(applied[name].run("reconstruct", tmp_path / "x.npz"))
    columns = expected if isinstance(expected, dict) else {"x": expected}
    for column, values in columns.items():
        np.testing.assert_array_equal(found[column], values)


def test_what_is_encoded_and_decoded_is_what_is_reconstructed(applied, tmp_path):
    """By the file of latents alone."""
    one = applied["digits"]
    z = np.load(one.run("encode", tmp_path / "z.npz"))["mean"]
    vae, params, *_ = one.in_notebook()
    decode = jax.jit(jax.vmap(lambda z: vae.decode(params, z).mean))
    decoded = [decode(z[:BLOCK]), decode(np.resize(z[BLOCK:], (BLOCK, *z.shape[1:])))[: one.number - BLOCK]]
    found = np.load(one.run("reconstruct", tmp_path / "x.npz"))["x"]
    np.testing.assert_allclose(found, np.concatenate(decoded), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", RUNS)
def test_scores_are_those_of_the_notebook(applied, name, tmp_path, capsys):
    """In the place of an older file, by the names that were asked for; what a table has besides is said."""
    vae, params, keys, xs = applied[name].in_notebook()
    expected = evaluation.score(params, keys, xs, vae=vae, num_samples=20)
    (tmp_path / "s.parquet").write_text("older")
    names = "maker" if name == "wine" else "label"
    arguments = ("--num_samples=20", "--overwrite", f"--id={names}")
    table = parquet.read_table(applied[name].run("score", tmp_path / "s.parquet", *arguments))
    assert table.column_names == [names, "elbo", "log_evidence", "standard_error", "pareto_k", "kl"]
    assert ("that are left out: id; --id=NAME" in capsys.readouterr().err) == (name == "wine")
    for column, values in expected._asdict().items():
        np.testing.assert_allclose(table[column].to_numpy(), values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", RUNS)
def test_a_draw_is_that_of_the_row_and_the_seed(applied, name, tmp_path):
    vae, params, _, xs = applied[name].in_notebook()
    keys = jax.random.split(jax.random.key(1), applied[name].number)
    expected = evaluation.predict(params, keys, xs, vae=vae)
    found = np.load(applied[name].run("sample", tmp_path / "x.npz", "--seed=1"))
    columns = expected if isinstance(expected, dict) else {"x": expected}
    for column, values in columns.items():
        np.testing.assert_array_equal(found[column], values)


def test_an_imputed_table_is_the_input_with_its_holes_filled(applied, tmp_path):
    one = applied["wine"]
    vae, params, keys, xs = one.in_notebook()
    expected = evaluation.impute(params, keys, xs, vae=vae, num_samples=50, num_draws=1)
    given = list(csv.reader(one.file.read_text().splitlines()))
    output = one.run("impute", tmp_path / "x.csv", "--num_samples=50")
    names, *rows = csv.reader(output.read_text().splitlines())
    assert names == given[0]
    for number, (before, after) in enumerate(zip(given[1:], rows, strict=True)):
        for column, old, new in zip(names, before, after, strict=True):
            if old:
                assert new == old if column in ("id", "maker") else float(new) == float(old)
            else:
                np.testing.assert_allclose(np.float32(new), expected.mean[column][number], rtol=1e-5)
    reread = runs.open_rows(one.workdir, tmp_path / "x.csv").read()
    assert all(leaf.observed.all() for leaf in reread.values())


def test_draws_and_intervals_are_written_if_asked_for(applied, tmp_path):
    given = np.load(applied["digits"].file)["x"][:5]
    np.save(tmp_path / "few.npy", given)
    arguments = (f"--workdir={applied['digits'].workdir}", f"--input={tmp_path / 'few.npy'}", "--num_samples=30")
    commands.call("impute", *arguments, f"--output={tmp_path / 'x.npz'}", "--draws=2", "--interval=0.8")
    found = np.load(tmp_path / "x.npz")
    assert list(found) == ["x", "x_draw_0", "x_draw_1", "x_low", "x_high"]
    seen = ~np.isnan(given)
    for of in ("x", "x_draw_0", "x_low", "x_high"):
        np.testing.assert_array_equal(found[of][seen], given[seen].astype(np.float32))
    assert np.all(found["x_low"] <= found["x_high"])
    assert set(np.unique(found["x_draw_1"][~seen])) <= {0.0, 1.0}


def test_a_run_that_knows_no_missing_entries_imputes_none(applied, tmp_path):
    with pytest.raises(UserError, match=r"was trained without missing entries, .* --config\.data\.missing=0\.2"):
        applied["cells"].run("impute", tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_cells_keep_their_names_and_what_is_known_of_them(applied, tmp_path):
    one = applied["cells"]
    found = anndata.read_h5ad(one.run("encode", tmp_path / "z.h5ad"))
    assert found.obs_names[17] == "row 17"
    assert found.obsm["X_vae_mean"].shape == (300, 4)
    layers = anndata.read_h5ad(one.run("reconstruct", tmp_path / "x.h5ad")).layers
    assert layers["reconstruction"].shape == (300, 200)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory) -> tuple[Path, anndata.AnnData]:
    """A run of an .h5ad file, whose counts are a sparse layer, and the file."""
    folder = tmp_path_factory.mktemp("annotated")
    rng = np.random.default_rng(0)
    counts = sparse.csr_array(rng.poisson(rng.gamma(0.3, 5, (120, 9))))
    batches = pd.Categorical(np.array(["x", "y"])[np.arange(120) % 2])
    obs = pd.DataFrame({"batch": batches}, index=list(map(str, range(120))))
    cells = anndata.AnnData(np.zeros((120, 9), np.float32), obs, pd.DataFrame(index=list("ABCDEFGHI")))
    cells.layers["counts"] = counts
    cells.write_h5ad(folder / "cells.h5ad")
    source = Data(path=str(folder / "cells.h5ad"), layer="counts", condition="batch,size")
    made_runs.make(folder / "run", Config(data=source, model=Model(network="mlp(hidden=(8,))", latent_dim=(2,))))
    return folder / "run", cells


def encoded(run: Path, cells: anndata.AnnData, folder: Path, verb: str = "encode") -> anndata.AnnData:
    cells.write_h5ad(folder / "in.h5ad")
    commands.call(verb, f"--workdir={run}", f"--input={folder / 'in.h5ad'}", f"--output={folder / 'out.h5ad'}")
    return anndata.read_h5ad(folder / "out.h5ad")


def test_the_latents_of_an_annotated_file_are_put_into_a_copy_of_it(annotated, tmp_path):
    """The layer is the one of the training."""
    run, cells = annotated
    found = encoded(run, cells, tmp_path)
    vae, params, _ = runs.load(run)
    x, batch = np.asarray(cells.layers["counts"].toarray(), np.int32), np.arange(120) % 2
    keys = jax.random.split(jax.random.key(0), 120)
    expected = evaluation.encode(params, keys, (x, {"batch": batch.astype(np.int32)}), vae=vae)
    np.testing.assert_array_equal(found.obsm["X_vae_mean"], expected.mean)
    assert found.obs["batch"].tolist() == cells.obs["batch"].tolist()
    np.testing.assert_array_equal(found.layers["counts"].toarray(), x)


def test_genes_are_taken_by_their_names_in_whatever_order_and_beside_others(annotated, tmp_path):
    run, cells = annotated
    expected = encoded(run, cells, tmp_path).obsm["X_vae_mean"]
    more = anndata.AnnData(obs=cells.obs, var=pd.DataFrame(index=list("CBADXEFGHI")))
    order = [2, 1, 0, 3, 4, 4, 5, 6, 7, 8]
    more.layers["counts"] = sparse.csr_array(cells.layers["counts"][:, order])
    (tmp_path / "out.h5ad").unlink()
    np.testing.assert_array_equal(encoded(run, more, tmp_path).obsm["X_vae_mean"], expected)


def test_a_reconstruction_stands_at_the_names_of_its_genes(annotated, tmp_path):
    run, cells = annotated
    found = encoded(run, cells[:, list("CBADEFGHI")].copy(), tmp_path, "reconstruct")
    vae, params, _ = runs.load(run)
    xs = runs.open_rows(run, tmp_path / "in.h5ad").read()
    expected = evaluation.reconstruct(params, jax.random.split(jax.random.key(0), 120), xs, vae=vae)
    np.testing.assert_array_equal(found[:, list("ABCDEFGHI")].layers["reconstruction"], expected)


def test_a_gene_or_a_layer_that_is_not_there_is_named(annotated, tmp_path):
    run, cells = annotated
    with pytest.raises(UserError, match=r"in\.h5ad has no var 'F', which the model's examples have"):
        encoded(run, cells[:, list("ABCDEGHI")].copy(), tmp_path)
    without = cells.copy()
    del without.layers["counts"]
    with pytest.raises(UserError, match=r"in\.h5ad has no layer 'counts'"):
        encoded(run, without, tmp_path)
    other = cells.copy()
    other.obs["batch"] = "z"
    with pytest.raises(UserError, match=r"row 0, column 'batch': 'z' is none of the 2 levels"):
        encoded(run, other, tmp_path)


def test_labels_tell_how_well_a_score_finds_abnormal_rows(applied, tmp_path):
    one = applied["cells"]
    arguments = (f"--workdir={one.workdir}", f"--input={one.file}", f"--output={tmp_path / 's.npz'}", "--num_samples=5")
    printed = commands.call("score", *arguments, "--labels=label", "--abnormal=3")
    found, is_abnormal = np.load(tmp_path / "s.npz"), np.load(one.file)["label"] == 3
    assert json.loads(printed.splitlines()[0]) == {"output": str(tmp_path / "s.npz"), "rows": 300}
    assert f"of {is_abnormal.sum()} abnormal rows among 300" in printed
    for name, sign in (("elbo", -1), ("log_evidence", -1), ("kl", 1)):
        area = evaluation.auroc(sign * found[name].astype(float), is_abnormal)
        label = f"{'-' if sign < 0 else ''}{name}"
        assert f"  {label:20} {area.value:.3f} ({area.low:.3f} to {area.high:.3f})" in printed.splitlines()


def test_a_row_without_a_label_is_refused(applied, tmp_path):
    one = applied["wine"]
    lines = one.file.read_text().splitlines()
    (tmp_path / "x.csv").write_text("\n".join([*lines[:3], lines[3].rpartition(",")[0] + ","]))
    arguments = (f"--workdir={one.workdir}", f"--input={tmp_path / 'x.csv'}", f"--output={tmp_path / 's.npz'}")
    with pytest.raises(UserError, match=r"row 2 \(line 4\), column 'maker': '' is missing, and says neither normal"):
        commands.call("score", *arguments, "--num_samples=5", "--labels=maker")


def test_the_likelihood_regret_is_added_if_asked_for(applied, tmp_path):
    one = applied["wine"]
    file = tmp_path / "few.csv"
    file.write_text("".join(one.file.read_text().splitlines(keepends=True)[:4]))
    arguments = (f"--workdir={one.workdir}", f"--input={file}", f"--output={tmp_path / 's.npz'}", "--num_samples=20")
    commands.call("score", *arguments, "--regret", "--regret_steps=30")
    found = np.load(tmp_path / "s.npz")
    vae, params, _ = runs.load(one.workdir)
    keys, xs = jax.random.split(jax.random.key(0), 3), runs.open_rows(one.workdir, file).read()
    expected = evaluation.likelihood_regret(params, keys, xs, vae=vae, num_steps=30)
    np.testing.assert_allclose(found["likelihood_regret"], expected.value, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["likelihood_regret_standard_error"], expected.standard_error, rtol=1e-3)


def test_pictures_are_drawn_as_the_run_drew_them_or_as_they_are(tmp_path, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("drawn") / "run"
    made_runs.make(folder, Config(model=Model(network="mlp(hidden=(8,))", latent_dim=(2,))))
    grey = np.full((40, 28, 28, 1), 0.5, np.float32)
    np.save(tmp_path / "x.npy", grey)
    arguments = (f"--workdir={folder}", f"--input={tmp_path / 'x.npy'}")
    commands.call("encode", *arguments, f"--output={tmp_path / 'drawn.npz'}")
    assert "each picture is drawn once" in capsys.readouterr().err
    commands.call("encode", *arguments, f"--output={tmp_path / 'grey.npz'}", "--binarization=none")
    drawn, plain = (np.load(tmp_path / name)["mean"] for name in ("drawn.npz", "grey.npz"))
    assert np.ptp(plain, axis=0).max() == 0
    assert np.ptp(drawn, axis=0).min() > 0


def test_a_mean_is_not_drawn_for_a_row(applied, tmp_path):
    with pytest.raises(UserError, match="--draw=mean has no effect with --input"):
        applied["wine"].run("sample", tmp_path / "x.csv", "--draw=mean")


def changed_run(workdir: Path, folder: Path, **sections: dict[str, Any]) -> Path:
    """Returns a copy of a run, of which these fields of config.json are others."""
    shutil.copytree(workdir, folder / "changed")
    config = json.loads((workdir / "config.json").read_text())
    for name, fields in sections.items():
        config[name] |= fields
    (folder / "changed" / "config.json").write_text(json.dumps(config))
    return folder / "changed"


def test_pictures_are_read_in_the_size_and_the_channels_of_the_run(applied, tmp_path):
    run = changed_run(applied["digits"].workdir, tmp_path, data={"image_size": [28, 28], "channels": 1})
    np.save(tmp_path / "x.npy", np.full((3, 56, 56, 3), 255, np.uint8))
    np.testing.assert_array_equal(runs.open_rows(run, tmp_path / "x.npy").read().value, np.ones((3, 28, 28, 1)))


def test_rows_are_named_by_the_id_of_the_runs_schema(applied, tmp_path, monkeypatch):
    """Of a run below one's home, too."""
    run = changed_run(applied["wine"].workdir, tmp_path, data_fingerprint={"schema": {"maker": "id"}})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs.open_rows(f"~/{run.name}", applied["wine"].file).id_name == "maker"


def test_the_layer_of_the_run_is_none_of_an_array(annotated, tmp_path):
    run, cells = annotated
    np.savez(tmp_path / "x.npz", x=cells.layers["counts"].toarray(), batch=cells.obs["batch"].to_numpy(str))
    x, _ = runs.open_rows(run, tmp_path / "x.npz").read()
    np.testing.assert_array_equal(x, cells.layers["counts"].toarray())


BAD = {
    "an output that exists": ("digits", {}, [], "exists; --overwrite replaces it"),
    "no input": ("digits", {"input": "no.npz"}, [], "no.npz does not exist"),
    "another output": ("digits", {"output": "o.txt"}, [], r"must be of the kind \.npz"),
    "a column that is not there": ("wine", {}, ["--id=name"], "lacks the column 'name'"),
    "a column of x": ("wine", {}, ["--id=alcohol"], "--id=alcohol is a column of the run's examples"),
    "drawing of a table": ("wine", {}, ["--binarization=none"], "is for pictures, and the run's examples are none"),
    "a layer of an array": ("digits", {}, ["--layer=counts"], "a layer is one of an .h5ad file"),
    "a checkpoint that is not there": ("digits", {"output": "n.csv"}, ["--checkpoint=7"], "has no checkpoint 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_message_and_writes_nothing(applied, tmp_path, case):
    name, changed, arguments, message = BAD[case]
    (tmp_path / "o.csv").write_text("older")
    one = applied[name]
    paths = {"input": one.file, "output": tmp_path / "o.csv"} | {of: tmp_path / path for of, path in changed.items()}
    flags = [f"--workdir={one.workdir}", *(f"--{of}={path}" for of, path in paths.items()), *arguments]
    with pytest.raises(UserError, match=message) as caught:
        commands.call("encode", *flags)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"]


def test_a_row_that_is_bad_is_named_and_nothing_is_written(applied, tmp_path):
    """Also where it comes after rows that were written."""
    values = {name: np.load(applied["cells"].file)[name] for name in ("x", "batch")}
    values["x"][BLOCK + 3, 5] = -1
    np.savez(tmp_path / "x.npz", **values)
    with pytest.raises(UserError, match=rf"row {BLOCK + 3} has -1 at column 5"):
        commands.call(
            "encode",
            f"--workdir={applied['cells'].workdir}",
            f"--input={tmp_path / 'x.npz'}",
            f"--output={tmp_path / 'z.csv'}",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_a_signal_ends_the_command_and_leaves_nothing(applied, tmp_path):
    one = applied["cells"]
    many = np.load(one.file)
    rows = np.resize(np.arange(300), 300_000)
    columns = {f"x_{n}": many["x"][rows, n] for n in range(200)} | {"batch": many["batch"][rows]}
    parquet.write_table(pa.table(columns), tmp_path / "x.parquet")
    arguments = (f"--workdir={one.workdir}", f"--input={tmp_path / 'x.parquet'}", f"--output={tmp_path / 'z.csv'}")
    with commands.Started("encode", *arguments) as process:
        commands.wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".z.csv*")), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143, process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_a_command_for_a_file_has_no_other_effect(applied):
    assert {path.name for path in applied["digits"].workdir.iterdir()} == {"checkpoints", "config.json", ".lock"}
    assert os.environ.get("JAX_ENABLE_X64") is None
