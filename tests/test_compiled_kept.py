"""What XLA compiles is kept from one command to the next, in a folder of the user's."""

import jax
import pytest

from experiments.command import compiled

_OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def unset():
    """JAX without the suite's own folder, which it has again afterwards."""
    before = {name: getattr(jax.config, name) for name in _OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.filterwarnings("default")
def test_in_the_users_cache_directory(unset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    folder = tmp_path / "vae_jax" / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert jax.config.jax_compilation_cache_max_size == 2**30
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0


def test_by_default_below_the_home_directory(unset, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    compiled.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / ".cache" / "vae_jax" / "compiled")


def test_a_folder_that_the_user_has_chosen_is_left(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    assert before is not None
    compiled.keep()
    assert jax.config.jax_compilation_cache_dir == before
    assert list(tmp_path.iterdir()) == []


def test_where_the_folder_cannot_be_made_nothing_is_kept(unset, monkeypatch, tmp_path):
    (tmp_path / "vae_jax").write_text("a file in its place")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    assert jax.config.jax_compilation_cache_dir is None
