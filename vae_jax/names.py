"""Choices that are made by name."""

import difflib
from collections.abc import Iterable


def check_name(value: str, what: str, legal: Iterable[str]) -> None:
    """Raises `ValueError` unless `value` is one of `legal`, naming the nearest of them and all of them."""
    legal = tuple(legal)
    if value in legal:
        return
    near = difflib.get_close_matches(str(value), legal, n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"unknown {what} {value!r}.{hint} Known: {', '.join(legal)}")
