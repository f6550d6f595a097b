import matplotlib.collections
import matplotlib.colors
import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.paper import paper_figures
from deepmds_jax.paper.paper_figures import Picture, Points, Shape

TOPOLOGY = topologies.get("flame51")


def faces(num, seed=0):
    return np.random.default_rng(seed).normal(size=(num, TOPOLOGY.num_landmarks, 3))


def skeletons(axis):
    """The (E, 2, 2) segments of each skeleton of a panel, and their colours."""
    found = [c for c in axis.collections if isinstance(c, matplotlib.collections.LineCollection)]
    return ([np.array(c.get_segments()) for c in found],
            [matplotlib.colors.to_hex(c.get_color()[0]) for c in found])


def test_a_row_for_each_face_and_a_column_for_each_thing_shown_of_it():
    truth = 40 * faces(2) + 100
    size = np.sqrt(((truth - truth.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))
    away = truth + 0.1 * size[:, None, None] * np.array([0.6, 0, 0.8])
    image = np.zeros((30, 40, 3), np.uint8)
    x2d = np.random.default_rng(1).uniform(10, 20, (TOPOLOGY.num_landmarks, 2))
    cells = [
        [Picture(image, x2d), Points(x2d), Shape(truth[0], is_truth=True),
         Shape(away[0], truth[0])],
        [Picture(image, None), Points(3 * x2d + 1, x2d), Shape(truth[1], is_truth=True), None],
    ]
    figure = paper_figures.draw_faces(["photo", "2D", "truth", "method"], ["a", "b"], cells,
                                      TOPOLOGY)
    axes = np.array(figure.axes).reshape(2, 4)
    assert [axis.get_title() for axis in axes[0]] == ["photo", "2D", "truth", "method"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["a", "b"]
    texts = [[text.get_text() for text in axis.texts] for axis in axes[:, 3]]
    assert texts == [["10.0 %"], ["N/A"]]
    assert not axes[1, 3].collections
    assert [len(skeletons(axis)[0]) for axis in axes.ravel()] == [1, 1, 1, 2, 0, 2, 1, 0]
    bottom, top = axes[0, 0].get_ylim()
    assert bottom > top  # y down
    left, right = axes[0, 0].get_xlim()
    assert left < x2d[:, 0].min() < x2d[:, 0].max() < right
    # Whatever its scale and origin, a frontal view lies on the true one.
    (behind, shown), _ = skeletons(axes[1, 1])
    np.testing.assert_allclose(shown, behind, atol=1e-12)
    (behind, shown), (grey, colour) = skeletons(axes[0, 3])
    assert np.abs(shown - behind).max() > 0.05
    assert grey == "#aeb6bf" != colour
    assert "grey: the truth" in figure.get_supxlabel()


def test_without_a_truth_nothing_is_said_of_it():
    figure = paper_figures.draw_faces(["method"], ["a"], [[Shape(faces(1)[0])]], TOPOLOGY)
    assert figure.get_supxlabel() == ""
    assert not list(figure.axes[0].texts)


@pytest.mark.parametrize("scale", [1, 7])
def test_heads_turn_their_left_side_to_the_front(scale):
    points = np.random.default_rng(0).normal(size=(TOPOLOGY.num_landmarks, 3)) * 0.01
    nose, left_brow = map(TOPOLOGY.landmarks.index, ("pronasale", "brow_outer_left"))
    points[nose] = [0, 0, -1]  # towards the viewer
    points[left_brow] = [1, 0, 1]
    figure = paper_figures.draw_faces(["m"], ["a"], [[Shape(scale * points)]], TOPOLOGY)
    dots = figure.axes[0].collections[-1].get_offsets()
    assert dots[nose, 0] < 0 < dots[left_brow, 0]


def test_figure_6_draws_losses_by_step_and_errors_by_time_on_logarithmic_scales():
    steps, losses = np.arange(1, 5) * 30, np.array([1.0, 0.1, 0.01, 0.02])
    seconds, errors = np.array([2.0, 4.0]), np.array([0.1, 0.05])
    figure = paper_figures.draw_training(
        {"one": (steps, losses), "other": (steps, 2 * losses)},
        {"one": (seconds, errors), "other": (2 * seconds, errors)})
    first, second = figure.axes
    assert first.get_yscale() == second.get_yscale() == "log"
    np.testing.assert_array_equal(first.lines[1].get_ydata(), 2 * losses)
    np.testing.assert_array_equal(second.lines[1].get_xdata(), 2 * seconds)
    assert "seconds" in second.get_xlabel()
    for axis in (first, second):
        colours = [matplotlib.colors.to_hex(line.get_color()) for line in axis.lines]
        assert len(set(colours)) == 2
    assert [t.get_text() for t in first.get_legend().get_texts()] == ["one", "other"]
