"""A trace of a run's steps."""

from pathlib import Path
from types import TracebackType

import jax

_CHUNKS = 2


class Profile:
    """Writes what the devices and the program do in a few chunks of steps, the first left out, into a folder.

    It is a context manager; without a folder it writes nothing. TensorBoard's profile plugin reads the folder, and
    ui.perfetto.dev the file perfetto_trace.json.gz in it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._ended, self._runs = folder, 0, False

    def __enter__(self) -> "Profile":
        return self

    def chunk_ended(self) -> None:
        """Begins after the first chunk, which holds compilation, and ends after two more."""
        self._ended += 1
        if self._folder is not None and self._ended == 1:
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._runs = True
        elif self._ended == 1 + _CHUNKS:
            self._end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._runs:
            jax.profiler.stop_trace()
            self._runs = False
            print(f"a trace of {self._ended - 1} chunk(s) of steps is in {self._folder}, see docs/speed.md", flush=True)
