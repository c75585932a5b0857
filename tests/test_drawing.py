"""The pictures of a run that are computed before they are drawn: neighbours in the training set, means of q(z|x); and
what becomes of one that fails."""

import signal
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.command import signals
from experiments.reporting import figures as drawing
from tests.test_figures import picture, scattered
from vae_jax import data, figures

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 4, 5
TRAINING = RNG.integers(0, 256, (60, HEIGHT, WIDTH, 1), dtype=np.uint8)
SAMPLES = RNG.uniform(size=(3, HEIGHT, WIDTH, 1)).astype(np.float32)
POINTS = RNG.normal(size=(40, 5)) * [1.0, 5.0, 0.5, 3.0, 0.2] + [3.0, 0.0, -7.0, 1.0, 0.0]
LABELS = np.arange(40, dtype=np.int32) % 4


def tiles(figure) -> np.ndarray:
    """The images of a grid, [rows, columns, height, width]: what lies between the lines of grey."""
    drawn = picture(figure)
    rows, columns = (drawn.shape[0] - 1) // (HEIGHT + 1), (drawn.shape[1] - 1) // (WIDTH + 1)
    framed = drawn[1:, 1:].reshape(rows, HEIGHT + 1, columns, WIDTH + 1)
    return framed[:, :HEIGHT, :, :WIDTH].transpose(0, 2, 1, 3)


def nearest(images: np.ndarray, count: int) -> np.ndarray:
    """By brute force in float64: for each sample the images in order of their Euclidean distance, [3, count, ...]."""
    greys = images[..., 0] / 255
    squares = [np.sum((greys - sample[..., 0].astype(np.float64)) ** 2, axis=(1, 2)) for sample in SAMPLES]
    return np.stack([greys[np.argsort(distances)[:count]] for distances in squares])


def check_neighbours(figure, searched: np.ndarray, count: int) -> None:
    """Each row is a sample and, from the left, the images nearest to it."""
    drawn = tiles(figure)
    np.testing.assert_array_equal(drawn[:, 0], SAMPLES[..., 0])
    np.testing.assert_allclose(drawn[:, 1:], nearest(searched, count), rtol=1e-6)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sample", *map(str, range(1, count + 1))]
    assert figure.get_suptitle() == f"nearest of {len(searched)} training images"


def test_neighbours_are_the_nearest_of_the_training_images():
    check_neighbours(drawing._neighbours(SAMPLES, TRAINING), TRAINING, 7)


def test_neighbours_of_a_set_of_four_are_all_four_in_their_order():
    check_neighbours(drawing._neighbours(SAMPLES, TRAINING[:4]), TRAINING[:4], 4)


def test_neighbours_are_looked_for_among_streamed_images_too():
    class Source:
        contents = data.pictures(TRAINING.shape[1:])
        __len__ = lambda self: len(TRAINING)
        read = lambda self, rows: (TRAINING[rows], None)

    streamed = data.Streamed(Source(), np.arange(10, 50))
    check_neighbours(drawing._neighbours(SAMPLES, streamed), TRAINING[10:50], 7)


def test_neighbours_in_a_large_set_are_of_images_spread_over_it(monkeypatch):
    """Of ten among sixty here: first, last, and eight at equal distances."""
    monkeypatch.setattr(drawing, "_SEARCHED_BYTES", 10 * HEIGHT * WIDTH)
    spread = TRAINING[[0, 6, 13, 19, 26, 32, 39, 45, 52, 59]]
    check_neighbours(drawing._neighbours(SAMPLES, TRAINING), spread, 7)


def plane(figure, tmp_path) -> np.ndarray:
    """The points as they are drawn, in the order of the examples; the figure is saved, which draws it."""
    figure.savefig(tmp_path / "latents.png")
    points = np.empty((len(POINTS), 2))
    for name, (drawn, _) in scattered(figure).items():
        points[int(name) == LABELS] = drawn
    return points


def test_two_latent_dimensions_are_drawn_as_they_are(tmp_path):
    figure = drawing._latents(POINTS[:, :2], LABELS)
    np.testing.assert_array_equal(plane(figure, tmp_path), POINTS[:, :2])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("z0", "z1")
    assert figure.get_suptitle() == "means of q(z|x) of 40 test examples"


def test_one_latent_dimension_is_drawn_along_a_line(tmp_path):
    figure = drawing._latents(POINTS[:, :1], LABELS)
    np.testing.assert_array_equal(plane(figure, tmp_path), np.pad(POINTS[:, :1], ((0, 0), (0, 1))))


@pytest.mark.parametrize("dimensions", [3, 5, 50])
def test_more_latent_dimensions_are_projected_on_the_two_of_most_variance(tmp_path, dimensions):
    """The eigenvectors of the covariance matrix, up to a sign of each; whether points or dimensions are more."""
    means = np.concatenate([POINTS, RNG.normal(size=(40, 45))], axis=1)[:, :dimensions]
    figure = drawing._latents(means, LABELS)
    variances, directions = np.linalg.eigh(np.cov(means.T))
    expected = (means - means.mean(axis=0)) @ directions[:, ::-1][:, :2]
    drawn = plane(figure, tmp_path)
    expected *= np.sign(np.sum(drawn * expected, axis=0))
    np.testing.assert_allclose(drawn, expected, atol=1e-9)
    np.testing.assert_allclose(drawn.var(axis=0, ddof=1), variances[::-1][:2])
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("first principal component", "second")


def test_the_plane_of_many_dimensions_needs_no_matrix_of_their_square():
    """37 GiB of 100,000 dimensions; here the square of half a million would be two TiB."""
    ((points, _),) = scattered(drawing._latents(np.eye(4, 500_000), LABELS[:4] * 0)).values()
    assert points.shape == (4, 2)


def test_latents_without_labels_are_drawn_in_one_colour():
    ((points, _),) = scattered(drawing._latents(POINTS[:, :2], None)).values()
    np.testing.assert_array_equal(points, POINTS[:, :2])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_single_test_image_is_one_point(dimensions):
    """A set of a few images holds out one."""
    ((points, _),) = scattered(drawing._latents(POINTS[:1, :dimensions], LABELS[:1])).values()
    assert points.shape == (1, 2)
    assert np.isfinite(points).all()


def test_a_figure_that_fails_is_one_warning_and_the_others_are_drawn(tmp_path, capsys):
    def fails():
        raise MemoryError("37 GiB\nare wanted")

    drawn = lambda: figures.bars({"": (np.ones(1), np.ones(1))}, ["z0"])
    drawing._save({"first": fails, "second": drawn, "none": lambda: None}, tmp_path / "figures")
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["second.png"]
    path = tmp_path / "figures" / "first.png"
    assert capsys.readouterr().err == f"warning: {path} was not drawn: MemoryError: 37 GiB are wanted\n"


def test_a_signal_is_no_failure_of_a_figure(tmp_path):
    def interrupted():
        raise signals.Interrupted(signal.SIGTERM)

    with pytest.raises(signals.Interrupted, match="SIGTERM"):
        drawing._save({"first": interrupted}, tmp_path)


def test_the_kl_of_many_dimensions_is_drawn_of_the_largest(monkeypatch):
    monkeypatch.setattr(drawing, "_MOST_BARS", 2)
    latents = SimpleNamespace(
        kl_per_dimension=np.array([0.1, 0.3, 0.2]), kl_per_dimension_standard_error=np.zeros(3), active_units=3
    )
    figure = drawing._kl_per_dimension(latents)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["z1", "z2"]
    assert "the 2 largest of 3" in figure.get_suptitle()
