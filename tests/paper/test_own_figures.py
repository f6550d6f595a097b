import matplotlib.collections
import numpy as np
import pytest

from deepmds_jax import topologies
from deepmds_jax.paper import own_figures

TOPOLOGY = topologies.get("flame51")


def faces(num, seed=0):
    return np.random.default_rng(seed).normal(size=(num, TOPOLOGY.num_landmarks, 3))


def skeletons(axis):
    """The (E, 2, 2) segments of each skeleton of a panel."""
    return [np.array(c.get_segments()) for c in axis.collections
            if isinstance(c, matplotlib.collections.LineCollection)]


def test_frontal_views_lay_the_output_on_the_truth_whatever_its_scale_and_origin():
    truth = faces(2)[..., :2]
    seen = [own_figures.SeenFace(f"yaw {i}", 3 * xy, 0.2 * xy + 7, xy)
            for i, xy in enumerate(truth)]
    figure = own_figures.draw_frontal_views(seen, TOPOLOGY)
    assert [axis.get_title() for axis in figure.axes] == ["yaw 0", "yaw 1", "", ""]
    for axis in figure.axes:
        bottom, top = axis.get_ylim()
        assert bottom > top  # y down
    for axis in figure.axes[2:]:
        shown, output = skeletons(axis)
        np.testing.assert_allclose(output, shown, atol=1e-12)


def test_shapes_tell_the_distance_to_the_truth_in_sizes_of_the_face():
    truth = faces(2) * 40 + 100
    size = np.sqrt(((truth - truth.mean(1, keepdims=True)) ** 2).sum(-1).mean(-1))
    away = truth + 0.1 * size[:, None, None] * np.array([0.6, 0, 0.8])
    figure = own_figures.draw_shapes(truth, {"same": truth, "away": away}, TOPOLOGY)
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert texts == 2 * [[], ["0.0 %"], ["10.0 %"]]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["Truth", "same", "away"]
    behind, shown = skeletons(figure.axes[1])
    np.testing.assert_allclose(shown, behind)
    behind, shown = skeletons(figure.axes[2])
    assert np.abs(shown - behind).max() > 0.05


def test_the_heads_turn_their_left_side_to_the_front():
    points = np.zeros((1, TOPOLOGY.num_landmarks, 3))
    nose, left_brow = map(TOPOLOGY.landmarks.index, ("pronasale", "brow_outer_left"))
    points[0, nose] = [0, 0, -1]  # towards the viewer
    points[0, left_brow] = [1, 0, 1]
    figure = own_figures.draw_shapes(points, {}, TOPOLOGY)
    dots = figure.axes[0].collections[-1].get_offsets()
    assert dots[nose, 0] < 0 < dots[left_brow, 0]


@pytest.mark.parametrize(("factor", "scale"), [(2, "linear"), (20, "log")])
def test_whiskers_reach_the_extremes_of_the_samples(factor, scale):
    values = {"a": np.arange(1.0, 1.1, 0.01), "b": factor * np.arange(1.0, 1.1, 0.01)}
    figure = own_figures.draw_samples({"MSE": values, "NME": values})
    assert [axis.get_xlabel() for axis in figure.axes] == ["MSE", "NME"]
    axis = figure.axes[0]
    assert axis.get_xscale() == scale
    ends = sorted(x for line in axis.lines for x in line.get_xdata())
    assert ends[0] == values["a"].min()
    assert ends[-1] == values["b"].max()
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]


def test_many_methods_and_samples_without_a_prediction_can_be_drawn():
    truth = faces(1)
    figure = own_figures.draw_shapes(truth, {f"m{i}": truth for i in range(12)}, TOPOLOGY)
    assert len(figure.axes) == 13
    means = {"whole": np.array([1.0, 2.0, 3.0]), "partly": np.array([np.nan, 2.0, 4.0])}
    (axis,) = own_figures.draw_samples({"MSE": means}).axes
    dots = [np.asarray(c.get_offsets())[:, 0].tolist() for c in axis.collections]
    assert dots == [[1, 2, 3], [2, 4]]


def test_replaced_parts_have_a_panel_for_each_set_of_faces():
    rows = [{"faces": faces, "system": system, "NME, %": value}
            for faces, worst in (("a", 4.0), ("b", 8.0))
            for system, value in (("whole", worst), ("part", 0.5), ("mean", 3), ("posed", 2))]
    first, second = own_figures.draw_replaced(rows).axes
    assert [bar.get_width() for bar in second.patches] == [8, 0.5, 3, 2]
    assert [text.get_text().strip() for text in first.texts] == ["4.00", "0.50", "3.00", "2.00"]
    assert [label.get_text() for label in first.get_yticklabels()] == [
        "whole", "part", "mean", "posed"]
    for axis, worst in ((first, 4), (second, 8)):
        assert axis.get_xlim()[1] > worst
