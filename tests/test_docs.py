"""The pages under docs/ and the README say what the code does."""

import ast
import importlib
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator

import jax
import pytest

from experiments import train
from experiments.command import flags
from experiments.run.config import Config, describe
from tests.commands import ROOT
from vae_jax import data, losses, parallel, training
from vae_jax.networks.assemble import COMPUTE_DTYPES

WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if "generated" not in path.parts]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(WRITTEN)]
LAUNCHING = sorted((ROOT / "docs" / "launching").glob("*.sh"))
SOURCES = [*PAGES, *sorted((ROOT / "experiments").rglob("*.py")), *LAUNCHING, ROOT / "launch.sh"]


@pytest.fixture(scope="module")
def generate():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["estimators", "config", "parts"])
def test_a_table_of_the_docs_is_that_of_the_code(generate, name):
    """`python docs/generate.py` writes them."""
    path = ROOT / "docs" / f"{name}.md"
    assert generate.with_table(path) == path.read_text()


def test_every_legal_combination_of_bound_and_gradient_has_its_mark(generate):
    page = (ROOT / "docs" / "estimators.md").read_text()
    assert page.count("✓") == sum(len(gradients) for gradients in losses.legal_combinations().values())


def test_the_example_of_the_parts_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "parts.md").read_text(), re.DOTALL)
    shown: dict = {}
    exec(code, shown)
    params = jax.eval_shape(shown["vae"].init, jax.random.key(0))
    assert params["prior"]["pseudo_inputs"].shape == (100, 28, 28, 1)
    assert set(params) == {"encoder", "decoder", "likelihood", "prior"}


NAMES = {
    "data.binarization": ("auto", *data.BINARIZATIONS),
    "model.compute_dtype": COMPUTE_DTYPES,
    "training.schedule": training.LEARNING_RATE_SCHEDULES,
    "parallel.backend": parallel.BACKENDS,
}


def test_what_is_said_to_prove_a_part_is_there(generate):
    named = re.findall(r"test_\w+", " ".join(generate.PROOFS.values()))
    assert named
    assert not [name for name in named if not (ROOT / "tests" / f"{name}.py").exists()]


@pytest.mark.parametrize("field", NAMES)
def test_the_names_that_a_field_is_said_to_take_are_those_of_the_code(field):
    (described,) = (row for row in describe(Config()) if row.name == field)
    assert described.legal.split(", ") == list(NAMES[field])


def shown(pattern: str) -> Iterator[str]:
    """Yields what the pages, configs and commands show as code and the pattern matches, a line of the shell each."""
    for path in SOURCES:
        text = path.read_text()
        if path.suffix == ".py":
            text = ast.get_docstring(ast.parse(text)) or ""
        text = re.sub(r"\\\n\s*", "", text)  # a command goes on after a backslash
        if path in LAUNCHING:
            text = f"```bash\n{text}\n```"
        fenced = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        inline = [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", text)]
        indented = re.findall(r"^(?:    |#   )(\S.*?)(?:  .*)?$", text, re.MULTILINE)
        for found in (*(line for block in fenced for line in block.splitlines()), *inline, *indented):
            if re.search(pattern, found):
                yield found


COMMANDS = sorted(
    {*shown(r"(^|[ /])launch\.sh( |$)"), *shown("^vae-jax "), *shown("^python -m "), *shown("^--config[.=][^<]*$")}
)


def test_commands_of_every_form_are_found():
    parts = ("sbatch --nodes=4", "mpirun -n 8", "python -m tests.faults", "=freyfaces.npz", "./launch.sh sample")
    assert not [part for part in parts if not any(part in command for command in COMMANDS)]


def test_every_command_of_the_docs_is_one_of_the_shell():
    script = "\n".join(f": {command}" for command in COMMANDS)
    result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_the_docs_is_one_of_its_command(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, after = re.split(r"launch\.sh|python -m|vae-jax|(?=^--config)", command, maxsplit=1)
    after = after.rstrip('"')  # of a command for another machine, within quotes
    words = [word for word in shlex.split(after, comments=True) if "…" not in word and "max_restarts" not in word]
    name = words.pop(0).removeprefix("experiments.") if words and not words[0].startswith("-") else "train"
    if name == "train":
        named = [word.removeprefix("--config.") for word in words if word.startswith("--config.")]
        known = [field.name for field in describe(Config())]
        assert not [field for field in named if field.partition("=")[0] not in known]
        train.parse(["train", *(word for word in words if "=" in word and "FILE" not in word)])
    elif (ROOT / "experiments" / f"{name}.py").exists():
        flags.read_flags(importlib.import_module(f"experiments.{name}").FLAGS, [name, *words])
