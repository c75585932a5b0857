"""The results as text, as JSON and as a picture, with the machine that they are of."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import jax
from matplotlib.figure import Figure

from vae_jax.training import json_files

from .interleaved import Times

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
_THREADS = ("XLA_FLAGS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PJRT_NPROC")


class Group(NamedTuple):
    """Contenders that took turns.

    Attributes:
      title: what they do.
      times: of each, in milliseconds a step.
      references: the contenders that the others are divided by; with `flops`, the products alone come first.
      flops: of a step's matrix products; None where the group has none that all do.
      peak: (floating-point operations, contender) of a large matrix product, the most that the device was seen to do.
    """

    title: str
    times: dict[str, Times]
    references: tuple[str, ...]
    flops: int | None = None
    peak: tuple[int, str] | None = None

    def fraction_of_peak(self, name: str) -> float | None:
        """Returns the products' operations per second of a contender, over the peak's."""
        if self.flops is None or self.peak is None:
            return None
        operations, reference = self.peak
        ratio = self.times[reference].over(self.times[name])
        return None if ratio is None or name == reference else ratio[1] * self.flops / operations


def machine() -> dict[str, Any]:
    """Returns the processor, the devices, the versions, and what decides the number of threads."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "python": platform.python_version(),
        "versions": packages,
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ} or "as the libraries choose",
    }


def to_markdown(groups: list[Group], remarks: list[str], *, rounds: int) -> str:
    """Returns one table for each group."""
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['cores']} cores of {about['processor']}; {', '.join(about['devices'])}; Python {about['python']}, "
        f"{versions}; threads: {about['threads']}.",
        "",
        f"Milliseconds a step and ratios within a round: medians of {rounds} interleaved rounds (quartiles).",
    ]
    for group in groups:
        over = [f" over {name} |" for name in group.references]
        peak = [" of the peak |"] if group.flops else []
        on_device = any(times.on_device is not None for times in group.times.values())
        device = [" at work on the device |"] if on_device else []
        lines += ["", f"**{group.title}**", "", "".join(["| | milliseconds |", *over, *peak, *device])]
        lines.append("|---|---|" + "---|" * (len(over) + len(peak) + len(device)))
        for name, times in group.times.items():
            cells = [name, times.failure or _with_quartiles(times.milliseconds)]
            cells += [_with_quartiles(times.over(group.times[other])) for other in group.references]
            if group.flops:
                fraction = group.fraction_of_peak(name)
                cells.append("" if fraction is None else f"{fraction:.0%}")
            if on_device:
                cells.append("" if times.on_device is None else f"{1e3 * times.on_device:.2f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {remark}" for remark in remarks)]) + "\n"


def write(folder: Path, groups: list[Group], remarks: list[str], *, rounds: int) -> None:
    """Writes benchmark.md, benchmark.json and, of the groups whose products are known, benchmark.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.md").write_text(to_markdown(groups, remarks, rounds=rounds))
    results = [
        {
            "title": group.title,
            "seconds": {name: list(times.seconds) for name, times in group.times.items()},
            "failures": {name: times.failure for name, times in group.times.items() if times.failure},
            "seconds_on_device": {name: times.on_device for name, times in group.times.items()},
            "references": list(group.references),
        }
        for group in groups
    ]
    found = {"machine": machine(), "rounds": rounds, "groups": results, "remarks": remarks}
    (folder / "benchmark.json").write_text(json_files.to_text(found, indent=2))
    drawn = [group for group in groups if group.flops]
    if drawn:
        _draw(drawn).savefig(folder / "benchmark.png", dpi=120)


def _draw(groups: list[Group]) -> Figure:
    """Draws each contender's time over that of the matrix products alone."""
    figure = Figure(figsize=(8, 1 + 1.6 * len(groups)), layout="constrained")
    for axes, group in zip(figure.subplots(len(groups), squeeze=False)[:, 0], groups, strict=True):
        limit = group.references[0]
        ratios = {name: times.over(group.times[limit]) for name, times in group.times.items()}
        shown = {name: ratio for name, ratio in ratios.items() if ratio and group.peak and name != group.peak[1]}
        middle = [ratio[1] for ratio in shown.values()]
        spread = [[ratio[1] - ratio[0] for ratio in shown.values()], [ratio[2] - ratio[1] for ratio in shown.values()]]
        axes.barh(list(shown), middle, xerr=spread, color=["0.7" if name == limit else "C0" for name in shown])
        axes.invert_yaxis()
        axes.set_title(group.title, fontsize="medium", loc="left")
        axes.bar_label(axes.containers[-1], [f"{value:.2f}" for value in middle], padding=12)
        axes.set_xlim(0, 1.25 * max(middle, default=1))
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("time of a step, over that of its matrix products alone", fontsize="medium")
    return figure


def _with_quartiles(values: tuple[float, float, float] | None) -> str:
    if values is None:
        return ""
    lower, median, upper = values
    digits = 2 if median < 100 else 0
    return f"{median:.{digits}f} ({lower:.{digits}f} to {upper:.{digits}f})"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
