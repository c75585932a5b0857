"""Choices that are made by name."""

import difflib
from collections.abc import Iterable


def check_name(value: str, what: str, legal: Iterable[str]) -> None:
    """Raises `ValueError` unless `value` is one of `legal`, naming the nearest of them and all of them."""
    legal = tuple(legal)
    if value not in legal:
        raise ValueError(f"unknown {what} {value!r}.{nearest(value, legal)} Known: {', '.join(legal)}")


def nearest(value: str, legal: Iterable[str]) -> str:
    """ " Did you mean …?" with the names most like `value`; empty where there are none."""
    near = difflib.get_close_matches(str(value), list(legal), n=2)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
