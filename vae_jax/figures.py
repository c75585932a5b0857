"""Arrays in, matplotlib figures out; no global state, no display."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import ArrayLike, Float, Int
from matplotlib.figure import Figure

Images = Float[ArrayLike, "rows columns height width channels"]

# Images of few columns are drawn larger, since a title is not.
_NARROWEST, _LEAST_INCHES, _MOST_INCHES = 4.0, 0.5, 1.0
_TITLE_SIZE = 11
_MOST_BARS = 40


def learning_curves(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, ylabel: str) -> Figure:
    """Lines of values against steps, one for each name.

    The vertical axis leaves out the steep beginning: it spans what the curves do after their first tenth.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=ylabel)
    settled: list[float] = []
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, marker="." if len(steps) < 30 else None)
        settled.extend(values[len(values) // 10 :])
    finite = np.asarray(settled)[np.isfinite(settled)]
    if finite.size and np.ptp(finite) > 0:
        margin = 0.05 * np.ptp(finite)
        axes.set_ylim(finite.min() - margin, finite.max() + margin)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def image_grid(
    images: Images,
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Figure:
    """Images with values in [0, 1], grey or colour, in rows and columns; values outside are clipped."""
    clipped = np.clip(np.asarray(images, np.float32), 0, 1)
    rows, columns, height, width, _ = clipped.shape
    inches = min(_MOST_INCHES, max(_LEAST_INCHES, _NARROWEST / columns))
    size = (max(_NARROWEST, columns * inches), rows * inches * height / width + 0.6)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    _write_title(figure, title)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    axes.imshow(_tile(clipped), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    step_x, step_y = width + 1, height + 1
    axes.set_xticks([step_x * i + step_x / 2 for i in range(len(column_labels))], column_labels, fontsize=7)
    axes.set_yticks([step_y * i + step_y / 2 for i in range(len(row_labels))], row_labels, fontsize=7)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def power_laws(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    slopes: Mapping[str, float] | None = None,
) -> Figure:
    """Lines on logarithmic axes, and dashed ones of the `slopes` that theory gives, through the first point of the
    curve of that name."""
    figure = Figure(figsize=(8, 4), layout="constrained", dpi=150)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel, yscale="log")
    _write_title(figure, title)
    axes.set_xscale("log", base=2)
    slopes = slopes or {}
    for name, (x, y) in curves.items():
        (line,) = axes.plot(x, y, marker=".", label=name)
        if name in slopes:
            start = np.asarray(x, float) / x[0]
            axes.plot(x, y[0] * start ** slopes[name], "--", color=line.get_color(), label=f"slope {slopes[name]:+g}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def convergence(
    num_samples: Sequence[int], bounds: Sequence[float], errors: Sequence[float], *, ylabel: str, title: str = ""
) -> Figure:
    """A bound against its number of samples, on a logarithmic axis, with a band of two standard errors."""
    figure = Figure(figsize=(6, 4), layout="constrained", dpi=150)
    axes = figure.add_subplot(xlabel="samples K", ylabel=ylabel, xscale="log")
    _write_title(figure, title)
    low, high = (np.asarray(bounds) + sign * np.nan_to_num(np.asarray(errors)) for sign in (-2, 2))
    axes.fill_between(num_samples, low, high, alpha=0.2)
    axes.plot(num_samples, bounds, marker="o")
    axes.set_xticks(num_samples, [str(number) for number in num_samples], minor=False)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    return figure


def bars(
    groups: Mapping[str, tuple[Float[ArrayLike, " bars"], Float[ArrayLike, " bars"]]],
    labels: Sequence[str],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
) -> Figure:
    """For each name (heights, errors) of bars at the labels, side by side, with lines of two errors."""
    figure = Figure(figsize=(max(6.0, 0.14 * len(labels) * len(groups)), 4), layout="constrained", dpi=150)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    _write_title(figure, title)
    width = 0.8 / len(groups)
    for number, (name, (heights, errors)) in enumerate(groups.items()):
        places = np.arange(len(labels)) + (number - (len(groups) - 1) / 2) * width
        axes.bar(places, np.asarray(heights), width, yerr=2 * np.nan_to_num(np.asarray(errors)), label=name)
    axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=90 if len(labels) > 12 else 0)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(alpha=0.3, axis="y")
    if len(groups) > 1:
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def histogram(
    values: Float[ArrayLike, " n"],
    *,
    xlabel: str,
    ylabel: str = "",
    title: str = "",
    marked: tuple[str, float] | None = None,
) -> Figure:
    """How often values occur, with a named one marked; those that are not finite are left out."""
    figure = Figure(figsize=(6, 4), layout="constrained", dpi=150)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    _write_title(figure, title)
    finite = np.asarray(values)[np.isfinite(values)]
    axes.hist(finite, bins=40)
    if marked is not None:
        name, value = marked
        axes.axvline(value, color="black", linestyle="--", label=f"{name} {value:.2g}")
        axes.legend()
    axes.grid(alpha=0.3)
    return figure


def latent_scatter(
    points: Float[ArrayLike, "n 2"],
    labels: Int[ArrayLike, " n"] | None = None,
    *,
    title: str = "",
    xlabel: str = "z0",
    ylabel: str = "z1",
) -> Figure:
    """Points of a plane in the colours of their classes."""
    x, y = np.asarray(points).T
    figure = Figure(figsize=(6, 5), layout="constrained", dpi=150)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    _write_title(figure, title)
    axes.set_aspect("equal", "datalim")
    if labels is None:
        axes.scatter(x, y, s=3)
        return figure
    classes = np.unique(labels)
    colours = matplotlib.colormaps["tab10" if len(classes) <= 10 else "turbo"].resampled(len(classes))
    for number, label in enumerate(classes):
        chosen = np.asarray(labels) == label
        axes.scatter(x[chosen], y[chosen], s=3, color=colours(number), label=str(label))
    figure.legend(loc="outside right upper", markerscale=3, fontsize=8, ncols=-(-len(classes) // 24))
    return figure


def column_histograms(
    columns: Mapping[str, Mapping[str, Float[ArrayLike, " n"]]],
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
) -> Figure:
    """Returns a panel for each column, with the shares of the values of each named sample of it.

    Args:
      columns: by column, values by the name of the sample; those of a column share their bins.
      levels: what the classes 0, 1, … of a column are called.
      title: over all.
    """
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(3 * across, 2.2 * down + 0.6), layout="constrained", dpi=150)
    _write_title(figure, title)
    for number, (name, samples) in enumerate(columns.items()):
        axes = figure.add_subplot(down, across, number + 1, title=name)
        axes.title.set_fontsize(9)
        axes.tick_params(labelsize=7)
        finite = {sample: np.asarray(values, float)[np.isfinite(values)] for sample, values in samples.items()}
        both = np.concatenate(list(finite.values()))
        if not both.size:
            continue
        called = (levels or {}).get(name)
        whole = bool(called) or (np.all(both == np.rint(both)) and np.ptp(both) <= _MOST_BARS)
        # Outliers of a sample would leave one bar.
        low, high = (both.min(), both.max()) if whole else np.quantile(both, [0.005, 0.995])
        bins = int(np.clip(math.sqrt(min(map(len, finite.values()))), 8, _MOST_BARS))
        edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, max(high, low + 1e-6), bins + 1)
        for sample, values in finite.items():
            weights = np.full(len(values), 1 / max(1, len(values)))
            axes.hist(values, edges, weights=weights, histtype="step" if sample != next(iter(finite)) else "stepfilled",
                      alpha=0.5 if sample == next(iter(finite)) else 1.0, label=sample)  # fmt: skip
        if called:
            axes.set_xticks(range(len(called)), called, rotation=90 if max(map(len, called)) > 3 else 0)
        if number == 0:
            axes.legend(fontsize=7)
    return figure


def _write_title(figure: Figure, title: str) -> None:
    """Writes a title over the whole figure, in as many lines as its width asks for, and makes room for them."""
    if not title:
        return
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(title, int(width * 72 / (0.6 * _TITLE_SIZE)))  # a letter is 0.6 of its size wide
    figure.set_size_inches(width, height + (len(lines) - 1) * 1.2 * _TITLE_SIZE / 72)
    figure.suptitle("\n".join(lines), fontsize=_TITLE_SIZE)


def _tile(images: Float[np.ndarray, "rows columns height width channels"]) -> np.ndarray:
    """One picture with a line of one grey pixel between the images."""
    rows, columns, height, width, channels = images.shape
    canvas = np.full((rows, height + 1, columns, width + 1, channels), 0.5, np.float32)
    canvas[:, 1:, :, 1:] = images.transpose(0, 2, 1, 3, 4)
    picture = canvas.reshape(rows * (height + 1), columns * (width + 1), channels)
    picture = np.pad(picture, ((0, 1), (0, 1), (0, 0)), constant_values=0.5)
    return picture[..., 0] if channels == 1 else picture
