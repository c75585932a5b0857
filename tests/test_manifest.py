"""The manifest of a folder: what `sha256sum` would say, and what is wrong, by name."""

import shutil
import subprocess

import pytest

from vae_jax.training import manifest


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "checkpoint"
    (path / "inner").mkdir(parents=True)
    (path / "a").write_bytes(bytes(range(256)))
    (path / "empty").write_bytes(b"")
    (path / "inner" / "two words").write_bytes(b"inner")
    manifest.write(path)
    return path


def test_the_digests_are_the_published_ones(folder):
    """Of the empty message: FIPS 180-4."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert f"{empty}  empty\n" in (folder / "MANIFEST.sha256").read_text()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs the command sha256sum")
def test_sha256sum_checks_a_manifest(folder):
    check = lambda: subprocess.run(
        ["sha256sum", "--check", "--strict", manifest.NAME], cwd=folder, capture_output=True, text=True, check=False
    )
    assert check().returncode == 0
    assert check().stdout == "a: OK\nempty: OK\ninner/two words: OK\n"
    (folder / "a").write_bytes(b"other")
    assert "a: FAILED" in check().stdout


def test_a_folder_as_it_was_written_has_no_damages(folder):
    assert manifest.damages(folder) == []


def flip(path):
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


DAMAGES = {
    "flipped": (lambda folder: flip(folder / "a"), ["a has other bytes"]),
    "truncated": (lambda folder: (folder / "a").write_bytes(b""), ["a has other bytes"]),
    "grown": (lambda folder: (folder / "empty").write_bytes(b"x"), ["empty has other bytes"]),
    "missing": (lambda folder: (folder / "inner" / "two words").unlink(), ["inner/two words is missing"]),
    "added": (lambda folder: (folder / "inner" / "new").write_bytes(b""), ["inner/new is not listed"]),
    "renamed": (lambda folder: (folder / "a").rename(folder / "b"), ["a is missing", "b is not listed"]),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_each_damage_is_named(folder, case):
    damage, expected = DAMAGES[case]
    damage(folder)
    assert manifest.damages(folder) == expected


def test_all_damages_are_named_together(folder):
    flip(folder / "a")
    (folder / "empty").unlink()
    (folder / "new").write_bytes(b"")
    assert manifest.damages(folder) == ["a has other bytes", "empty is missing", "new is not listed"]


def test_any_change_of_the_list_itself_is_found(folder):
    """Every bit of it, in turn; the files are as they were."""
    path = folder / manifest.NAME
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(hurt)
        assert manifest.damages(folder), bit


def test_a_missing_list_is_named(folder):
    (folder / manifest.NAME).unlink()
    assert manifest.damages(folder) == [f"{folder / manifest.NAME}: No such file or directory"]


def test_a_missing_folder_is_named(tmp_path):
    assert manifest.damages(tmp_path / "none") == [f"{tmp_path / 'none' / manifest.NAME}: No such file or directory"]


@pytest.mark.parametrize("place", ["folder", "inner", "a", "inner/two words", manifest.NAME])
def test_a_link_is_a_damage_though_what_it_leads_to_is_as_it_was(tmp_path, folder, place):
    path = folder if place == "folder" else folder / place
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert manifest.damages(folder) == [f"{path.relative_to(tmp_path).as_posix()} is a link"]
