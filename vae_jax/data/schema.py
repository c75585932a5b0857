"""Schemas: what the columns of a table are."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..names import check_name
from .dataset import DataError

NUMBERS = ("real", "positive", "count")
MODELLED = (*NUMBERS, "binary", "category", "ordinal")
KINDS = (*MODELLED, "ignore", "id", "condition", "label")
_FEWEST_LEVELS = {"binary": 2, "category": 2, "ordinal": 2, "label": 1}


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      name: its header.
      kind: one of `KINDS`; "condition", whose kind is still to be guessed, only in a schema.
      levels: the texts of a binary, category, ordinal or label column in the order of their codes 0, 1, …; empty where
        the schema leaves them to the data, and for a binary column of the numbers 0 and 1.
      condition: whether the model is given the column beside x, instead of having a density for it.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    condition: bool = False


def read_schema(path: str | Path) -> dict[str, Column]:
    """Returns the columns that a JSON file describes, by name.

    The file holds one object: {"age": "real", "stage": {"kind": "ordinal", "levels": ["I", "II", "III"]},
    "site": "condition", "dose": {"kind": "real", "condition": true}}. The kind of a "condition" is guessed.

    Raises:
      DataError: naming the file, and the column, for what cannot be read or has no meaning.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"schema {path} cannot be read: {error}") from error
    return from_json(entries, f"schema {path}")


def from_json(entries: Any, source: str = "schema") -> dict[str, Column]:
    """Returns the columns by name of the object that `as_json` returns, or that a schema's file holds.

    Raises:
      DataError: naming the `source`, and the column, for what has no meaning.
    """
    if not isinstance(entries, dict):
        raise DataError(f'{source} must be an object of columns, such as {{"age": "real"}}, got {json.dumps(entries)}')
    columns = {}
    for name, entry in entries.items():
        try:
            columns[name] = _column(name, {"kind": entry} if isinstance(entry, str) else entry)
        except ValueError as error:
            raise DataError(f"{source}, column {name!r}: {error}") from error
    return columns


def as_json(columns: Iterable[Column]) -> dict[str, Any]:
    """Returns the columns as an object of JSON: a word for each, or an object where there is more to say."""
    entries = {}
    for name, kind, levels, condition in columns:
        more: dict[str, Any] = {"levels": list(levels)} if levels else {}
        if condition and kind != "condition":
            more["condition"] = True
        entries[name] = {"kind": kind, **more} if more else kind
    return entries


def schema_text(columns: Iterable[Column]) -> str:
    """Returns the schema of the columns as the text of a file, one line a column, which `read_schema` reads back."""
    dump = lambda value: json.dumps(value, ensure_ascii=False)
    lines = [f"  {dump(name)}: {dump(entry)}" for name, entry in as_json(columns).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _column(name: str, entry: Any) -> Column:
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise ValueError(
            f'it must be a kind, such as "real", or an object, such as {{"kind": "real", "condition": true}}, got '
            f"{json.dumps(entry)}"
        )
    for key in entry:
        check_name(key, "entry", ("kind", "levels", "condition"))
    kind = entry["kind"]
    check_name(kind, "kind", KINDS)
    condition = entry.get("condition", kind == "condition")
    if not isinstance(condition, bool):
        raise ValueError(f"its condition must be true or false, got {json.dumps(condition)}")
    if (condition and kind in ("ignore", "id", "label")) or (not condition and kind == "condition"):
        raise ValueError(f"the kind {kind!r} contradicts a condition of {json.dumps(condition)}; remove one of them")
    return Column(name, kind, _levels(kind, entry["levels"]) if "levels" in entry else (), condition)


def _levels(kind: str, levels: Any) -> tuple[str, ...]:
    if kind not in _FEWEST_LEVELS:
        raise ValueError(f"levels are for {', '.join(_FEWEST_LEVELS)}; its kind is {kind!r}: remove them or change it")
    if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
        raise ValueError(f'its levels must be a list of texts, such as ["1", "2"], got {json.dumps(levels)}')
    if repeated := [level for level, count in Counter(levels).items() if count > 1]:
        raise ValueError(f"its levels hold {repeated[0]!r} more than once")
    fewest = _FEWEST_LEVELS[kind]
    if len(levels) < fewest or (kind == "binary" and len(levels) > 2):
        raise ValueError(f"its kind {kind!r} needs {fewest}{' or more' * (kind != 'binary')} levels, got {levels}")
    return tuple(levels)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if repeated := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"{repeated[0]!r} is in it more than once")
    return dict(pairs)
