import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from deepmds_jax import mds

# Three points on a line at 0, 1 and 3; the pairs are (0, 1), (0, 2) and (1, 2).
EMBEDDING = np.array([[0.0], [1], [3]])
DISPARITIES = np.array([[0.0, 1.5, 2.5], [1.5, 0, 2.5], [2.5, 2.5, 0]])


def test_pairs_by_hand():
    dissimilarities = np.array([[0.0, 9, 5], [9, 0, 5], [5, 5, 0]])
    diagram = mds.shepard(dissimilarities, EMBEDDING, DISPARITIES)
    np.testing.assert_array_equal(diagram.dissimilarities, [5, 5, 9])
    np.testing.assert_array_equal(diagram.distances, [2, 3, 1])  # ties by distance
    np.testing.assert_array_equal(diagram.disparities, [2.5, 2.5, 1.5])
    assert diagram.stress == pytest.approx((0.75 / 14) ** 0.5)


def test_pairs_are_those_of_mass(usage, load_oracle, x64):
    expected, d = usage("shepard"), load_oracle("USArrests").dissimilarities
    points, pairs = np.array(expected["points"]), np.triu_indices(21, 1)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    order = np.argsort(d[pairs])
    disparities = np.zeros((21, 21))
    disparities[pairs[0][order], pairs[1][order]] = mds.isotonic_regression(
        distances[pairs][order])
    diagram = mds.shepard(d, points, disparities)
    for name in ("dissimilarities", "distances", "disparities"):
        np.testing.assert_allclose(getattr(diagram, name), expected[name], rtol=1e-8)


def test_missing_pairs_are_left_out():
    dissimilarities = np.array([[0.0, 9, np.nan], [9, 0, 5], [np.nan, 5, 0]])
    diagram = mds.shepard(dissimilarities, EMBEDDING, np.where(dissimilarities > 0, DISPARITIES, 0))
    np.testing.assert_array_equal(diagram.distances, [2, 1])
    dissimilarities[0, 2] = 6  # one direction is enough, on either side
    for given in (dissimilarities, dissimilarities.T):
        found = mds.shepard(given, EMBEDDING, np.where(dissimilarities > 0, DISPARITIES, 0))
        np.testing.assert_array_equal(found.distances, [2, 1])
    weights = np.array([[0.0, 0, 4], [0, 0, 1], [4, 1, 0]])
    diagram = mds.shepard(np.array([[0.0, 9, 6], [9, 0, 5], [6, 5, 0]]), EMBEDDING, DISPARITIES,
                          weights)
    np.testing.assert_array_equal(diagram.distances, [2, 3])
    np.testing.assert_array_equal(diagram.weights, [1, 4])
    assert diagram.stress == pytest.approx(((0.25 + 4 * 0.25) / (4 + 4 * 9)) ** 0.5)


def test_picture():
    pytest.importorskip("matplotlib")
    dissimilarities = np.array([[0.0, 9, 6], [9, 0, 5], [6, 5, 0]])
    diagram = mds.shepard(dissimilarities, EMBEDDING, DISPARITIES)
    figure = mds.draw_shepard(diagram, unit="km")
    (axes,) = figure.axes
    (dots,), (line,) = axes.collections, axes.lines
    np.testing.assert_array_equal(dots.get_offsets(), [[5, 2], [6, 3], [9, 1]])
    np.testing.assert_array_equal(line.get_xydata(), [[5, 2.5], [6, 2.5], [9, 1.5]])
    assert axes.get_xlabel() == "Dissimilarity (km)"
    assert axes.get_ylabel() == "Distance (root mean square 2.16)"
    assert axes.get_title("left") == "Stress-1: 0.2315   (3 pairs)"


def test_a_diagram_without_pairs_is_refused():
    empty = mds.shepard(np.full((3, 3), np.nan), np.eye(3), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="diagram: expected one pair or more, got none"):
        mds.draw_shepard(empty)


def test_wrong_shapes_raise():
    with pytest.raises(ValueError, match=r"embedding: expected shape \(n, k\), got \(2, 3, 1\)"):
        mds.shepard(DISPARITIES, np.zeros((2, 3, 1)), DISPARITIES)
    with pytest.raises(ValueError, match=r"disparities: expected shape \(3, 3\), got \(4, 4\)"):
        mds.shepard(DISPARITIES, EMBEDDING, np.zeros((4, 4)))


def test_scree():
    pytest.importorskip("matplotlib")
    figure = mds.draw_scree([3, 1, 2], np.array([0.1, 0.5, 0.25]))
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 0.5], [2, 0.25], [3, 0.1]])
    assert [text.get_text() for text in axes.texts] == ["0.100", "0.500", "0.250"]
    assert mds.draw_scree([1, 2], np.zeros(2)).axes[0].get_ylim()[1] > 0  # a perfect fit
    with pytest.raises(ValueError, match=r"stress: expected shape \(1,\) like dims, got \(2,\)"):
        mds.draw_scree([1], np.ones(2))
    with pytest.raises(ValueError, match="dims: expected one or more, got none"):
        mds.draw_scree([], [])


def test_stress_per_point_is_vegans_goodness(usage, load_oracle):
    expected = usage("searched")["eurodist"]
    points = np.array(expected["configuration"])
    d = load_oracle("eurodist").dissimilarities
    pairs = np.triu_indices(21, 1)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    order = np.lexsort((distances[pairs], d[pairs]))
    fitted = np.empty(210)
    fitted[order] = isotonic_regression(distances[pairs][order]).x
    disparities = np.zeros((21, 21))
    disparities[pairs] = fitted
    shares = mds.stress_per_point(disparities + disparities.T, distances)
    goodness = np.array(expected["goodness"])
    np.testing.assert_allclose(shares, goodness**2 / expected["stress1"] ** 2, rtol=1e-5)


def test_scree_of_perfect_fits_is_drawn_whole_and_of_none_refused():
    pytest.importorskip("matplotlib")
    (axes,) = mds.draw_scree([1, 2, 3], [0.2, 0, 0]).axes
    assert not axes.lines[0].get_clip_on()
    with pytest.raises(ValueError, match="stress: expected finite numbers, got nan"):
        mds.draw_scree([1, 2], [0.2, np.nan])


def test_stress_per_point_as_bars():
    pytest.importorskip("matplotlib")
    (axes,) = mds.draw_stress_per_point([0.2, 0.5, 0.3], ["a", "$b$", "c"]).axes
    assert [bar.get_width() for bar in axes.patches] == [20, 30, 50]  # from below
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "c", r"\$b\$"]
    (axes,) = mds.draw_stress_per_point([0.6, 0.4], ["long " * 14, "b"]).axes
    assert [len(text.get_text()) for text in axes.get_yticklabels()] == [1, 32]
    many = np.arange(100) / 4950
    (axes,) = mds.draw_stress_per_point(many).axes
    assert len(axes.patches) == 40
    assert axes.get_yticklabels()[-1].get_text() == "100"
    assert "the largest 40 of 100" in axes.get_xlabel()
    with pytest.raises(ValueError, match="labels: expected 100, got 1"):
        mds.draw_stress_per_point(many, ["a"])
    with pytest.raises(ValueError, match=r"shares: expected shape \(n,\), got \(1, 100\)"):
        mds.draw_stress_per_point(many[None])
    with pytest.raises(ValueError, match=r"shares: expected shape \(n,\), got \(0,\)"):
        mds.draw_stress_per_point([])
