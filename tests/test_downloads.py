"""Raw files that are downloaded, from a server in this process."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.raw_files import Examples, assert_holds, publish, write_raw
from vae_jax import data

# Of every kind of builder, a file to damage.
FILES = {"mnist": "train-labels-idx1-ubyte.gz", "binarized_mnist": "binarized_mnist_valid.amat"}


class Server(NamedTuple):
    """A server of the files in `folder`, and what it was asked for."""

    folder: Path
    url: str
    asked: list[str]


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    asked = []

    class Recording(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            asked.append(f"{self.command} {self.path}")

    (tmp_path / "raw").mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(Recording, directory=str(tmp_path / "raw"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Server(tmp_path / "raw", f"http://127.0.0.1:{serving.server_port}", asked)
        serving.shutdown()
        thread.join()


def publish_there(monkeypatch: pytest.MonkeyPatch, server: Server, name: str) -> dict[str, Examples]:
    raw = write_raw(name, server.folder)
    publish(monkeypatch, name, server.folder, host=server.url)
    return raw


@pytest.mark.parametrize("name", FILES)
def test_raw_files_are_downloaded_once(server, monkeypatch, tmp_path, name):
    """What was downloaded serves to prepare the data set again, without a network."""
    raw = publish_there(monkeypatch, server, name)
    assert_holds(data.load(name, data_dir=tmp_path / "tfds"), raw)
    gets = sorted(request for request in server.asked if request.startswith("GET"))
    assert gets == sorted(f"GET /{file.name}" for file in server.folder.iterdir())
    server.asked.clear()
    shutil.rmtree(tmp_path / "tfds" / name)
    assert_holds(data.load(name, data_dir=tmp_path / "tfds"), raw)
    assert server.asked == []


@pytest.mark.parametrize("name", FILES)
def test_a_download_that_is_not_what_was_published_is_refused(server, monkeypatch, tmp_path, name):
    """It is named, with its URL, and nothing is left that passes for prepared."""
    publish_there(monkeypatch, server, name)
    file = server.folder / FILES[name]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(data.DataError, match=f"{server.url}/{FILES[name]}"):
        data.load(name, data_dir=tmp_path / "tfds")
    assert list((tmp_path / "tfds" / name).glob("*")) == []


def test_a_file_that_is_no_longer_published_is_told(server, monkeypatch, tmp_path):
    publish_there(monkeypatch, server, "mnist")
    (server.folder / FILES["mnist"]).unlink()
    with pytest.raises(ValueError, match=f"{server.url}/{FILES['mnist']}") as caught:
        data.load("mnist", data_dir=tmp_path / "tfds")
    assert "404" in str(caught.value)
