"""Every block of the README and of docs/ runs, in its order: `python -m pytest -m pages` (two minutes on two cores).

Blocks of the shell are run with small models, few steps and few samples, on files made here; where a command would
download a data set it is given the digits.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import pyarrow as pa
import pytest
import yaml
from filelock import FileLock
from PIL import Image
from pyarrow import parquet as pq

from experiments import train
from tests import commands
from tests.commands import ROOT

pytestmark = pytest.mark.pages

WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if not {"generated", "_build"} & {*path.parts}]
PAGES = [ROOT / "README.md", *sorted(WRITTEN), *sorted((ROOT / "docs" / "launching").glob("*.sh"))]
LANGUAGES = {"bash", "python", "json", "text", "math", "yaml", "bibtex"}
SMALL = {
    "model.network": "mlp(hidden=(16,))",
    "model.latent_dim": "2",
    "training.batch_size": "10",
    "training.num_steps": "20",
    "training.log_every": "10",
    "training.eval_every": "10",
    "training.checkpoint_every": "10",
    "evaluation.num_samples": "5",
    "evaluation.num_examples": "20",
}
FEW = {
    "evaluate": ["--num_samples=5", "--annealed_examples=0", "--gap_examples=0"],
    "score": ["--num_samples=5"],
    "sample": ["--num_images=4"],
    "gradient_study": ["--num_samples=2,3", "--num_replicates=20"],
    "benchmark": ["--help"],  # which tests/test_benchmark.py runs
}
DOWNLOADED = ("mnist", "binarized_mnist", "fashion_mnist", "mnist_conditional", "cifar10", "freyfaces")


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str


def blocks(path: Path) -> list[Block]:
    if path.suffix == ".sh":
        return [Block("bash", path.read_text())]
    return [
        Block(*found) for found in re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    ]


RUN = [page for page in PAGES if any(block.language in ("bash", "python") for block in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_every_block_says_its_language():
    """So that none is left out by mistake."""
    others = {block.language for page in PAGES for block in blocks(page)} - LANGUAGES
    assert not {other for other in others if not other.startswith("{")}  # those of Sphinx


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id) -> Path:
    """A folder with the files and the finished runs that the pages speak of, which the first worker makes for all."""
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = base / "of_the_pages"
    with FileLock(base / "of_the_pages.lock"):
        if not folder.exists():
            make(base / "being_made")
            (base / "being_made").rename(folder)
    return folder


def make(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("experiments", "tests", "docs"):  # copies, since a command of a page may write into them
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("_build", "generated", "old_runs"))
    np.save(folder / "spectra.npy", rng.normal(size=(60, 12)).astype(np.float32))
    sites = rng.choice(["a", "b"], 60)
    rows = [
        f"{age:.2f},{site},{number % 7}"
        for number, (age, site) in enumerate(zip(rng.normal(size=60), sites, strict=True))
    ]
    (folder / "patients.csv").write_text("\n".join(["age,site,count", ",a,1", *rows]))
    (folder / "mine.csv").write_text("\n".join(["age,site,count", *rows]))
    columns = {"age": [1.5, None, 0.5], "site": ["a", "b", "a"], "count": [1, 2, 3]}
    pq.write_table(pa.table(columns), folder / "new.parquet")
    (folder / "new.csv").write_text("\n".join(["age,site,count", *rows[:4], ",a,3"]))
    pictures = rng.integers(0, 256, (8, 28, 28)).astype(np.uint8)
    np.savez(folder / "new.npz", x=pictures)
    np.savez(folder / "pictures.npz", x=pictures, label=np.array(["good", "broken"] * 4))
    for place in ("scans", "faces", "mnt/faces"):
        (folder / place).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(pictures[number % 8] ^ number).save(folder / place / f"{number}.png")
    counts = rng.poisson(3.0, (60, 6)).astype(np.float32)
    cells = anndata.AnnData(np.log1p(counts), {"batch": rng.choice(["x", "y"], 60)}, layers={"counts": counts})
    cells.obs_names = [f"cell{number}" for number in range(60)]
    cells.write_h5ad(folder / "cells.h5ad")
    runs = {
        "digits": [],
        "patients": ["--config.data.path=patients.csv"],
        "faces": ["--config.data.path=faces/"],
        "cells": ["--config.data.path=cells.h5ad", "--config.data.layer=counts", "--config.data.condition=batch,size"],
    }
    for name, options in runs.items():
        result = run_command("train", f"--workdir=runs/{name}", *shrunk("train", options), folder=folder)
        assert result.returncode == 0, result.stderr
    for name in ("mnist", "mine", "two"):
        shutil.copytree(folder / "runs" / "digits", folder / "runs" / name)
    overflows = ("--config.training.optimizer=sgd", "--config.training.learning_rate=1e30")
    assert commands.run("train", "--workdir=runs/bad", *shrunk("train", []), *overflows, cwd=folder).returncode == 1
    (left,) = (folder / "runs" / "bad").glob("nonfinite_*.npz")
    left.rename(folder / "runs" / "mnist" / "nonfinite_4711.npz")


@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_blocks_of_a_page_run(page, made, tmp_path, monkeypatch):
    folder = tmp_path / "pages"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    for line in (line for block in blocks(page) if block.language == "bash" for line in lines(block.code)):
        if begun := re.match(r"\./launch\.sh( train .*(?:--config=|--config\.data\.path=).*)?(?: *#.*)?$", line):
            workdir = re.search(r"--workdir=(\S+)", begun[0])
            shutil.rmtree(workdir[1] if workdir else "runs/digits", ignore_errors=True)
    shown: dict = {"__name__": "shown"}
    done = set()  # a page may tell of a command twice
    for block in blocks(page):
        if block.language == "python" and page.name != "README.md":  # which test_readme runs, with fewer steps
            code = module_of(block.code, page, folder)
            exec(compile(code, name(page), "exec"), shown)
        elif block.language == "bash":
            for line in lines(block.code):
                if line not in done:
                    run(line)
                done.add(line)


def module_of(code: str, page: Path, folder: Path) -> str:
    """Returns the code of a block; that of a module of one's own is also written where its page says that it is."""
    text = page.read_text()
    if (found := re.search(r"`mypackage/(\w+)\.py`", text)) and code.startswith('"""'):
        (folder / "mypackage").mkdir(exist_ok=True)
        (folder / "mypackage" / f"{found[1]}.py").write_text(code)
        if "experiments.command" in code:
            return ""  # a command, whose flags are defined once
    return code


