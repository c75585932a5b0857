"""What a run says of its steps on the terminal."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

from vae_jax import parallel


class Progress:
    """A progress bar with loss, ELBO, KL, steps/s and the time left; plain lines where there is no terminal.

    One line before says what they are. Of several processes the first shows them.
    """

    def __init__(self, *, num_steps: int, step: int, seconds_between_lines: float = 5.0) -> None:
        self._writes = parallel.is_first_process()
        if self._writes:
            print(
                "in nats per example: loss, which is minimised, with beta and regularizers; elbo and kl, without",
                flush=True,
            )
        silent = not (self._writes and sys.stderr.isatty())
        self._bar = tqdm(total=num_steps, initial=step, unit="step", disable=silent, dynamic_ncols=True)
        self._num_steps, self._first, self._step = num_steps, step, step
        self._start = self._last_line = time.perf_counter()
        self._between = seconds_between_lines

    def update(self, step: int, values: dict[str, float]) -> None:
        text = "  ".join(f"{name} {values[name]:.2f}" for name in ("loss", "elbo", "kl") if name in values)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(step - self._step)
        self._step = step
        now = time.perf_counter()
        if self._writes and self._bar.disable and (now - self._last_line > self._between or step == self._num_steps):
            rate = (step - self._first) / (now - self._start)
            left = tqdm.format_interval((self._num_steps - step) / rate)
            print(f"step {step}/{self._num_steps}  {text}  {rate:.0f} steps/s  {left} left", flush=True)
            self._last_line = now

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
