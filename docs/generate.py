"""Writes the table of docs/estimators.md from `losses.legal_combinations()`: `python docs/generate.py`."""

import re
from pathlib import Path

from vae_jax import losses

PAGE = Path(__file__).parent / "estimators.md"
_TABLE = re.compile(r"(<!-- the table is .* -->\n).*(<!-- end of the table -->)", re.DOTALL)


def with_table(page: str) -> str:
    """The page with the table that the code gives."""
    combinations = losses.legal_combinations()
    lines = ["", "| gradient | " + " | ".join(f"`{bound}`" for bound in combinations) + " |"]
    lines.append("|---|" + ":-:|" * len(combinations))
    for gradient in losses.GRADIENTS:
        marks = ("✓" if gradient in legal else "" for legal in combinations.values())
        lines.append(f"| `{gradient}` | " + " | ".join(marks) + " |")
    table = "\n".join([*lines, "", ""])
    return _TABLE.sub(lambda match: match[1] + table + match[2], page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