def lines(code: str) -> Iterator[str]:
    """Yields the commands of a block, each without its continuations."""
    for line in re.sub(r"\\\n\s*", "", code).splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def run(line: str) -> None:
    """Runs a command in the current folder, or in the place of a launcher what it launches."""
    words = shlex.split(re.sub(r'--command="cd vae_jax && (.*)"', r"\1", line), comments=True)
    words = [word.replace("=/mnt/", "=mnt/").replace("=/shared/", "=shared/") for word in words if "…" not in word]
    if words[0] == "pip":  # tests/test_wheel.py
        return
    if "-m" in words:
        result = subprocess.run(
            [sys.executable, *words[words.index("-m") :]], capture_output=True, text=True, check=False
        )
    else:
        (at,) = (number for number, word in enumerate(words) if word.endswith(("launch.sh", "vae-jax")))
        command, *options = words[at + 1 :] or ["train"]
        if command == "test":
            return
        result = run_command(command, *shrunk(command, options), folder=Path.cwd())
    assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"


def run_command(name: str, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Returns what a command came to; a run that ends well before its pictures, half of its time, are drawn."""
    if name != "train" or "--print_config" in options:
        return commands.run(name, *options, cwd=folder)
    workdir = next((o.partition("=")[2] for o in reversed(options) if o.startswith("--workdir=")), "runs/digits")
    summary = folder / workdir / "summary.json"
    summary.unlink(missing_ok=True)
    with commands.Started(name, *options, cwd=folder) as process:
        while not summary.exists() and process.poll() is None:
            time.sleep(0.02)
        status = 0 if summary.exists() else process.wait()
        return subprocess.CompletedProcess(process.args, status, process.stdout, process.stderr)


def shrunk(command: str, options: list[str]) -> list[str]:
    """Returns the options of a command with which it takes a second."""
    options = [option.replace("vamp(500)", "vamp(5)").replace(" + wandb(project=digits)", "") for option in options]
    options = [option for option in options if "--max_restarts" not in option]
    if command != "train":
        is_drawn_by_row = command == "sample" and any(option.startswith("--input") for option in options)
        return [*options, *([] if is_drawn_by_row else FEW.get(command, []))]
    set_here = [option.partition("=")[0].removeprefix("--config.") for option in options]
    keep = {"model.network", "model.latent_dim", "training.batch_size"} & {*set_here}
    small = [f"--config.{field}={value}" for field, value in SMALL.items() if field not in keep]
    recipe = next((Path(option.partition("=")[2]).stem for option in options if option.startswith("--config=")), "")
    return [*options, *small, *(["--config.data.name=digits_5k"] if recipe in DOWNLOADED else [])]


def test_the_command_of_the_kubernetes_job_is_one_of_ours():
    _, job = yaml.safe_load_all((ROOT / "docs" / "launching" / "kubernetes.yaml").read_text())
    program, command, *options = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (program, command) == ("vae-jax", "train")
    train.parse(["train", *options])
