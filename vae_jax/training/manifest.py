"""A SHA-256 manifest of a folder, in the format of the command `sha256sum --check`."""

import hashlib
import os
from pathlib import Path

NAME = "MANIFEST.sha256"


def write(folder: Path) -> None:
    """Lists every file of the folder, on disk when this returns."""
    text = _text(_digests(folder))
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
    lines = (line.partition("  ") for line in stored.decode(errors="replace").splitlines())
    listed = {name: digest for digest, _, name in lines}
    changed = [f"{name} has other bytes" for name, digest in found.items() if listed.get(name, digest) != digest]
    missing = [f"{name} is missing" for name in listed if name not in found]
    new = [f"{name} is not listed" for name in found if name not in listed]
    return [*changed, *missing, *new] or [f"{NAME} has other bytes"]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _text(digests: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items())
