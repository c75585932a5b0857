"""Writes the tables of docs/estimators.md, config.md and parts.md from the code: `python docs/generate.py`."""

import re
from pathlib import Path

from experiments.parts import source
from experiments.run.config import Config, describe
from experiments.run.roles import ROLES
from vae_jax import losses

_TABLE = re.compile(r"(<!-- the table is .* -->\n).*(<!-- end of the table -->)", re.DOTALL)


def estimators() -> list[str]:
    """Returns the table of the legal combinations of bounds and gradients."""
    combinations = losses.legal_combinations()
    lines = ["| gradient | " + " | ".join(f"`{bound}`" for bound in combinations) + " |"]
    lines.append("|---|" + ":-:|" * len(combinations))
    for gradient in losses.GRADIENTS:
        marks = ("✓" if gradient in legal else "" for legal in combinations.values())
        lines.append(f"| `{gradient}` | " + " | ".join(marks) + " |")
    return lines


def config() -> list[str]:
    """Returns the table of the fields of a config."""
    lines = ["| field | type | default | legal values | meaning |", "|---|---|---|---|---|"]
    for field in describe(Config()):
        cells = (f"`{field.name}`", f"`{field.type}`", f"`{field.value}`", field.legal, field.meaning)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return lines


def parts() -> list[str]:
    """Returns the table of the parts that a config can name, save those of Optax, whose arguments are its own."""
    lines = ["| field | part | source |", "|---|---|---|"]
    for field, of_field in ROLES.items():
        for written, function in zip(of_field.written(), of_field.role.parts.values(), strict=True):
            if source(function) != "optax":
                lines.append(f"| `{field}` | `{written}` | {source(function)} |")
    return lines


PAGES = {Path(__file__).parent / f"{table.__name__}.md": table for table in (estimators, config, parts)}


def with_table(path: Path) -> str:
    """Returns the text of a page with the table that the code gives."""
    table = "\n".join(["", *PAGES[path](), "", ""])
    return _TABLE.sub(lambda match: match[1] + table + match[2], path.read_text())


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_table(path))
