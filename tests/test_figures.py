"""Figures: the arrays that are drawn, without matplotlib's global state."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vae_jax import figures

LINE = 0.5  # the grey between the images


def picture(figure: Figure) -> np.ndarray:
    """The one array that is drawn."""
    (axes,) = figure.axes
    (image,) = axes.images
    return np.asarray(image.get_array())


def grid(channels: int) -> np.ndarray:
    """Two rows and three columns of images of 4×5 pixels."""
    return np.random.default_rng(0).uniform(size=(2, 3, 4, 5, channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_image_grid_puts_every_image_in_its_place(channels):
    """Each inside a frame of one grey pixel, shared with its neighbours."""
    images = grid(channels)
    drawn = picture(figures.image_grid(images))
    expected = np.full((2 * 5 + 1, 3 * 6 + 1, channels), LINE)
    for row in range(2):
        for column in range(3):
            top, left = 1 + row * 5, 1 + column * 6
            expected[top : top + 4, left : left + 5] = images[row, column]
    np.testing.assert_allclose(drawn, expected[..., 0] if channels == 1 else expected, rtol=1e-6)


def test_image_grid_maps_zero_to_black_and_one_to_white():
    """Whatever values are there: a picture that is all 0.4 is dark grey."""
    (axes,) = figures.image_grid(np.full((1, 1, 2, 2, 1), 0.4)).axes
    (image,) = axes.images
    assert image.get_clim() == (0, 1)
    levels = image.cmap(image.norm(np.array([0.0, 1.0])))[:, :3]
    np.testing.assert_array_equal(levels, [[0, 0, 0], [1, 1, 1]])


def test_image_grid_clips_values_outside_the_unit_interval():
    drawn = picture(figures.image_grid(np.array([-3.0, 0.25, 7.0]).reshape(1, 3, 1, 1, 1)))
    np.testing.assert_allclose(drawn[1, 1::2], [0, 0.25, 1])


def test_image_grid_writes_its_labels_at_their_rows_and_columns():
    figure = figures.image_grid(
        grid(1), title="t", xlabel="x", ylabel="y", row_labels=["r0", "r1"], column_labels=["c0", "c1", "c2"]
    )
    (axes,) = figure.axes
    assert (figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("t", "x", "y")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["r0", "r1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["c0", "c1", "c2"]
    np.testing.assert_allclose(axes.get_yticks(), [1 + 1.5, 6 + 1.5])
    np.testing.assert_allclose(axes.get_xticks(), [1 + 2, 7 + 2, 13 + 2])


@pytest.mark.parametrize("columns", [1, 6, 16])
def test_a_long_title_is_not_cut_whatever_the_number_of_columns(columns):
    """It is wrapped, and neither reaches over an edge nor into the pictures."""
    title = "test images and the means of p(x|z) at the means of 32 draws of q(z|x), by class"
    figure = figures.image_grid(np.zeros((2, columns, 8, 8, 1)), title=title, row_labels=["a row", "another"])
    FigureCanvasAgg(figure).draw()
    assert figure.get_suptitle().split() == title.split()
    (written,) = figure.texts
    extent, (axes,) = written.get_window_extent(), figure.axes
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    assert extent.y1 <= figure.bbox.y1
    assert extent.y0 >= axes.get_window_extent().y1


def test_learning_curves_draw_every_series_under_its_name():
    curves = {"training": ([10, 20, 30], [3.0, 2.0, 1.5]), "validation": ([30], [2.5])}
    (axes,) = figures.learning_curves(curves, ylabel="nats").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines == {"training": [[10, 3.0], [20, 2.0], [30, 1.5]], "validation": [[30, 2.5]]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "nats")


def test_learning_curves_leave_out_the_steep_beginning():
    """The first tenth of a curve does not widen the axis; a value that is not finite does not either."""
    values = [-1e6, -1e5, *np.linspace(-100, -90, 17), float("nan")]
    (axes,) = figures.learning_curves({"training": (list(range(20)), values)}, ylabel="nats").axes
    low, high = axes.get_ylim()
    assert -101 < low < -100
    assert -90 < high < -89


def test_learning_curves_of_a_run_without_measurements_are_empty(tmp_path):
    """A run too short to be validated still has a figure."""
    figure = figures.learning_curves({"training": ([1], [2.0]), "validation": ([], [])}, ylabel="nats")
    figure.savefig(tmp_path / "curves.png")
    assert [len(line.get_xydata()) for line in figure.axes[0].lines] == [1, 0]


def scattered(figure: Figure) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """The points and the one colour of every class that is drawn."""
    (axes,) = figure.axes
    drawn = {}
    for collection in axes.collections:
        (colour,) = collection.get_facecolor()
        drawn[collection.get_label()] = np.asarray(collection.get_offsets()), tuple(colour)
    return drawn


POINTS = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)


def test_latent_scatter_draws_every_point_in_the_colour_of_its_class():
    """Class by class; a class's number need not be its place."""
    labels = np.random.default_rng(2).choice([7, 2, 40], size=60)
    drawn = scattered(figures.latent_scatter(POINTS, labels))
    assert list(drawn) == ["2", "7", "40"]
    for name, (points, _) in drawn.items():
        np.testing.assert_array_equal(points, POINTS[labels == int(name)])


@pytest.mark.parametrize("num_classes", [2, 10, 11, 47])
def test_latent_scatter_gives_no_two_classes_one_colour(num_classes, tmp_path):
    """Saved, too: the legend of many classes finds room."""
    figure = figures.latent_scatter(POINTS, np.arange(60) % num_classes)
    colours = [colour for _, colour in scattered(figure).values()]
    assert len(set(colours)) == num_classes
    assert all(alpha == 1 for *_, alpha in colours)
    figure.savefig(tmp_path / "latents.png")


def test_latent_scatter_names_its_axes_and_its_classes_in_a_legend():
    figure = figures.latent_scatter(POINTS, np.arange(60) % 12, title="t", xlabel="a", ylabel="b")
    (axes,), (legend,) = figure.axes, figure.legends
    assert (figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("t", "a", "b")
    assert [text.get_text() for text in legend.get_texts()] == [str(number) for number in range(12)]
    shown = [tuple(handle.get_facecolor()[0]) for handle in legend.legend_handles]
    assert shown == [colour for _, colour in scattered(figure).values()]


def test_latent_scatter_without_labels_is_of_one_colour_and_has_no_legend():
    figure = figures.latent_scatter(POINTS)
    ((points, _),) = scattered(figure).values()
    np.testing.assert_array_equal(points, POINTS)
    assert not figure.legends
    (axes,) = figure.axes
    assert (axes.get_legend(), axes.get_xlabel(), axes.get_ylabel()) == (None, "z0", "z1")


def test_no_global_state_is_made():
    """In a process of its own: pyplot, which keeps figures alive and may want a display, is never imported."""
    code = """
import io, sys
import numpy as np
from vae_jax import figures
figures.image_grid(np.zeros((1, 2, 3, 3, 1))).savefig(io.BytesIO())
figures.learning_curves({"a": ([1, 2], [3.0, 4.0])}, ylabel="nats").savefig(io.BytesIO())
figures.latent_scatter(np.eye(2), np.arange(2)).savefig(io.BytesIO())
print("matplotlib.figure" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]
