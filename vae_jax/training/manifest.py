"""A SHA-256 manifest of a folder, in the format of the command `sha256sum --check`."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

NAME = "MANIFEST.sha256"


def write(folder: Path, *, besides: Collection[str] = ()) -> None:
    """Lists every file of the folder but those named `besides`, on disk when this returns."""
    text = _text({name: digest for name, digest in _digests(folder).items() if name not in besides})
    with (folder / NAME).open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def damages(folder: Path) -> list[str]:
    """Returns what differs from the list, a line for each file; nothing where the folder is as it was written.

    A link is a damage, be it the folder or anything in it.
    """
    try:
        # What lies behind a link is not in the folder, and may be another's, or change unseen.
        links = [path for path in (folder, *sorted(folder.rglob("*"))) if path.is_symlink()]
        if links:
            return [f"{path.relative_to(folder.parent).as_posix()} is a link" for path in links]
        stored = (folder / NAME).read_bytes()
        found = _digests(folder)
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    if stored == _text(found).encode():
        return []
    listed = _listed(stored)
    changed = [f"{name} has other bytes" for name, digest in found.items() if listed.get(name, digest) != digest]
    missing = [f"{name} is missing" for name in listed if name not in found]
    new = [f"{name} is not listed" for name in found if name not in listed]
    return [*changed, *missing, *new] or [f"{NAME} has other bytes"]


def damages_of_listed(folder: Path, needed: Collection[str]) -> list[str]:
    """Returns what differs of the files that the list names, a line for each file, and which of those `needed` it does
    not name. Other files may lie beside them, and links may lead to them, as those of a download's cache do."""
    try:
        listed = _listed((folder / NAME).read_bytes())
    except OSError as error:
        return [f"{error.filename}: {error.strerror}"]
    lines = [f"{name} is not listed" for name in needed if name not in listed]
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            lines.append(f"{name} is missing")
        elif _digest(path) != digest:
            lines.append(f"{name} has other bytes")
    return lines


def _listed(stored: bytes) -> dict[str, str]:
    lines = (line.partition("  ") for line in stored.decode(errors="replace").splitlines())
    return {name: digest for digest, _, name in lines}


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(digests: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())
