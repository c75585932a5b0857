"""The trace of a run's steps."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.run.profile import Profile


def chunk() -> None:
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones((50, 50))))


def events(folder: Path) -> list[dict]:
    (file,) = folder.rglob("perfetto_trace.json.gz")
    return json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]


def test_two_chunks_are_in_it_and_the_first_is_not(tmp_path, capsys):
    """What Perfetto and what TensorBoard opens."""
    with Profile(tmp_path) as profile:
        for name in ("compiles", "one", "two", "three"):
            with jax.profiler.TraceAnnotation(name):
                chunk()
            profile.chunk_ended()
    assert {"one", "two"} <= {event.get("name") for event in events(tmp_path)}
    assert not {"compiles", "three"} & {event.get("name") for event in events(tmp_path)}
    assert f"a trace of 2 chunk(s) of steps is in {tmp_path}" in capsys.readouterr().out
    (file,) = tmp_path.rglob("*.xplane.pb")
    assert any("CPU" in plane.name for plane in jax.profiler.ProfileData.from_file(str(file)).planes)


def test_a_run_that_fails_leaves_what_was_traced(tmp_path):
    def fail(profile: Profile) -> None:
        with profile:
            profile.chunk_ended()
            with jax.profiler.TraceAnnotation("last"):
                chunk()
            raise FloatingPointError("not finite")

    with pytest.raises(FloatingPointError, match="not finite"):
        fail(Profile(tmp_path))
    assert "last" in {event.get("name") for event in events(tmp_path)}


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Profile(None) as profile:
        for _ in range(4):
            profile.chunk_ended()
    assert list(tmp_path.iterdir()) == []
