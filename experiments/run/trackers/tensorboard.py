"""TensorBoard's files in the run's folder."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import hparams, scalar

from vae_jax.training import json_files

from .tracker import Tracked

_SECONDS_BETWEEN_FLUSHES = 30  # each waits for the disk
_COLORSPACES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def tensorboard(of: Tracked) -> "TensorBoard":
    """Returns the tracker that writes events.out.tfevents.* into the run's folder."""
    return TensorBoard(of)


class TensorBoard:
    """Events, written by this thread: that of tensorboardX's `SummaryWriter` dies with a traceback where the disk is
    full, and what is written after waits for it for ever."""

    def __init__(self, of: Tracked) -> None:
        self._folder, self._writer = of.folder, EventsWriter(str(of.folder / "events"))
        self._flushed = time.monotonic()
        if of.step:  # from the next step on, what earlier files hold is not shown
            log = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=of.step + 1, wall_time=time.time(), session_log=log))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._write(step, (scalar(name, value) for name, value in values.items()))

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        self._write(step, (_image(name, path) for name, path in pictures.items()))

    def hyper_parameters(self, config: Mapping[str, Any], results: Mapping[str, float]) -> None:
        is_shown = lambda value: isinstance(value, bool | int | float | str)
        fields = {name: value if is_shown(value) else str(value) for name, value in config.items()}
        self._write(0, hparams(fields, dict(results)))

    def close(self) -> None:
        with json_files.naming(self._folder):
            self._writer.close()

    def _write(self, step: int, summaries: Iterable[Any]) -> None:
        with json_files.naming(self._folder):
            for summary in summaries:
                self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))
            if time.monotonic() - self._flushed > _SECONDS_BETWEEN_FLUSHES:
                self._writer.flush()
                self._flushed = time.monotonic()


def _image(name: str, path: Path) -> Any:
    """Returns the file as it is: tensorboardX would compress it again."""
    with Image.open(path) as opened:
        size, colorspace = opened.size, _COLORSPACES.get(opened.mode, 3)
    image = Summary.Image(encoded_image_string=path.read_bytes(), width=size[0], height=size[1], colorspace=colorspace)
    return Summary(value=[Summary.Value(tag=name, image=image)])
