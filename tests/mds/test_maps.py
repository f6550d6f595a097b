import numpy as np
import pytest

from deepmds_jax import mds

pytest.importorskip("matplotlib")

POINTS = np.array([[0.0, 0, 1], [4, 0, 2], [4, 3, 3], [0, 3, 4], [0.1, 3, 5]])
NAMES = ["south west", "east", "north $east$", "corner", "neighbour"]


def boxes(figure):
    """(n, 2, 2) of the labels in pixels: low and high corners."""
    figure.draw_without_rendering()
    (axes,) = figure.axes
    return np.array([text.get_window_extent().get_points() for text in axes.texts
                     if text.get_text()])


def test_labels_stand_beside_their_points_and_cover_neither_each_other_nor_points():
    figure = mds.draw_configuration(POINTS, NAMES)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [name.replace("$", r"\$") for name in NAMES]
    assert axes.get_aspect() == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Dimension 1", "Dimension 2")
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), POINTS[:, :2])
    low, high = boxes(figure).transpose(1, 0, 2)
    overlap = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    assert not (np.all(overlap > 0, axis=-1) & ~np.eye(5, dtype=bool)).any()
    dots = axes.transData.transform(POINTS[:, :2])
    assert not np.all((dots > low[:, None]) & (dots < high[:, None]), axis=-1).any()
    gaps = np.maximum(np.maximum(low - dots, dots - high), 0)
    assert np.all(np.linalg.norm(gaps, axis=-1) < 12)  # pixels
    frame = axes.get_window_extent().get_points()
    assert np.all(low > frame[0]) and np.all(high < frame[1])


def test_labels_stand_as_far_from_their_points_in_any_resolution():
    points = np.array([[0.0, 0], [1, 3], [2, -2]])
    figure = mds.draw_configuration(points, ["I often feel nervous (item 5)", "Q7", "it"])
    gaps = []
    for dpi in (100, 300):
        figure.set_dpi(dpi)
        dots = figure.axes[0].transData.transform(points)
        gaps.append([(low[0] - dot[0]) * 72 / dpi
                     for dot, (low, _) in zip(dots, boxes(figure), strict=True)])
    np.testing.assert_allclose(gaps[1], gaps[0], atol=0.8)


def test_other_axes_and_points_on_a_line():
    (axes,) = mds.draw_configuration(POINTS, dims=(2, 0)).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), POINTS[:, [2, 0]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Dimension 3", "Dimension 1")
    (axes,) = mds.draw_configuration(POINTS[:, :1], NAMES).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets()[:, 1], 0)
    assert {text.get_rotation() for text in axes.texts} == {90}
    figure = mds.draw_configuration(POINTS[:, :1], ["long " * 120, *NAMES[1:]])
    assert figure.get_figheight() < 6 and figure.axes[0].texts[0].get_text().endswith("…")


def test_labels_stay_on_the_page():
    names = ["Bosnia and Herzegovina", "Central African Republic", "Saint Kitts and Nevis"]
    near = np.array([[0.0, 0], [0.01, 0.02], [5, 1]])
    for points in (near[:, :1], near):
        figure = mds.draw_configuration(points, names)
        low, high = boxes(figure).transpose(1, 0, 2)
        assert np.all(low >= figure.bbox.min) and np.all(high <= figure.bbox.max)


def test_ellipses_hold_the_share_that_they_say():
    covariance = np.array([[5.0, 4], [4, 5]])  # variances 9 and 1 along the diagonals
    figure = mds.draw_configuration(POINTS, covariances=[covariance] * 5, confidence=0.5)
    ellipse = figure.axes[0].patches[0]
    assert tuple(ellipse.center) == (0, 0)
    np.testing.assert_allclose(ellipse.angle % 180, 45)
    draws = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 10000)
    u = draws @ [[1, -1], [1, 1]] / 2**0.5
    inside = np.sum((u / [ellipse.width / 2, ellipse.height / 2]) ** 2, axis=1) < 1
    assert abs(inside.mean() - 0.5) < 0.02


def test_vectors_point_from_the_centre_and_are_as_long_as_their_correlation():
    unrelated = np.array([1, -1, 1, -1, 0.0])
    variables = np.stack([POINTS[:, 1], [1, -1, 1, -1, 1], np.ones(5), unrelated], axis=1)
    fitted = mds.fit_vectors(POINTS[:, :2], variables)
    figure = mds.draw_configuration(
        POINTS[:, :2], vectors=fitted, vector_labels=["north", "odd", "constant", "unrelated"])
    arrows = [text for text in figure.axes[0].texts if not text.get_text()]
    names = [text for text in figure.axes[0].texts if text.get_text()]
    # A constant has no direction.
    assert [text.get_text() for text in names] == ["north", "odd", "unrelated"]
    centre = POINTS[:, :2].mean(axis=0)
    np.testing.assert_allclose([arrow.xyann for arrow in arrows], [centre] * 3)
    *tips, none = np.array([arrow.xy for arrow in arrows]) - centre
    np.testing.assert_allclose(none, 0, atol=1e-6)
    lengths = np.linalg.norm(tips, axis=1)
    np.testing.assert_allclose(tips / lengths[:, None], fitted.directions[:2], atol=1e-6)
    np.testing.assert_allclose(
        lengths[1] / lengths[0], np.sqrt(fitted.r_squared[1] / fitted.r_squared[0]), rtol=1e-5)
    assert lengths[0] == pytest.approx(np.linalg.norm(POINTS[:, :2] - centre, axis=1).max())


def test_names_of_vectors_are_not_cut_off():
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        fitted = mds.fit_vectors(POINTS[:, :2], sign * POINTS[:, axis:axis + 1])
        figure = mds.draw_configuration(
            POINTS[:, :2], vectors=fitted, vector_labels=["mean wave length in nanometres"])
        figure.draw_without_rendering()
        name = figure.axes[0].texts[-1].get_window_extent()
        assert figure.bbox.x0 <= name.x0 and name.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= name.y0 and name.y1 <= figure.bbox.y1


@pytest.mark.parametrize(("points", "options", "message"), [
    (POINTS[0], {}, r"points: expected shape \(n, k\), got \(3,\)"),
    (POINTS, {"labels": ["a"]}, "labels: expected 5, got 1"),
    (POINTS, {"dims": (0, 3)}, r"dims: expected two of 0 to 2, got \(0, 3\)"),
    (POINTS, {"covariances": np.ones((5, 3, 3))}, r"covariances: expected shape \(5, 2, 2\)"),
    (POINTS, {"covariances": np.ones((5, 2, 2)), "confidence": 95},
     "confidence: expected a number"),
    (POINTS, {"vectors": mds.FittedVectors(np.ones((1, 2)), np.ones(1)), "dims": (0, 2)},
     "vectors: expected directions"),
])
def test_wrong_arguments_raise(points, options, message):
    with pytest.raises(ValueError, match=message):
        mds.draw_configuration(points, **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"labels": 3}, "labels: expected 5, got 3"),
    ({"dims": "ab"}, "dims: expected two of 0 to 2, got 'ab'"),
    ({"dims": (0.0, 1.0)}, "dims: expected two of 0 to 2"),
    ({"confidence": None, "covariances": [np.eye(2)] * 5}, "confidence: expected a finite number"),
    ({"vectors": POINTS}, "vectors: expected FittedVectors of fit_vectors, got an array of shape"),
    ({"vectors": mds.FittedVectors(np.eye(2), np.ones(2)), "vector_labels": ["one"]},
     "vector_labels: expected 2, got 1"),
])
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        mds.draw_configuration(POINTS, **options)
